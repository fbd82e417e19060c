"""Samples of pysnnmed.ops.reduction."""

import numpy as np

rng = np.random.default_rng(2)
x = rng.normal(size=(2, 3, 4))
distinct = rng.permutation(24).reshape(2, 3, 4) / 8  # no ties within reach of a finite difference
AXES = [{"axis": axis, "keepdims": keepdims} for axis in (None, 1, -1, (0, 2), (-1, 1)) for keepdims in (False, True)]

SAMPLES = {
    "Sum": [((x,), options) for options in AXES],
    "Max": [((distinct,), options) for options in AXES],
    "Softmax": [((x,), {"axis": axis}) for axis in (0, 1, -1)],
    "LogSoftmax": [((x,), {"axis": axis}) for axis in (0, 1, -1)],
}
