"""Layers: against their defining formulas, folding of batch normalisation, learnt neurons, sentences of errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor
from pysnnmed.conv import conv, conv_transpose
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.losses.spikes import spike_rate_penalty
from pysnnmed.neurons import IF, LIF, run
from pysnnmed.nn import BatchNorm, Conv, ConvTranspose, Linear, Spiking, Upsample, fold_batch_norm, init, over_time

seeds = st.integers(0, 2**32 - 1)


def test_linear_is_a_matrix_on_the_last_axis(rng):
    layer = Linear(3, 2, rng=rng).astype(np.float64)
    layer.bias.data = np.array([1.0, -1.0])
    x = Tensor(rng.normal(size=(4, 5, 3)), requires_grad=True)
    out = layer(x)
    expected = np.einsum("abi,oi->abo", x.data, layer.weight.data) + layer.bias.data
    np.testing.assert_allclose(out.data, expected, rtol=1e-12)
    out.sum().backward()
    np.testing.assert_allclose(layer.weight.grad, np.tile(x.data.sum(axis=(0, 1)), (2, 1)), rtol=1e-13)
    np.testing.assert_array_equal(layer.bias.grad, [20, 20])
    assert Linear(3, 2, bias=False, rng=rng).bias is None


def test_convolution_layers_pass_their_settings_on(rng):
    x = Tensor(rng.normal(size=(2, 4, 7, 6)).astype(np.float32))
    layer = Conv(2, 4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, rng=rng)
    expected = conv(x, layer.weight, layer.bias, (2, 1), (1, 0), (1, 2), 2)
    np.testing.assert_array_equal(layer(x).data, expected.data)
    layer = ConvTranspose(2, 4, 6, 3, stride=2, padding=1, output_padding=(1, 0), groups=2, bias=False, rng=rng)
    expected = conv_transpose(x, layer.weight, None, 2, 1, (1, 0), 1, 2)
    np.testing.assert_array_equal(layer(x).data, expected.data)
    assert layer.weight.shape == (4, 3, 3, 3)


def test_batch_norm_learns_and_then_uses_its_statistics(rng):
    norm = BatchNorm(3)
    x = rng.normal(2, 3, (16, 3, 5, 5)).astype(np.float32)
    out = norm(Tensor(x)).data
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), 1, atol=1e-3)
    np.testing.assert_allclose(norm.running_mean.data, 0.1 * x.mean(axis=(0, 2, 3)), rtol=1e-4)
    before = norm.eval().state_dict()
    out = norm(Tensor(x)).data
    mean, variance = norm.running_mean.data.reshape(3, 1, 1), norm.running_variance.data.reshape(3, 1, 1)
    np.testing.assert_allclose(out, (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-5)
    for path, array in norm.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@given(seed=seeds, groups=st.sampled_from([1, 2]), bias=st.booleans())
def test_a_folded_norm_computes_the_same(layer, ndim, seed, groups, bias):
    rng = np.random.default_rng(seed)
    convolution = layer(ndim, 4, 6, 3, stride=2, padding=1, groups=groups, bias=bias, rng=rng).astype(np.float64)
    norm = BatchNorm(6).astype(np.float64).eval()
    for path, array in norm.state_dict().items():
        norm.load_state_dict(norm.state_dict() | {path: rng.uniform(0.2, 2, array.shape)})
    if bias:
        convolution.bias.data = rng.normal(size=6)
    before = convolution.state_dict()
    folded = fold_batch_norm(convolution, norm)
    x = Tensor(rng.normal(size=(2, 4, *[5] * ndim)))
    np.testing.assert_allclose(folded(x).data, norm(convolution(x)).data, rtol=1e-10, atol=1e-10)
    assert type(folded) is layer
    for path, array in convolution.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def test_upsample_multiplies_every_axis(rng):
    x = rng.normal(size=(1, 2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(Upsample(2)(Tensor(x)).data, x.repeat(2, axis=2).repeat(2, axis=3))
    assert Upsample(2, "linear")(Tensor(x)).shape == (1, 2, 6, 8)


# ------------------------------------------------------------------------------------------------ over time


def test_spiking_runs_its_neuron(rng):
    x = Tensor(rng.normal(size=(5, 2, 3, 4)).astype(np.float32))
    neuron = LIF(reset="hard")
    np.testing.assert_array_equal(Spiking(neuron)(x).data, run(neuron, x)[0].data)
    np.testing.assert_array_equal(Spiking(neuron)(x[0], steps=4).data, run(neuron, x[0], steps=4)[0].data)


@given(beta=st.floats(0.001, 0.999), threshold=st.floats(0.01, 50))
def test_learnt_parameters_start_where_the_neuron_stands(beta, threshold):
    layer = Spiking(LIF(beta, threshold), learn_leak=True, learn_threshold=True).astype(np.float32)
    neuron = layer.current_neuron()
    assert neuron.beta.item() == pytest.approx(beta, abs=1e-6)
    assert neuron.v_threshold.item() == pytest.approx(threshold, rel=1e-4)
    assert neuron.beta.dtype == neuron.v_threshold.dtype == np.float32


def test_the_ends_of_the_leak_are_kept_unless_learnt():
    assert Spiking(LIF(beta=1.0)).current_neuron().beta == 1
    assert Spiking(LIF(beta=1.0), learn_leak=True).current_neuron().beta.item() == pytest.approx(0.999)
    assert Spiking(LIF(beta=0.0), learn_leak=True).current_neuron().beta.item() == pytest.approx(0.001)


@given(leak=st.floats(-80, 80), raw=st.floats(-80, 80))
def test_learnt_parameters_stay_valid_wherever_the_optimiser_goes(leak, raw):
    layer = Spiking(learn_leak=True, learn_threshold=True)
    layer.leak_logit.data = np.float32(leak)
    layer.threshold_raw.data = np.float32(raw)
    neuron = layer.current_neuron()  # would raise for beta outside [0, 1] or a threshold that is not positive
    assert neuron.v_threshold.item() >= 1e-3


def test_learnt_parameters_receive_gradients(rng):
    layer = Spiking(learn_leak=True, learn_threshold=True)
    x = Tensor(rng.normal(0.5, 1, (4, 2, 3)).astype(np.float32))
    layer(x).mean().backward()
    assert layer.leak_logit.grad.shape == layer.threshold_raw.grad.shape == ()
    assert layer.threshold_raw.grad < 0  # a higher threshold gives fewer spikes
    assert repr(layer).endswith("learnt beta 0.5, learnt v_threshold 1)")


def test_over_time_applies_a_layer_at_every_step(rng):
    layer = Conv(2, 3, 4, 3, padding=1, rng=rng)
    x = Tensor(rng.normal(size=(3, 2, 3, 5, 5)).astype(np.float32), requires_grad=True)
    out = over_time(layer, x)
    for t in range(3):
        np.testing.assert_allclose(out.data[t], layer(x[t]).data, rtol=1e-5, atol=1e-5)
    out.sum().backward()
    assert x.grad.shape == x.shape


# ------------------------------------------------------------------------------------------------ initial values


@pytest.mark.parametrize(
    ("draw", "deviation"),
    [
        (init.he_normal, np.sqrt(2 / 72)),
        (init.he_uniform, np.sqrt(2 / 72)),
        (init.xavier_normal, np.sqrt(2 / (72 + 576))),
        (init.xavier_uniform, np.sqrt(2 / (72 + 576))),
        (init.normal(1e-5), 1e-5),
    ],
)
def test_initial_weights_have_their_spread(draw, deviation, rng):
    values = draw((64, 8, 3, 3), rng)
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(deviation, rel=0.03)
    assert abs(values.mean()) < 0.05 * deviation
    np.testing.assert_array_equal(values, draw((64, 8, 3, 3), np.random.default_rng(0)))


def test_a_strided_transposed_convolution_keeps_the_variance(rng):
    layer = ConvTranspose(2, 32, 16, 4, stride=2, padding=1, rng=rng)
    out = layer(Tensor(rng.normal(size=(2, 32, 12, 12)).astype(np.float32))).data[:, :, 2:-2, 2:-2]
    assert out.var() == pytest.approx(2, rel=0.2)  # He: variance 2, which a ReLU halves in mean square
    assert not init.zeros((2, 3)).any()


# ------------------------------------------------------------------------------------------------ errors


WRONG = {
    "Conv: ndim must be 1, 2 or 3, not 4": lambda rng: Conv(4, 2, 2, 3, rng=rng),
    "Conv: groups must divide the 3 input and 4 output channels, not 2": lambda rng: Conv(
        2, 3, 4, 3, groups=2, rng=rng
    ),
    "Conv: kernel_size must be one number or 2, one per spatial axis, each whole and at least 1, not (3, 3, 3)": (
        lambda rng: Conv(2, 2, 2, (3, 3, 3), rng=rng)
    ),
    "ConvTranspose: padding must be one number or 1, one per spatial axis, each whole and at least 0, not -1": (
        lambda rng: ConvTranspose(1, 2, 2, 3, padding=-1, rng=rng)
    ),
    "Upsample: factor must be at least 1, not 0": lambda rng: Upsample(0),
    "Upsample: mode must be 'nearest' or 'linear', not 'cubic'": lambda rng: Upsample(2, "cubic"),
    "Spiking: IF has no beta to learn; use a neuron with this parameter, such as LIF": (
        lambda rng: Spiking(IF(), learn_leak=True)
    ),
    "Spiking: a learnt v_threshold must start above 0.001, not at 0.0001": (
        lambda rng: Spiking(LIF(v_threshold=1e-4), learn_threshold=True)
    ),
    "spike_rate_penalty: rates must hold the spike rate of at least one layer, not nothing": (
        lambda rng: spike_rate_penalty([])
    ),
}


@pytest.mark.parametrize(("sentence", "make"), WRONG.items())
def test_wrong_settings_are_named(sentence, make, rng):
    with pytest.raises(ParameterError) as error:
        make(rng)
    assert str(error.value) == sentence


def test_wrong_shapes_name_the_layer_and_its_place(rng):
    layer = Conv(3, 4, 2, 3, rng=rng)
    layer.name = "encoder.0"
    with pytest.raises(ShapeError) as error:
        layer(Tensor(np.zeros((2, 3, 8, 8, 8), np.float32)))
    assert str(error.value) == "encoder.0: expected x of shape [B, C=4, 3 spatial axes], got (2, 3, 8, 8, 8)"
    with pytest.raises(ShapeError, match=r"Linear: expected x of shape \[..., 3\], got \(2, 4\)"):
        Linear(3, 2, rng=rng)(Tensor(np.zeros((2, 4))))
    with pytest.raises(ShapeError, match=r"BatchNorm: expected x of shape \[B, C=3, \*S\], got \(2, 4\)"):
        BatchNorm(3)(Tensor(np.zeros((2, 4))))
    with pytest.raises(ShapeError, match=r"over_time: expected x of shape \[T, B, ...\], got \(4,\)"):
        over_time(lambda x: x, Tensor(np.zeros(4)))
    with pytest.raises(ShapeError, match=r"fold_batch_norm: BatchNorm has 3 channels, encoder.0 has 2 outputs"):
        fold_batch_norm(layer, BatchNorm(3))


def test_spike_rate_penalty_is_its_formula():
    rates = [Tensor(np.array(r), requires_grad=True) for r in (0.1, 0.3)]
    loss = spike_rate_penalty(rates, target=0.2, l1=0.5, l2=3.0)
    assert loss.item() == pytest.approx(0.5 * 0.4 + 3 * (0.01 + 0.01))
    loss.backward()
    assert rates[0].grad == pytest.approx(0.5 + 6 * -0.1)
