"""Find the lesion in generated pictures with the shipped spiking transformer, and draw its contour in each.

    python examples/segment_picture.py [folder]

Writes lesion-1.png, ... and their masks. Needs the extra `med`, and `jit` for speed.
"""

import sys
from pathlib import Path

import numpy as np

from pysnnmed.data.lesions import generate_lesion
from pysnnmed.segmentation import Segmenter

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "lesions")
folder.mkdir(parents=True, exist_ok=True)
segmenter = Segmenter("lesions")

for seed in (1, 2, 5):  # the second shows no lesion
    generated = generate_lesion((128, 128), np.random.default_rng(seed))
    found = segmenter(np.moveaxis(generated.picture, 0, -1))
    either = (found.mask | generated.mask).sum()
    overlap = (found.mask & generated.mask).sum() / either if either else 1.0
    print(f"generated picture {seed}: IoU {overlap:.3f}, {found.operations.total.synops:,} synaptic operations")
    found.save(folder / f"lesion-{seed}-mask.png")
    found.save_overlay(folder / f"lesion-{seed}.png", generated.picture)
