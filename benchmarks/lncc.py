"""Local cross-correlation and its gradient to the moving image, beside the ways it is written in torch.

`voxelmorph-lncc` sums windows by a convolution with ones, as the loss of VoxelMorph does; `torch-separable-lncc` by one
convolution per axis. Both are given the constant that makes their value ours, which is checked before the timing.
"""

from __future__ import annotations

from harness import OPTIONS, compare  # comes first: it sets the threads of the libraries below

# isort: split

import numpy as np
import torch
import torch.nn.functional as F

from pysnnmed import Tensor, kernels
from pysnnmed.losses.registration import lncc

WINDOW = 9
EPSILON = 1e-5  # of window sums, VoxelMorph's; ours counts window means


def images(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    fixed, noise = rng.uniform(size=(2, 1, 1, *shape)).astype(np.float32)
    return fixed, (fixed + 0.5 * noise).astype(np.float32)


def ours(backend: str, fixed: np.ndarray, moving: np.ndarray) -> tuple[float, np.ndarray]:
    moved = Tensor(moving, requires_grad=True)
    with kernels.use_backend(backend):
        value = lncc(Tensor(fixed), moved, WINDOW, epsilon=EPSILON / WINDOW**6)
        value.backward()
    return value.item(), moved.grad


def in_torch(window_sums, fixed: np.ndarray, moving: np.ndarray) -> tuple[float, np.ndarray]:
    """Squared correlation from the sums over windows of F, M, F^2, M^2 and F M."""
    f, m = torch.from_numpy(fixed), torch.from_numpy(moving).requires_grad_(True)
    sum_f, sum_m, sum_ff, sum_mm, sum_fm = window_sums(f, m, f * f, m * m, f * m)
    n = WINDOW**3
    cross = sum_fm - sum_f * sum_m / n
    value = (cross**2 / ((sum_ff - sum_f**2 / n) * (sum_mm - sum_m**2 / n) + EPSILON)).mean()
    value.backward()
    return value.item(), m.grad.numpy()


def by_convolution(*maps: torch.Tensor) -> list[torch.Tensor]:
    ones = torch.ones(1, 1, WINDOW, WINDOW, WINDOW)
    return [F.conv3d(a, ones, padding=WINDOW // 2) for a in maps]


def by_axis(*maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    sums = torch.cat(maps, dim=1)
    for axis in range(3):
        kernel = [WINDOW if i == axis else 1 for i in range(3)]
        sums = F.conv3d(sums, torch.ones(5, 1, *kernel), padding=[k // 2 for k in kernel], groups=5)
    return sums.split(1, dim=1)


def main() -> None:
    torch.set_num_threads(OPTIONS.threads)
    for shape in [(32, 32, 32)] if OPTIONS.quick else [(64, 64, 64), (80, 96, 112)]:
        pair = images(shape)
        ways = {"voxelmorph-lncc": by_convolution, "torch-separable-lncc": by_axis}
        value, grad = ours("numba", *pair)
        for peer, sums in ways.items():
            their_value, their_grad = in_torch(sums, *pair)
            np.testing.assert_allclose(value, their_value, rtol=1e-4, err_msg=peer)
            np.testing.assert_allclose(grad, their_grad, atol=1e-2 * np.abs(their_grad).max(), err_msg=peer)
        compare(
            "lncc",
            f"forward+backward {'x'.join(map(str, shape))} window {WINDOW} f32",
            {backend: lambda b=backend, p=pair: ours(b, *p) for backend in ("numba", "numpy")},
            {peer: lambda s=sums, p=pair: in_torch(s, *p) for peer, sums in ways.items()},
            repeats=5,
        )


if __name__ == "__main__":
    main()
