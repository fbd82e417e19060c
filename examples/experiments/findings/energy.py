"""What would make a spiking registration 55.5 times less costly than the analog one?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pysnnmed.models.operations import HEAD
from pysnnmed.models.spikereg import IMAGES, Layer, SpikeRegConfig
from pysnnmed.synops import ARITHMETIC, Report, count_synops, padded_macs, projected_energy

from .bench import Bench, Variant
from .counts import analog_operations, operations
from .tables import Row, markdown, mean_sd, over_pairs, values_of, where

NAME = "energy"
TITLE = "The figure of 55.5 times"
CLAIM, CLAIMED_RATE, CLAIMED_STEPS = 55.5, 0.128, 4  # the paper's: reduction, mean spike rate, T
ABOUT = f"""\
The paper projects {CLAIM} times less energy than its teacher at a mean spike rate of {100 * CLAIMED_RATE:g} %, with
T = {CLAIMED_STEPS}. Its formula is E_MAC / (E_add ρ T). The first table puts the paper's ρ and T into it, under every
cost table of `pysnnmed.synops`, and asks which ρ (SynOps for each MAC and step) would give the figure. The second has
the exact counts of the fine-tuned networks of experiment 1, all layers and all held-out pairs. All energies are
projected (45 nm, Horowitz 2014), none was measured.
"""
MEMORY = "sram"


def run(bench: Bench) -> list[Row]:
    """Counts of the fine-tuned networks, summed over the held-out pairs, and projections by every table."""
    rows: list[Row] = []
    for seed in bench.seeds:
        report, padded = _counted(bench, seed)
        total, layers = report.total, [layer for layer in report.layers if layer.neuron_updates]
        counts: Row = {
            "seed": seed,
            "pairs": len(bench.held_out),
            "steps": report.steps,
            "layer_rate": float(np.mean([layer.reset_subtractions / layer.neuron_updates for layer in layers])),
            "neuron_rate": total.reset_subtractions / total.neuron_updates,
            "synaptic_rate": total.synaptic_rate,
            "synops": total.synops,
            "macs": total.macs,
            "analog_macs": report.ann_macs,
            "analog_macs_without_zeros": report.ann_nonzero_macs or 0,
            "padded_macs": padded,
        }
        for table in ARITHMETIC:
            energy, placed = projected_energy(report, table), projected_energy(report, f"{table.name}@{MEMORY}")
            rows.append(
                {
                    **counts,
                    "table": table.name,
                    "spiking_microjoule": energy.total / 1e6,
                    "analog_microjoule": energy.ann / 1e6,
                    "everything": energy.ratio,
                    "zeros skipped": energy.ann_skipping / energy.total,
                    "with memory": placed.ratio_with_memory,
                    "synapses alone": table.mac * report.ann_macs / (table.add * total.synops),
                    "padded": table.mac * padded / (table.add * total.synops),
                    "rate": table.mac / (table.add * counts["layer_rate"] * report.steps),
                    "rate, T dropped": table.mac / (table.add * counts["layer_rate"]),
                }
            )
    return rows


def _counted(bench: Bench, seed: int) -> tuple[Report, int]:
    """Counts of the spiking network with the zeros of its teacher, and MACs as profilers count them; all pairs."""
    network, teacher = bench.fine_tuned(seed, Variant("")), bench.teacher(seed)
    with count_synops() as meter:
        for pair in bench.held_out:
            operations(network, pair)
    with count_synops() as analog:
        for pair in bench.held_out:
            analog_operations(teacher, pair)
    padded = sum(_padded(network.config, pair.fixed.image.shape) for pair in bench.held_out)
    return meter.report().with_activations(analog.report()), padded


def _padded(config: SpikeRegConfig, shape: tuple[int, ...]) -> int:
    """MACs of the analog network, every tap counted, in the padding and between strides too."""
    sizes, total = {IMAGES: shape}, 0
    layers = list(config.layers())
    for layer in [*layers, Layer(HEAD, config.ndim, rates=(layers[-1].name,), kernel_size=config.head_kernel)]:
        size = sizes[layer.sources[0]]
        total += padded_macs(
            size,
            layer.kernel_size,
            config.in_channels(layer),
            layer.out_channels,
            stride=layer.stride,
            padding=layer.padding,
            transposed=layer.transposed,
        )
        sizes[layer.name] = tuple(n * layer.stride if layer.transposed else n // layer.stride for n in size)
    return total


# ------------------------------------------------------------------------------------------------------- as text

ASSUMPTIONS = {
    "everything": "everything that is counted: SynOps, MACs of the images, neurons, biases, interpolation",
    "zeros skipped": "the same, if the analog network skips the zeros of its ReLUs",
    "with memory": "everything, arithmetic and memory, all of it in 1 MB of SRAM",
    "synapses alone": "exact SynOps against exact MACs and nothing else",
    "padded": "the same, MACs of the analog network as profilers count them, padding and strides included",
    "rate": "the formula, mean rate of the layers: E_MAC / (E_add ρ T)",
    "rate, T dropped": "the formula without T: E_MAC / (E_add ρ)",
}


def section(rows: Sequence[Row]) -> str:
    """The paper's figures in its formula, then exact counts under the same tables."""
    return "\n\n".join([_claim(), _counts(rows), _ours(rows)])


def _claim() -> str:
    lines = []
    for table in ARITHMETIC:
        cost = table.mac / table.add
        lines.append(
            (
                f"{table.name} ({table.mac:g} and {table.add:g} pJ)",
                f"{cost / (CLAIMED_RATE * CLAIMED_STEPS):.1f}",
                f"{cost / CLAIMED_RATE:.1f}",
                f"{100 * cost / CLAIM / CLAIMED_STEPS:.1f} %",
                f"{100 * cost / CLAIM:.1f} %",
            )
        )
    header = (
        "cost table (E_MAC and E_add)",
        f"ρ = {100 * CLAIMED_RATE:g} %, T = {CLAIMED_STEPS}",
        "T dropped",
        f"ρ for {CLAIM}, T = {CLAIMED_STEPS}",
        f"ρ for {CLAIM}, T dropped",
    )
    return markdown(header, lines)


def _counts(rows: Sequence[Row]) -> str:
    """One line on what was counted."""
    once = where(rows, table=ARITHMETIC[0].name)
    pairs, steps = once[0]["pairs"], once[0]["steps"]

    def mean(column: str, digits: int, factor: float) -> str:
        return mean_sd(over_pairs(once, column), digits, factor)

    share = 1e-6 / float(pairs)
    return (
        f"Counted for one pair (mean over {pairs} pairs, ± over seeds), T = {steps}, in millions: "
        f"{mean('synops', 3, share)} SynOps and {mean('macs', 3, share)} MACs, against {mean('analog_macs', 3, share)} "
        f"MACs of the analog network, {mean('analog_macs_without_zeros', 3, share)} without zeros, "
        f"{mean('padded_macs', 3, share)} as profilers count. Rate for each neuron and step: "
        f"{mean('neuron_rate', 2, 100)} %; mean of the layers {mean('layer_rate', 2, 100)} %; for each connection and "
        f"step {mean('synaptic_rate', 2, 100)} %."
    )


def _ours(rows: Sequence[Row]) -> str:
    names = values_of(rows, "table")
    lines = [
        (text, *(mean_sd(over_pairs(where(rows, table=name), key), digits=2) for name in names))
        for key, text in ASSUMPTIONS.items()
    ]
    return markdown(("times less than the analog network, counting", *map(str, names)), lines)
