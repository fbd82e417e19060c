"""Affine registration: the rotation, scaling, shear and shift that bring two images roughly together.

Moments give first guesses, mutual information refines the best of them from coarse to fine. No network is involved; a
network then finds what is left.
"""

from .search import KINDS, Affine, Kind, align_affine

__all__ = ["KINDS", "Affine", "Kind", "align_affine"]
