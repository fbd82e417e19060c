"""A spiking registration network, end to end: our event-driven executor beside PyTorch and SpikingJelly on the CPU.

The network is `unet_graph.UNET`: 118 G multiply-accumulates for one dense pass at 160x192x224, its weights drawn and
calibrated so that each layer of neurons fires at the stated rate for T steps. Its input is a generated pair of images
with noise (`unet_calibration.generated_image`). The peers are those of torch_unet.py; two of them compute the same
spikes as we do, the others run the same convolutions once, without time. One run covers

    spikes      of every spiking side, at 64x64x64, against the reference in NumPy
    memory      the peak resident set of a fresh process that runs one side once
    time        of one run in this process, all sides in turns; few repeats for those that take a minute
    flow        the difference of the spiking peers' results at the full size

    python benchmarks/event_unet.py [--threads N] [--peers A,B] [--size D,H,W | --scale half] [--steps T] [--rate R,R]
                                    [--cache FOLDER] [--budget SECONDS] [--no-check] [--no-memory] [--quick] [--json]

Needs torch and, for one peer, spikingjelly 2.0.0; at the full size that peer is left out below 11 GB of free memory.
"""

from __future__ import annotations

from event_common import (  # comes first: it reads the command line and sets the threads
    OURS,
    Run,
    asked_for_memory,
    available_memory,
    check,
    make,
    measured_run,
    note,
    peak_of_fresh_process,
    spiking_sides,
)

# isort: split

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from harness import OPTIONS, compare
from unet_calibration import Network, load, stored_unet
from unet_graph import COARSEST, IMAGE, UNET

from pysnnmed import kernels

SIZE = (160, 192, 224)
SMALL = (64, 64, 64)
RATES = (0.128,)
SPIKINGJELLY_BYTES = 400  # for each voxel of the input and time step; at the full size it took 315


class Kept:
    """A side that keeps its last result."""

    def __init__(self, run: Run):
        self.run = run
        self.result: np.ndarray | None = None

    def __call__(self) -> None:
        self.result = self.run()


def input_size() -> tuple[int, ...]:
    size = OPTIONS.size or (SMALL if OPTIONS.quick else tuple(n >> (OPTIONS.scale == "half") for n in SIZE))
    if any(n % 2**COARSEST or n < 2**COARSEST for n in size):
        raise SystemExit(f"event_unet: every size must be a multiple of {2**COARSEST}, not {size}")
    return size


def affordable_peers(size: tuple[int, ...]) -> list[str]:
    """The peers asked for, without SpikingJelly where it would exhaust the memory."""
    need = SPIKINGJELLY_BYTES * int(np.prod(size)) * OPTIONS.steps
    free = available_memory()
    if "spikingjelly-eager" in OPTIONS.peers and free is not None and need > free:
        note(f"spikingjelly-eager left out: it needs about {need / 1e9:.0f} GB, {free / 1e9:.0f} GB are free")
        return [name for name in OPTIONS.peers if name != "spikingjelly-eager"]
    return list(OPTIONS.peers)


def side(name: str, network: Network) -> Run:
    return make(name, UNET, network.weights, {IMAGE: network.image}, OPTIONS.steps)


def compare_memory(case: str, path: Path, peers: list[str]) -> None:
    """Print the peak memory of every side beside ours, each measured in a process of its own."""
    peaks = {name: peak_of_fresh_process(name, str(path)) for name in [*OURS, *peers]}
    backends: list[str | None] = [*OURS] or [None]
    for backend in backends:
        for peer in peers:
            theirs, ours = peaks[peer]["peak"], None if backend is None else peaks[backend]["peak"]
            ratio = None if ours is None else round(theirs / ours, 3)
            title = f"peak memory, {case}" if backend is None else f"peak memory, {case} {backend}"
            line = {"name": "event-unet", "case": title, "ratio": ratio, "ours_bytes": ours, "peer_bytes": theirs}
            line |= {"peer_bytes_before": peaks[peer]["before"], "peer": peer, "threads": OPTIONS.threads}
            text = f"event-unet  {title:<58} " + ("" if ours is None else f"{ours / 2**20:9.0f} MiB")
            text += f"   {peer:<28} {theirs / 2**20:9.0f} MiB" + ("" if ratio is None else f"   ratio {ratio:6.2f}")
            print(json.dumps(line) if OPTIONS.json else text, flush=True)


def compare_flows(case: str, sides: dict[str, Kept]) -> None:
    """Print how far the flows of two spiking sides are apart."""
    results = {name: sides[name].result for name in spiking_sides() if name in sides}
    flows = {name: flow for name, flow in results.items() if flow is not None}
    names = list(flows)
    for first, second in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        rms = float(np.sqrt(np.mean(np.square(flows[first]))))
        difference = float(np.sqrt(np.mean(np.square(flows[first] - flows[second]))))
        line = {"name": "event-unet", "case": f"flow, {case}", "sides": [first, second], "rms": rms}
        line |= {"rms_of_difference": difference}
        text = (
            f"event-unet  flow, {case}  {first} and {second}: RMS of the difference {difference:.2e}, of one {rms:.2e}"
        )
        print(json.dumps(line) if OPTIONS.json else text, flush=True)


def run_rate(rate: float, folder: str) -> None:
    size, steps = input_size(), OPTIONS.steps
    peers = affordable_peers(size)
    with kernels.use_threads(OPTIONS.threads):
        path = stored_unet(folder, size, steps, rate)
        if not OPTIONS.no_check:
            small = load(stored_unet(folder, SMALL, steps, rate))
            check("event-unet", f"64x64x64 T={steps} rate {rate:.1%}", UNET, small.weights, {IMAGE: small.image}, steps)
    case = f"U-Net {'x'.join(map(str, size))} T={steps} rate {rate:.1%}"
    if not OPTIONS.no_memory:
        compare_memory(case, path, peers)
    network = load(path)
    note(f"{case}: rates reached " + ", ".join(f"{name} {reached:.1%}" for name, reached in network.rates.items()))
    sides = {name: Kept(side(name, network)) for name in [*OURS, *peers]}
    compare(
        "event-unet",
        case,
        {name: sides[name] for name in OURS},
        {name: sides[name] for name in peers},
        repeats=7,
        budget=OPTIONS.budget,
    )
    compare_flows(case, sides)


def main() -> None:
    asked = asked_for_memory()
    if asked is not None:
        name, path = asked
        with kernels.use_threads(OPTIONS.threads):
            print(json.dumps(measured_run(side(name, load(path)))))
        return
    with TemporaryDirectory() as scratch:
        for rate in OPTIONS.rate or RATES:
            run_rate(rate, OPTIONS.cache or scratch)


if __name__ == "__main__":
    main()
