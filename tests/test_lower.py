"""Programs compute what the networks compute: spike for spike on dyadic numbers, and the same counts."""

import sys

sys.path.insert(0, "/tmp")
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import evaluate

from pysnnmed import kernels
from pysnnmed.deploy.lower import WEIGHTS, lower
from pysnnmed.deploy.pretrained import load_model
from pysnnmed.errors import ParameterError, ProgramError
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig, Teacher
from pysnnmed.neurons import IF, ILIF, LIF, NILIF, BoundedILIF, CurrentLIF, SnnTorchLeaky, TernaryLIF
from pysnnmed.nn import Conv, ConvTranspose, Spiking, over_time
from pysnnmed.registration import predict
from pysnnmed.tensor import Tensor, no_grad

GRID = 2.0**-6  # of the weights: every sum is exact in float32, in any order
SHADES = 16  # of the images


def dyadic(rng, shape, spread=24):
    """Whole multiples of GRID, at most 127 of them."""
    return (np.rint(rng.normal(size=shape) * spread).clip(-127, 127) * GRID).astype(np.float32)


def images(rng, shape):
    return [(rng.integers(0, SHADES + 1, shape) / SHADES).astype(np.float32) for _ in range(2)]


def on_the_grid(network, rng):
    """Give a network weights whose sums are exact, and biases that make it fire."""
    for _, parameter in network.named_parameters():
        if parameter.ndim:
            parameter.data = dyadic(rng, parameter.shape, spread=8 if parameter.ndim > 2 else 24)
    return network


@st.composite
def configs(draw):
    widths = st.integers(1, 5)
    encoder = tuple(draw(st.lists(widths, min_size=1, max_size=2)))
    decoder = tuple(draw(st.lists(widths, min_size=1, max_size=len(encoder))))
    average = ()
    if len(encoder) == 2 and draw(st.booleans()):
        decoder, average = (encoder[0], *decoder[1:]), (0,)
    return SpikeRegConfig(
        encoder=encoder,
        decoder=decoder,
        average_skips=average,
        ndim=draw(st.sampled_from([2, 3])),
        steps=draw(st.sampled_from([1, 2, 4])),
        integration_steps=draw(st.sampled_from([0, 2])),
        head_kernel=draw(st.sampled_from([1, 3])),
        displacement_scale=draw(st.sampled_from([1.0, 2.0])),
        leak=draw(st.sampled_from([1.0, 0.5])),
    )


halves = st.sampled_from([0.0, 0.5, 1.0])
shared = {
    "v_threshold": st.sampled_from([0.5, 1.0, 0.75]),
    "reset": st.sampled_from(["soft", "hard", "none"]),
    "amount": st.sampled_from([None, 0.25]),
    "v_reset": st.sampled_from([0.0, -0.25]),
    "v_initial": halves,
    "gain": st.sampled_from([1.0, 0.5, -1.0]),
    "bias": st.sampled_from([0.0, 0.125]),
}
binary = {**shared, "tie": st.sampled_from([">=", ">"])}
counting = {
    **shared,
    "beta": halves,
    "levels": st.sampled_from([1, 2, 4]),
    "rounding": st.sampled_from(["half_up", "half_even", "floor"]),
}
dyadic_neurons = st.one_of(
    st.builds(IF, **binary),
    st.builds(LIF, beta=halves, **binary),
    st.builds(ILIF, **counting),
    st.builds(NILIF, **counting),
)


@given(config=configs(), neurons=st.none() | st.lists(dyadic_neurons, min_size=1, max_size=3), seed=st.integers(0, 999))
def test_spikes_of_dyadic_networks_are_equal(config, neurons, seed):
    rng = np.random.default_rng(seed)
    network = on_the_grid(SpikeReg(config, rng), rng)
    units = [network.unit(layer.name) for layer in config.layers()]
    for i, unit in enumerate(units if neurons else []):
        unit.neuron = Spiking(neurons[i % len(neurons)])
    fixed, moving = images(rng, [config.shape_multiple * n for n in (2, 1, 3)[: config.ndim]])
    seen = {}
    with no_grad():
        network(Tensor(fixed[None, None]), Tensor(moving[None, None]), observe=seen.__setitem__)
    for weights in WEIGHTS:
        out, spikes = evaluate(lower(network, weights), {"fixed": fixed[None], "moving": moving[None]})
        for layer, unit in zip(config.layers(), units, strict=True):
            expected = seen[layer.name].data[:, 0] / unit.neuron.neuron.unit
            np.testing.assert_array_equal(spikes[layer.name], expected, err_msg=f"{weights} {layer.name}")
