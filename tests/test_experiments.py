"""The experiments: no held-out pair is trained on, tables say what the rows say, the document is made of its tables."""

import json
import math
import re
import tomllib

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from examples.experiments.findings import EXPERIMENTS, energy
from examples.experiments.findings.bench import Bench, Variant
from examples.experiments.findings.document import claim, document
from examples.experiments.findings.tables import (
    difference,
    markdown,
    mean_sd,
    over_pairs,
    over_seeds,
    read_rows,
    values_of,
    where,
    write_rows,
)
from pysnnmed.errors import ParameterError
from pysnnmed.train import registration
from pysnnmed.train.pairs import HELD_OUT_SEED
from pysnnmed.train.recipe import load_recipe

HERE = ROOT / "examples" / "experiments"
QUICK, FULL = load_recipe(HERE / "quick.toml"), load_recipe(HERE / "recipe.toml")


# --- pairs


def images(pairs):
    return {subject.image.tobytes() for pair in pairs for subject in (pair.fixed, pair.moving)}


def test_no_training_pair_is_held_out_and_seeds_have_pairs_of_their_own(tmp_path):
    bench = Bench(QUICK, (0, 1, 2), tmp_path)
    trained = [images(bench.sampler(seed).generated) for seed in bench.seeds]
    held_out = images(bench.held_out)
    assert [len(seen) for seen in trained] == [2 * QUICK.data.generated_pairs] * 3
    assert len(held_out) == 2 * QUICK.data.held_out_pairs
    assert len(held_out.union(*trained)) == len(held_out) + sum(map(len, trained))


def test_held_out_pairs_do_not_depend_on_the_seeds(tmp_path):
    assert images(Bench(QUICK, (0,), tmp_path).held_out) == images(Bench(QUICK, (4, 5), tmp_path).held_out)


def test_neither_steps_nor_calibration_see_a_held_out_pair(tmp_path, monkeypatch):
    bench, drawn, trained_on = Bench(QUICK, (3,), tmp_path), [], []
    sampler, real = bench.sampler(3), registration.registration_terms

    def draw(rng):
        drawn.append(sampler(rng))
        return drawn[-1]

    def terms(network, pair, *others):
        trained_on.append(pair)
        return real(network, pair, *others)

    bench._samplers[3] = draw
    monkeypatch.setattr(registration, "registration_terms", terms)
    bench.fine_tuned(3, Variant("", loss={"distillation": 1.0}))
    steps = QUICK.teacher.steps + QUICK.finetune.steps
    assert len(trained_on) == steps
    assert len(drawn) == steps + QUICK.conversion.examples
    assert not images(drawn + trained_on) & images(bench.held_out)


@pytest.mark.parametrize("seeds", [(), (1, 1), (HELD_OUT_SEED,), (0, -1)])
def test_seeds_that_would_share_pairs_are_refused(tmp_path, seeds):
    with pytest.raises(ParameterError, match=r"Bench: seeds must differ and lie in 0 \.\.\. 999999"):
        Bench(QUICK, seeds, tmp_path)


def test_the_full_recipe_holds_out_enough():
    assert FULL.data.held_out_pairs >= 20
    assert FULL.data.generated_fraction == QUICK.data.generated_fraction == 1


# --- networks


def folders(bench, kind):
    return sorted(path.name for path in bench.out.glob(f"seed-*/{kind}-*"))


def test_a_network_is_trained_once_for_all_experiments(tmp_path, monkeypatch):
    bench = Bench(QUICK, (0,), tmp_path)
    first = bench.fine_tuned(0, Variant("one name")).state_dict()

    def never(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(registration, "registration_terms", never)
    again = Bench(QUICK, (0,), tmp_path).fine_tuned(0, Variant("another name")).state_dict()
    assert all(np.array_equal(first[name], array) for name, array in again.items())
    assert (len(folders(bench, "teacher")), len(folders(bench, "spiking"))) == (1, 1)


CHANGES = [
    Variant("", network={"leak": 0.9}),
    Variant("", network={"reset": "hard"}),
    Variant("", loss={"distillation": 0.5}),
    Variant("", teacher_loss={"overlap": 1.0}),
    Variant("", percentile=95.0),
    Variant("", converted=False),
]


def test_whatever_decides_the_weights_is_in_the_name_of_their_folder(tmp_path):
    bench = Bench(QUICK, (0,), tmp_path)
    for variant in [Variant(""), *CHANGES]:
        bench.fine_tuned(0, variant)
    assert len(folders(bench, "spiking")) == 1 + len(CHANGES)
    assert len(folders(bench, "teacher")) == 2  # with and without labels


def test_a_converted_network_has_the_options_of_its_variant_and_the_weights_of_its_teacher(tmp_path):
    bench = Bench(QUICK, (0,), tmp_path)
    network = bench.converted(0, Variant("", network={"steps": 7, "reset": "hard", "leak": 0.5}))
    assert (network.config.steps, network.config.reset, network.config.leak) == (7, "hard", 0.5)
    plain = bench.converted(0, Variant("")).state_dict()
    assert all(np.array_equal(plain[name], array) for name, array in network.state_dict().items())


# --- tables

cells = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(-1e6, 1e6).filter(lambda x: x != round(x)),
    st.text("abc, ρ²%'\"", min_size=1).filter(lambda s: s.strip() == s),
)


@given(st.lists(st.dictionaries(st.sampled_from(["variant", "seed", "dice", "rate"]), cells, min_size=1), min_size=1))
def test_rows_come_back_from_their_file(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    write_rows(path, rows)
    for row, again in zip(rows, read_rows(path), strict=True):
        assert row.keys() == again.keys()
        for name, value in row.items():
            assert again[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)


def table(scores, **keys):
    """Rows of scores [seeds, pairs]."""
    return [
        {**keys, "seed": s, "pair": p, "dice": float(value)}
        for s, of_seed in enumerate(scores)
        for p, value in enumerate(of_seed)
    ]


@given(st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_means_do_not_depend_on_the_order_of_rows(seeds, pairs, random):
    scores = np.random.default_rng(seeds * pairs).random((seeds, pairs))
    rows = table(scores)
    shuffled = random.sample(rows, len(rows))
    np.testing.assert_allclose(over_pairs(shuffled, "dice"), scores.mean(axis=1))
    np.testing.assert_allclose(over_seeds(shuffled, "dice"), scores.mean(axis=0))
    assert over_pairs(rows, "rate").size == 0


def test_every_seed_must_have_every_pair_once():
    rows = table(np.ones((2, 3)))
    for wrong in (rows[:-1], [*rows, rows[0]]):
        with pytest.raises(ParameterError, match="every seed must have every pair once"):
            over_seeds(wrong, "dice")


def test_cells_say_mean_and_deviation_over_seeds():
    scores = np.array([[0.1, 0.3], [0.3, 0.5]])
    assert mean_sd(over_pairs(table(scores), "dice"), digits=3) == "0.300 ± 0.141"
    assert mean_sd(over_pairs(table(scores[:1]), "dice"), digits=1, factor=100) == "20.0"
    assert mean_sd(over_pairs(table(scores), "rate")) == "–"
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n|---|---|\n| 1 | 2 |"
    rows = [*table(scores, variant="x, y"), *table(scores + 0.1, variant="z")]
    assert values_of(rows, "variant") == ["x, y", "z"]
    assert where(rows, variant="z", seed=1, pair=0)[0]["dice"] == pytest.approx(0.4)
    assert difference(where(rows, variant="z"), where(rows, variant="x, y")).startswith(
        "+0.1000 ± 0.0000 [+0.1000, +0.1000], p = "
    )


# --- energy


def test_the_claim_in_its_own_formula():
    lines = {line.split(" ")[1]: line for line in energy._claim().splitlines()[2:]}
    assert "| 10.0 | 39.9 | 2.3 % | 9.2 % |" in lines["fp32"]
    assert "| 62.5 | 250.0 | 14.4 % | 57.7 % |" in lines["int32"]
    assert "| 15.0 | 59.9 | 3.5 % | 13.8 % |" in lines["int8"]


def test_ratios_are_those_of_the_counts(tmp_path):
    rows = energy.run(Bench(QUICK, (0,), tmp_path))
    assert [row["table"] for row in rows] == ["fp32", "fp16", "int32", "int8", "int8-int32"]
    for row in rows:
        assert row["everything"] == pytest.approx(row["analog_microjoule"] / row["spiking_microjoule"])
        assert row["rate, T dropped"] == pytest.approx(row["steps"] * row["rate"])
        assert row["padded"] / row["synapses alone"] == pytest.approx(row["padded_macs"] / row["analog_macs"])
        assert row["zeros skipped"] < row["everything"] < row["synapses alone"]
        assert row["analog_macs_without_zeros"] < row["analog_macs"] < row["padded_macs"]
    assert rows[0]["synapses alone"] == pytest.approx(4.6 * rows[0]["analog_macs"] / (0.9 * rows[0]["synops"]))


# --- the document


def test_a_folder_of_results_belongs_to_one_setting(tmp_path):
    quick, full = HERE / "quick.toml", HERE / "recipe.toml"
    claim(tmp_path, quick, (0, 1), "numpy")
    claim(tmp_path, quick, (0, 1), "numpy")
    for recipe, seeds, backend in ((full, (0, 1), "numpy"), (quick, (0,), "numpy"), (quick, (0, 1), "numba")):
        with pytest.raises(ParameterError, match="has results of another recipe, seeds or backend"):
            claim(tmp_path, recipe, seeds, backend)


def test_the_committed_document_is_made_of_the_committed_tables():
    assert (HERE / "RESULTS.md").read_text(encoding="utf-8") == document(HERE)


def test_the_committed_results_are_of_the_committed_recipe(tmp_path):
    setting = json.loads((HERE / "results" / "setting.json").read_text(encoding="utf-8"))
    claim(tmp_path, HERE / "recipe.toml", range(3), "numba")
    assert setting == json.loads((tmp_path / "results" / "setting.json").read_text(encoding="utf-8"))
    assert {path.stem for path in (HERE / "results").glob("*.csv")} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_figure_of_a_finding_stands_in_its_table(name):
    sentences = tomllib.loads((HERE / "sentences.toml").read_text(encoding="utf-8"))[name]
    section = EXPERIMENTS[name].section(read_rows(HERE / "results" / f"{name}.csv")) + EXPERIMENTS[name].ABOUT
    figures = set(re.findall(r"\d+\.\d+", sentences))
    missing = {figure for figure in figures if figure not in re.findall(r"\d+\.\d+", section)}
    assert figures
    assert not missing


def test_scores_of_the_committed_results_are_scores():
    for path in (HERE / "results").glob("*.csv"):
        for row in read_rows(path):
            assert 0 <= row.get("dice", 0) <= 1
            assert 0 <= row.get("rate", 0) <= 1 or path.stem == "energy"
            assert not any(isinstance(value, float) and not math.isfinite(value) for value in row.values())
