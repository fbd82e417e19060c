"""Images whose elements are all different by far more than the step of the check, so that no maximum changes."""

import numpy as np

from pysnnmed.resample import AvgPool, MaxPool, UpsampleLinear, UpsampleNearest

_rng = np.random.default_rng(13)
_WINDOWS = [
    ((2, 3, 7), {"kernel": (3,), "stride": (2,), "padding": (1,)}),
    ((1, 2, 6, 5), {"kernel": (2, 3), "stride": (2, 1), "padding": (0, 1)}),
    ((1, 1, 4, 5, 4), {"kernel": (2, 2, 2), "stride": (2, 2, 2), "padding": (0, 0, 1)}),
]


def _distinct(shape):
    return _rng.permutation(int(np.prod(shape))).reshape(shape) / 7.0


SAMPLES = {
    MaxPool.__name__: [((_distinct(shape),), options) for shape, options in _WINDOWS],
    AvgPool.__name__: [((_distinct(shape),), options) for shape, options in _WINDOWS],
    UpsampleNearest.__name__: [((_distinct((2, 1, 3, 2)),), {"factors": (2, 3)})],
    UpsampleLinear.__name__: [
        ((_distinct((1, 2, 4, 3)),), {"shape": (7, 5), "align_corners": align_corners})
        for align_corners in (True, False)
    ],
}
