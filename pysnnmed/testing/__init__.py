"""Checks to point at your own operations, and strategies that draw this package's objects."""

from .gradcheck import GradientMismatch, check_gradient

__all__ = ["GradientMismatch", "check_gradient"]


def _register() -> None:
    """Entry point of hypothesis: makes `st.from_type(LIF)` draw valid neurons without an import in the test."""
    from .strategies import register

    register()
