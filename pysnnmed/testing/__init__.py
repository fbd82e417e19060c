"""A test bench to point at your own operations, neurons and kernels, and strategies that draw this package's objects.

    check_gradient(my_function, [np.ones(3)])     analytic gradient against central differences
    check_neuron(MyNeuron)                        the laws of neurons, with drawn parameters and inputs
    check_backend("numba")                        every kernel of a backend against the reference
    strategies.neurons(LIF)                       hypothesis strategies: neurons, currents, spikes, volumes, ...
    programs.cases()                              programs of every kind of operation, with inputs

All but the first need hypothesis (the extra `test`), which is imported when they are first used.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .gradcheck import GradientMismatch, check_gradient

if TYPE_CHECKING:
    from . import strategies
    from .kernel_checks import KernelMismatch, check_backend
    from .neuron_laws import LAWS, NeuronLawError, check_neuron

_HOME = {
    "check_backend": "kernel_checks",
    "KernelMismatch": "kernel_checks",
    "check_neuron": "neuron_laws",
    "LAWS": "neuron_laws",
    "NeuronLawError": "neuron_laws",
}

__all__ = [
    "LAWS",
    "GradientMismatch",
    "KernelMismatch",
    "NeuronLawError",
    "check_backend",
    "check_gradient",
    "check_neuron",
    "strategies",
]


def __getattr__(name: str) -> Any:
    if name == "strategies":
        return _load("strategies")
    if name in _HOME:
        return getattr(_load(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _load(module: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{module}")


def _register() -> None:
    """Entry point of hypothesis: makes `st.from_type(LIF)` or `st.from_type(Image)` draw without an import in the test.

    hypothesis calls it at the end of its own import, which may be an import made by `strategies`; so every strategy is
    looked up when it is first drawn.
    """
    import hypothesis.strategies as st

    from ..data import Image
    from ..neurons import Neuron
    from ..surrogate import Surrogate

    for model in list(Neuron.registry.values()):
        st.register_type_strategy(model, lambda cls: _load("strategies").neurons(cls))
    st.register_type_strategy(Neuron, lambda _: _load("strategies").any_neuron())
    st.register_type_strategy(Surrogate, lambda _: _load("strategies").surrogates())
    st.register_type_strategy(Image, lambda _: _load("strategies").images())
