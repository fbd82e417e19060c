"""What a training step of a 2D spiking transformer is made of, kernel by kernel, beside PyTorch on the CPU.

Images [32, C, S, S] in float32, as 4 time steps of 8 images make them, of real numbers: depthwise, pointwise, dense
and halving convolutions (output, gradient of the input, gradient of the weight), batch normalisation in training,
doubling by linear interpolation with corners aligned, LIF over 4 steps, and a sum. The peer has the default layout;
`torch-channels-last` has channels last, where that is an option. LIF in PyTorch is the loop over time that autograd
differentiates (beta 0.5, soft reset with its spike detached, slope of ATan by hand).
"""

from __future__ import annotations

from harness import OPTIONS, compare  # comes first: it sets the threads of the libraries below

# isort: split

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from pysnnmed import Tensor, kernels
from pysnnmed.neurons import LIF, run

STEPS, BATCH, BETA = 4, 8, 0.5
IMAGES = STEPS * BATCH
CONVOLUTIONS = [  # name, channels in and out, image size, kernel, stride, padding, groups
    ("depthwise", 8, 8, 128, 3, 1, 1, 8),
    ("depthwise", 16, 16, 64, 3, 1, 1, 16),
    ("depthwise", 32, 32, 32, 3, 1, 1, 32),
    ("depthwise", 64, 64, 16, 3, 1, 1, 64),
    ("pointwise", 8, 8, 128, 1, 1, 0, 1),
    ("pointwise", 16, 8, 128, 1, 1, 0, 1),
    ("pointwise", 32, 32, 32, 1, 1, 0, 1),
    ("pointwise", 64, 64, 16, 1, 1, 0, 1),
    ("pointwise", 128, 64, 16, 1, 1, 0, 1),
    ("dense", 3, 8, 128, 3, 1, 1, 1),
    ("dense", 8, 8, 128, 3, 1, 1, 1),
    ("dense", 8, 16, 64, 3, 1, 1, 1),
    ("dense", 16, 32, 32, 3, 1, 1, 1),
    ("dense", 32, 64, 16, 3, 1, 1, 1),
    ("halving", 8, 8, 128, 2, 2, 0, 1),
    ("halving", 16, 16, 64, 2, 2, 0, 1),
    ("halving", 32, 32, 32, 2, 2, 0, 1),
]
MAPS = [(8, 128), (16, 64), (32, 32), (64, 16)]  # channels and image size of the other operations

Call = Callable[[], object]


class Case(NamedTuple):
    """One operation: what it is, a call of ours on the active backend, and a call of each peer by name."""

    title: str
    ours: Call
    peers: dict[str, Call]


def convolution(
    rng: np.random.Generator,
    name: str,
    n_in: int,
    n_out: int,
    size: int,
    k: int,
    stride: int,
    padding: int,
    groups: int,
) -> Iterator[Case]:
    title = f"{name} {n_in}->{n_out} {size}x{size}"
    x, weight = _normal(rng, IMAGES, n_in, size, size), _normal(rng, n_out, n_in // groups, k, k)
    out_size = (size + 2 * padding - k) // stride + 1
    g = _normal(rng, IMAGES, n_out, out_size, out_size)
    geometry = ((stride,) * 2, (padding,) * 2, (1,) * 2, groups)

    def peers(wanted: list[bool] | None) -> dict[str, Call]:
        layouts = {"torch": torch.contiguous_format, "torch-channels-last": torch.channels_last}
        return {label: _convolution_peer(x, weight, g, geometry, wanted, layout) for label, layout in layouts.items()}

    forward = partial(kernels.run, "conv_forward", x, weight, None, *geometry)
    to_x = partial(kernels.run, "conv_backward_input", g, weight, x.shape, *geometry)
    to_weight = partial(kernels.run, "conv_backward_weight", g, x, weight.shape[2:], *geometry)
    yield Case(f"{title} forward", forward, peers(None))
    yield Case(f"{title} gradient of input", to_x, peers([True, False, False]))
    yield Case(f"{title} gradient of weight", to_weight, peers([False, True, False]))


def _convolution_peer(x, weight, g, geometry, wanted: list[bool] | None, layout: torch.memory_format) -> Call:
    x, weight, g = (torch.from_numpy(a).contiguous(memory_format=layout) for a in (x, weight, g))
    stride, padding, dilation, groups = geometry
    options = (stride, padding, dilation, False, [0, 0], groups)
    if wanted is None:
        return lambda: torch.convolution(x, weight, None, *options)
    return lambda: torch.ops.aten.convolution_backward(g, x, weight, None, *options, wanted)


def normalisation(rng: np.random.Generator, channels: int, size: int) -> Iterator[Case]:
    title = f"batch norm {channels} {size}x{size}"
    x, g = (_normal(rng, IMAGES, channels, size, size) for _ in range(2))
    gamma, beta = _normal(rng, channels), _normal(rng, channels)
    moments = kernels.run("channel_moments", x)

    def forward() -> object:
        return kernels.run("batch_norm_forward", x, gamma, beta, *kernels.run("channel_moments", x), 1e-5)

    backward = partial(kernels.run, "batch_norm_backward", g, x, gamma, *moments, 1e-5, True)
    their_x, their_g, weight, bias = (torch.from_numpy(a) for a in (x, g, gamma, beta))
    _, mean, inverse = torch.native_batch_norm(their_x, weight, bias, None, None, True, 0.1, 1e-5)
    their_backward = partial(torch.ops.aten.native_batch_norm_backward, their_g, their_x, weight, None, None)
    yield Case(
        f"{title} forward",
        forward,
        {"torch": lambda: torch.native_batch_norm(their_x, weight, bias, None, None, True, 0.1, 1e-5)},
    )
    yield Case(
        f"{title} gradient", backward, {"torch": lambda: their_backward(mean, inverse, True, 1e-5, [True, True, True])}
    )


def doubling(rng: np.random.Generator, channels: int, size: int) -> Iterator[Case]:
    title = f"upsample {channels} {size // 2}x{size // 2} to {size}x{size}"
    shape, target = (IMAGES, channels, size // 2, size // 2), (size, size)
    x, g = _normal(rng, *shape), _normal(rng, *shape[:2], *target)
    their_x, their_g = torch.from_numpy(x), torch.from_numpy(g)
    aten = torch.ops.aten
    yield Case(
        f"{title} forward",
        partial(kernels.run, "upsample_linear_forward", x, target, True),
        {"torch": lambda: aten.upsample_bilinear2d(their_x, target, True)},
    )
    yield Case(
        f"{title} gradient",
        partial(kernels.run, "upsample_linear_backward", g, shape[2:], True),
        {"torch": lambda: aten.upsample_bilinear2d_backward(their_g, target, shape, True)},
    )


def neuron(rng: np.random.Generator, channels: int, size: int) -> Iterator[Case]:
    title = f"LIF {channels} {size}x{size}"
    x, g = (_normal(rng, STEPS, BATCH, channels, size, size) for _ in range(2))
    their_x, their_g = torch.from_numpy(x), torch.from_numpy(g)
    lif = LIF(beta=BETA)

    def ours() -> object:
        leaf = Tensor(x, requires_grad=True)
        run(lif, leaf)[0].backward(g)
        return leaf.grad

    def theirs() -> object:
        leaf = their_x.detach().requires_grad_(True)
        v, spikes = torch.zeros_like(their_x[0]), []
        for t in range(STEPS):
            h = BETA * v + leaf[t]
            spikes.append(_Fire.apply(h - 1))
            v = h - spikes[-1].detach()
        torch.stack(spikes).backward(their_g)
        return leaf.grad

    yield Case(f"{title} forward and gradient", ours, {"torch": theirs})


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad):
        (u,) = ctx.saved_tensors
        return grad / (1 + (torch.pi * u) ** 2)


def addition(rng: np.random.Generator, channels: int, size: int) -> Iterator[Case]:
    x, y, g = (_normal(rng, IMAGES, channels, size, size) for _ in range(3))
    their_g = torch.from_numpy(g)

    def ours() -> object:
        a, b = Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)
        ((a + b) + a).backward(g)
        return a.grad, b.grad

    def theirs() -> object:
        a, b = (torch.from_numpy(z).requires_grad_(True) for z in (x, y))
        ((a + b) + a).backward(their_g)
        return a.grad, b.grad

    yield Case(f"a + b + a {channels} {size}x{size} and gradients", ours, {"torch": theirs})


def cases(rng: np.random.Generator) -> Iterator[Case]:
    convolutions, maps = CONVOLUTIONS, MAPS
    if OPTIONS.quick:
        convolutions, maps = [(*c[:3], 16, *c[4:]) for c in CONVOLUTIONS[::4]], [(8, 16)]
    for shape in convolutions:
        yield from convolution(rng, *shape)
    for operation in (normalisation, doubling, neuron, addition):
        for shape in maps:
            yield from operation(rng, *shape)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def _on(backend: str, call: Call) -> Call:
    def on_backend() -> object:
        with kernels.use_backend(backend):
            return call()

    return on_backend


def main() -> None:
    torch.set_num_threads(OPTIONS.threads)
    for case in cases(np.random.default_rng(0)):
        ours = {backend: _on(backend, case.ours) for backend in reversed(kernels.available())}
        compare("conv2d", case.title, ours, case.peers, repeats=9, settle=True, budget=0.6)


if __name__ == "__main__":
    main()
