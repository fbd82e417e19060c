"""The published strategies draw valid objects, and hypothesis finds them by type."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.neurons import IF, LIF, run
from pysnnmed.tensor import Tensor
from pysnnmed.testing import _register

_register()  # what the entry point does where the package is installed


@given(neuron=st.from_type(LIF) | st.from_type(IF))
def test_drawn_neurons_run(neuron):
    spikes, _ = run(neuron, Tensor(np.linspace(-1, 2, 12).reshape(4, 3)))
    assert np.isin(spikes.data, (0, 1)).all()
