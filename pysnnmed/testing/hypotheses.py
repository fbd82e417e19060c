"""The optional package hypothesis, and the settings with which this package runs it. Importing this needs it."""

from __future__ import annotations

from typing import Any

from ..errors import require

hypothesis: Any = require("hypothesis", extra="test", purpose="drawing test cases")
st: Any = require("hypothesis.strategies", extra="test", purpose="drawing test cases")
hnp: Any = require("hypothesis.extra.numpy", extra="test", purpose="drawing test cases")


def quiet_settings(max_examples: int) -> Any:
    """Settings of a search whose result is reported by an error of ours: no printing, no files, no time limits."""
    return hypothesis.settings(
        max_examples=max_examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
