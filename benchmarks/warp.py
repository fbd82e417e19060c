"""Warping an image, with gradients to the displacement or to both, beside torch's grid_sample.

`torch-grid-sample` starts from the displacement in voxels, as we do: it adds the identity, scales to [-1, 1] and
reorders the axes, and its gradient goes back that way. `torch-grid-sample-bare` is given the finished grid and stops
there, so it does less than we do. Results are compared before the timing.
"""

from __future__ import annotations

from harness import OPTIONS, compare  # comes first: it sets the threads of the libraries below

# isort: split

import numpy as np
import torch
import torch.nn.functional as F

from pysnnmed import Tensor, kernels
from pysnnmed.resample import upsample_linear
from pysnnmed.warp import warp


class Case:
    """An image [1, C, *S], a smooth displacement of a few voxels, and the gradient that arrives from a loss."""

    def __init__(self, shape: tuple[int, ...], channels: int, need_image: bool):
        rng = np.random.default_rng(0)
        self.image = rng.uniform(size=(1, channels, *shape)).astype(np.float32)
        coarse = Tensor(rng.normal(scale=3, size=(1, 3, *(n // 16 for n in shape))).astype(np.float32))
        self.displacement = upsample_linear(coarse, shape).data
        self.grad = rng.normal(size=self.image.shape).astype(np.float32)
        self.need_image = need_image
        self.identity = torch.stack(
            torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
        )
        self.last = torch.tensor([n - 1 for n in shape], dtype=torch.float32).reshape(1, 3, 1, 1, 1)
        self.finished_grid = self.grid(torch.from_numpy(self.displacement))

    def ours(self, backend: str) -> tuple[np.ndarray | None, ...]:
        image, u = Tensor(self.image, self.need_image), Tensor(self.displacement, requires_grad=True)
        with kernels.use_backend(backend):
            moved = warp(image, u)
            moved.backward(self.grad)
        return moved.data, u.grad, image.grad

    def grid(self, displacement: torch.Tensor) -> torch.Tensor:
        """[1, *S, 3] in [-1, 1], last axis first: what grid_sample wants."""
        grid = 2 * (self.identity + displacement) / self.last - 1
        return grid.flip(1).permute(0, 2, 3, 4, 1)

    def from_displacement(self) -> tuple[torch.Tensor, ...]:
        u = torch.from_numpy(self.displacement).requires_grad_(True)
        return *self.sample(self.grid(u)), u.grad

    def from_grid(self) -> tuple[torch.Tensor, ...]:
        return self.sample(self.finished_grid.detach().requires_grad_(True))

    def sample(self, grid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        image = torch.from_numpy(self.image).requires_grad_(self.need_image)
        moved = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
        moved.backward(torch.from_numpy(self.grad))
        return moved.detach(), image.grad

    def check(self) -> None:
        """Both sides agree, apart from the few voxels that float32 puts on the other side of a grid point."""
        moved, to_u, to_image = self.ours("numba")
        their_moved, their_image, their_u = self.from_displacement()
        np.testing.assert_allclose(moved, their_moved, atol=1e-4)
        off = np.abs(to_u - their_u.numpy()) > 1e-2 * np.abs(to_u).max()
        if off.mean() > 1e-3:
            raise SystemExit(f"warp: {off.mean():.2%} of the gradients to the displacement differ from those of torch")
        if self.need_image:
            np.testing.assert_allclose(to_image, their_image, atol=1e-3)


def main() -> None:
    torch.set_num_threads(OPTIONS.threads)
    shape = (32, 32, 32) if OPTIONS.quick else (80, 96, 112)
    for channels in (1, 3):
        for need_image in (False, True):
            case = Case(shape, channels, need_image)
            case.check()
            wanted = "image+displacement" if need_image else "displacement"
            compare(
                "warp",
                f"forward+backward to {wanted} {channels}x{'x'.join(map(str, shape))} f32",
                {backend: lambda b=backend, c=case: c.ours(b) for backend in ("numba", "numpy")},
                {"torch-grid-sample": case.from_displacement, "torch-grid-sample-bare": case.from_grid},
            )


if __name__ == "__main__":
    main()
