"""What a spiking layer costs in time: a law over voxels, T, spike rate and width, fitted and drawn with its points.

A layer of 3x3x3 convolution and neurons, int8 weights, runs on random spikes on one thread (or --threads N). The law is

    t = a + b * voxels * T + c * voxels * T * ceil(width / 16) + d * SynOps / width * ceil(width / 32)

fitted to the medians with positive coefficients and equal relative weight: the calls, the columns (their events are
listed, and a loop of another length begins), the neurons in vectors of 16 (membrane, threshold, packing), and the
vectors of 32 weights that are added. SynOps are the exact counts of the run.

    python benchmarks/cost_law.py [--threads N] [--quick] [--json]

draws benchmarks/cost_law.png, except with --quick.
"""

from __future__ import annotations

from harness import OPTIONS, median_time  # comes first: it sets the threads of the libraries below

# isort: split

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from event_programs import convolution, fitting
from pysnnmed.backends.packed import Packed, pack
from unet_calibration import calibrate
from unet_graph import Layer, draw_weights

from pysnnmed import kernels

SIZES = ((16, 24, 24), (24, 32, 40), (40, 48, 56))
STEPS = (1, 2, 4, 8)
RATES = (0.01, 0.05, 0.128, 0.25)
WIDTHS = (16, 32, 64)
USUAL = ((40, 48, 56), 4, 0.128, 32)  # one quantity at a time varies around this
TERMS = ("call", "column-step", "16 neurons-step", "vector of weights")


class Point(NamedTuple):
    """One measured layer."""

    size: tuple[int, ...]
    steps: int
    rate: float
    width: int
    synops: int
    seconds: float

    @property
    def terms(self) -> list[float]:
        """What the coefficients of the law multiply."""
        columns = float(np.prod(self.size)) * self.steps
        vectors = self.synops / self.width * -(-self.width // 32)
        return [1.0, columns, columns * -(-self.width // 16), vectors]

    @property
    def neuron_steps(self) -> float:
        return float(np.prod(self.size)) * self.steps * self.width


def points() -> list[tuple[tuple[int, ...], int, float, int]]:
    """The layers to measure: the usual one, each quantity varied, and pairs of the extremes."""
    size, steps, rate, width = USUAL
    if OPTIONS.quick:
        return [(SIZES[0], t, r, w) for t in (1, 4) for r in (0.05, 0.25) for w in (16, 32)]
    chosen = [(s, steps, rate, width) for s in SIZES]
    chosen += [(size, t, rate, width) for t in STEPS]
    chosen += [(s, steps, r, w) for s in SIZES[1:] for r in RATES for w in WIDTHS]
    return list(dict.fromkeys(chosen))


def measure(size: tuple[int, ...], steps: int, rate: float, width: int) -> Point:
    rng = np.random.default_rng(0)
    spikes = rng.random((steps, width, *size), dtype=np.float32) < rate
    graph = [Layer("conv", "spike", ("x",), width, 0)]
    weights, _ = calibrate(graph, draw_weights(graph, {"x": width}), {"x": spikes}, steps, min(rate, 0.4))
    layer = fitting(lambda bits: convolution(graph[0], weights["conv"], steps, "int8", bits), min(steps, 4))
    source = (Packed(pack(spikes), width),)
    with kernels.use_backend("numba"), kernels.use_threads(OPTIONS.threads):
        words, executed = kernels.run("spiking_layer", layer, source, (), (), ())
        run = lambda: kernels.run("spiking_layer", layer, source, (), (), (), words)  # noqa: E731
        seconds = median_time(run, 3 if OPTIONS.quick else 9)
    return Point(size, steps, rate, width, executed.synops, seconds)


def fit(measured: list[Point]) -> np.ndarray:
    """Coefficients [s], none negative, that make the relative errors least in the sum of squares."""
    from scipy.optimize import nnls

    rows = np.array([point.terms for point in measured]) / np.array([[point.seconds] for point in measured])
    scale = rows.max(axis=0)
    return nnls(rows / scale, np.ones(len(rows)))[0] / scale


def draw(measured: list[Point], law: np.ndarray, path: Path) -> None:
    """Cost for each neuron and step against the rate by width, and the law against every point."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for i, width in enumerate(sorted({p.width for p in measured})):
        mine = sorted((p for p in measured if p.width == width and p.steps == USUAL[1]), key=lambda p: p.rate)
        colour = f"C{i}"
        per = [p.neuron_steps for p in mine]
        left.plot(
            [p.rate * 100 for p in mine],
            [p.seconds / n * 1e9 for p, n in zip(mine, per, strict=True)],
            "o",
            color=colour,
        )
        largest = [p for p in mine if p.size == max(q.size for q in mine)]
        curve = [float(np.dot(law, p.terms)) / p.neuron_steps * 1e9 for p in largest]
        left.plot([p.rate * 100 for p in largest], curve, "-", color=colour, label=f"{width} channels")
    left.set(xlabel="spike rate of the input [%]", ylabel="ns for each neuron and step", ylim=(0, None))
    left.legend(frameon=False)
    fitted = [float(np.dot(law, p.terms)) * 1e3 for p in measured]
    right.loglog([p.seconds * 1e3 for p in measured], fitted, "k.")
    ends = [min(fitted) * 0.8, max(fitted) * 1.25]
    right.loglog(ends, ends, "k-", linewidth=0.8)
    right.set(xlabel="measured [ms]", ylabel="law [ms]", aspect="equal")
    figure.suptitle(f"A spiking 3x3x3 layer, int8 weights, {OPTIONS.threads} thread(s): points and law")
    figure.savefig(path, dpi=130)


def main() -> None:
    measured = []
    for case in points():
        measured.append(measure(*case))
        p = measured[-1]
        line = {"name": "cost-law", **p._asdict(), "threads": OPTIONS.threads}
        text = f"cost-law  {'x'.join(map(str, p.size)):>9} T={p.steps} rate {p.rate:6.1%} {p.width:>3} channels"
        text += f"  {p.synops:>14,} SynOps {p.seconds * 1e3:9.2f} ms"
        print(json.dumps(line) if OPTIONS.json else text, flush=True)
    law = fit(measured)
    errors = np.array([np.dot(law, p.terms) / p.seconds - 1 for p in measured])
    line = {"name": "cost-law", "case": "law", "seconds_for_each": dict(zip(TERMS, law, strict=True))}
    line |= {
        "relative_error_rms": float(np.sqrt(np.mean(errors**2))),
        "relative_error_max": float(np.abs(errors).max()),
    }
    text = "cost-law  t = " + " + ".join(f"{c * 1e9:.4g} ns x {term}" for term, c in zip(TERMS, law, strict=True))
    text += f"; off by {line['relative_error_rms']:.1%} RMS, {line['relative_error_max']:.1%} at most"
    print(json.dumps(line) if OPTIONS.json else text, flush=True)
    if not OPTIONS.quick:
        draw(measured, law, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
