"""Register pairs that lie anywhere to each other, with --affine and without: mean Dice over held-out pairs.

    python benchmarks/register_unaligned.py --data DIR [--n 20]

hippocampus: the 20 held-out pairs of crops of different subjects, as they are, centre on centre and with an affine map
first; then with the moving crop turned, shifted and scaled at random. brain: painted pairs of the four held-out heads,
moved at random as well. DIR holds msd_hippocampus and synthseg_label_maps.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from affine_recovery import random_map

from pysnnmed import Image, read_nifti, register
from pysnnmed.data import warp_image
from pysnnmed.data.brains import EVALUATION, paired, read_heads
from pysnnmed.data.sampling import transformed
from pysnnmed.errors import ImageError
from pysnnmed.metrics import mean_dice


def elsewhere(images: list[Image], rng: np.random.Generator) -> list[Image]:
    """The same voxels, placed by a header that is turned, shifted and scaled: the content is not where it was."""
    middle = transformed(images[0].affine, (np.array(images[0].shape) - 1.0) / 2)
    matrix = random_map(rng, middle, 40.0, 30.0)
    return [replace(image, affine=matrix @ image.affine) for image in images]


def score(fixed: Image, fixed_labels: Image, moving: Image, labels: Image, **arguments) -> tuple[float, float]:
    """Dice where the network starts, and where it ends; nan where the images are refused."""
    names = np.unique(fixed_labels.data)[1:]
    try:
        result = register(moving, fixed, moving_labels=labels, **arguments)
    except ImageError:
        return np.nan, np.nan
    start = warp_image(labels, result.start, interpolation="nearest")
    both = start, result.moved_labels
    return tuple(mean_dice(fixed_labels.data, found.data, names) for found in both)


def report(title: str, scores: list[tuple[float, float]]) -> None:
    start, end = np.array(scores).T
    refused = int(np.isnan(end).sum())
    print(
        f"{title:<44} {np.nanmean(start):.3f} -> {np.nanmean(end):.3f}  worst {np.nanmin(end):.3f}  refused {refused}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=20)
    arguments = parser.parse_args()
    folder, n = arguments.data / "msd_hippocampus", arguments.n
    names = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))[160:]

    def crop(name: str) -> list[Image]:
        return [read_nifti(folder / part / name) for part in ("images", "labels")]

    pairs = [(crop(names[i]), crop(names[39 - i])) for i in range(n)]
    moved = [(fixed, elsewhere(moving, np.random.default_rng(i))) for i, (fixed, moving) in enumerate(pairs)]
    for title, which in (("hippocampus, as it is", pairs), ("hippocampus, elsewhere", moved)):
        report(f"{title}, centre on centre", [score(*f, *m, align="centre") for f, m in which])
        report(f"{title}, rigid map first", [score(*f, *m, affine="rigid") for f, m in which])
        report(f"{title}, affine map first", [score(*f, *m, affine=True) for f, m in which])
    heads, atlas = read_heads(arguments.data, (16, 20))
    grid = np.diag([2.0, 2.0, 2.0, 1.0])
    near, far = [], []
    for i in range(min(n, 12)):
        rng = np.random.default_rng([99, i])
        a, b = rng.choice(4, 2, replace=False)
        pair = paired(heads[a], heads[b], atlas, rng, EVALUATION)
        fixed = [Image(pair.fixed, grid), Image(pair.fixed_labels, grid)]
        moving = [Image(pair.moving, grid), Image(pair.moving_labels, grid)]
        near.append((fixed, moving))
        far.append((fixed, elsewhere(moving, rng)))
    for title, which in (("brain, aligned", near), ("brain, elsewhere", far)):
        report(f"{title}, as headers place it", [score(*f, *m, model="brain", align="world") for f, m in which])
        report(f"{title}, affine map first", [score(*f, *m, model="brain", affine=True) for f, m in which])


if __name__ == "__main__":
    main()
