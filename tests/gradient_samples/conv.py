"""Convolutions over 1 to 3 axes, with and without bias, strided, padded, dilated and grouped."""

import numpy as np

from pysnnmed.conv import Conv, ConvTranspose

_rng = np.random.default_rng(0)


def _arrays(*shapes):
    return tuple(_rng.normal(size=shape) for shape in shapes)


def _geometry(stride, padding, dilation, groups=1):
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


SAMPLES = {
    Conv.__name__: [
        (_arrays((2, 3, 9), (4, 3, 3), (4,)), _geometry((1,), (1,), (1,))),
        (_arrays((1, 2, 7, 6), (3, 2, 3, 2)), _geometry((2, 1), (1, 0), (1, 2))),
        (_arrays((1, 4, 5, 6), (6, 2, 2, 3), (6,)), _geometry((1, 2), (0, 1), (2, 1), groups=2)),
        (_arrays((1, 2, 4, 5, 6), (3, 2, 3, 3, 3), (3,)), _geometry((2, 2, 2), (1, 1, 1), (1, 1, 1))),
    ],
    ConvTranspose.__name__: [
        (_arrays((2, 3, 5), (3, 2, 3), (2,)), {"out_size": (5,), **_geometry((1,), (1,), (1,))}),
        (_arrays((1, 2, 3, 4), (2, 3, 2, 2)), {"out_size": (6, 8), **_geometry((2, 2), (0, 0), (1, 1))}),
        (
            _arrays((1, 4, 4, 3), (4, 1, 2, 3), (2,)),
            {"out_size": (5, 7), **_geometry((1, 2), (0, 0), (1, 1), groups=2)},
        ),
        (
            _arrays((1, 2, 2, 3, 2), (2, 2, 3, 2, 3), (2,)),
            {"out_size": (4, 4, 6), **_geometry((2, 1, 2), (1, 0, 1), (1, 1, 2))},
        ),
    ],
}
