import numpy as np

from pysnnmed.normalize import BatchNorm

_rng = np.random.default_rng(14)


def _sample(training):
    arrays = _rng.normal(size=(2, 3, 4, 5)), _rng.normal(size=3), _rng.normal(size=3)
    running = _rng.normal(size=3), _rng.uniform(0.5, 2, size=3)
    return arrays, {"running": running, "training": training, "momentum": 0.1, "epsilon": 1e-3}


SAMPLES = {BatchNorm.__name__: [_sample(training=True), _sample(training=False)]}
