"""Hypothesis strategies for the objects of this package. Needs the extra `test`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import require
from ..neurons import IF, LIF
from ..surrogate import Surrogate

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def surrogates() -> SearchStrategy[Surrogate]:
    """Every surrogate there is, over two orders of magnitude of sharpness."""
    st = _strategies()
    kinds = sorted(Surrogate.registry.values(), key=lambda kind: kind.__name__)
    return st.builds(lambda kind, alpha: kind(alpha), st.sampled_from(kinds), st.floats(0.1, 10))


def integrate_and_fire() -> SearchStrategy[IF]:
    """Valid IF neurons: any reset, tie rule, threshold and start."""
    return _strategies().builds(IF, **_common())


def leaky_integrate_and_fire() -> SearchStrategy[LIF]:
    """Valid LIF neurons; the leak covers [0, 1] and both ends."""
    st = _strategies()
    return st.builds(LIF, beta=st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1), **_common())


def register() -> None:
    """Teach `st.from_type` these strategies; hypothesis calls this through the entry point of the package."""
    st = _strategies()
    st.register_type_strategy(IF, integrate_and_fire())
    st.register_type_strategy(LIF, leaky_integrate_and_fire())


def _common() -> dict[str, SearchStrategy]:
    st = _strategies()
    return {
        "v_threshold": st.sampled_from([0.25, 0.5, 1.0]) | st.floats(0.01, 10),
        "gain": st.floats(0.1, 2),
        "bias": st.floats(-0.5, 0.5),
        "reset": st.sampled_from(["soft", "hard", "none"]),
        "amount": st.none() | st.floats(0.01, 10),
        "v_reset": st.floats(-1, 1),
        "v_initial": st.floats(-1, 1),
        "tie": st.sampled_from([">=", ">"]),
        "detach_reset": st.booleans(),
        "surrogate": surrogates(),
    }


def _strategies():
    return require("hypothesis.strategies", extra="test", purpose="drawing test cases")
