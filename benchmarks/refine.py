"""Refined registration beside SimpleITK's demons on the held-out pairs of a recipe: Dice, folding, seconds.

    python benchmarks/refine.py --data DIR [--recipe brain --pairs 4] [--iterations 20 40]

Ours is the program of the shipped network (int8 weights) and `refine.refined` after it, timed together. The demons see
the same two arrays, start from nothing, and have the multi-resolution setup that works: histograms matched, a pyramid
of shrink factors 4, 2, 1 behind Gaussians, 60/40/20 iterations, the field smoothed after each one. On training pairs of
the hippocampus the forces and the sigma of that smoothing were tried: `fast` (symmetric forces, fast) with 1.0 voxel
has the best Dice, but folds here and there; `diffeomorphic` with 1.0 is the best of those that never fold; 1.5 is the
usual choice; half and double the iterations change Dice by less than 0.005. `cropped` gives demons the box that ours
works in, instead of the padded grid.

Pairs are registered by all methods in turns; seconds are medians over the pairs, the ratio is that of the medians.
"""

from __future__ import annotations

import refine_options  # noqa: F401  comes first: harness reads the command line
from harness import OPTIONS  # comes second: it sets the threads of the libraries below

# isort: split

import json
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import SimpleITK as sitk

from pysnnmed import kernels
from pysnnmed.deploy.executor import Executor
from pysnnmed.deploy.programs import load_program
from pysnnmed.metrics import folding_fraction, mean_dice
from pysnnmed.refine import Scene, refined
from pysnnmed.train.pairs import Pair, held_out_pairs, labels_of
from pysnnmed.train.recipe import load_recipe
from pysnnmed.warp import warp_nearest

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]  # fixed, moving [*S] -> displacement [3, *S] in voxels

FORCES = {
    "fast": sitk.FastSymmetricForcesDemonsRegistrationFilter,
    "diffeomorphic": sitk.DiffeomorphicDemonsRegistrationFilter,
}
SHRINK, ITERATIONS = (4, 2, 1), (60, 40, 20)


def ours(executor: Executor, iterations: int) -> Method:
    def method(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
        (start,) = executor({"fixed": fixed[None], "moving": moving[None]}).outputs.values()
        return refined(fixed, moving, start, iterations)[0] if iterations else start

    return method


def demons(forces: str, sigma: float) -> Method:
    def method(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
        f, m = (sitk.GetImageFromArray(a.astype(np.float32)) for a in (fixed, moving))
        m = sitk.HistogramMatching(m, f, 256, 10, True)
        field = None
        for shrink, iterations in zip(SHRINK, ITERATIONS, strict=True):
            small = [_shrunk(image, shrink) for image in (f, m)]
            registration = FORCES[forces]()
            registration.SetNumberOfIterations(iterations)
            registration.SetSmoothDisplacementField(True)
            registration.SetStandardDeviations(sigma)
            if field is None:
                field = registration.Execute(*small)
            else:
                start = sitk.Resample(field, small[0], sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64)
                field = registration.Execute(*small, start)
        components = sitk.GetArrayFromImage(field)[..., ::-1]  # (x, y, z) of ITK, whose last axis is our first
        return np.ascontiguousarray(np.moveaxis(components, -1, 0), np.float32)

    return method


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    if factor == 1:
        return image
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, factor / 2), [factor] * image.GetDimension())


def cropped(method: Method) -> Method:
    """The same in the box of what both images show."""

    def inside(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
        scene = Scene.of(fixed, moving)
        return scene.continued(method(fixed[scene.box], moving[scene.box])[None])

    return inside


def scores(pairs: list[Pair], methods: dict[str, Method]) -> dict[str, dict[str, float]]:
    """Dice, folding in per cent and seconds of every method, over the pairs."""
    labels = labels_of(pairs)
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in methods}
    for method in methods.values():
        method(pairs[0].fixed.image, pairs[0].moving.image)  # compiles and warms up
    for pair in pairs:
        for name, method in methods.items():
            began = perf_counter()
            u = method(pair.fixed.image, pair.moving.image)
            seconds = perf_counter() - began
            moved = warp_nearest(pair.moving.labels[None, None], u[None])[0, 0]
            dice = mean_dice(pair.fixed.labels, moved, labels)
            rows[name].append((dice, 100 * folding_fraction(u), seconds))
    found = {}
    for name, values in rows.items():
        dice, folding, seconds = zip(*values, strict=True)
        found[name] = {
            "dice": float(np.mean(dice)),
            "folding_percent": float(np.mean(folding)),
            "pairs_that_fold": sum(f > 0 for f in folding),
            "seconds": median(seconds),
        }
    return found


def main() -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(OPTIONS.threads)
    pairs = held_out_pairs(load_recipe(OPTIONS.recipe), OPTIONS.data)[: 2 if OPTIONS.quick else OPTIONS.pairs]
    executor = Executor(load_program(OPTIONS.recipe)[0])
    peers = {
        "simpleitk-demons fast 1.5": demons("fast", 1.5),
        "simpleitk-demons fast 1.0": demons("fast", 1.0),
        "simpleitk-demons diffeomorphic 1.0": demons("diffeomorphic", 1.0),
        "simpleitk-demons fast 1.5 cropped": cropped(demons("fast", 1.5)),
        "simpleitk-demons diffeomorphic 1.0 cropped": cropped(demons("diffeomorphic", 1.0)),
    }
    if OPTIONS.peers is not None:
        peers = {name: peers[name] for name in OPTIONS.peers}
    mine = {f"refine {n}": ours(executor, n) for n in (0, *OPTIONS.iterations)}
    with kernels.use_backend("numba"), kernels.use_threads(OPTIONS.threads):
        found = scores(pairs, {**mine, **peers})
    for name, row in found.items():
        if not OPTIONS.json:
            print(
                f"{name:<44} Dice {row['dice']:.4f}   folding {row['folding_percent']:.4f} % in "
                f"{row['pairs_that_fold']} of {len(pairs)} pairs   {row['seconds']:7.3f} s"
            )
    for own in mine:
        for peer in peers:
            line = {
                "name": "refine",
                "case": f"{OPTIONS.recipe} {own} numba",
                "ratio": round(found[peer]["seconds"] / found[own]["seconds"], 3),
                "ours_s": found[own]["seconds"],
                "peer_s": found[peer]["seconds"],
                "peer": peer,
                "threads": OPTIONS.threads,
                "repeats": len(pairs),
                "ours": found[own],
                "theirs": found[peer],
            }
            print(json.dumps(line) if OPTIONS.json else f"{own} against {peer}: ratio {line['ratio']:.2f}", flush=True)


if __name__ == "__main__":
    main()
