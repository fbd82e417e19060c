"""The meter: exactly how many operations a run executed, and what they would cost, projected, under a named table.

Rules of counting

* A spike that reaches n existing outputs costs n synaptic operations (SynOps): additions of a weight. Taps that fall
  into padding or between strides cost nothing. An integer event of k spikes costs k times as much.
* The fan-out of a position is separable: out_channels / groups times one factor for each axis (`axis_fanout`), so a few
  short tables give the exact total for any stride, padding, dilation, grouping and dimension. The same number is the
  sum of a convolution with unit weights, and what an event loop counts.
* A real-valued input costs one multiply-accumulate (MAC) for each existing tap.
* Neuron updates (leak and charge, one for each neuron and step) and bias additions are counted apart.
* The estimate of the literature, firing rate x MACs, stands beside the exact count: the two differ where spikes lie
  near borders and where layers differ in rate.

    with count_synops() as meter:
        model(x)
    text = meter.report().table()
    energy = projected_energy(meter.report(), "fp32")

SynOps leave out memory traffic and routing, which dominate on most hardware (Dampfhoffer et al. 2023, IEEE TETCI
7(3):731-741); energies printed here are projections, not measurements.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from .axes import PerAxis, per_axis
from .errors import ParameterError, ShapeError

TOLERANCE = 1e-4  # k / D times D is a whole number up to rounding
BLOCK = 2**15  # values counted at a time: 256 KiB of int64

# ------------------------------------------------------------------------------------------------------ fan-out


@functools.lru_cache(maxsize=1024)
def axis_fanout(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    transposed: bool = False,
    output_padding: int = 0,
) -> np.ndarray:
    """How many outputs along one axis each of `size` input positions reaches: [size] int64, read-only.

    Convolution: input i reaches output o through tap k where o * stride + k * dilation - padding = i. Transposed
    convolution: the same with input and output exchanged. Counted are the pairs (o, k) with an existing o.
    """
    if min(size, kernel, stride, dilation) < 1 or min(padding, output_padding) < 0:
        raise ParameterError(
            "axis_fanout: size, kernel, stride and dilation must be at least 1 and paddings at least 0, not "
            f"size={size}, kernel={kernel}, stride={stride}, dilation={dilation}, padding={padding}, "
            f"output_padding={output_padding}"
        )
    reach = dilation * (kernel - 1) + 1
    position, tap = np.arange(size)[:, None], np.arange(kernel) * dilation
    if transposed:
        outputs = (size - 1) * stride - 2 * padding + reach + output_padding
        target = position * stride - padding + tap
        on_grid = np.ones_like(target, bool)
    else:
        outputs = (size + 2 * padding - reach) // stride + 1
        target, phase = np.divmod(position + padding - tap, stride)
        on_grid = phase == 0
    if outputs < 1:
        raise ShapeError(f"axis_fanout: a kernel that spans {reach} leaves no output on an axis of {size} positions")
    table = np.count_nonzero(on_grid & (target >= 0) & (target < outputs), axis=1).astype(np.int64)
    table.setflags(write=False)
    return table


class Fanout(NamedTuple):
    """Outputs reached from each input position: `channels` (per group) times the product of one table for each axis."""

    channels: int
    tables: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of the input."""
        return tuple(len(table) for table in self.tables)

    def total(self) -> int:
        """Sum over all positions: the MACs that one dense input channel costs."""
        return self.channels * math.prod(int(table.sum()) for table in self.tables)

    def weigh(self, counts: np.ndarray) -> int:
        """Sum over positions of counts [*S] int64 times the fan-out there."""
        for table in reversed(self.tables):
            counts = counts @ table
        return self.channels * int(counts)

    def dense(self) -> np.ndarray:
        """The fan-out as an array [*S] int64."""
        return self.channels * functools.reduce(np.multiply.outer, self.tables, np.array(1, np.int64))


def fanout(
    shape: Sequence[int],
    kernel: PerAxis,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    out_channels: int = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> Fanout:
    """The exact fan-out of a convolution, or transposed convolution, over inputs of spatial `shape`.

    Sizes are one number for all axes or one for each. A linear layer has shape () and kernel ().
    """
    if out_channels < 1 or groups < 1 or out_channels % groups:
        raise ParameterError(f"fanout: out_channels must be a multiple of groups, not {out_channels} and {groups}")
    n = len(shape)
    axes = zip(
        shape,
        per_axis("fanout", "kernel", kernel, n, at_least=1),
        per_axis("fanout", "stride", stride, n, at_least=1),
        per_axis("fanout", "padding", padding, n, at_least=0),
        per_axis("fanout", "dilation", dilation, n, at_least=1),
        per_axis("fanout", "output_padding", output_padding, n, at_least=0),
        strict=True,
    )
    tables = (axis_fanout(int(size), k, s, p, d, transposed, o) for size, k, s, p, d, o in axes)
    return Fanout(out_channels // groups, tuple(tables))


# --------------------------------------------------------------------------------------------- counting one layer


def conv_synops(spikes: np.ndarray, fan: Fanout, levels: int = 1) -> int:
    """Exact SynOps of spikes [..., C, *S], binary or integer counts, entering a (transposed) convolution.

    A value k costs |k| additions at each output it reaches; normalised spikes k / D (NI-LIF) count k with `levels` = D.
    """
    return fan.weigh(_over_positions(spikes, fan, lambda block: _unit_counts(block, levels)))


def conv_macs(x: np.ndarray, fan: Fanout, skip_zeros: bool = False) -> int:
    """MACs of real values x [..., C, *S] entering a (transposed) convolution; taps in the padding do not exist.

    `skip_zeros` counts only the inputs that are not zero: what hardware that exploits the zeros of a ReLU executes.
    """
    if skip_zeros:
        return fan.weigh(_over_positions(x, fan, lambda block: block != 0))
    return x.size // math.prod(_spatial(x, fan)) * fan.total()


def matmul_synops(a: np.ndarray, b: np.ndarray) -> int:
    """Coincidences of a @ b for a [..., N, C] and b [..., C, M], both binary or integer: sum of |a_nc| |b_cm|."""
    return int((_unit_counts(a).sum(axis=-2) * _unit_counts(b).sum(axis=-1)).sum())


def is_spiking(x: np.ndarray, levels: int = 1) -> bool:
    """Whether levels * x holds whole numbers only, so that x can be a train of spikes."""
    return x.dtype.kind in "bui" or all(_whole(block, levels) is not None for block in _blocks(x.reshape(-1, 1)))


def _whole(x: np.ndarray, levels: int) -> np.ndarray | None:
    """levels * x, rounded; None if that is more than a rounding."""
    scaled = np.multiply(x, levels, dtype=np.result_type(x, np.float32))
    whole = np.rint(scaled)
    return whole if (np.abs(scaled - whole) < TOLERANCE).all() else None


def _unit_counts(spikes: np.ndarray, levels: int = 1) -> np.ndarray:
    """The number of unit events in each value, int64."""
    whole = spikes if spikes.dtype.kind in "bui" and levels == 1 else _whole(spikes, levels)
    if whole is None:
        raise ParameterError(
            f"SynOps: spikes times levels={levels} must be whole numbers, and these are not; count a real-valued "
            "input with conv_macs, and spikes k / D with levels=D"
        )
    return np.abs(whole.astype(np.int64))


def _over_positions(x: np.ndarray, fan: Fanout, count: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """count(x) summed over everything but the spatial axes, [*S] int64."""
    shape = _spatial(x, fan)
    rows = x.reshape(-1, math.prod(shape))
    total = np.zeros(rows.shape[1], np.int64)
    for block in _blocks(rows):
        total += count(block).sum(axis=0, dtype=np.int64)
    return total.reshape(shape)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Groups of rows that fit into the cache together with what is computed from them."""
    size = max(1, BLOCK // rows.shape[1])
    return (rows[i : i + size] for i in range(0, len(rows), size))


def _spatial(x: np.ndarray, fan: Fanout) -> tuple[int, ...]:
    shape = x.shape[x.ndim - len(fan.tables) :]
    if shape != fan.shape:
        raise ShapeError(f"SynOps: a fan-out made for inputs of spatial shape {fan.shape} meets an array {x.shape}")
    return shape


# ------------------------------------------------------------------------------------------------------ the meter


@dataclass(frozen=True)
class LayerCount:
    """What one layer executed. All numbers are exact counts over every time step, sample and call.

    `steps` and `neurons` describe the layer and do not add up over calls. `dense_macs` are the MACs of the same
    connections if every input were a real number at every step: the basis of rate x MACs. `ann_macs` are those of the
    same layer of a conventional network, which runs it once.
    """

    name: str
    steps: int = 1
    sites: int = 0  # input values seen: inputs x steps
    events: int = 0  # spikes, an integer k counting k
    synops: int = 0
    macs: int = 0
    nonzero_macs: int = 0  # of them, those whose input is not zero
    dense_macs: int = 0
    ann_macs: int = 0
    neurons: int = 0
    neuron_updates: int = 0
    bias_adds: int = 0

    def __add__(self, other: LayerCount) -> LayerCount:
        summed = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)[2:]}
        summed["neurons"] = max(self.neurons, other.neurons)
        return replace(self, steps=max(self.steps, other.steps), **summed)

    @property
    def dense_synops(self) -> int:
        """SynOps if every input fired once at every step: `dense_macs` without those of real-valued inputs."""
        return self.dense_macs - self.macs

    @property
    def rate(self) -> float:
        """Events for each input value and step; 0 where nothing was seen."""
        return self.events / self.sites if self.sites else 0.0

    @property
    def rate_times_macs(self) -> float:
        """The estimate of the literature for `synops`."""
        return self.rate * self.dense_synops


class Meter:
    """Collects what the layers inside `count_synops()` record. Safe to share between threads."""

    def __init__(self) -> None:
        self._layers: dict[str, LayerCount] = {}
        self._lock = threading.Lock()

    def add(self, count: LayerCount) -> None:
        """Add a count to its layer."""
        with self._lock:
            known = self._layers.get(count.name)
            self._layers[count.name] = count if known is None else known + count

    def __getitem__(self, name: str) -> LayerCount:
        return self._layers[name]

    def report(self) -> Report:
        """The counts so far, in the order in which the layers first ran."""
        with self._lock:
            return Report(tuple(self._layers.values()))


_meters: ContextVar[tuple[Meter, ...]] = ContextVar("meters", default=())


@contextlib.contextmanager
def count_synops() -> Iterator[Meter]:
    """Count what layers execute inside this block. Of nested blocks, each counts; another thread starts without any."""
    meter = Meter()
    token = _meters.set((*_meters.get(), meter))
    try:
        yield meter
    finally:
        _meters.reset(token)


def metering() -> bool:
    """Whether anybody counts: ask before computing what `record` would take."""
    return bool(_meters.get())


def record(layer_name: str, **counts: int) -> None:
    """Add to the counts of a layer, by the field names of `LayerCount`, on every active meter."""
    meters = _meters.get()
    if meters:
        count = LayerCount(layer_name, **counts)
        for meter in meters:
            meter.add(count)


def record_conv(
    layer_name: str,
    x: np.ndarray,
    fan: Fanout,
    *,
    steps: int = 1,
    bias_adds: int = 0,
    levels: int = 1,
    spiking: bool | None = None,
) -> None:
    """Record one (transposed) convolution or linear layer over x [..., C, *S], all of its `steps` included.

    `spiking` says whether x are spikes, k / `levels` (SynOps), or real values (MACs); by default the values decide.
    """
    if not metering():
        return
    dense = conv_macs(x, fan)
    if is_spiking(x, levels) if spiking is None else spiking:
        counts = _over_positions(x, fan, lambda block: _unit_counts(block, levels))
        work = {"sites": x.size, "events": int(counts.sum()), "synops": fan.weigh(counts)}
    else:
        work = {"macs": dense, "nonzero_macs": conv_macs(x, fan, skip_zeros=True)}
    record(layer_name, steps=steps, dense_macs=dense, ann_macs=dense // steps, bias_adds=bias_adds, **work)


# ----------------------------------------------------------------------------------------------------- the report


@dataclass(frozen=True)
class Report:
    """The counts of a run, layer by layer."""

    layers: tuple[LayerCount, ...]

    @property
    def total(self) -> LayerCount:
        """All layers as one; neurons of different layers add up."""
        if not self.layers:
            return LayerCount("total")
        total = functools.reduce(LayerCount.__add__, self.layers)
        return replace(total, name="total", neurons=sum(layer.neurons for layer in self.layers))

    @property
    def steps(self) -> int:
        """T: the number of time steps of the layer that ran the most."""
        return max((layer.steps for layer in self.layers), default=1)

    @property
    def ann_macs(self) -> int:
        """MACs of the conventional network with the same layers, run once."""
        return sum(layer.ann_macs for layer in self.layers)

    @property
    def rate_times_macs(self) -> float:
        """The sum over layers of the literature's estimate of SynOps."""
        return sum(layer.rate_times_macs for layer in self.layers)

    def table(self) -> str:
        """The report as text, one line a layer, totals last."""
        rows = [(layer, layer.rate_times_macs) for layer in self.layers] + [(self.total, self.rate_times_macs)]
        width = max(5, *(len(layer.name) for layer, _ in rows))
        columns = ("events", 14), ("rate", 8), ("SynOps", 17), ("rate x MACs", 17), ("MACs", 17), ("neuron updates", 16)
        lines = [f"{'layer':<{width}}" + "".join(f"{title:>{space}}" for title, space in columns)]
        lines += [
            f"{c.name:<{width}}{c.events:>14,}{c.rate:>8.2%}{c.synops:>17,}{estimate:>17,.0f}{c.macs:>17,}"
            f"{c.neuron_updates:>16,}"
            for c, estimate in rows
        ]
        lines.append(f"exact counts over T = {self.steps}; rate x MACs is the literature's estimate of SynOps")
        return "\n".join(lines)

    def to_json(self) -> str:
        """The report as JSON: T, totals and layers, every number an exact count."""
        counts = {"steps": self.steps, "ann_macs": self.ann_macs, "rate_times_macs": self.rate_times_macs}
        return json.dumps({**counts, "total": asdict(self.total), "layers": [asdict(c) for c in self.layers]})


# ----------------------------------------------------------------------------------------------------- the energy


class CostTable(NamedTuple):
    """Energy of one operation [pJ]."""

    name: str
    mac: float  # a multiplication and an addition
    add: float
    source: str


_HOROWITZ = "45 nm, Horowitz 2014"  # "Computing's energy problem", ISSCC 2014, p. 10-14, figure 1.1.9
TABLES = {
    "fp32": CostTable("fp32", 4.6, 0.9, _HOROWITZ),
    "fp16": CostTable("fp16", 1.5, 0.4, _HOROWITZ),
    "int32": CostTable("int32", 3.2, 0.1, _HOROWITZ),
    "int8": CostTable("int8", 0.23, 0.03, _HOROWITZ),
}


@dataclass(frozen=True)
class ProjectedEnergy:
    """Energy [pJ] that the counted operations would cost under a table; memory and routing are left out."""

    table: CostTable
    steps: int
    rate: float  # events for each input value and step, all layers together
    synaptic: float  # SynOps x add
    analog: float  # MACs x mac
    neuronal: float  # neuron updates x mac + bias additions x add
    ann: float  # the conventional network with the same layers, run once: MACs x mac + bias additions x add
    estimate: float  # synaptic by rate x MACs instead of the exact count
    break_even_rate: float  # SynOps for each connection and step at which total = ann; NaN without spiking layers

    @property
    def total(self) -> float:
        """Synaptic, analog and neuronal energy together."""
        return self.synaptic + self.analog + self.neuronal

    @property
    def ratio(self) -> float:
        """How many times less than the conventional network."""
        return self.ann / self.total if self.total else math.inf

    def __float__(self) -> float:
        return self.total

    @property
    def conditions(self) -> str:
        """What must stand beside every figure: T, rate and table."""
        return f"projected, {self.table.name} ({self.table.source}), T = {self.steps}, rate {self.rate:.1%}"

    def __str__(self) -> str:
        return (
            f"{self.total / 1e6:.4g} uJ against {self.ann / 1e6:.4g} uJ for the conventional network, "
            f"{self.ratio:.2f}x less ({self.conditions}; break-even at {self.break_even_rate:.1%}); synapses "
            f"{self.synaptic / 1e6:.4g} uJ by exact count, {self.estimate / 1e6:.4g} uJ by rate x MACs; "
            "memory and routing not included"
        )


def projected_energy(report: Report, table: str = "fp32") -> ProjectedEnergy:
    """The energy of a report under the cost table named `table`: fp32, fp16, int32 or int8.

    E = SynOps E_add + MACs E_mac + neuron updates E_mac + bias additions E_add; the conventional network executes each
    layer once, densely. The break-even rate r solves r dense_synops E_add + the other terms = E_ann.
    """
    if table not in TABLES:
        raise ParameterError(f"projected_energy: table must be one of {', '.join(TABLES)}, not {table!r}")
    cost, total = TABLES[table], report.total
    analog = total.macs * cost.mac
    neuronal = total.neuron_updates * cost.mac + total.bias_adds * cost.add
    ann_bias_adds = sum(layer.bias_adds // layer.steps for layer in report.layers)
    ann = report.ann_macs * cost.mac + ann_bias_adds * cost.add
    dense = total.dense_synops * cost.add
    return ProjectedEnergy(
        table=cost,
        steps=report.steps,
        rate=total.rate,
        synaptic=total.synops * cost.add,
        analog=analog,
        neuronal=neuronal,
        ann=ann,
        estimate=report.rate_times_macs * cost.add,
        break_even_rate=max(0.0, (ann - analog - neuronal) / dense) if dense else math.nan,
    )
