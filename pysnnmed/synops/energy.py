"""Projected energy: exact counts under a named cost table. Nothing here was measured on hardware.

Two numbers, never mixed: `total`, of arithmetic alone, and `total_with_memory`, which a table without a placement of
data does not have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import ParameterError
from .costs import CostTable, access_energy, cost_table
from .report import Report


@dataclass(frozen=True)
class MemoryEnergy:
    """Energy [pJ] of reading and writing, for one network."""

    weights: float
    states: float
    spikes: float  # and real values; activations of the conventional network

    @property
    def total(self) -> float:
        """Weights, states and spikes together."""
        return self.weights + self.states + self.spikes


@dataclass(frozen=True)
class ProjectedEnergy:
    """Energy [pJ] that the counted operations would cost under a table."""

    table: CostTable
    steps: int
    rate: float  # events for each input value and step, all layers together
    synaptic_rate: float  # SynOps for each connection and step
    synaptic: float  # SynOps x add
    analog: float  # MACs x mac
    neuronal: float  # additions of neurons, comparisons and biases x add + multiplications by a leak
    ann: float  # the conventional network with the same layers, run once: MACs x mac + biases and ReLUs x add
    ann_skipping: float  # the same without MACs whose activation is 0; NaN where its activations were not seen
    estimate: float  # synaptic by rate x MACs instead of the exact count
    break_even_rate: float  # SynOps for each connection and step at which total = ann; NaN without spiking layers
    memory: MemoryEnergy | None = None  # None for a table that does not say where data live
    ann_memory: MemoryEnergy | None = None
    break_even_with_memory: float = math.nan

    @property
    def total(self) -> float:
        """Arithmetic alone: synaptic, analog and neuronal energy together."""
        return self.synaptic + self.analog + self.neuronal

    @property
    def ratio(self) -> float:
        """How many times less than the conventional network, arithmetic alone."""
        return _ratio(self.ann, self.total)

    @property
    def total_with_memory(self) -> float:
        """Arithmetic and memory; NaN for a table that does not say where data live."""
        return self.total + (math.nan if self.memory is None else self.memory.total)

    @property
    def ann_with_memory(self) -> float:
        """The same of the conventional network."""
        return self.ann + (math.nan if self.ann_memory is None else self.ann_memory.total)

    @property
    def ratio_with_memory(self) -> float:
        """How many times less than the conventional network, arithmetic and memory; NaN without a placement."""
        return _ratio(self.ann_with_memory, self.total_with_memory)

    def __float__(self) -> float:
        return self.total

    @property
    def conditions(self) -> str:
        """What must stand beside every figure: T, rate and table."""
        return f"projected, {self.table.conditions}, T = {self.steps}, rate {self.rate:.1%}"

    def __str__(self) -> str:
        skipping = "" if math.isnan(self.ann_skipping) else f" ({_microjoule(self.ann_skipping)} without its zeros)"
        arithmetic = (
            f"{self.conditions}: {_microjoule(self.total)} against {_microjoule(self.ann)} for the conventional network"
            f"{skipping}, {self.ratio:.2f}x less, break-even at {self.break_even_rate:.1%} of the connections, here "
            f"{self.synaptic_rate:.1%}; synapses {_microjoule(self.synaptic)} by exact count, "
            f"{_microjoule(self.estimate)} by rate x MACs; "
        )
        if self.memory is None:
            return arithmetic + "memory and routing not included"
        return arithmetic + (
            f"with memory {_microjoule(self.total_with_memory)} against {_microjoule(self.ann_with_memory)}, "
            f"{self.ratio_with_memory:.2f}x less, break-even at {self.break_even_with_memory:.1%}; routing not included"
        )

    def facts(self) -> dict[str, Any]:
        """The figures that a summary quotes, with everything they must be quoted with, JSON-able."""
        figures = {
            "spiking_microjoule": self.total / 1e6,
            "analog_microjoule": self.ann / 1e6,
            "analog_without_zeros_microjoule": self.ann_skipping / 1e6,
            "ratio": self.ratio,
            "break_even_rate": self.break_even_rate,
            "synaptic_rate": self.synaptic_rate,
            "synapses_microjoule": self.synaptic / 1e6,
            "synapses_by_rate_times_macs_microjoule": self.estimate / 1e6,
            "spiking_with_memory_microjoule": self.total_with_memory / 1e6,
            "analog_with_memory_microjoule": self.ann_with_memory / 1e6,
            "ratio_with_memory": self.ratio_with_memory,
            "break_even_rate_with_memory": self.break_even_with_memory,
        }
        known = {name: value for name, value in figures.items() if math.isfinite(value)}  # JSON has no NaN
        return {"table": self.table.name, **known, "conditions": self.conditions}


def projected_energy(report: Report, table: str | CostTable = "fp32") -> ProjectedEnergy:
    """The energy of a report under a cost table, or the one of that name in `TABLES`.

        E     = SynOps E_add + MACs E_mac + leak multiplications E_leak
                + (charges + leak shifts + comparisons + soft resets + biases + other additions) E_add
        E_ann = MACs E_mac + (biases + ReLU comparisons) E_add, each layer run once

    With memory, each of them has its reads and writes, at the widths and places of the table. The break-even rate r,
    all but synapses staying as it was counted, solves r dense_synops E_synop + (E - SynOps E_synop) = E_ann, where
    E_synop is E_add, and with memory E_add and the read of a weight. Raises ParameterError for an unknown name, and for
    a table that says where data live and a report that did not count what is read.
    """
    cost = cost_table(table) if isinstance(table, str) else table
    total = report.total
    memory, ann_memory = _memory(report, cost)
    synaptic, analog = total.synops * cost.add, total.macs * cost.mac
    neuronal = total.additions * cost.add + total.leak_multiplies * cost.leak
    ann = total.ann_macs * cost.mac + total.ann_adds * cost.add
    skipped = math.nan if report.ann_nonzero_macs is None else total.ann_macs - report.ann_nonzero_macs
    with_memory = math.nan
    if memory is not None and ann_memory is not None and cost.placement is not None:
        synop = cost.add + access_energy(cost.weight_bits, cost.placement.weights)
        rest = synaptic + analog + neuronal + memory.total - total.synops * synop
        with_memory = _break_even(ann + ann_memory.total, rest, total.dense_synops * synop)
    return ProjectedEnergy(
        table=cost,
        steps=report.steps,
        rate=total.rate,
        synaptic_rate=total.synaptic_rate,
        synaptic=synaptic,
        analog=analog,
        neuronal=neuronal,
        ann=ann,
        ann_skipping=ann - skipped * cost.mac,
        estimate=report.rate_times_macs * cost.add,
        break_even_rate=_break_even(ann, analog + neuronal, total.dense_synops * cost.add),
        memory=memory,
        ann_memory=ann_memory,
        break_even_with_memory=with_memory,
    )


def _memory(report: Report, cost: CostTable) -> tuple[MemoryEnergy, MemoryEnergy] | tuple[None, None]:
    """Reads and writes of the spiking and of the conventional network."""
    total, place = report.total, cost.placement
    if place is None:
        return None, None
    if total.synops and (total.weight_reads < total.synops or (total.ann_macs and not total.ann_weight_reads)):
        raise ParameterError(
            f"projected_energy: for {cost.name} the report must have a weight read for every SynOp and those of the "
            f"conventional network, not {total.weight_reads} for {total.synops} SynOps and {total.ann_weight_reads}; "
            "count them (see synops.parts), or take a table without a place"
        )
    states = total.state_reads + total.state_writes
    values = (total.value_reads + total.value_writes) * cost.activation_bits
    spikes = 8 * (total.spike_bytes_read + total.spike_bytes_written)
    activations = (total.ann_reads + total.ann_writes) * cost.activation_bits
    spiking = MemoryEnergy(
        weights=access_energy(total.weight_reads * cost.weight_bits, place.weights),
        states=access_energy(states * cost.state_bits, place.states),
        spikes=access_energy(spikes + values, place.spikes),
    )
    conventional = MemoryEnergy(
        weights=access_energy(total.ann_weight_reads * cost.weight_bits, place.weights),
        states=0.0,
        spikes=access_energy(activations, place.spikes),
    )
    return spiking, conventional


def _break_even(ann: float, rest: float, dense: float) -> float:
    return max(0.0, (ann - rest) / dense) if dense else math.nan


def _ratio(conventional: float, spiking: float) -> float:
    return conventional / spiking if spiking else math.inf


def _microjoule(picojoules: float) -> str:
    value = picojoules / 1e6
    return (f"{value:,.0f}" if value >= 1000 else f"{value:.4g}") + " uJ"
