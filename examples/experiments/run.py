"""Run the findings of the SpikeReg paper as experiments on generated pairs, and write their tables.

    python examples/experiments/run.py NAME ...|all|tables [--seeds 3] [--out DIR] [--quick]

DIR gets results/NAME.csv and RESULTS.md, made of all results that are there; networks lie in DIR/runs, and a run that
was killed goes on from there. `tables` writes RESULTS.md again. `--quick` runs at toy length, to see that everything
does. Needs the extra `jit` for speed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from findings import EXPERIMENTS
from findings.bench import Bench
from findings.command import ALL, TABLES, backend_of, parser
from findings.document import claim, document
from findings.tables import write_rows

from pysnnmed import kernels
from pysnnmed.data.files import write_text
from pysnnmed.errors import PysnnmedError
from pysnnmed.train.recipe import load_recipe

HERE = Path(__file__).resolve().parent


def main(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    backend = backend_of(arguments)
    if arguments.names != [TABLES]:
        recipe, seeds = HERE / ("quick.toml" if arguments.quick else "recipe.toml"), range(arguments.seeds)
        claim(out, recipe, seeds, backend)
        bench = Bench(load_recipe(recipe), seeds, out / "runs", report=lambda line: print(line, flush=True))
        names = list(EXPERIMENTS) if ALL in arguments.names else arguments.names
        with kernels.use_backend(backend), kernels.use_threads(1):
            for name in names:
                print(f"--- {EXPERIMENTS[name].TITLE}", flush=True)
                write_rows(out / "results" / f"{name}.csv", EXPERIMENTS[name].run(bench))
                write_text(out / "RESULTS.md", document(out))
    text = document(out)
    write_text(out / "RESULTS.md", text)
    print(text)


def parsed() -> argparse.Namespace:
    return parser(__doc__, EXPERIMENTS, "runs/experiments", "a toy, to see that everything runs").parse_args()


if __name__ == "__main__":
    try:
        main(parsed())
    except PysnnmedError as error:
        sys.exit(f"run.py: {error}")
