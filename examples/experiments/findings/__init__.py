"""The findings of the SpikeReg paper (arXiv 2605.25144) as experiments, one file each; `segmentation` has others.

An experiment has a NAME, a TITLE, an ABOUT that says what is compared and what the paper says, `run(bench) -> rows`,
one row for each scored pair or count, and `section(rows) -> Markdown`, made from the rows alone.
"""

from . import conversion, distillation, energy, neurons, rates, sweep, teachers

EXPERIMENTS = {
    experiment.NAME: experiment for experiment in (conversion, distillation, teachers, rates, sweep, neurons, energy)
}
