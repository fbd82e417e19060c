"""What the field reports of a result: overlap, surface distances, deformation, and whether a difference is one."""

from .deformation import folding_fraction, jacobian_determinant, sd_log_jacobian
from .equivalence import EffectSize, Equivalence, effect_size, equivalence_test
from .overlap import dice, iou, mean_dice, nanmean
from .segmentation import (
    CaseScores,
    Confusion,
    SegmentationReport,
    SegmentationScores,
    case_scores,
    segmentation_report,
    segmentation_scores,
)
from .statistics import PairedComparison, bootstrap_interval, compare_paired, paired_t_test, wilcoxon_signed_rank
from .surface import assd, hausdorff, hd95, surface_distances
from .surface_distance import SurfaceDistances, compare_surfaces, label_surface_distances
from .surface_elements import Elements, element_areas, surface_elements

__all__ = [
    "CaseScores",
    "Confusion",
    "EffectSize",
    "Elements",
    "Equivalence",
    "PairedComparison",
    "SegmentationReport",
    "SegmentationScores",
    "SurfaceDistances",
    "assd",
    "bootstrap_interval",
    "case_scores",
    "compare_paired",
    "compare_surfaces",
    "dice",
    "effect_size",
    "element_areas",
    "equivalence_test",
    "folding_fraction",
    "hausdorff",
    "hd95",
    "iou",
    "jacobian_determinant",
    "label_surface_distances",
    "mean_dice",
    "nanmean",
    "paired_t_test",
    "sd_log_jacobian",
    "segmentation_report",
    "segmentation_scores",
    "surface_distances",
    "surface_elements",
    "wilcoxon_signed_rank",
]
