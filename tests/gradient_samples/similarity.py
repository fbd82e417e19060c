import numpy as np

from pysnnmed.losses.labels import SoftDice
from pysnnmed.losses.registration import LocalCorrelation, MeanSquaredError, Roughness

_rng = np.random.default_rng(12)


def _pair(*shape):
    return _rng.normal(size=shape), _rng.normal(size=shape)


SAMPLES = {
    LocalCorrelation.__name__: [
        (_pair(*shape), {"radius": radius, "squared": squared, "epsilon": 1e-3})
        for shape, radius in (((2, 1, 9), 2), ((1, 2, 6, 5), 1), ((1, 1, 5, 4, 6), 2))
        for squared in (True, False)
    ],
    MeanSquaredError.__name__: [(_pair(2, 3, 4), {})],
    SoftDice.__name__: [((_rng.random((2, 3, 4, 3)) + 0.1, _rng.random((2, 3, 4, 3)) + 0.1), {})],
    Roughness.__name__: [
        ((_rng.normal(size=(2, 2, 5, 4)),), {"terms": [(1.0, ((2, 1),)), (0.5, ((3, 2),)), (2.0, ((2, 2), (3, 2)))]}),
        ((_rng.normal(size=(1, 3, 4, 4, 5)),), {"terms": [(1.0, ((4, 1), (4, 1)))]}),
    ],
}
