"""What the field reports of a result: overlap, surface distances, deformation, and whether a difference is one."""

from .deformation import folding_fraction, jacobian_determinant, sd_log_jacobian
from .overlap import Confusion, SegmentationScores, dice, iou, mean_dice, nanmean, segmentation_scores
from .statistics import PairedComparison, bootstrap_interval, compare_paired, paired_t_test, wilcoxon_signed_rank
from .surface import assd, hausdorff, hd95, surface_distances

__all__ = [
    "Confusion",
    "PairedComparison",
    "SegmentationScores",
    "assd",
    "bootstrap_interval",
    "compare_paired",
    "dice",
    "folding_fraction",
    "hausdorff",
    "hd95",
    "iou",
    "jacobian_determinant",
    "mean_dice",
    "nanmean",
    "paired_t_test",
    "sd_log_jacobian",
    "segmentation_scores",
    "surface_distances",
    "wilcoxon_signed_rank",
]
