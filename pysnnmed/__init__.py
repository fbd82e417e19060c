"""pysnnmed: spiking neural networks for medical images, from scratch on NumPy.

Reading order for the curious: tensor, ops, surrogate, neurons, nn, models.spikereg, convert, registration.
Importing this package imports NumPy and nothing else; optional dependencies load when something needs them.
"""

from . import ops
from .tensor import Tensor, no_grad

__version__ = "0.1.0"
__all__ = ["Tensor", "no_grad", "ops"]
