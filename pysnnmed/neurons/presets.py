"""The neurons of other frameworks by name, as parameters of ours: `preset(name, **parameters)`.

The parameters of a preset are those of the framework, under its names. Each equals its framework in spikes, membranes
and gradients, as vectors recorded from it show. "Membrane" differs: SpikingJelly, Norse and sinabs return our v,
snnTorch with reset delay our h (`charge`). Versions: SpikingJelly 2.0.0, snnTorch 1.0.0, Norse 1.1.0, sinabs 3.1.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..errors import ParameterError
from ..surrogate import ATan, Sigmoid
from .base import Neuron
from .bounded import BoundedILIF
from .current_based import CurrentLIF
from .firing import SurrogateFunction
from .integer import ILIF, NILIF
from .integrate_and_fire import IF
from .lif import LIF
from .snntorch_leaky import SnnTorchLeaky

PRESETS: dict[str, Callable[..., Neuron]] = {}


def preset(name: str, **parameters: Any) -> Neuron:
    """The neuron of a framework. `parameters` are those of the function of that name in this module.

    Raises ParameterError for a name that is not in PRESETS, or for a parameter that the preset does not have.
    """
    if name not in PRESETS:
        raise ParameterError(f"preset: the name must be one of {', '.join(sorted(PRESETS))}, not {name!r}")
    try:
        return PRESETS[name](**parameters)
    except TypeError as error:
        raise ParameterError(f"preset {name}: {error}; help(pysnnmed.neurons.presets.{name}) lists them") from error


def _listed(make: Callable[..., Neuron]) -> Callable[..., Neuron]:
    PRESETS[make.__name__] = make
    return make


@_listed
def spikereg(tau: float = 0.9, theta: float = 1.0, alpha: float = 10.0) -> LIF:
    """SpikeReg's public code: hard reset to 0 with its gradient, sigmoid surrogate.

    Its tau and theta are learnt without limits, so that tau > 1 and theta <= 0 may happen; nn.Spiking learns ours
    within them. Its surrogate is named fast sigmoid, which is another function.
    """
    return LIF(beta=tau, v_threshold=theta, reset="hard", detach_reset=False, surrogate=Sigmoid(alpha))


@_listed
def medspikeformer(beta: float = 0.5, alpha: float = 4.0) -> LIF:
    """MedSpikeFormer's equations 1 to 3: soft reset by 1. The paper gives no beta."""
    return LIF(beta=beta, surrogate=Sigmoid(alpha))


@_listed
def medspikeformer_code() -> LIF:
    """MedSpikeFormer's public code, which is another neuron than its equations: decayed input, hard reset."""
    return LIF(beta=0.5, gain=0.5, reset="hard", surrogate=Sigmoid(4.0))


@_listed
def spike2former(levels: int = 8, stateless: bool = False) -> NILIF:
    """Spike2Former's NI-LIF as in its code: rounds half to even; no leak, although the paper calls it LIF.

    `stateless`: the quantiser of its segmentation code, without a membrane over time (there with levels = 4).
    """
    return NILIF(beta=0.0 if stateless else 1.0, levels=levels, rounding="half_even", detach_reset=False)


@_listed
def i_lif(tau: float = 4 / 3, levels: int = 4, v_threshold: float = 1.0, detach_reset: bool = True) -> ILIF:
    """SpikeYOLO's I-LIF, whose code rounds half to even; SpikingJelly's ILIFNode with detach_reset=False."""
    return ILIF(1 - 1 / tau, v_threshold, levels=levels, rounding="half_even", detach_reset=detach_reset)


@_listed
def spikingjelly_lif(
    tau: float = 2.0,
    decay_input: bool = True,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
    surrogate: SurrogateFunction | None = None,
) -> LIF:
    """SpikingJelly's LIFNode. v_reset=None is its soft reset; else the membrane also leaks towards v_reset."""
    rest = v_reset or 0.0
    return LIF(
        beta=1 - 1 / tau,
        v_threshold=v_threshold,
        gain=1 / tau if decay_input else 1.0,
        bias=rest / tau,
        reset="soft" if v_reset is None else "hard",
        v_reset=rest,
        v_initial=rest,
        detach_reset=detach_reset,
        surrogate=surrogate or Sigmoid(4.0),
    )


@_listed
def spikingjelly_if(
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
    surrogate: SurrogateFunction | None = None,
) -> IF:
    """SpikingJelly's IFNode. v_reset=None is its soft reset."""
    rest = v_reset or 0.0
    return IF(
        v_threshold=v_threshold,
        reset="soft" if v_reset is None else "hard",
        v_reset=rest,
        v_initial=rest,
        detach_reset=detach_reset,
        surrogate=surrogate or Sigmoid(4.0),
    )


ResetMechanism = Literal["subtract", "zero", "none"]


@_listed
def snntorch_leaky(
    beta: float = 0.9,
    threshold: float = 1.0,
    reset_mechanism: ResetMechanism = "subtract",
    reset_delay: bool = True,
    surrogate: SurrogateFunction | None = None,
) -> LIF:
    """snnTorch's Leaky, at its default with reset delay. The membrane it returns is then our h, else our v.

    Defects: with delay, "subtract" takes the threshold off after the decay, which is threshold / beta before it
    (snnTorch issues 341 and 364); without delay, it compares after a pending reset (see SnnTorchLeaky). With delay the
    reset has no gradient, without it has one.
    """
    options: dict[str, Any] = {"tie": ">", "detach_reset": reset_delay, "surrogate": surrogate or ATan(2.0)}
    if reset_mechanism == "zero":
        return LIF(beta, threshold, reset="hard", **options)
    if reset_mechanism == "none":
        return LIF(beta, threshold, reset="none", **options)
    if reset_mechanism != "subtract":
        raise ParameterError(
            f"preset snntorch_leaky: reset_mechanism must be 'subtract', 'zero' or 'none', not {reset_mechanism!r}"
        )
    if not reset_delay:
        return SnnTorchLeaky(beta, threshold, **options)
    return LIF(beta, threshold, amount=_delayed(threshold, beta), **options)


@_listed
def snntorch_synaptic(
    alpha: float = 0.5, beta: float = 0.9, threshold: float = 1.0, surrogate: SurrogateFunction | None = None
) -> CurrentLIF:
    """snnTorch's Synaptic with its defaults, reset_mechanism="subtract" and delay; see snntorch_leaky."""
    return CurrentLIF(
        beta, threshold, amount=_delayed(threshold, beta), tie=">", surrogate=surrogate or ATan(2.0), alpha=alpha
    )


def _delayed(threshold: float, beta: float) -> float:
    if not 0 < beta <= 1:
        raise ParameterError(f"preset snntorch: beta must be in (0, 1] for a delayed reset, not {beta}")
    return threshold / beta


@_listed
def norse_lif_box(
    tau_mem_inv: float = 100.0,
    dt: float = 0.001,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    reset: Literal["value", "subtract"] = "value",
    surrogate: SurrogateFunction | None = None,
) -> LIF:
    """Norse's lif_box_feed_forward_step. Defect: 1.1.0 ignores the alpha of its surrogate, which is (1 + |z|)^-2."""
    rate = dt * tau_mem_inv
    return LIF(
        beta=1 - rate,
        v_threshold=v_th,
        gain=rate,
        bias=rate * v_leak,
        reset="hard" if reset == "value" else "soft",
        v_reset=v_reset,
        v_initial=v_leak,
        tie=">",
        detach_reset=False,
        surrogate=surrogate or _norse_surrogate,
    )


@_listed
def norse_lif(
    tau_syn_inv: float = 200.0,
    tau_mem_inv: float = 100.0,
    dt: float = 0.001,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    recurrent: bool = False,
    surrogate: SurrogateFunction | None = None,
) -> CurrentLIF:
    """Norse's lif_feed_forward_step or, `recurrent`, lif_step without recurrent weights. Its i is alpha times ours.

    Defect: the two differ in the gradient, because only lif_step keeps it out of the reset.
    """
    rate = dt * tau_mem_inv
    return CurrentLIF(
        beta=1 - rate,
        v_threshold=v_th,
        gain=rate,
        bias=rate * v_leak,
        reset="hard",
        v_reset=v_reset,
        v_initial=v_leak,
        tie=">",
        detach_reset=recurrent,
        surrogate=surrogate or _norse_surrogate,
        alpha=1 - dt * tau_syn_inv,
    )


@_listed
def norse_iaf(v_th: float = 1.0, v_reset: float = 0.0, surrogate: SurrogateFunction | None = None) -> IF:
    """Norse's iaf_feed_forward_step."""
    chosen = surrogate or _norse_surrogate
    return IF(v_threshold=v_th, reset="hard", v_reset=v_reset, tie=">", detach_reset=False, surrogate=chosen)


@_listed
def sinabs_lif(
    tau_mem: float = 20.0,
    spike_threshold: float = 1.0,
    multiple: bool = True,
    norm_input: bool = True,
    min_v_mem: float | None = None,
    grad_width: float = 0.5,
) -> LIF | ILIF:
    """sinabs' LIF, soft reset; `multiple`: MultiSpike, its default, else SingleSpike. See sinabs_iaf.

    sinabs keeps tau_mem in float32, so that its own numbers differ from ours from the seventh digit on.
    """
    beta = math.exp(-1 / tau_mem)
    return _sinabs(beta, 1 - beta if norm_input else 1.0, spike_threshold, multiple, min_v_mem, grad_width)


@_listed
def sinabs_iaf(
    spike_threshold: float = 1.0, multiple: bool = True, min_v_mem: float | None = None, grad_width: float = 0.5
) -> LIF | ILIF:
    """sinabs' IAF. With `multiple`, a spike for every whole threshold; min_v_mem is the floor of the membrane."""
    return _sinabs(1.0, 1.0, spike_threshold, multiple, min_v_mem, grad_width)


def _sinabs(
    beta: float, gain: float, threshold: float, multiple: bool, floor: float | None, grad_width: float
) -> LIF | ILIF:
    def surrogate(z: np.ndarray) -> np.ndarray:  # sinabs' SingleExponential
        width = grad_width * threshold
        return np.exp(-np.abs(z) / width) / width

    common: dict[str, Any] = {"gain": gain, "detach_reset": False, "surrogate": surrogate}
    if not multiple and floor is None:
        return LIF(beta, threshold, **common)
    # where not `multiple`, the whole number of thresholds limited to 1 is the same as h >= threshold
    common |= {"rounding": "floor", "levels": math.inf if multiple else 1}
    if floor is None:
        return ILIF(beta, threshold, **common)
    return BoundedILIF(beta, threshold, v_min=floor, **common)


@_listed
def nir_lif(
    tau: float,
    dt: float,
    r: float = 1.0,
    v_leak: float = 0.0,
    v_threshold: float = 1.0,
    v_reset: float = 0.0,
    exact: bool = False,
) -> LIF:
    """NIR's LIF, tau dv/dt = v_leak - v + r I, in steps of dt: Euler's, or `exact` where I is constant within a step.

    Pedersen et al. 2024, "Neuromorphic intermediate representation", table 1.
    """
    decay = math.exp(-dt / tau) if exact else 1 - dt / tau
    return LIF(
        beta=decay,
        v_threshold=v_threshold,
        gain=(1 - decay) * r,
        bias=(1 - decay) * v_leak,
        reset="hard",
        v_reset=v_reset,
        v_initial=v_reset,
        tie=">",
    )


@_listed
def nir_if(dt: float, r: float = 1.0, v_threshold: float = 1.0, v_reset: float = 0.0) -> IF:
    """NIR's IF, dv/dt = r I, in steps of dt."""
    return IF(v_threshold=v_threshold, gain=r * dt, reset="hard", v_reset=v_reset, v_initial=v_reset, tie=">")


def _norse_surrogate(z: np.ndarray) -> np.ndarray:
    return 1 / np.square(1 + np.abs(z))
