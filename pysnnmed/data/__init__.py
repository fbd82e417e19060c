"""Images, displacement fields, pictures and masks: files, geometry, intensities. NumPy; Pillow where it is needed."""

from .augment import Augmentation, augment
from .cases import Case, Sample, load_case, load_volume
from .displacements import (
    Displacement,
    displacement_to_voxels,
    displacement_to_world,
    read_displacement,
    write_displacement,
)
from .fields import Inverse, compose, determinant, invert
from .files import atomic_write, sweep_temporaries
from .folders import detect, image_files, leaks, read_cases
from .geometry import ModelGrid, reorient, warp_image, warp_points
from .images import Image, normalize_intensity
from .masks import Mask, read_labels, read_mask
from .network_input import NetworkInput
from .nifti import read_nifti, write_nifti
from .picture_output import (
    label_overlay,
    overlay,
    write_label_overlay,
    write_labels,
    write_mask,
    write_overlay,
    write_probability,
)
from .pictures import Picture, read_picture
from .points import Landmarks, carry, read_landmarks, write_landmarks
from .resize import resize, resize_mask
from .slices import slice_spacing, slices_of, volume_of
from .splits import duplicates, file_digest, hold_out, pixel_digest, split_cases
from .transforms import read_affine, write_affine

__all__ = [
    "Augmentation",
    "Case",
    "Displacement",
    "Image",
    "Inverse",
    "Landmarks",
    "Mask",
    "ModelGrid",
    "NetworkInput",
    "Picture",
    "Sample",
    "atomic_write",
    "augment",
    "carry",
    "compose",
    "detect",
    "determinant",
    "displacement_to_voxels",
    "displacement_to_world",
    "duplicates",
    "file_digest",
    "hold_out",
    "image_files",
    "invert",
    "label_overlay",
    "leaks",
    "load_case",
    "load_volume",
    "normalize_intensity",
    "overlay",
    "pixel_digest",
    "read_affine",
    "read_cases",
    "read_displacement",
    "read_labels",
    "read_landmarks",
    "read_mask",
    "read_nifti",
    "read_picture",
    "reorient",
    "resize",
    "resize_mask",
    "slice_spacing",
    "slices_of",
    "split_cases",
    "sweep_temporaries",
    "volume_of",
    "warp_image",
    "warp_points",
    "write_affine",
    "write_displacement",
    "write_label_overlay",
    "write_labels",
    "write_landmarks",
    "write_mask",
    "write_nifti",
    "write_overlay",
    "write_probability",
]
