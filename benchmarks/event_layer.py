"""One fused 3x3x3 convolution with neurons over T steps: our event-driven executor beside its peers on the CPU.

Input spikes are drawn independently at the stated rate, the hardest pattern for event-driven code; the weights are
scaled so that the output fires at the same rate. The peers are those of torch_unet.py: two compute the same spikes, the
others one pass of the same convolution with ReLU. "32+32->32" reads two sources, as after a skip connection; the dense
peers concatenate them first. Spikes are compared with those of NumPy before the timing.

    python benchmarks/event_layer.py [--threads N] [--peers A,B] [--size D,H,W | --scale half] [--steps T] [--rate R,R]
                                     [--budget SECONDS] [--no-check] [--quick] [--json]
"""

from __future__ import annotations

from event_common import OURS, check, make  # comes first: it reads the command line and sets the threads

# isort: split

import numpy as np
from harness import OPTIONS, compare
from unet_calibration import calibrate
from unet_graph import Layer, draw_weights

from pysnnmed import kernels

SIZE = (40, 48, 56)
LAYERS = [((32,), 32), ((16,), 16), ((16,), 32), ((64,), 64), ((32, 32), 32)]  # channels of the sources, of the output
RATES = (0.05, 0.128, 0.25)


def time_layer(sources: tuple[int, ...], channels: int, size: tuple[int, ...], rate: float) -> None:
    rng, steps = np.random.default_rng(0), OPTIONS.steps
    inputs = {f"x{i}": rng.random((steps, c, *size), dtype=np.float32) < rate for i, c in enumerate(sources)}
    graph = [Layer("conv", "spike", tuple(inputs), channels, 0)]
    drawn = draw_weights(graph, {name: spikes.shape[1] for name, spikes in inputs.items()})
    case = f"{'+'.join(map(str, sources))}->{channels} {'x'.join(map(str, size))} T={steps} rate {rate:.1%}"
    with kernels.use_threads(OPTIONS.threads):
        weights, _ = calibrate(graph, drawn, inputs, steps, rate)
        if not OPTIONS.no_check:
            check("event-layer", case, graph, weights, inputs, steps)
    compare(
        "event-layer",
        case,
        {name: make(name, graph, weights, inputs, steps) for name in OURS},
        {name: make(name, graph, weights, inputs, steps) for name in OPTIONS.peers},
        repeats=7,
        budget=OPTIONS.budget,
    )


def main() -> None:
    size = OPTIONS.size or tuple(n >> (OPTIONS.scale == "half") for n in SIZE)
    for sources, channels in LAYERS[:1] if OPTIONS.quick else LAYERS:
        for rate in OPTIONS.rate or (RATES[1:2] if OPTIONS.quick else RATES):
            time_layer(sources, channels, size, rate)


if __name__ == "__main__":
    main()
