"""The gradient of every registered Function agrees with central differences in float64."""

import pytest
from gradient_samples import SAMPLES

import pysnnmed.ops  # noqa: F401  registers the Functions
from pysnnmed import kernels
from pysnnmed.tensor import Function
from pysnnmed.testing import check_gradient

# Their backward is not the derivative of their forward: a surrogate stands in for the step. Tested in test_neurons.
SURROGATE = {"Spike", "SpikeSequence", "SegmentedSequence"}


def test_every_function_has_a_sample():
    assert set(Function.registry) - SURROGATE == set(SAMPLES)


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize(
    ("name", "arrays", "options"),
    [(name, arrays, options) for name, samples in SAMPLES.items() for arrays, options in samples],
)
def test_gradient_agrees_with_central_differences(name, arrays, options, backend):
    with kernels.use_backend(backend):
        check_gradient(Function.registry[name], arrays, options)
