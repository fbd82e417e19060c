"""Presets equal the simulators they are named after, in recorded spikes, membranes and gradients."""

import math

import numpy as np
import pytest

from pysnnmed import Tensor
from pysnnmed.errors import ParameterError
from pysnnmed.neurons import ILIF, LIF, PRESETS, Neuron, preset, run, unroll
from pysnnmed.surrogate import ATan

TAU = 3.476059496782207  # of the sinabs recordings: exp(-1 / TAU) = 0.75


def fast_sigmoid(z):
    return 1 / np.square(1 + 5 * np.abs(z))


def jelly(**parameters):
    return preset("spikingjelly_lif", surrogate=ATan(2), **parameters)


def leaky(*, surrogate=fast_sigmoid, **parameters):
    return preset("snntorch_leaky", beta=0.75, surrogate=surrogate, **parameters)


def sinabs(**parameters):
    return preset("sinabs_lif", tau_mem=TAU, **parameters)


FLOAT32 = 5e-7  # the tolerance of gradients where the simulator computes them in float32
# recording: (neuron, factor its input was recorded with, membrane it returns, tolerance of the gradient)
RECORDED = {
    "sj_lif_tau2_di_hard": (jelly(), 1, "v", 1e-10),
    "sj_lif_tau2_di_hard_detach": (jelly(detach_reset=True), 1, "v", 1e-10),
    "sj_lif_tau2_nodi_hard": (jelly(decay_input=False), 1, "v", 1e-10),
    "sj_lif_tau2_nodi_soft": (jelly(decay_input=False, v_reset=None), 1, "v", 1e-10),
    "sj_lif_tau2_nodi_soft_detach": (jelly(decay_input=False, v_reset=None, detach_reset=True), 1, "v", 1e-10),
    "sj_lif_tau4_di_vreset_m025": (jelly(tau=4.0, v_reset=-0.25), 1, "v", 1e-10),
    "sj_lif_tau2_nodi_soft_th05": (jelly(decay_input=False, v_reset=None, v_threshold=0.5), 1, "v", 1e-10),
    "sj_if_hard": (preset("spikingjelly_if"), 1, "v", 1e-10),
    "sj_if_soft": (preset("spikingjelly_if", v_reset=None), 1, "v", 1e-10),
    "sj_ilif_D4": (preset("i_lif", detach_reset=False), 1, "v", 1e-10),
    "sj_ilif_D4_detach": (preset("i_lif"), 1, "v", 1e-10),
    "snn_leaky_subtract": (leaky(), 1, "h", 1e-10),
    "snn_leaky_zero": (leaky(reset_mechanism="zero"), 1, "h", 1e-10),
    "snn_leaky_none": (leaky(reset_mechanism="none"), 1, "h", 1e-10),
    "snn_leaky_subtract_nodelay": (leaky(reset_delay=False), 1, "v", FLOAT32),
    "snn_leaky_zero_nodelay": (leaky(reset_mechanism="zero", reset_delay=False), 1, "v", FLOAT32),
    "snn_leaky_subtract_atan": (leaky(surrogate=None), 1, "h", 1e-10),
    "snn_synaptic_subtract": (preset("snntorch_synaptic", beta=0.75, surrogate=fast_sigmoid), 1, "h", 1e-10),
    "norse_lifbox_value": (preset("norse_lif_box", tau_mem_inv=250), 4, "v", 1e-10),
    "norse_lifbox_subtract": (preset("norse_lif_box", tau_mem_inv=250, reset="subtract"), 4, "v", 1e-10),
    "norse_lif_ff": (preset("norse_lif", tau_syn_inv=500, tau_mem_inv=250), 2, "v", 1e-10),
    "norse_lif_rec_w0": (preset("norse_lif", tau_syn_inv=500, tau_mem_inv=250, recurrent=True), 2, "v", 1e-10),
    "norse_iaf": (preset("norse_iaf"), 1, "v", 1e-10),
    "sinabs_lif_single_nonorm": (sinabs(multiple=False, norm_input=False), 1, "v", FLOAT32),
    "sinabs_lif_multi_nonorm": (sinabs(norm_input=False), 1, "v", FLOAT32),
    "sinabs_lif_multi_norm": (sinabs(), 1, "v", FLOAT32),
    "sinabs_iaf_multi_min-1": (preset("sinabs_iaf", min_v_mem=-1.0), 1, "v", FLOAT32),
}
SYNAPTIC_CURRENT = {"snn_synaptic_subtract": 1.0, "norse_lif_ff": 0.5}  # what ours is multiplied with: Norse's decayed


def test_every_recording_is_reproduced(golden):
    with np.load(golden / "golden_neurons.npz") as recorded:
        assert set(RECORDED) == {name.split("/")[0] for name in recorded if name.endswith("/dX") and "surr" not in name}


@pytest.mark.parametrize("runner", [unroll, run])
@pytest.mark.parametrize("name", RECORDED)
def test_equals_the_recorded_simulator(name, runner, golden):
    neuron, factor, kind, tolerance = RECORDED[name]
    with np.load(golden / "golden_neurons.npz") as recorded:
        x = Tensor(recorded["X"], requires_grad=True)
        state, total, spikes, membranes, currents = neuron.init(x[0]), 0.0, [], [], []
        for t in range(len(x)):
            h = neuron.charge(x[t] * factor, state)
            s, state = runner(neuron, x[t : t + 1] * factor, state)
            membrane = h if kind == "h" else state.v
            total = total + (s[0] * recorded["wS"][t]).sum() + (membrane * recorded["wM"][t]).sum()
            spikes.append(s.data[0])
            membranes.append(membrane.data)
            currents.append(state[0].data)
        total.backward()
        np.testing.assert_array_equal(spikes, recorded[f"{name}/S"])
        np.testing.assert_allclose(membranes, recorded[f"{name}/M"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(x.grad, recorded[f"{name}/dX"], rtol=0, atol=tolerance)
        if name in SYNAPTIC_CURRENT:
            scaled = np.array(currents) * SYNAPTIC_CURRENT[name]
            np.testing.assert_allclose(scaled, recorded[f"{name}/I"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("nir")])
def test_every_preset_is_a_neuron_that_runs(name, rng):
    neuron = preset(name)
    spikes, _ = run(neuron, rng.normal(0.4, 0.8, (4, 3)))
    assert isinstance(neuron, Neuron)
    assert spikes.shape == (4, 3)
    assert PRESETS[name].__doc__


def test_stateless_spike2former_is_a_quantiser():
    x = np.array([[-1.0, 0.5, 1.5, 2.6, 9.0]]).repeat(2, axis=0)
    spikes, _ = run(preset("spike2former", levels=4, stateless=True), x)
    np.testing.assert_array_equal(spikes.data, np.rint(np.clip(x, 0, 4)) / 4)


def test_medspikeformer_code_is_another_neuron_than_its_equations(rng):
    x = rng.normal(0.6, 0.8, (4, 10_000))
    of_code, of_paper = (run(preset(name), x)[0].data for name in ("medspikeformer_code", "medspikeformer"))
    assert of_code.mean() < 0.15 < 0.35 < of_paper.mean()


def test_unknown_names_and_parameters_are_named():
    with pytest.raises(ParameterError, match=r"the name must be one of i_lif, .*, not 'lif'"):
        preset("lif")
    with pytest.raises(ParameterError, match=r"preset i_lif: .*'D'.*; help"):
        preset("i_lif", D=4)
    with pytest.raises(ParameterError, match="reset_mechanism must be 'subtract', 'zero' or 'none', not 'soft'"):
        preset("snntorch_leaky", reset_mechanism="soft")
    with pytest.raises(ParameterError, match=r"beta must be in \(0, 1\] for a delayed reset, not 0"):
        preset("snntorch_leaky", beta=0)
    assert isinstance(preset("sinabs_iaf", multiple=False, min_v_mem=-0.5), ILIF)
    assert math.isclose(preset("snntorch_leaky", beta=0.75).amount, 4 / 3)


# ------------------------------------------------------------------------------------------------ NIR traces

NIR = {"tau": 2.5e-3, "dt": 1e-4, "v_threshold": 0.1}
EULER, EXACT, DECAY = preset("nir_lif", **NIR), preset("nir_lif", **NIR, exact=True), math.exp(-0.04)
BETWEEN = LIF(DECAY, 0.1, gain=0.04)  # decays exactly, charges as Euler
# simulator: (neuron, factor of its membrane, steps its spikes and its membrane come later, membrane, tolerance).
# The exact solution resets within a step; lava starts one step later; spyx resets and fires one step later; nengo,
# snnTorch and SpiNNaker2 have other units; lava's fixed point and SpiNNaker2 round
SIMULATORS = {
    "exact": (LIF(DECAY, 0.1, gain=1 - DECAY), 1, (0, 0), "v", 6.3e-4),
    "lava_cpu_float": (EULER, 1, (1, 1), "v", 1e-7),
    "lava_cpu_fixed": (EULER, 16_000, (1, 1), "v", 15),
    "lava_loihi_fixed": (EULER, 16_000, (1, 1), "v", 129),  # reads 128 at a spike
    "nengo": (EXACT, 10, (0, 0), "v", 1e-7),
    "norse": (EULER, 1, (0, 0), "v", 1e-7),
    "rockpool": (BETWEEN, 1, (0, 0), "v", 1e-6),
    "sinabs": (BETWEEN, 1, (0, 0), "v", 1e-6),
    "snntorch": (EULER, 25, (0, 0), "v", 1e-5),
    "spinnaker2": (EULER, 25, (0, 0), "v", 1e-3),
    "spyx": (LIF(0.96, 0.1, gain=0.04, amount=0.1 / 0.96, tie=">"), 1, (1, 0), "h", 1e-6),
}


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_equals_the_traces_of_the_nir_paper(simulator, golden):
    neuron, factor, (spike_delay, membrane_delay), kind, tolerance = SIMULATORS[simulator]
    with np.load(golden / "nir_lif_traces.npz") as traces:
        x, v, z = traces["input"][:, None], traces[f"{simulator}/v"], traces[f"{simulator}/z"] > 0
    state, spikes, membranes = neuron.init(Tensor(x[0])), [], []
    for current in x:
        h = neuron.charge(Tensor(current), state)
        s, state = neuron.step(Tensor(current), state)
        spikes.append(s.item())
        membranes.append(factor * (h if kind == "h" else state.v).item())
    np.testing.assert_array_equal(spikes[: len(x) - spike_delay], z[spike_delay:])
    np.testing.assert_allclose(membranes[: len(x) - membrane_delay], v[membrane_delay:], rtol=0, atol=tolerance)
    assert sum(spikes) == 4
