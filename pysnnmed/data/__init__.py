"""Images and displacement fields: files, geometry, intensities. NumPy only."""

from .displacements import (
    Displacement,
    displacement_to_voxels,
    displacement_to_world,
    read_displacement,
    write_displacement,
)
from .files import atomic_write, sweep_temporaries
from .geometry import ModelGrid, reorient, warp_image, warp_points
from .images import Image, normalize_intensity
from .nifti import read_nifti, write_nifti

__all__ = [
    "Displacement",
    "Image",
    "ModelGrid",
    "atomic_write",
    "displacement_to_voxels",
    "displacement_to_world",
    "normalize_intensity",
    "read_displacement",
    "read_nifti",
    "reorient",
    "sweep_temporaries",
    "warp_image",
    "warp_points",
    "write_displacement",
    "write_nifti",
]
