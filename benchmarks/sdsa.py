"""Decomposed spike attention (SDSA, both halves) beside the ways in which torch computes it, and beside plain SSA.

One head, T steps of N tokens with C channels, spikes drawn independently at the stated rate. Ours takes the words that
neurons write, [T, N, W] with a bit for each channel, and gives both halves as int32. "packing included" starts from
spikes as float32 [T, C, N] instead; "float" is the linear form of the learning world on these, and what training runs.

    torch-literal       both halves as equations 8 and 9 of MedSpikeFormer write them: two products N x 2C x N, then V
    torch-ssa           Q K^T V from the left, the attention of Spikformer: one half of one map, a quarter of the work
    torch-ssa-linear    Q (K^T V)
    torch-sdsa-linear   both halves by our linear form, written in torch

Our results are compared with those of torch-literal, as whole numbers, before the timing. The scale, one pass over the
results, is in the peers and not in ours: it belongs to the norm that follows.

    python benchmarks/sdsa.py [--threads N] [--quick] [--json]
"""

from __future__ import annotations

from harness import OPTIONS, compare  # comes first: it sets the threads of the libraries below

# isort: split

from collections.abc import Callable

import numpy as np
import torch

from pysnnmed import Tensor, kernels, no_grad
from pysnnmed.decomposition import HALVES
from pysnnmed.nn.attention import decomposed_attention, packed_attention, packed_tokens

STEPS = 4
CASES = [(1024, 64, 0.15), (1024, 256, 0.15), (4096, 32, 0.15), (4096, 64, 0.15), (4096, 64, 0.4), (4096, 256, 0.15)]


class Ours:
    """Both halves, int32 [T, 2, N, C] or float32 [2, T, N, C]."""

    def __init__(self, spikes: list[np.ndarray]):
        self.maps = spikes  # [T, C, N]
        self.packed = self.pack()

    def pack(self) -> list:
        return [packed_tokens(name, s.swapaxes(1, 2)) for name, s in zip("QKV", self.maps, strict=True)]

    def from_words(self, backend: str) -> np.ndarray:
        with kernels.use_backend(backend):
            return packed_attention(*self.packed, HALVES).sums

    def from_spikes(self, backend: str) -> np.ndarray:
        with kernels.use_backend(backend):
            return packed_attention(*self.pack(), HALVES).sums

    def as_float(self) -> np.ndarray:
        with no_grad():
            return decomposed_attention(*(Tensor(s.swapaxes(1, 2)) for s in self.maps)).data


def literal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    keys = torch.cat([k, 1 - k], -1).transpose(-2, -1)
    first, second = torch.cat([q, 1 - q], -1), torch.cat([1 - q, q], -1)
    return torch.cat([(first @ keys) @ v, (second @ keys) @ v], -1) * q.shape[-1] ** -0.5


def ssa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (q @ k.transpose(-2, -1)) @ v * q.shape[-1] ** -0.5


def ssa_linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return q @ (k.transpose(-2, -1) @ v) * q.shape[-1] ** -0.5


def sdsa_linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    m, u = k.transpose(-2, -1) @ v, v.sum(-2, keepdim=True)
    total = q.shape[-1] * u
    first = q @ (2 * m - u) + (total - m.sum(-2, keepdim=True))
    return torch.cat([first, total - first], -1) * q.shape[-1] ** -0.5


PEERS: dict[str, Callable[..., torch.Tensor]] = {
    "torch-literal": literal,
    "torch-ssa": ssa,
    "torch-ssa-linear": ssa_linear,
    "torch-sdsa-linear": sdsa_linear,
}


def run_case(tokens: int, channels: int, rate: float) -> None:
    rng = np.random.default_rng(0)
    maps = [(rng.random((STEPS, channels, tokens)) < rate).astype(np.float32) for _ in "qkv"]
    tensors = [torch.from_numpy(m).transpose(1, 2).contiguous() for m in maps]
    ours = Ours(maps)
    want = np.rint(literal(*tensors).numpy() * channels**0.5).astype(np.int64)
    ways: dict[str, Callable[[], object]] = {
        "numba": lambda: ours.from_words("numba"),
        "numba, packing included": lambda: ours.from_spikes("numba"),
        "numpy float": ours.as_float,
    }
    for name, way in ways.items():
        got = np.asarray(way())
        got = got if got.dtype == np.int32 else np.moveaxis(got, 0, 1)
        np.testing.assert_array_equal(np.concatenate([got[:, 0], got[:, 1]], -1), want, err_msg=name)
    compare(
        "sdsa",
        f"forward N={tokens} C={channels} T={STEPS} rate {rate:.0%}",
        ways,
        {name: lambda p=peer: p(*tensors) for name, peer in PEERS.items()},
        repeats=9,
        settle=True,
        budget=5,
    )


def main() -> None:
    torch.set_num_threads(OPTIONS.threads)
    with torch.no_grad():
        for case in [(256, 64, 0.15)] if OPTIONS.quick else CASES:
            run_case(*case)


if __name__ == "__main__":
    main()
