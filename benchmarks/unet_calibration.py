"""Weights that make every layer fire at a wanted rate, and the networks of the benchmarks kept in files.

An untrained network falls silent or saturates after a few layers. Here each layer's currents are multiplied by a gain,
found by bisection on the network's own input and T, so that the stated rate is the rate of every layer. The gain goes
into the scale and the bias; threshold and int8 weights stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import unet_graph
from unet_graph import (
    CONVOLUTIONS,
    IMAGE,
    IMAGE_CHANNELS,
    IMAGE_GRID,
    NEURONS,
    UNET,
    Layer,
    Weights,
    currents,
    fire,
    walk,
    weighted_sums,
)

from pysnnmed.data.files import atomic_write
from pysnnmed.data.generate import generate_pair

BISECTIONS = 16
GAINS = (1e-2, 1e2)
NOISE = 0.02  # of the brightest voxel
ENOUGH_VOXELS = 60_000  # for a rate within 0.2 percentage points; larger layers are sampled


class Network(NamedTuple):
    """What a benchmark runs."""

    weights: dict[str, Weights]
    image: np.ndarray  # [2, *S] float32, black 0 and white 1: moving and fixed
    rates: dict[str, float]  # measured, of each layer of neurons


def generated_image(size: Sequence[int], seed: int = 0) -> np.ndarray:
    """A moving and a fixed image [2, *size] of one random anatomy (pysnnmed.data.generate) with the noise of a scanner.

    Noise on the real and the imaginary channel leaves |A + n| of a magnitude A (Gudbjartsson and Patz 1995, MRM
    34(6):910-914). Without it two thirds of the volume are exactly 0: sparse events would profit from an emptiness that
    scans do not have, and all background neurons of a channel would start to fire at the same gain.
    """
    rng = np.random.default_rng(seed)
    pair = generate_pair(size, rng)
    image = np.stack([pair.moving, pair.fixed])
    real, imaginary = (rng.standard_normal(image.shape, dtype=np.float32) * np.float32(NOISE) for _ in range(2))
    return np.rint(np.hypot(image + real, imaginary) / IMAGE_GRID).astype(np.float32) * np.float32(IMAGE_GRID)


def calibrate(
    graph: Sequence[Layer], weights: Mapping[str, Weights], inputs: Mapping[str, np.ndarray], steps: int, rate: float
) -> tuple[dict[str, Weights], dict[str, float]]:
    """Rescale each layer of neurons until its mean spike rate is `rate`. -> (weights, rates reached)

    The rate of a layer is spikes / (T * neurons), over the whole volume with its background.
    """
    scaled, rates = dict(weights), {}

    def apply(layer: Layer, sources: list[np.ndarray]) -> np.ndarray | None:
        if layer.kind == "pool":
            return unet_graph.pool(*sources)
        if layer.kind == "upsample":
            return unet_graph.upsample(*sources)
        if layer.kind == "head":
            return None
        sums = weighted_sums(layer, weights[layer.name], sources)
        sources.clear()
        gain = _gain(currents(_sample(sums), weights[layer.name]), steps, rate)
        scaled[layer.name] = weights[layer.name].times(gain)
        spikes = fire(currents(sums, scaled[layer.name]), steps)
        rates[layer.name] = float(spikes.mean())
        return spikes

    walk(graph, inputs, apply)
    return scaled, rates


def _sample(sums: np.ndarray) -> np.ndarray:
    """Voxels of sums [T or 1, C, *S], enough to tell a rate: [T or 1, C, N]."""
    flat = sums.reshape(*sums.shape[:2], -1)
    if flat.shape[2] <= ENOUGH_VOXELS:
        return flat.copy()
    # drawn at random: a regular grid would see too much of the border
    return flat[:, :, np.sort(np.random.default_rng(0).integers(flat.shape[2], size=ENOUGH_VOXELS))]


def _gain(sample: np.ndarray, steps: int, rate: float) -> float:
    """The gain at which neurons with these currents [T or 1, C, N] fire at `rate`, to four digits."""
    low, high = np.log(GAINS)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if fire(sample, steps, float(np.exp(middle))).mean() < rate:
            low = middle
        else:
            high = middle
    return float(f"{np.exp((low + high) / 2):.4g}")


def calibrated_unet(size: Sequence[int], steps: int, rate: float) -> Network:
    """The U-Net for an input of `size`, with seeded weights, firing at `rate` in every layer."""
    image = generated_image(size)
    drawn = unet_graph.draw_weights(UNET, {IMAGE: IMAGE_CHANNELS})
    weights, rates = calibrate(UNET, drawn, {IMAGE: image}, steps, rate)
    return Network(weights, image, rates)


# ------------------------------------------------------------------------------------------------------------ files


def stored_unet(folder: str | Path, size: Sequence[int], steps: int, rate: float) -> Path:
    """The file in `folder` that holds this network, written first if it is not there.

    Its name carries a digest of this code, so that a network of other code is not taken for it.
    """
    sources = b"".join(Path(file).read_bytes() for file in (__file__, unet_graph.__file__))
    digest = hashlib.sha256(sources).hexdigest()[:12]
    path = Path(folder) / f"unet-{'x'.join(map(str, size))}-T{steps}-rate{rate:g}-{digest}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        network = calibrated_unet(size, steps, rate)
        arrays = {"image": network.image}
        for name, layer in network.weights.items():
            arrays |= {f"{name}.{field}": array for field, array in layer._asdict().items()}
        arrays |= {f"{name}.rate": np.array(reached) for name, reached in network.rates.items()}
        atomic_write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
    return path


def load(path: str | Path) -> Network:
    """Read a file of `stored_unet`."""
    with np.load(path, allow_pickle=False) as arrays:
        weights = {
            layer.name: Weights(*(arrays[f"{layer.name}.{field}"] for field in Weights._fields))
            for layer in UNET
            if layer.kind in CONVOLUTIONS
        }
        rates = {layer.name: float(arrays[f"{layer.name}.rate"]) for layer in UNET if layer.kind in NEURONS}
        return Network(weights, arrays["image"], rates)
