"""One training step of one spiking layer beside SpikingJelly on the CPU: convolution and LIF, forwards and backwards.

Needs spikingjelly 2.0.0. The layer has 32 channels in and out, a 3x3x3 kernel and a bias, then LIF over 4 steps (beta
0.5, threshold 1, soft reset with its spike detached). Its input are spikes at 12.8 %, binary and without structure; the
gradient of the loss is given; one call gives the gradients of input, weight and bias. Ours is the public way: the
modules `nn.Conv` and `nn.Spiking`, and `backward`. The peers are SpikingJelly eager in the default layout, and as
`torch-channels-last` the same with channels-last tensors.

The surrogates: ATan, whose slope is nowhere zero, and some of compact support. Their gradient is zero less often than
their slope: what reaches a membrane at one step goes on to all steps before, so the fraction of the gradient of the
currents that is not zero is printed. `dense` is ours without the kernels that work by events: zeros are multiplied too.
"""

from __future__ import annotations

from harness import OPTIONS, compare  # comes first: it sets the threads of the libraries below

# isort: split

import contextlib
import importlib
from collections.abc import Callable
from time import perf_counter
from unittest import mock

import numpy as np
import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based import surrogate as theirs

from pysnnmed import Tensor, kernels, nn
from pysnnmed.neurons import LIF
from pysnnmed.surrogate import ATan, PiecewiseQuadratic, Rectangle, Surrogate

STEPS, CHANNELS, RATE, BETA = 4, 32, 0.128, 0.5
GRID = 2.0**-10
KERNELS = ("conv_forward", "lif_forward", "lif_backward", "conv_backward_weight", "conv_backward_input")
SURROGATES = [
    ("ATan", ATan(2.0), theirs.ATan(2.0)),
    ("PiecewiseQuadratic", PiecewiseQuadratic(1.0), theirs.PiecewiseQuadratic(1.0)),
    ("Rectangle", Rectangle(1.0), theirs.Rect(1.0)),
    ("Rectangle of width 1/4", Rectangle(4.0), theirs.Rect(4.0)),
]


class Ours:
    """One call of the public interface on the numba backend."""

    def __init__(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, grad: np.ndarray, surrogate: Surrogate):
        self.x, self.grad = x[:, None], grad[:, None]
        self.conv = nn.Conv(3, CHANNELS, CHANNELS, 3, padding=1, rng=np.random.default_rng(0))
        self.conv.load_state_dict({"weight": weight, "bias": bias})
        self.spiking = nn.Spiking(LIF(beta=BETA, surrogate=surrogate))

    def step(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = Tensor(self.x, requires_grad=True)
        self.conv.weight.grad = self.conv.bias.grad = None
        with kernels.use_backend("numba"):
            self.spiking(nn.over_time(self.conv, x)).backward(self.grad)
        return x.grad[:, 0], self.conv.weight.grad, self.conv.bias.grad

    def dense_step(self) -> object:
        with without_events():
            return self.step()


@contextlib.contextmanager
def without_events():
    """Inside this block the convolutions of the numba backend treat zeros like any other number."""
    conv = importlib.import_module("pysnnmed.backends.numba_kernels.conv")
    with mock.patch.object(conv, "_few_events", return_value=False):
        yield


class SpikingJelly:
    def __init__(self, x, weight, bias, grad, surrogate, layout: torch.memory_format):
        self.x, self.weight = (torch.from_numpy(a).contiguous(memory_format=layout) for a in (x, weight))
        self.bias, self.grad = torch.from_numpy(bias), torch.from_numpy(grad)
        self.node = neuron.LIFNode(
            tau=1 / (1 - BETA),
            decay_input=False,
            v_reset=None,
            detach_reset=True,
            surrogate_function=surrogate,
            step_mode="m",
        )

    def step(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        functional.reset_net(self.node)
        x, weight, bias = (a.detach().requires_grad_(True) for a in (self.x, self.weight, self.bias))
        self.node(torch.nn.functional.conv3d(x, weight, bias, padding=1)).backward(self.grad)
        return x.grad.numpy(), weight.grad.numpy(), bias.grad.numpy()


def arrays(side: int) -> tuple[np.ndarray, ...]:
    """Spikes [T, C, *S] (one item of a batch), weight, bias and gradient of the loss.

    Weights and biases are whole multiples of GRID, so that membranes are exact and no order of a sum moves one across
    the threshold or the edge of a surrogate.
    """
    rng = np.random.default_rng(0)
    shape = (STEPS, CHANNELS, side, side, side)
    spikes = (rng.random(shape, dtype=np.float32) < RATE).astype(np.float32)
    weight = GRID * np.rint(0.1 / GRID * rng.standard_normal((CHANNELS, CHANNELS, 3, 3, 3), dtype=np.float32))
    bias = GRID * np.rint(0.05 / GRID * rng.standard_normal(CHANNELS, dtype=np.float32))
    grad = 0.1 * rng.standard_normal(shape, dtype=np.float32)
    return spikes, weight.astype(np.float32), bias.astype(np.float32), grad


def check(ours: Ours, peer: SpikingJelly) -> None:
    """Equal gradients on both sides, but for rounding."""
    for name, a, b in zip(("input", "weight", "bias"), ours.step(), peer.step(), strict=True):
        if np.abs(a - b).max() > 1e-4 * np.abs(b).max():
            raise SystemExit(f"train_step: our gradient of the {name} differs from that of SpikingJelly")


def print_parts(step: Callable[[], object], case: str) -> None:
    """Median milliseconds in each kernel of three steps, and how much of the gradient of the currents is not zero."""
    run, spent, rates = kernels.run, {name: [] for name in KERNELS}, []

    def timed(kernel: str, *args):
        start = perf_counter()
        result = run(kernel, *args)
        if kernel in spent:
            spent[kernel].append(perf_counter() - start)
        if kernel == "conv_backward_input":
            rates.append(np.count_nonzero(args[0]) / args[0].size)
        return result

    modules = [importlib.import_module(f"pysnnmed.{name}") for name in ("conv", "kernels")]
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "run", timed))
        stack.enter_context(kernels.use_threads(OPTIONS.threads))
        for _ in range(3):
            step()
    parts = ", ".join(f"{name} {np.median(times) * 1e3:.0f}" for name, times in spent.items())
    print(f"    {case}, ms: {parts}; {rates[0]:.0%} of the gradient is not zero", flush=True)


def main() -> None:
    torch.set_num_threads(OPTIONS.threads)
    for side in [16] if OPTIONS.quick else [32, 64]:
        data = arrays(side)
        for name, surrogate, their_surrogate in SURROGATES:
            ours = Ours(*data, surrogate)
            eager = SpikingJelly(*data, their_surrogate, torch.contiguous_format)
            last = SpikingJelly(*data, their_surrogate, torch.channels_last_3d)
            check(ours, eager)
            case = f"conv {CHANNELS}->{CHANNELS} kernel 3 + LIF {side}^3 T={STEPS} {RATE:.1%} {name}"
            compare(
                "train-step",
                case,
                {"numba": ours.step, "numba dense": ours.dense_step},
                {"spikingjelly-eager": eager.step, "torch-channels-last": last.step},
                repeats=5,
                settle=True,
            )
            if not OPTIONS.json:
                print_parts(ours.step, name)
                print_parts(ours.dense_step, f"{name}, dense")


if __name__ == "__main__":
    main()
