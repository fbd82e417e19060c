"""One window through the shipped segmentation networks: as a program of int8 weights, and as it was trained.

Both run on the Numba backend and count alike; what they find is the same but for rounding. The window is noise, so that
neurons fire more than on pictures.

    python benchmarks/segment_window.py [--threads N] [--quick] [--json]
"""

from __future__ import annotations

from harness import OPTIONS, compare  # comes first: it sets the threads of the libraries below

# isort: split

import numpy as np

from pysnnmed.segmentation.runner import Tally
from pysnnmed.segmentation.segmenter import Segmenter

MODELS = ("hippocampus-seg", "lesions")


def run_case(model: str) -> None:
    program, trained = (
        Segmenter(model, weights=weights, backend="numba", threads=OPTIONS.threads) for weights in ("int8", "trained")
    )
    shape = (program.form.in_channels, *program.window)
    window = np.random.default_rng(0).random(shape, np.float32)

    def look(segmenter: Segmenter) -> None:
        with segmenter.running():
            segmenter.runner(window, Tally())

    case = f"{model}, {program.window[0]}x{program.window[1]}"
    compare("segment-window", case, {"numba": lambda: look(program)}, {"as trained": lambda: look(trained)}, repeats=25)


def main() -> None:
    for model in MODELS:
        run_case(model)


if __name__ == "__main__":
    main()
