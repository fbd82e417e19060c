"""Reference kernels: what every other backend must compute."""

from .similarity import lncc
from .warp import warp_backward, warp_forward

__all__ = ["lncc", "warp_backward", "warp_forward"]
