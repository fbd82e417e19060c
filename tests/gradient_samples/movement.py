"""Samples of pysnnmed.ops.movement."""

import numpy as np

rng = np.random.default_rng(4)
x = rng.normal(size=(2, 3, 4))
INDICES = [
    0,
    (slice(None), -1),
    (..., slice(None, None, -2)),
    (None, 1, slice(1, 3)),
    np.array([0, 1, 0, 0]),
    [1, 1],
    (slice(None), np.array([[0, 2], [2, 2]]), slice(1, 2)),
    (np.array([0, 1, 1]), np.array([2, 0, 0]), 3),
    x > 0,
    (0, np.array([True, False, True])),
]

SAMPLES = {
    "Index": [((x,), {"index": index}) for index in INDICES],
    "Reshape": [((x,), {"shape": shape}) for shape in ((6, 4), (-1,), (2, 1, 12))],
    "Transpose": [((x,), {"axes": axes}) for axes in (None, (0, 2, 1), (2, 0, 1), (-1, 0, -2))],
    "BroadcastTo": [((x[:, :1],), {"shape": (5, 2, 3, 4)}), ((np.array(0.5),), {"shape": (2, 2)})],
    "Concatenate": [((x, x[:, :1]), {"axis": 1}), ((x[..., :1], x, x[..., 2:]), {"axis": -1})],
    "Stack": [((x[0], x[1]), {"axis": axis}) for axis in (0, 1, -1)],
    "Pad": [((x,), {"widths": widths}) for widths in (1, (0, 2), [(0, 0), (1, 0), (2, 1)])],
}
