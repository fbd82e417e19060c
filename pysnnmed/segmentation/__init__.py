"""Finding structures in pictures and volumes.

    result = segment("lesion.png", model="lesions.safetensors")
    result.save("mask.png")

Reading order: runner (which network runs, and how), planning (the memory it takes), segmenter (from an image to the
windows that the network sees, and back), result (what was found, and its files). What a network must be shown, its card
says: see `data.network_input`.
"""

from .result import Segmentation
from .segmenter import DEFAULT_MODEL, Segmenter, segment

__all__ = ["DEFAULT_MODEL", "Segmentation", "Segmenter", "segment"]
