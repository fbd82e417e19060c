"""Run the ablations of the MedSpikeFormer paper on pictures of lesions, and write their table.

    python examples/experiments/segmentation.py NAME ...|all|tables --data DIR [--seeds 3] [--out DIR] [--quick]

DIR of --data is HAM10000, images/ and masks/. DIR of --out gets results/runs.csv, a row for each run that is done, and
RESULTS.md, made of it; the runs lie in DIR/runs, and one that was killed goes on from there. Started a second time with
the same --out, beside the first, the two share the work, a thread each. `tables` writes RESULTS.md again, with what
DIR/sentences.toml says: NAME = "what was found", note = "of all". `--quick` runs at toy length on generated lesions and
needs no data. Needs the extra `jit` for speed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from findings.command import ALL, TABLES, backend_of, parser
from findings.document import claim
from findings.segmentation.bench import Bench
from findings.segmentation.report import publish, rewrite
from findings.segmentation.variants import EXPERIMENTS, variants_of
from findings.segmentation.work import runs_of, work

from pysnnmed import kernels
from pysnnmed.errors import PysnnmedError
from pysnnmed.train.segmentation_recipe import load_segmentation_recipe

HERE = Path(__file__).resolve().parent / "segmentation"


def main(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    if arguments.names == [TABLES]:
        print(rewrite(out))
        return
    backend = backend_of(arguments)
    recipe, seeds = HERE / ("quick.toml" if arguments.quick else "recipe.toml"), range(arguments.seeds)
    bench = Bench(
        load_segmentation_recipe(recipe),
        seeds,
        out / "runs",
        arguments.data,
        report=lambda line: print(line, flush=True),
    )
    bench.report(f"{len(bench.cases.training)} pictures to learn from, {len(bench.cases.held_out)} held out")
    claim(out, recipe, seeds, backend)
    names = list(EXPERIMENTS) if ALL in arguments.names else arguments.names
    with kernels.use_backend(backend), kernels.use_threads(1):
        work(bench, runs_of(variants_of(names), seeds), after_each=lambda: publish(bench, out))
    print(publish(bench, out))


def parsed() -> argparse.Namespace:
    made = parser(__doc__, EXPERIMENTS, "runs/segmentation", "a toy on generated lesions, to see that everything runs")
    made.add_argument("--data", type=Path, metavar="DIR", help="folder of HAM10000: images/ and masks/")
    return made.parse_args()


if __name__ == "__main__":
    try:
        main(parsed())
    except PysnnmedError as error:
        sys.exit(f"segmentation.py: {error}")
