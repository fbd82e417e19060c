"""The command line that every benchmark has; a benchmark with more options adds them here before it imports harness."""

from __future__ import annotations

import argparse

PARSER = argparse.ArgumentParser(description="Time our kernels beside their peers in one run.")
PARSER.add_argument("--json", action="store_true", help="print one JSON line a case instead of a table")
PARSER.add_argument("--threads", type=int, default=1, help="threads for us and for the peers (default 1)")
PARSER.add_argument("--quick", action="store_true", help="few repeats, small cases only: a check that it runs")
