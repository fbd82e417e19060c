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
from findings.document import claim, document
from findings.tables import write_rows

from pysnnmed import kernels
from pysnnmed.data.files import write_text
from pysnnmed.errors import PysnnmedError
from pysnnmed.train.recipe import load_recipe

HERE = Path(__file__).resolve().parent
TABLES, ALL = "tables", "all"


def main(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    # a toy is done before its kernels are compiled
    backend = arguments.backend or (kernels.REFERENCE if arguments.quick else kernels.fastest())
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", choices=[*EXPERIMENTS, ALL, TABLES], metavar="NAME", help="%(choices)s")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 ... N - 1 (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/experiments"), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="a toy, to see that everything runs")
    parser.add_argument("--backend", choices=kernels.available(), help="default: the fastest that is installed")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(parsed())
    except PysnnmedError as error:
        sys.exit(f"run.py: {error}")
