"""Conversion: percentiles, folding and rescaling are exact; rates follow activations as far as T allows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.convert import PercentileSketch, calibrate, convert, transfer
from pysnnmed.errors import ParameterError
from pysnnmed.models.spikereg import FIELD, SpikeReg, SpikeRegConfig, Teacher
from pysnnmed.tensor import Tensor, no_grad

CONFIG = SpikeRegConfig(encoder=(4, 6, 8), decoder=(6, 4, 3), average_skips=(1,), steps=4, head_kernel=3)


@pytest.fixture
def teacher(rng):
    """A teacher with lively statistics in its batch norms and a visible head."""
    network = Teacher(CONFIG, rng)
    for name, array in network.state_dict().items():
        if "norm" in name:
            array[...] = rng.uniform(0.3, 1.2, array.shape)
    state = {
        k: v + rng.normal(0, 0.05, v.shape).astype(v.dtype) * ("norm" in k) for k, v in network.state_dict().items()
    }
    state["head.weight"] = rng.normal(0, 0.3, state["head.weight"].shape).astype(np.float32)
    network.load_state_dict(state)
    network.eval()
    return network


@pytest.fixture
def examples(rng):
    return [tuple(Tensor(rng.random((1, 1, 8, 16, 8), dtype=np.float32)) for _ in range(2)) for _ in range(3)]


@given(
    seed=st.integers(0, 1000),
    p=st.floats(1, 100),
    n=st.integers(1, 500),
    batches=st.integers(1, 4),
)
def test_the_sketch_is_the_percentile_of_the_positive_values(seed, p, n, batches):
    values = np.random.default_rng(seed).normal(size=n).astype(np.float32)
    sketch = PercentileSketch()
    parts = np.array_split(values, batches)
    for part in parts:
        sketch.widen(part)
    for part in reversed(parts):
        sketch.count(part)
    positive = np.sort(values[values > 0])
    if positive.size == 0:
        assert sketch.percentile(p) == 1.0
        return
    exact = positive[min(int(np.ceil(p / 100 * positive.size)), positive.size) - 1]
    assert abs(sketch.percentile(p) - exact) <= 2 * sketch.maximum / sketch.BINS


def test_order_of_examples_does_not_matter(teacher, examples):
    assert calibrate(teacher, examples) == calibrate(teacher, examples[::-1])


def test_rescaled_weights_compute_the_teacher_in_units_of_lambda(teacher, examples, rng):
    scales = calibrate(teacher, examples, 99)
    spiking = SpikeReg(CONFIG, rng)
    transfer(teacher, spiking, scales)
    analog = Teacher(CONFIG, rng)  # its norms are the identity up to epsilon
    for layer in CONFIG.layers():
        analog.unit(layer.name).conv = spiking.unit(layer.name).conv
        analog.unit(layer.name).norm.epsilon = 1e-12
    analog.head = spiking.head
    analog.eval()
    seen, want = {}, {}
    with no_grad():
        analog(*examples[0], observe=seen.__setitem__)
        teacher(*examples[0], observe=want.__setitem__)
    for name, scale in scales.items():
        np.testing.assert_allclose(seen[name].data * scale, want[name].data, rtol=2e-3, atol=2e-4 * scale)
    np.testing.assert_allclose(seen[FIELD].data, want[FIELD].data, rtol=2e-3, atol=1e-3)


def test_error_shrinks_with_the_number_of_steps(teacher, examples, rng):
    errors = []
    for steps in (2, 8, 32):
        config = SpikeRegConfig(**{**CONFIG.to_dict(), "steps": steps})
        network = Teacher(config, rng)
        network.load_state_dict(teacher.state_dict())
        network.eval()
        report = convert(network, SpikeReg(config, rng), examples, percentile=100)
        errors.append(np.mean([layer.error for layer in report]))
        assert all(layer.saturated < 1e-3 for layer in report)
        assert all(0 <= layer.rate <= 1 for layer in report)
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


def test_the_first_layer_errs_by_at_most_half_a_level(teacher, examples, rng):
    spiking = SpikeReg(CONFIG, rng)
    scales = calibrate(teacher, examples, 99)
    transfer(teacher, spiking, scales)
    a, s = {}, {}
    with no_grad():
        teacher(*examples[0], observe=a.__setitem__)
        spiking(*examples[0], observe=s.__setitem__)
    name = "encoder.0.conv1"
    want = np.clip(a[name].data / scales[name], 0, 1)
    assert np.abs(s[name].data.mean(axis=0) - want).max() <= 1 / (2 * CONFIG.steps) + 1e-4


def test_bad_requests_are_refused(teacher, examples, rng):
    with pytest.raises(ParameterError, match="percentile"):
        calibrate(teacher, examples, 0)
    with pytest.raises(ParameterError, match="at least one example"):
        calibrate(teacher, [])
    with pytest.raises(ParameterError, match="one configuration"):
        convert(teacher, SpikeReg(SpikeRegConfig(encoder=(4,), decoder=(4,)), rng), examples)
