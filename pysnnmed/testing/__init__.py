"""Checks to point at your own operations, neurons and backends."""

from .gradcheck import GradientMismatch, check_gradient

__all__ = ["GradientMismatch", "check_gradient"]
