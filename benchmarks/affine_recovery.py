"""How well affine registration finds a known map: landmark error over random rotations, shifts, scales and shears.

    python benchmarks/affine_recovery.py --data DIR [--case brains] [--n 20] [--json]

Brains: a label map is moved by a random affine map and painted anew, twice the same head or two heads of the atlas
(whose maps are affinely aligned to each other, so that the error also holds how their anatomies differ). Hippocampus: a
crop is moved, and given noise and another gamma. The error is the distance between where the true and the found map
take a voxel, over the voxels of the anatomy: mean and 95th percentile of each pair. A pair fails above twice the
spacing of its image; for two heads, whose anatomy has no exact counterpart, where Dice is 0.03 below that of the true
map.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pysnnmed.affine import Affine, align_affine
from pysnnmed.affine.guesses import rotation
from pysnnmed.data import Image, read_nifti
from pysnnmed.data.brains import Atlas, Head, Variety, paint, random_contrast, read_heads, t1_contrast
from pysnnmed.data.sampling import resample, transformed
from pysnnmed.metrics import mean_dice

CASES = ("one head", "two contrasts", "one stripped", "two heads", "hippocampus", "hippocampus cut")


@dataclass(frozen=True)
class Pair:
    fixed: Image
    moving: Image
    truth: np.ndarray  # [4, 4] fixed to moving world
    landmarks: np.ndarray  # [3, N] of the fixed world, mm
    failed_above: float  # mm
    labels: tuple[Image, Image] | None = None  # of two heads: fixed, moving


def random_map(rng: np.random.Generator, centre: np.ndarray, shift: float, degrees: float) -> np.ndarray:
    """Rotation up to `degrees` about a random axis, shift up to `shift` mm, scales 0.8 to 1.25, shears up to 0.05."""
    axis = rng.normal(size=3)
    turn = rotation(axis / np.linalg.norm(axis) * np.radians(degrees) * rng.uniform())
    shear = np.eye(3) + np.triu(rng.uniform(-0.05, 0.05, (3, 3)), 1)
    common = math.exp(rng.uniform(-1, 1) * math.log(1.19))
    scales = common * np.exp(rng.uniform(-1, 1, 3) * math.log(1.05))
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag(scales) @ shear
    way = rng.normal(size=3)
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + way / np.linalg.norm(way) * shift * rng.uniform()
    return matrix


def moved(data: np.ndarray, affine: np.ndarray, truth: np.ndarray, rng: np.random.Generator, slack: float, how: str):
    """`data` on a grid around where the map takes it, off by up to `slack` mm -> (data, affine of that grid)."""
    middle = transformed(affine, (np.array(data.shape) - 1.0) / 2)
    placed = affine.copy()
    placed[:3, 3] += transformed(truth, middle) - middle + rng.uniform(-slack, slack, 3)
    index_map = np.linalg.inv(truth @ affine) @ placed
    return resample(data, index_map, data.shape, how), placed


def brains(case: str, heads: list[Head], atlas: Atlas, rng: np.random.Generator, degrees: float) -> Pair:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    first, second = rng.choice(len(heads), 2, replace=False)
    labels = heads[first].labels
    other = heads[second].labels if case == "two heads" else labels
    structure = atlas.structures[labels] > 0
    landmarks = transformed(affine, np.argwhere(structure).T[:, ::37].astype(float))
    truth = random_map(rng, landmarks.mean(axis=1), 40.0, degrees)
    there, placed = moved(other, affine, truth, rng, 10.0, "nearest")
    variety = Variety()
    one = t1_contrast(atlas, rng, variety)
    two = random_contrast(atlas, rng, variety) if case == "two contrasts" else t1_contrast(atlas, rng, variety)
    bare = bool(rng.random() < 0.5)
    fixed = paint(labels, one, atlas, rng, variety, bare)
    moving = paint(there, two, atlas, rng, variety, bare != (case == "one stripped"))
    pair = (Image(atlas.structures[labels], affine), Image(atlas.structures[there], placed))
    return Pair(Image(fixed, affine), Image(moving, placed), truth, landmarks, 4.0, pair)


def hippocampus(case: str, paths: list[Path], rng: np.random.Generator, degrees: float) -> Pair:
    image = read_nifti(paths[rng.integers(len(paths))])
    data, affine = image.data.astype(np.float32) / float(np.percentile(image.data, 99)), image.affine
    centre = transformed(affine, (np.array(data.shape) - 1.0) / 2)
    truth = random_map(rng, centre, 40.0, degrees)
    there, placed = moved(data, affine, truth, rng, 3.0, "linear")
    there = there ** np.exp(rng.normal(0, 0.2)) + 0.03 * rng.standard_normal(there.shape).astype(np.float32)
    if case == "hippocampus cut":  # no border of the first crop is left to see in the second
        inner = tuple(slice(n // 6, n - n // 6) for n in there.shape)
        placed = placed.copy()
        placed[:3, 3] = transformed(placed, np.array([s.start for s in inner], float))
        there = there[inner]
    labels = read_nifti(Path(str(paths[0].parent.parent / "labels" / Path(image.source).name))).data
    landmarks = transformed(affine, np.argwhere(labels > 0).T.astype(float))
    return Pair(image, Image(there.astype(np.float32), placed), truth, landmarks, 2.0)


def landmark_error(pair: Pair, found: np.ndarray) -> np.ndarray:
    """Distances [N] in mm, measured in the moving world."""
    return np.linalg.norm(transformed(found, pair.landmarks) - transformed(pair.truth, pair.landmarks), axis=0)


def dice(pair: Pair, matrix: np.ndarray) -> float:
    """Mean Dice of the structures under an affine map."""
    if pair.labels is None:
        return math.nan
    fixed, moving = pair.labels
    index_map = np.linalg.solve(moving.affine, matrix @ fixed.affine)
    moved_labels = resample(moving.data, index_map, fixed.shape, "nearest", 0)
    return mean_dice(fixed.data, moved_labels, np.unique(fixed.data)[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds synthseg_label_maps and msd_hippocampus")
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--n", type=int, default=20, help="pairs of each case")
    parser.add_argument("--degrees", type=float, default=30.0, help="largest rotation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    heads, atlas = read_heads(arguments.data, (0, 20))
    crops = sorted((arguments.data / "msd_hippocampus" / "images").glob("*.nii.gz"))
    for case in arguments.case or CASES:
        errors, overlaps, seconds, before, failed = [], [], [], [], []
        for i in range(arguments.n):
            rng = np.random.default_rng([arguments.seed, i])
            draw = arguments.degrees
            pair = hippocampus(case, crops, rng, draw) if "hippo" in case else brains(case, heads, atlas, rng, draw)
            before.append(landmark_error(pair, np.eye(4)).mean())
            found: Affine = align_affine(pair.fixed, pair.moving)
            seconds.append(found.seconds)
            errors.append(landmark_error(pair, found.matrix))
            overlaps.append((dice(pair, pair.truth), dice(pair, found.matrix)))
            known, ours = overlaps[-1]
            if ours < known - 0.03 if case == "two heads" else errors[-1].mean() > pair.failed_above:
                failed.append(i)
        means = np.array([e.mean() for e in errors])
        facts = {
            "case": case,
            "n": arguments.n,
            "before_mm": round(float(np.median(before)), 2),
            "median_mm": round(float(np.median(means)), 3),
            "worst_mm": round(float(means.max()), 3),
            "median_p95_mm": round(float(np.median([np.percentile(e, 95) for e in errors])), 3),
            "failed": failed,
            "median_s": round(float(np.median(seconds)), 2),
        }
        if "hippo" not in case:
            facts["dice_true_map"], facts["dice_found"] = np.round(np.mean(overlaps, axis=0), 4).tolist()
        print(json.dumps(facts) if arguments.json else "  ".join(f"{k} {v}" for k, v in facts.items()), flush=True)


if __name__ == "__main__":
    main()
