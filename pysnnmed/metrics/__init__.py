"""What the field reports of a result: overlap, surface distances, deformation, and whether a difference is one."""

from .deformation import folding_fraction, jacobian_determinant, sd_log_jacobian
from .overlap import dice, iou, mean_dice, segmentation_scores

__all__ = [
    "dice",
    "folding_fraction",
    "iou",
    "jacobian_determinant",
    "mean_dice",
    "sd_log_jacobian",
    "segmentation_scores",
]
