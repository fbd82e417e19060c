"""Reference kernels: what every other backend must compute."""

from .neurons import lif_backward, lif_forward

__all__ = ["lif_backward", "lif_forward"]
