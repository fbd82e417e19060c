"""Displacements whose fractions stay in [0.2, 0.8], so that no position is near a kink; some lie outside the grid."""

import numpy as np

from pysnnmed.warp import Compose, ScalingAndSquaring, Warp

_rng = np.random.default_rng(11)


def _field(batch, shape, reach):
    n = len(shape)
    return _rng.integers(-reach, reach, (batch, n, *shape)) + _rng.uniform(0.2, 0.8, (batch, n, *shape))


def _warp(batch, channels, shape):
    return (_rng.normal(size=(batch, channels, *shape)), _field(batch, shape, 2)), {}


def _velocity(shape, steps):
    """Constant apart from a small ripple: every intermediate field keeps its positions away from the grid points."""
    return (0.3 * 2.0**-3 * 2**steps + 1e-3 * _rng.normal(size=(1, len(shape), *shape)),), {"steps": steps}


SAMPLES = {
    Warp.__name__: [_warp(2, 3, (7,)), _warp(1, 2, (4, 5)), _warp(2, 1, (3, 4, 5)), _warp(1, 1, (1, 4, 3))],
    Compose.__name__: [((_rng.normal(size=(1, 2, 4, 5)), _field(1, (4, 5), 2)), {})],
    ScalingAndSquaring.__name__: [
        _velocity((5, 6), 2),
        _velocity((4, 4, 4), 1),
        ((_rng.normal(size=(1, 1, 5)),), {"steps": 0}),
    ],
}
