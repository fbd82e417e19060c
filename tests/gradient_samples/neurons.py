"""Gradient samples of neurons. Spikes have none: a surrogate stands in for their derivative (see test_neurons)."""

from types import SimpleNamespace

import numpy as np

from pysnnmed.neurons.fused import FinalState

_rng = np.random.default_rng(0)

SAMPLES = {
    # its gradient leaves through `final`, not through the spikes, on which the final state does not depend
    FinalState.__name__: [
        (
            [_rng.normal(size=(3, 2, 4))],
            {"final": SimpleNamespace(values=[_rng.normal(size=(2, 4))], grads={}), "index": 0},
        )
    ],
}
