"""The ablations: variants differ in what they say and in nothing else, runs are done once, tables say what rows say."""

import json
import math
import re
import signal
import subprocess
import sys
import threading
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from examples.experiments.findings.document import claim
from examples.experiments.findings.segmentation import report, work
from examples.experiments.findings.segmentation.bench import Bench, Run, seconds_of
from examples.experiments.findings.segmentation.variants import EXPERIMENTS, REFERENCE, Variant, variants_of
from examples.experiments.findings.tables import paired_by_seed, read_rows, where
from pysnnmed.data.files import write_text
from pysnnmed.errors import ParameterError
from pysnnmed.models.medspikeformer import MedSpikeFormer
from pysnnmed.train import segmentation
from pysnnmed.train.loop import load_checkpoint
from pysnnmed.train.segmentation_recipe import SegmentationStageRecipe, load_segmentation_recipe
from pysnnmed.train.segmentation_scores import evaluate_cases

HERE = ROOT / "examples" / "experiments" / "segmentation"
SCRIPT = ROOT / "examples" / "experiments" / "segmentation.py"
QUICK, FULL = (load_segmentation_recipe(HERE / f"{name}.toml") for name in ("quick", "recipe"))
ALL = variants_of(list(EXPERIMENTS))
SPIKING, ALONE = (next(v for v in ALL if v.name == name) for name in ("spiking", "without-teacher"))


# --- variants


def changed(recipe, variant):
    network = replace(recipe.network, **variant.network)
    return network, replace(recipe.loss, **variant.loss), variant.taught


def test_all_variants_differ_in_what_is_trained_and_every_table_has_the_reference():
    settings = [changed(FULL, variant) for variant in ALL]
    assert all(one not in settings[:i] for i, one in enumerate(settings))
    assert len({variant.name for variant in ALL}) == len(ALL) == 17
    for experiment in EXPERIMENTS.values():
        assert list(experiment.lines.values()).count(REFERENCE) == 1
    for variant in ALL:
        assert len(variant.network) + len(variant.loss) + (not variant.taught) == (variant != REFERENCE)


@pytest.mark.parametrize("recipe", [QUICK, FULL], ids=["quick", "full"])
def test_the_reference_is_what_the_tables_call_it(recipe):
    network, loss = recipe.network, recipe.loss
    assert (network.attention, network.removed, network.spike_convolution, network.steps) == (
        "decomposed",
        None,
        True,
        4,
    )
    assert (loss.alignment, loss.kind, loss.kl, loss.l2) == (1, "bernoulli", 1, 1)
    assert loss.stages == (() if recipe is FULL else (0, 1))  # the last one

    assert recipe.data.test == (160 if recipe is FULL else 2)


def test_variants_have_nearly_equal_size_but_for_spike_convolutions():
    sizes = {v.name: MedSpikeFormer(changed(FULL, v)[0], np.random.default_rng(0)).n_parameters for v in ALL}
    smaller = sizes.pop("without-spike-convolution")
    assert max(sizes.values()) < 1.02 * min(sizes.values())
    assert smaller < 0.9 * min(sizes.values())


def test_what_matters_most_is_run_first():
    runs = work.runs_of(ALL, (0, 1))
    assert [run.name for run in runs[:6]] == ["teacher", "teacher", "reference", "reference", "spiking", "spiking"]
    first = {
        name: min(i for i, run in enumerate(runs) if run.variant in variants_of([name])[1:]) for name in EXPERIMENTS
    }
    assert list(first) == sorted(first, key=first.__getitem__) == list(EXPERIMENTS)
    assert [variant.name for variant in variants_of(["steps"])] == ["reference", "t1", "t2", "t8"]


# --- runs


def quick_bench(folder, seeds=(0,), recipe=QUICK):
    return Bench(recipe, seeds, folder / "runs")


def done(bench, variants):
    work.work(bench, work.runs_of(variants, bench.seeds), after_each=lambda: None, pause=0.01)
    return {run: bench.row(run) for run in work.runs_of(variants, bench.seeds)}


@pytest.fixture
def watched(monkeypatch):
    """What each step of training sees: (kind of network, pictures, the weights of its teacher)."""
    seen, real = [], segmentation.segmentation_terms

    def terms(network, batch, loss, teacher=None):
        weights = None if teacher is None else b"".join(a.tobytes() for a in teacher.state_dict().values())
        seen.append((type(network).__name__, batch.images.data.tobytes() + batch.targets.data.tobytes(), weights))
        return real(network, batch, loss, teacher)

    monkeypatch.setattr(segmentation, "segmentation_terms", terms)
    return seen


def test_variants_of_a_seed_see_the_same_pictures_and_one_teacher_and_seeds_do_not(tmp_path, watched):
    done(quick_bench(tmp_path, seeds=(0, 1)), [REFERENCE, SPIKING, ALONE])
    n = QUICK.student.steps
    parts = [watched[i : i + n] for i in range(0, len(watched), n)]
    teachers, students = parts[:2], parts[2:]
    assert [part[0][0] for part in parts] == ["SegmentationTeacher"] * 2 + ["MedSpikeFormer"] * 6
    pictures = [[images for _, images, _ in part] for part in students]
    assert pictures[0] == pictures[2] == pictures[4] != pictures[1] == pictures[3] == pictures[5]
    assert not {images for _, images, _ in teachers[0]} & set(pictures[0])
    weights = [{teacher for _, _, teacher in part} for part in students]
    assert weights[0] == weights[2] != weights[1] == weights[3]
    assert all(len(one) == 1 and None not in one for one in weights[:4])
    assert weights[4] == weights[5] == {None}


def test_all_seeds_are_judged_on_the_same_pictures_which_nobody_learns_from(tmp_path):
    first, other = quick_bench(tmp_path, (0,)).cases, quick_bench(tmp_path, (4, 5)).cases
    held_out = [case.picture.tobytes() for case in first.held_out]
    assert held_out == [case.picture.tobytes() for case in other.held_out]
    assert not set(held_out) & {case.picture.tobytes() for case in first.training.cases}


def test_a_row_says_what_the_trained_network_does(tmp_path):
    bench = quick_bench(tmp_path)
    rows = done(bench, [REFERENCE, SPIKING])
    for run, row in rows.items():
        assert (row["variant"], row["seed"]) == (run.name, 0)
        if run.variant is None:
            assert "rate" not in row
            continue
        network = MedSpikeFormer(changed(QUICK, run.variant)[0], np.random.default_rng(9))
        _restore(bench.folder(run) / "student" / "checkpoint.safetensors", network)
        scores = evaluate_cases(network, bench.cases.held_out, QUICK.input)
        assert {name: row[name] for name in ("image_iou", "pooled_iou", "image_dice", "rate")} == {
            name: pytest.approx(scores[name]) for name in ("image_iou", "pooled_iou", "image_dice", "rate")
        }
        assert row["parameters"] == network.n_parameters
        assert row["synops"] > 0
        assert row["macs"] > 0


def _restore(path, network):
    class Forgetful:
        def load_state_dict(self, state):
            pass

    assert load_checkpoint(path, network, Forgetful()) == QUICK.student.steps


LONGER = SegmentationStageRecipe(steps=4, batch=2, warm_up=1, checkpoint_every=2)


@pytest.mark.parametrize("stop", [1, 2, 5, 7])
def test_a_killed_run_goes_on_and_gives_the_same_row(tmp_path, monkeypatch, stop):
    recipe = replace(QUICK, teacher=LONGER, student=LONGER)
    whole = done(quick_bench(tmp_path / "whole", recipe=recipe), [REFERENCE])
    steps, real = [], segmentation.segmentation_terms

    def dying(*arguments):
        steps.append(1)
        if len(steps) == stop + 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(segmentation, "segmentation_terms", dying)
    with pytest.raises(KeyboardInterrupt):
        done(quick_bench(tmp_path / "killed", recipe=recipe), [REFERENCE])
    assert len(list((tmp_path / "killed").glob("runs/*/*/row.json"))) == (stop > 4)
    again = done(quick_bench(tmp_path / "killed", recipe=recipe), [REFERENCE])
    assert len(steps) == 8 + 1 + stop % 2  # the step that was killed, and what came after the last checkpoint
    for rows in (whole, again):
        for row in rows.values():
            assert row.pop("seconds") > 0
    assert again == whole


def test_a_run_that_is_done_is_not_trained_again(tmp_path, watched):
    first = done(quick_bench(tmp_path), [ALONE])
    steps = len(watched)
    assert done(quick_bench(tmp_path), [ALONE]) == first
    assert len(watched) == steps


def test_runs_on_other_pictures_are_not_gone_on_with(tmp_path):
    done(quick_bench(tmp_path), [ALONE])
    (quick_bench(tmp_path).folder(Run(0, ALONE)) / "row.json").unlink()
    other = quick_bench(tmp_path)
    other.cases.held_out[0].picture[0, 0, 0] ^= 1
    with pytest.raises(ParameterError, match=r"1 runs failed: without-teacher with seed 0: .*not the same: cases"):
        done(other, [ALONE])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"seeds": (-1,)}, "seeds must differ"),
        ({"recipe": replace(QUICK, teacher=replace(QUICK.teacher, steps=0))}, "must train a teacher"),
        ({"recipe": replace(QUICK, input=replace(QUICK.input, fit="window"))}, "all resized to one size"),
    ],
    ids=["twice", "negative", "no teacher", "windows"],
)
def test_what_cannot_be_compared_is_refused(tmp_path, change, sentence):
    with pytest.raises(ParameterError, match=sentence):
        quick_bench(tmp_path, **change)


@given(st.lists(st.lists(st.integers(1, 1000), min_size=2, max_size=5), min_size=1, max_size=4))
def test_seconds_of_a_run_are_those_of_all_its_parts(parts):
    """A part that took longer to its first line than all before it cannot be told from one that went on."""
    times = [np.cumsum(part) for part in parts]
    log = [{"step": 1, "seconds": int(s)} for part in times for s in part]
    told_apart = [i == 0 or times[i][0] < times[i - 1][-1] for i in range(len(times))]
    expected = sum(
        int(times[i][-1] if apart else times[i][-1] - times[i - 1][-1]) for i, apart in enumerate(told_apart)
    )
    assert seconds_of([*log, {"step": 1, "image_iou": 0.5}]) == expected


# --- several processes


def test_two_workers_do_every_run_once(tmp_path, monkeypatch):
    executed, real = [], Bench.execute

    def execute(self, run):
        executed.append((run.name, run.seed))
        return real(self, run)

    monkeypatch.setattr(Bench, "execute", execute)
    benches = [quick_bench(tmp_path, seeds=(0, 1)) for _ in range(2)]
    for bench in benches:
        assert bench.cases.held_out
    published = []
    threads = [
        threading.Thread(
            target=work.work,
            args=(bench, work.runs_of([REFERENCE, SPIKING], (0, 1)), lambda bench=bench: published.append(bench), 0.01),
        )
        for bench in benches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [(run.name, run.seed) for run in work.runs_of([REFERENCE, SPIKING], (0, 1))]
    assert sorted(executed) == sorted(everything)
    assert {id(bench) for bench in published} == {id(bench) for bench in benches}


def test_a_run_that_another_one_is_at_is_left_alone_until_that_one_is_gone(tmp_path):
    bench = quick_bench(tmp_path)
    run = Run(0, ALONE)
    with work.held(bench.folder(run) / "lock") as ours:
        assert ours
        rows = done(bench, [ALONE, REFERENCE])
        assert [row is None for row in rows.values()] == [False, True, False]
    assert None not in done(bench, [ALONE, REFERENCE]).values()


def test_a_process_that_is_killed_holds_no_run(tmp_path):
    lock = tmp_path / "run" / "lock"
    code = (
        "import sys, time; from examples.experiments.findings.segmentation.work import held\n"
        f"with held(__import__('pathlib').Path({str(lock)!r})) as ours: print(ours, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        assert other.stdout.readline() == "True\n"
        with work.held(lock) as ours:
            assert not ours
        other.send_signal(signal.SIGKILL)
    with work.held(lock) as ours:
        assert ours


def test_a_run_that_fails_hinders_no_other_and_is_named(tmp_path, monkeypatch):
    real = Bench.execute

    def execute(self, run):
        if (run.name, run.seed) in (("teacher", 1), ("without-teacher", 0)):
            raise ParameterError("the loss is nan")
        return real(self, run)

    monkeypatch.setattr(Bench, "execute", execute)
    bench = quick_bench(tmp_path, seeds=(0, 1))
    sentence = "2 runs failed: teacher with seed 1: the loss is nan; without-teacher with seed 0: the loss is nan"
    with pytest.raises(ParameterError, match=sentence):
        done(bench, [REFERENCE, ALONE])
    rows = {(run.name, run.seed): bench.row(run) for run in work.runs_of([REFERENCE, ALONE], (0, 1))}
    missing = {key for key, row in rows.items() if row is None}
    assert missing == {("teacher", 1), ("reference", 1), ("without-teacher", 0)}


# --- tables


def rows_of(name, values):
    return [{"variant": name, "seed": seed, "image_iou": value} for seed, value in values.items()]


@given(st.dictionaries(st.integers(0, 9), st.floats(0, 1)), st.dictionaries(st.integers(0, 9), st.floats(0, 1)))
def test_differences_are_those_of_the_seeds_that_both_have(ours, theirs):
    cell = paired_by_seed(rows_of("a", ours), rows_of("b", theirs), "image_iou")
    both = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not both:
        assert cell == "–"
        return
    mean = sum(both) / len(both)
    found = re.fullmatch(r"([+-]\d\.\d{4})(?: ± (\d\.\d{4}))? \(n = (\d+)\)", cell)
    assert float(found[1]) == pytest.approx(mean, abs=5.1e-5)
    assert int(found[3]) == len(both)
    if len(both) == 1:
        assert found[2] is None
    else:
        variance = sum((one - mean) ** 2 for one in both) / (len(both) - 1)
        assert float(found[2]) == pytest.approx(math.sqrt(variance / len(both)), abs=5.1e-5)


def test_a_partial_table_says_what_is_there_and_what_is_missing(tmp_path):
    bench = quick_bench(tmp_path, seeds=(0, 1))
    claim(tmp_path, HERE / "quick.toml", (0, 1), "numpy")
    texts = []
    work.work(
        bench,
        work.runs_of([REFERENCE, SPIKING], (0,)),
        after_each=lambda: texts.append(report.publish(bench, tmp_path)),
        pause=0.01,
    )
    assert [re.search(r"Runs: (\d+) of (\d+) are done", text).groups() for text in texts] == [
        ("1", "36"),
        ("2", "36"),
        ("3", "36"),
    ]
    assert "Runs that are missing yet: decomposed (SDSA) (1), spiking (SSA) (1), Q-K, token (2)," in texts[-1]
    rows = read_rows(tmp_path / "results" / "runs.csv")
    assert [(row["variant"], row["seed"]) for row in rows] == [("teacher", 0), ("reference", 0), ("spiking", 0)]
    assert (tmp_path / "RESULTS.md").read_text(encoding="utf-8") == texts[-1] == report.document(tmp_path)
    line = next(one for one in texts[-1].splitlines() if one.startswith("| spiking (SSA)"))
    known, other = (where(rows, variant=name)[0] for name in ("reference", "spiking"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[1] == f"{other['image_iou']:.4f}"
    assert cells[2] == f"{other['image_iou'] - known['image_iou']:+.4f} (n = 1)"
    assert cells[6] == f"{other['synops'] / 1e6:.2f}"
    assert cells[8] == f"{other['parameters']:,}"
    assert cells[-1] == "1"
    assert "| Q-K, token | – | – | – | – | – | – | – | – | – | 0 |" in texts[-1]


def test_the_document_says_where_pictures_are_from_and_what_was_done_with_them(tmp_path):
    claim(tmp_path, HERE / "recipe.toml", range(3), "numba")
    write_text(tmp_path / "results" / "runs.csv", "variant,seed\n")
    text = report.document(tmp_path)
    for phrase in ("CC BY-NC 4.0", "research only", "not shipped", "no ids of lesions", "64×64 pixels, 160 held out"):
        assert phrase in text
    assert f"{FULL.student.steps} steps of {FULL.student.batch} pictures" in text
    assert "Runs: 0 of 54 are done" in text


def test_the_script_runs_resumes_and_refuses(tmp_path):
    def script(*arguments):
        command = [sys.executable, str(SCRIPT), *arguments, "--out", str(tmp_path / "out")]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    first = script("spike-convolution", "--quick", "--seeds", "1")
    assert first.returncode == 0, first.stderr
    assert "Runs: 3 of 18 are done" in first.stdout
    tables = script("tables")
    assert tables.returncode == 0
    assert first.stdout.endswith(tables.stdout)
    no_data = script("all")
    assert no_data.returncode != 0
    assert "give their folder with --data" in no_data.stderr
    refused = script("steps", "--quick", "--seeds", "2")
    assert refused.returncode != 0
    assert "has results of another recipe, seeds or backend" in refused.stderr


# --- what is committed


def test_every_figure_of_a_finding_stands_in_its_table():
    sentences = HERE / "sentences.toml"
    if not (HERE / "results").exists():
        assert not sentences.exists(), "findings without results"
        return
    text = report.document(HERE)
    assert (HERE / "RESULTS.md").read_text(encoding="utf-8") == text
    setting = json.loads((HERE / "results" / "setting.json").read_text(encoding="utf-8"))
    assert setting["recipe"] == tomllib.loads((HERE / "recipe.toml").read_text(encoding="utf-8"))
    rows = read_rows(HERE / "results" / "runs.csv")
    for name, experiment in EXPERIMENTS.items():
        table = report.table(experiment, rows) + experiment.about
        found = tomllib.loads(sentences.read_text(encoding="utf-8")).get(name, "") if sentences.exists() else ""
        assert not set(re.findall(r"\d+\.\d+", found)) - set(re.findall(r"\d+\.\d+", table))
    for row in rows:
        assert all(0 <= row[score] <= 1 for score in ("image_iou", "pooled_iou", "image_dice"))
        assert row["variant"] in {"teacher", *(variant.name for variant in ALL)}
        assert Variant(row["variant"])
