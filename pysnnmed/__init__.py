"""pysnnmed: spiking neural networks for medical images, from scratch on NumPy.

Reading order for the curious: tensor, ops, surrogate, neurons, nn, models.spikereg, convert, registration,
segmentation.
Importing this package imports NumPy and nothing else; optional dependencies load when something needs them.
"""

from . import ops
from .data import Image, read_nifti, write_displacement, write_nifti
from .kernels import use_backend, use_threads
from .registration import Registration, register
from .segmentation import Segmentation, segment
from .tensor import Tensor, no_grad

__version__ = "0.1.0"
__all__ = [
    "Image",
    "Registration",
    "Segmentation",
    "Tensor",
    "no_grad",
    "ops",
    "read_nifti",
    "register",
    "segment",
    "use_backend",
    "use_threads",
    "write_displacement",
    "write_nifti",
]
