"""The networks of SpikeReg: sizes, shapes, gradients, and the table they are built from."""

import numpy as np
import pytest

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.models.spikereg import FIELD, IMAGES, PRESETS, SpikeReg, SpikeRegConfig, Teacher, preset
from pysnnmed.tensor import Tensor, no_grad

CONFIGS = [
    SpikeRegConfig(encoder=(3, 4), decoder=(3, 2), average_skips=(0,)),
    SpikeRegConfig(encoder=(3, 4, 5), decoder=(4,), integration_steps=3, head_kernel=3),
    SpikeRegConfig(encoder=(3, 4), decoder=(4, 2), ndim=2, steps=2),
]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=["full", "quarter", "2-d"])
each_kind = pytest.mark.parametrize("kind", [Teacher, SpikeReg])


def images(rng, config, batch=2):
    shape = (batch, 1, *(config.shape_multiple * n for n in (1, 2, 3)[: config.ndim]))
    return [Tensor(rng.random(shape, dtype=np.float32)) for _ in range(2)]


def give_the_head_weights(network, rng):
    """Untrained heads are almost zero on purpose; tests of the geometry need a visible field."""
    network.head.weight.data = rng.normal(size=network.head.weight.shape).astype(np.float32)


# Parameters of the teacher, from the layer table of the paper's released configuration.
@pytest.mark.parametrize(("name", "n"), [("small", 1_702_067), ("tiny", 105_211), ("micro", 26_575)])
def test_presets_have_the_published_number_of_parameters(name, n, rng):
    assert Teacher(preset(name), rng).n_parameters == n


def test_an_unknown_preset_is_refused():
    with pytest.raises(ParameterError, match=r"'huge'.*tiny"):
        preset("huge")


@each_kind
@each_config
def test_output_is_a_displacement_on_the_images(kind, config, rng):
    fixed, moving = images(rng, config)
    with no_grad():
        out = kind(config, rng)(fixed, moving)
    assert out.shape == (2, config.ndim, *fixed.shape[2:])
    assert out.dtype == np.float32
    assert np.abs(out.data).max() < 1e-2  # training starts at the identity


@each_kind
@each_config
def test_observers_see_every_layer_of_the_table_in_order(kind, config, rng):
    fixed, moving = images(rng, config)
    seen = {}
    with no_grad():
        kind(config, rng)(fixed, moving, observe=seen.__setitem__)
    assert list(seen) == [*(layer.name for layer in config.layers()), FIELD]
    time = (config.steps,) if kind is SpikeReg else ()
    for layer in config.layers():
        assert seen[layer.name].shape[: len(time) + 2] == (*time, 2, layer.out_channels)


@each_config
def test_every_layer_comes_after_its_sources(config):
    known = {IMAGES}
    for layer in config.layers():
        assert set(layer.sources) <= known
        known.add(layer.name)
    assert set(config.channels()) == known


@each_config
def test_spiking_layers_emit_only_zeros_and_ones(config, rng):
    seen = {}
    with no_grad():
        SpikeReg(config, rng)(*images(rng, config), observe=seen.__setitem__)
    del seen[FIELD]
    assert all(np.isin(s.data, (0, 1)).all() for s in seen.values())


@each_kind
@each_config
def test_every_parameter_gets_a_gradient(kind, config, rng):
    network = kind(config, rng)
    give_the_head_weights(network, rng)
    out = network(*images(rng, config))
    (out * out).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert np.isfinite(parameter.grad).all(), name
        if kind is Teacher and not name.endswith("conv.bias"):  # batch norm takes away what the bias adds
            assert parameter.grad.any(), name


@each_kind
def test_batch_companions_do_not_matter(kind, rng):
    config = CONFIGS[0]
    network = kind(config, rng)
    network.eval()
    give_the_head_weights(network, rng)
    fixed, moving = images(rng, config)
    with no_grad():
        together = network(fixed, moving).data
        alone = network(Tensor(fixed.data[:1]), Tensor(moving.data[:1])).data
    np.testing.assert_allclose(alone, together[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("reset", "counts"), [("soft", [2, 3, 4, 5]), ("hard", [2, 3, 3, 5])])
def test_the_configuration_says_what_a_spike_leaves_behind(reset, counts, rng):
    """Constant currents over 5 steps: subtraction keeps what is above the threshold, a hard reset loses it."""
    config = SpikeRegConfig(encoder=(3,), decoder=(2,), steps=5, reset=reset)
    network = SpikeReg(config, rng)
    current = np.array([0.375, 0.625, 0.75, 1.0], np.float32).reshape(1, 4, 1, 1, 1)
    for layer in config.layers():
        spikes = network.unit(layer.name).neuron(Tensor(current), steps=5)
        assert spikes.data.sum(axis=0).ravel().tolist() == counts


def test_decoder_depth_sets_the_resolution_of_the_head():
    assert [c.head_stride for c in CONFIGS] == [1, 4, 1]
    assert PRESETS["tiny"].head_stride == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder": ()},
        {"average_skips": (0,), "decoder": (9, 8, 8)},
        {"average_skips": (2,)},
        {"decoder": (1, 2, 3, 4)},
        {"steps": 0},
        {"ndim": 4},
        {"head_kernel": 2},
        {"encoder": (0, 2, 3)},
        {"reset": "none"},
    ],
)
def test_impossible_configurations_are_refused(wrong):
    with pytest.raises(ParameterError, match="SpikeRegConfig"):
        SpikeRegConfig(**wrong)


@each_kind
@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 6), (1, 2, 8, 8, 8), (1, 1, 8, 8), (1, 1, 0, 8, 8)])
def test_wrong_images_are_named(kind, shape, rng):
    network = kind(CONFIGS[0], rng)
    good = Tensor(np.zeros((1, 1, 8, 8, 8), np.float32))
    with pytest.raises(ShapeError, match=r"moving image.*pad it"):
        network(good, Tensor(np.zeros(shape, np.float32)))


def test_two_shapes_are_refused(rng):
    with pytest.raises(ShapeError, match="one shape"):
        Teacher(CONFIGS[0], rng)(*(Tensor(np.zeros((1, 1, n, 4, 4), np.float32)) for n in (4, 8)))
