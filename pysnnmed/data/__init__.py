"""Images and displacement fields: files, geometry, intensities. NumPy only."""

from .displacements import (
    Displacement,
    displacement_to_voxels,
    displacement_to_world,
    read_displacement,
    write_displacement,
)
from .fields import Inverse, compose, determinant, invert
from .files import atomic_write, sweep_temporaries
from .geometry import ModelGrid, reorient, warp_image, warp_points
from .images import Image, normalize_intensity
from .nifti import read_nifti, write_nifti
from .points import Landmarks, carry, read_landmarks, write_landmarks
from .transforms import read_affine, write_affine

__all__ = [
    "Displacement",
    "Image",
    "Inverse",
    "Landmarks",
    "ModelGrid",
    "atomic_write",
    "carry",
    "compose",
    "determinant",
    "displacement_to_voxels",
    "displacement_to_world",
    "invert",
    "normalize_intensity",
    "read_affine",
    "read_displacement",
    "read_landmarks",
    "read_nifti",
    "reorient",
    "sweep_temporaries",
    "warp_image",
    "warp_points",
    "write_affine",
    "write_displacement",
    "write_landmarks",
    "write_nifti",
]
