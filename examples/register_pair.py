"""Register a generated pair of volumes with the shipped spiking network and draw the result.

    python examples/register_pair.py [figure.png]

Needs the extras `jit` (for speed) and `plot`.
"""

import sys

import numpy as np

from pysnnmed import Image, register, viz
from pysnnmed.data.displacements import displacement_to_voxels
from pysnnmed.data.generate import generate_pair

pair = generate_pair((64, 64, 64), np.random.default_rng(11))
affine = np.eye(4)  # voxels of 1 mm
moving, fixed, moving_labels = (Image(data, affine) for data in (pair.moving, pair.fixed, pair.moving_labels))

result = register(moving, fixed, moving_labels=moving_labels, align="world")
print(result.operations.table())

figure = viz.registration_figure(
    fixed.data,
    moving.data,
    result.moved.data,
    displacement_to_voxels(result.displacement.world, affine),
    fixed_labels=pair.fixed_labels,
    moving_labels=pair.moving_labels,
    moved_labels=result.moved_labels.data,
    spikes=result.spikes,
    report=result.operations,
    caption="generated data",
)
viz.save_figure(figure, sys.argv[1] if len(sys.argv) > 1 else "figure.png")
