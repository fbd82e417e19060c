"""What event_layer.py and event_unet.py share: our executors, agreement of spikes, and peak memory.

A side, ours or a peer, is made by `make(name, graph, weights, inputs, steps)` and is a function `run(visit=None)`: it
runs the graph of unet_graph.py once and returns the value of its last layer as NumPy (None for a peer that only bounds
the time). Given `visit`, it calls visit(layer name, spikes [T, C, *S]) for each layer of neurons.
"""

from __future__ import annotations

from event_options import SPIKING_PEERS  # comes first: it adds options to the command line that harness reads
from harness import OPTIONS  # comes second: it sets the threads of the libraries below

# isort: split

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import unet_graph
from unet_graph import NEURONS, Layer, Weights

Run = Callable[..., np.ndarray | None]

# Our executors by the name of the backend, each ours(graph, weights, inputs, steps, threads) -> run. What they need is
# imported inside, so that nobody pays, in time or memory, for a side that does not run.
OURS: dict[str, Callable[..., Run]] = {
    "numba int8": lambda *arguments: _ours("int8", *arguments),
    "numba float32": lambda *arguments: _ours("float32", *arguments),
}

TOLERATED = (
    1e-6  # of the spikes of one layer: summing floats in another order moves about 1 in 3e7 across the threshold
)
MEASURED_HERE = "PYSNNMED_MEMORY_OF"


def make(
    name: str, graph: Sequence[Layer], weights: Mapping[str, Weights], inputs: Mapping[str, np.ndarray], steps: int
) -> Run:
    """The side `name`, ready to run on OPTIONS.threads."""
    if name in OURS:
        return OURS[name](graph, weights, inputs, steps, OPTIONS.threads)
    import torch_unet

    run = torch_unet.make(name, graph, weights, inputs, steps, OPTIONS.threads)
    note(getattr(run, "note", None))
    return run


def _ours(kind: str, *arguments) -> Run:
    import event_programs

    return event_programs.maker(kind)(*arguments)


def note(text: str | None, _said: set[str | None] = {None}) -> None:  # noqa: B006 (one set for the whole process)
    """Print a remark once, beside the table and the JSON lines."""
    if text not in _said:
        print(text, file=sys.stderr, flush=True)
    _said.add(text)


# ---------------------------------------------------------------------------------------------------- agreement


def spiking_sides() -> list[str]:
    """Those that compute the spikes of the graph."""
    return [*OURS, *(name for name in SPIKING_PEERS if name in OPTIONS.peers)]


def check(
    benchmark: str,
    case: str,
    graph: Sequence[Layer],
    weights: Mapping[str, Weights],
    inputs: Mapping[str, np.ndarray],
    steps: int,
) -> None:
    """Print how many spikes of every spiking side differ from those of `unet_graph.execute`.

    First each layer on its own, reading the spikes of the reference: more than TOLERATED end the benchmark. Then the
    whole graph, where one moved spike moves others after it, so that differences grow with depth.
    """
    values = dict(inputs)
    unet_graph.execute(graph, weights, inputs, steps, values.__setitem__)
    neurons = [layer for layer in graph if layer.kind in NEURONS]
    for name in spiking_sides():
        alone: dict[str, int] = {}
        together: dict[str, int] = {}
        for layer in neurons:
            sources = {source: values[source] for source in layer.sources}
            run = make(name, [layer._replace(level=0)], {layer.name: weights[layer.name]}, sources, steps)
            spikes = getattr(run, "unpacked", run)()
            alone[layer.name] = differing(spikes, values[layer.name])
        if len(graph) > 1:
            make(name, graph, weights, inputs, steps)(
                lambda layer, spikes, counts=together: counts.update({layer: differing(spikes, values[layer])})
            )
        total = sum(values[layer.name].size for layer in neurons)
        line: dict[str, object] = {"name": benchmark, "case": f"spikes that differ from NumPy's, {case}", "peer": name}
        line |= {"neuron_steps": total, "each_layer_alone": alone, "whole_graph": together}
        text = (
            f"{benchmark}  {line['case']}  {name}: of {total} neuron-steps {sum(alone.values())} with each layer alone"
        )
        text += f", {sum(together.values())} in the whole graph {together}" if together else ""
        print(json.dumps(line) if OPTIONS.json else text, flush=True)
        for layer in neurons:
            if alone[layer.name] > max(1, TOLERATED * values[layer.name].size):
                raise SystemExit(f"{benchmark}: {name}: {alone[layer.name]} spikes of layer {layer.name} are wrong")


def differing(spikes: np.ndarray | None, reference: np.ndarray) -> int:
    """In how many places two arrays of spikes differ."""
    if spikes is None or spikes.shape != reference.shape:
        raise SystemExit(f"expected spikes of shape {reference.shape}, not {getattr(spikes, 'shape', None)}")
    return int(np.count_nonzero(spikes.astype(bool) != reference))


# ------------------------------------------------------------------------------------------------------- memory


def peak_of_fresh_process(name: str, network: str) -> dict[str, int]:
    """Run this benchmark's script again to measure one run of side `name`: bytes `peak` and `before` the run."""
    environment = os.environ | {MEASURED_HERE: f"{name}={network}"}
    command = [sys.executable, *sys.argv]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)


def asked_for_memory() -> tuple[str, str] | None:
    """In the process that `peak_of_fresh_process` starts: (side, network)."""
    side, _, network = os.environ.get(MEASURED_HERE, "").partition("=")
    return (side, network) if side else None


def measured_run(run: Run) -> dict[str, int]:
    """Bytes of the resident set: its peak in this process and its size before the only run."""
    before = _status("VmRSS")
    run()
    return {"peak": _status("VmHWM"), "before": before}


def available_memory() -> int | None:
    """Bytes that a process can get without swapping, None where the system does not tell."""
    return _field("/proc/meminfo", "MemAvailable")


def _status(field: str) -> int:
    """Bytes of a field of this process' status. Unlike getrusage, it does not count what the parent once held."""
    size = _field("/proc/self/status", field)
    if size is None:
        raise SystemExit(f"peak memory: this system does not tell {field}; use --no-memory")
    return size


def _field(file: str, name: str) -> int | None:
    if Path(file).exists():
        for line in Path(file).read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
