"""LIF over time beside SpikingJelly and snnTorch on the CPU: forward, forward and backward, and peak memory.

Needs snntorch 1.0.0 and spikingjelly 2.0.0. Ours is the public `neurons.run`, whose results take the memory of those
that were dropped before, as they do in a training loop (backends.buffers); "bare kernel" leaves out tensors and checks.
All have beta 0.5, threshold 1, a soft reset with its spike detached, and ATan. SpikingJelly steps through time by
itself (`step_mode="m"`, eager), snnTorch in a loop. Its spikes are not compared: without reset delay it doubles the
threshold of some steps (neurons.snntorch_leaky).

Peak memory is what the resident set of a fresh process grows by in forward and backward, input and loss gradient
excluded. Nobody keeps the spikes: our engine then frees them before it makes the gradient of the input. "spikes kept"
is the same with a caller who holds them to the end. The parent starts that process with the name of the side to
measure, and of what to run, in the environment.
"""

from __future__ import annotations

from harness import OPTIONS, compare  # comes first: it sets the threads of the libraries below

# isort: split

import json
import os
import resource
import subprocess
import sys

import numpy as np

from pysnnmed import Tensor, kernels, no_grad
from pysnnmed.neurons import LIF, run

STEPS = 4
MEASURED_HERE = "PYSNNMED_MEMORY_OF"
BETA = 0.5


class Ours:
    """One call of the public interface on one backend."""

    def __init__(self, x: np.ndarray, grad: np.ndarray, backend: str):
        self.x, self.grad, self.backend, self.neuron = x, grad, backend, LIF(beta=BETA)

    def forward(self) -> np.ndarray:
        with kernels.use_backend(self.backend), no_grad():
            return run(self.neuron, Tensor(self.x))[0].data

    def kernel(self) -> np.ndarray:
        v0 = np.broadcast_to(np.zeros((), self.x.dtype), self.x.shape[1:])  # as the neuron's initial state
        return kernels.load(self.backend).lif_forward(self.x, v0, STEPS, BETA, 1.0, 1.0, 0.0, True, self.neuron.firing)[
            0
        ]

    def both(self) -> np.ndarray | None:
        x = Tensor(self.x, requires_grad=True)
        with kernels.use_backend(self.backend):
            run(self.neuron, x)[0].backward(self.grad)
        return x.grad

    def both_kept(self) -> np.ndarray | None:
        x = Tensor(self.x, requires_grad=True)
        with kernels.use_backend(self.backend):
            s, _ = run(self.neuron, x)
            s.backward(self.grad)
        return x.grad


class _Torch:
    """What the two peers share; `run_` maps the input to spikes."""

    def __init__(self, x: np.ndarray, grad: np.ndarray):
        import torch

        torch.set_num_threads(OPTIONS.threads)
        self.torch, self.x, self.grad = torch, torch.from_numpy(x), torch.from_numpy(grad)

    def run(self, x):
        raise NotImplementedError

    def forward(self):
        with self.torch.no_grad():
            return self.run(self.x)

    def both(self):
        x = self.x.detach().requires_grad_(True)
        self.run(x).backward(self.grad)
        return x.grad

    def both_kept(self):
        x = self.x.detach().requires_grad_(True)
        s = self.run(x)
        s.backward(self.grad)
        return x.grad


class SpikingJelly(_Torch):
    def __init__(self, x: np.ndarray, grad: np.ndarray):
        super().__init__(x, grad)
        from spikingjelly.activation_based import functional, neuron, surrogate

        self.reset = functional.reset_net
        self.node = neuron.LIFNode(
            tau=1 / (1 - BETA),
            decay_input=False,
            v_reset=None,
            detach_reset=True,
            surrogate_function=surrogate.ATan(2.0),
            step_mode="m",
        )

    def run(self, x):
        self.reset(self.node)
        return self.node(x)


class SnnTorch(_Torch):
    def __init__(self, x: np.ndarray, grad: np.ndarray):
        super().__init__(x, grad)
        import snntorch

        self.node = snntorch.Leaky(
            beta=BETA, reset_mechanism="subtract", reset_delay=False, spike_grad=snntorch.surrogate.atan(alpha=2.0)
        )

    def run(self, x):
        membrane, spikes = self.node.reset_mem(), []
        for current in x:
            s, membrane = self.node(current, membrane)
            spikes.append(s)
        return self.torch.stack(spikes)


PEERS = {"spikingjelly-eager": SpikingJelly, "snntorch": SnnTorch}


def arrays(neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Currents around the threshold and a loss gradient, both [T, N]."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS, neurons), dtype=np.float32)
    x *= 0.8
    x += 0.4
    return x, rng.standard_normal((STEPS, neurons), dtype=np.float32)


def check(ours: Ours, peer: SpikingJelly) -> None:
    """Equal spikes and gradients on both sides."""
    if (ours.forward() != peer.forward().numpy()).any():
        raise SystemExit("lif: our spikes differ from those of SpikingJelly")
    np.testing.assert_allclose(ours.both(), peer.both().numpy(), rtol=1e-5, atol=1e-5)


def time_all(neurons: int) -> None:
    x, grad = arrays(neurons)
    ours = {backend: Ours(x, grad, backend) for backend in ("numba", "numpy")}
    peers = {name: peer(x, grad) for name, peer in PEERS.items()}
    for one in ours.values():
        check(one, peers["spikingjelly-eager"])
    shape = f"N={neurons:.0e} T={STEPS} f32"
    cases = {
        "forward": ("forward", "forward"),
        "forward, bare kernel": ("kernel", "forward"),
        "forward+backward": ("both", "both"),
    }
    for case, (ours_runs, peers_run) in cases.items():
        compare(
            "lif",
            f"{case} {shape}",
            {backend: getattr(one, ours_runs) for backend, one in ours.items()},
            {name: getattr(peer, peers_run) for name, peer in peers.items()},
            repeats=5,
            settle=True,
        )


def growth(name: str, run_of: str, neurons: int) -> int:
    """Bytes that forward and backward add to the peak of this process, after a small call that loads everything."""
    make = (lambda x, g: Ours(x, g, "numba")) if name == "ours" else PEERS[name]
    with kernels.use_threads(OPTIONS.threads):
        getattr(make(*arrays(100)), run_of)()
        case = make(*arrays(neurons))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        getattr(case, run_of)()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def compare_memory(neurons: int) -> None:
    """Print our peak memory beside that of each peer, each measured in a process of its own."""

    def peak(name: str, run_of: str) -> int:
        command = [sys.executable, __file__, "--threads", str(OPTIONS.threads)]
        environment = os.environ | {MEASURED_HERE: f"{name} {run_of}"}
        return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)

    for run_of, note in (("both", ""), ("both_kept", ", spikes kept")):
        ours = peak("ours", run_of)
        for peer in PEERS:
            theirs = peak(peer, run_of)
            case = f"peak memory of forward+backward{note} N={neurons:.0e} T={STEPS} f32 numba"
            line = {"name": "lif", "case": case, "ratio": round(theirs / ours, 3)}
            line |= {"ours_bytes": ours, "peer_bytes": theirs, "peer": peer, "threads": OPTIONS.threads}
            text = f"lif  {case}  {ours / 1e6:.0f} MB   {peer} {theirs / 1e6:.0f} MB   ratio {theirs / ours:.2f}"
            print(json.dumps(line) if OPTIONS.json else text, flush=True)


def main() -> None:
    neurons = 100_000 if OPTIONS.quick else 10_000_000
    if MEASURED_HERE in os.environ:
        print(growth(*os.environ[MEASURED_HERE].split(), neurons))
        return
    if not OPTIONS.quick:  # and first: a child's record of its peak starts at the resident set of its parent
        compare_memory(neurons)
    time_all(neurons)


if __name__ == "__main__":
    main()
