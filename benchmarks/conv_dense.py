"""Dense convolution, forwards and backwards, beside the convolution of PyTorch.

One call computes the output and the gradients of the input and of the weight. The peer runs with its tensors in the
default layout (`torch-conv`) and with channels last (`torch-conv-channels-last`); ours has one layout. No bias.
"""

from __future__ import annotations

from collections.abc import Callable

import harness
import numpy as np
import torch

from pysnnmed import kernels

CASES = [  # channels in and out, spatial size, kernel, stride; the first is the one the project holds itself to
    (32, 32, (40, 48, 56), 3, 1),
    (16, 16, (40, 48, 56), 3, 1),
    (64, 64, (40, 48, 56), 3, 1),
    (2, 16, (40, 48, 56), 3, 1),
    (2, 16, (48, 64, 48), 3, 2),
    (32, 64, (24, 32, 24), 3, 2),
    (64, 64, (12, 16, 12), 3, 1),
    (64, 64, (128, 128), 3, 1),
]


def ours(backend: str, x: np.ndarray, weight: np.ndarray, g: np.ndarray, stride: int) -> Callable[[], object]:
    """Forward and backward in one of our backends."""
    ndim = weight.ndim - 2
    geometry = ((stride,) * ndim, (1,) * ndim, (1,) * ndim, 1)

    def forward_and_backward() -> None:
        with kernels.use_backend(backend):
            kernels.run("conv_forward", x, weight, None, *geometry)
            kernels.run("conv_backward_input", g, weight, x.shape, *geometry)
            kernels.run("conv_backward_weight", g, x, weight.shape[2:], *geometry)

    return forward_and_backward


def peer(
    x: torch.Tensor, weight: torch.Tensor, g: torch.Tensor, stride: int, layout: torch.memory_format
) -> Callable[[], object]:
    """Forward and backward in PyTorch."""
    ndim = weight.ndim - 2
    x, weight, g = (a.contiguous(memory_format=layout) for a in (x, weight, g))
    geometry = ([stride] * ndim, [1] * ndim, [1] * ndim, False, [0] * ndim, 1)

    def forward_and_backward() -> None:
        torch.convolution(x, weight, None, *geometry)
        torch.ops.aten.convolution_backward(g, x, weight, None, *geometry, [True, True, False])

    return forward_and_backward


def main() -> None:
    torch.set_num_threads(harness.OPTIONS.threads)
    rng = np.random.default_rng(0)
    for n_in, n_out, size, k, stride in CASES[:1] if harness.OPTIONS.quick else CASES:
        x = rng.normal(size=(1, n_in, *size)).astype(np.float32)
        weight = rng.normal(size=(n_out, n_in, *[k] * len(size))).astype(np.float32)
        out_size = tuple((n - 1) // stride + 1 for n in size)
        g = rng.normal(size=(1, n_out, *out_size)).astype(np.float32)
        tensors = tuple(torch.from_numpy(a) for a in (x, weight, g))
        channels_last = torch.channels_last_3d if len(size) == 3 else torch.channels_last
        harness.compare(
            "conv-dense",
            f"{n_in}->{n_out} {'x'.join(map(str, size))} kernel {k} stride {stride} float32",
            {backend: ours(backend, x, weight, g, stride) for backend in reversed(kernels.available())},
            {
                "torch-conv": peer(*tensors, stride, torch.contiguous_format),
                "torch-conv-channels-last": peer(*tensors, stride, channels_last),
            },
        )


if __name__ == "__main__":
    main()
