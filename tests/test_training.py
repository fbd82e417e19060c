"""Training: recipes say what they mean, runs resume exactly, logs and checkpoints survive kills and damage."""

import csv
import hashlib
import io
import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest

from pysnnmed import ops
from pysnnmed.deploy.pretrained import load_model, save_model
from pysnnmed.errors import ParameterError, WeightsError
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig, Teacher, preset
from pysnnmed.nn import Linear
from pysnnmed.optim import Adam
from pysnnmed.tensor import Tensor
from pysnnmed.train import registration
from pysnnmed.train.loop import Schedule, fit, load_checkpoint, save_checkpoint
from pysnnmed.train.pairs import load_pairs
from pysnnmed.train.progress import Log, ProgressBar, read_log
from pysnnmed.train.recipe import RECIPES, Recipe, load_recipe
from pysnnmed.train.registration import content_box, train
from pysnnmed.train.run_folder import claim_run_folder
from pysnnmed.train.segmentation_recipe import load_segmentation_recipe

SCHEDULE = Schedule(steps=12, learning_rate=0.05, shape=lambda step: 1 / (1 + step), log_every=2, checkpoint_every=4)


def run(folder, stop_at=None, schedule=SCHEDULE, seed=0):
    """Fit a line to noisy points, killed after `stop_at` steps. -> final weights"""
    model = Linear(3, 2, rng=np.random.default_rng(7))
    calls = 0

    def loss_terms(rng):
        nonlocal calls
        calls += 1
        if stop_at is not None and calls > stop_at:
            raise KeyboardInterrupt
        x = rng.normal(size=(8, 3)).astype(np.float32)
        error = model(Tensor(x)) - x[:, :2]
        return {"error": (error * error).mean(), "size": ops.abs(model.weight).sum() * 1e-3}

    optimizer = Adam(model.named_parameters(), learning_rate=0.05)
    try:
        fit("line", model, optimizer, schedule, loss_terms, folder, seed=seed, evaluate=lambda: {"score": 1.0})
    except KeyboardInterrupt:
        return None
    return model.state_dict()


@pytest.mark.parametrize("killed_after", [0, 3, 4, 7, 11])
def test_a_killed_run_ends_where_an_undisturbed_one_does(tmp_path, killed_after):
    whole = run(tmp_path / "whole")
    assert run(tmp_path / "killed", stop_at=killed_after) is None
    resumed = run(tmp_path / "killed")
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)

    def results(folder):
        rows = read_log(folder / "log.jsonl")
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    # Rows between checkpoint and kill are averaged over other windows; the last row must agree.
    assert results(tmp_path / "killed")[-2:] == results(tmp_path / "whole")[-2:]


def test_the_loss_falls_and_the_log_tells(tmp_path):
    run(tmp_path)
    rows = read_log(tmp_path / "log.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]
    assert rows[0].keys() >= {"step", "seconds", "loss", "error", "size", "gradient_norm"}
    assert abs(rows[0]["loss"] - rows[0]["error"] - rows[0]["size"]) < 1e-6
    assert rows[-1] == {"step": 12, "score": 1.0}
    table = list(csv.DictReader(io.StringIO((tmp_path / "log.csv").read_text())))
    assert len(table) == len(rows)
    assert float(table[0]["loss"]) == losses[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    model = Linear(1, 1, rng=np.random.default_rng(0))
    optimizer = Adam(model.named_parameters(), learning_rate=1.0)
    with pytest.raises(ParameterError, match=r"line: the loss is nan.*lower the learning rate"):
        fit("line", model, optimizer, SCHEDULE, lambda rng: {"loss": model.weight.sum() * np.nan}, tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_damaged_checkpoint_is_refused(tmp_path):
    model = Linear(2, 2, rng=np.random.default_rng(0))
    optimizer = Adam(model.named_parameters(), learning_rate=1.0)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, model, optimizer, 3)
    assert load_checkpoint(path, model, optimizer) == 3
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="checksum"):
        load_checkpoint(path, model, optimizer)


def test_a_log_line_cut_short_is_dropped(tmp_path):
    log = Log(tmp_path)
    log.add(step=1, loss=0.5)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert [row["step"] for row in Log(tmp_path).rows] == [1]
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 1, "loss": 0.5}


def test_the_progress_bar_says_how_far():
    stream = io.StringIO()
    bar = ProgressBar("teacher", 40, stream=stream)
    for step in range(1, 41):
        bar.update(step, "loss 0.1")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert "teacher" in lines[-1]
    assert "40/40" in lines[-1]
    assert "loss 0.1" in lines[-1]


# --- recipes


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_included_recipes_load_by_name_and_by_path(path):
    task = tomllib.loads(path.read_text()).get("task", "register")
    load = {"register": load_recipe, "segment": load_segmentation_recipe}[task]
    assert load(path.stem) == load(path)
    assert load(path.stem).name == path.stem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = 'x'", "seed must be int"),
        ("speed = 3", "unknown key 'speed'; known: name, seed"),
        ("[teacher]\nstep = 3", "unknown key 'step'"),
        ("teacher = 3", "must be a section"),
        ("[network]\nencoder = []", "encoder"),
        ("seed = ", "not valid TOML"),
        ("task = 'segment'", "of the task 'segment', not of 'register'"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path, text, says):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=says):
        load_recipe(path)


def test_a_missing_recipe_names_those_that_exist():
    with pytest.raises(ParameterError, match="hippocampus"):
        load_recipe("nowhere")


def test_a_recipe_is_what_its_file_says(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 4\n[network]\nencoder = [4, 8]\ndecoder = [8]\n[teacher]\nlearning_rate = 1\n")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.seed, recipe.teacher.learning_rate) == ("mine", 4, 1)
    assert recipe.network == SpikeRegConfig(encoder=(4, 8), decoder=(8,))
    assert recipe.finetune == Recipe("x").finetune


def test_the_content_box_is_tight():
    image = np.zeros((5, 6, 7))
    assert content_box(image) == (slice(None),) * 3
    image[2, 3, 4] = image[3, 3, 1] = 1
    assert content_box(image) == (slice(2, 4), slice(3, 4), slice(1, 5))


# --- the whole run, on generated pairs


SMALL = """
seed = 1
[network]
encoder = [3, 4]
decoder = [3]
steps = 2
[data]
grid = [16, 16, 16]
test_grid = [16, 16, 16]
generated_fraction = 1.0
generated_pairs = 3
held_out_pairs = 2
[teacher]
steps = 4
warm_up = 1
checkpoint_every = 1
[conversion]
examples = 2
[finetune]
steps = 3
warm_up = 1
checkpoint_every = 1
"""


class Killed(BaseException):
    pass


def test_a_run_from_generated_pairs_writes_networks_and_resumes_exactly(tmp_path, monkeypatch):
    (tmp_path / "small.toml").write_text(SMALL)
    recipe = load_recipe(tmp_path / "small.toml")
    lines = []
    whole = train(recipe, None, tmp_path / "whole", report=lines.append)
    assert any("held-out" in line for line in lines)
    _, card = load_model(whole)
    assert (card.network, card.config) == ("SpikeReg", recipe.network)
    assert set(card.facts["held_out"]) == {"before", "dice", "folding", "rate"}

    for stop in (2, 6):  # once in the teacher's stage, once in the fine-tuning
        steps = 0
        real = registration.registration_terms

        def dying(*arguments, stop=stop, real=real):
            nonlocal steps
            steps += 1
            if steps > stop:
                raise Killed
            return real(*arguments)

        monkeypatch.setattr(registration, "registration_terms", dying)
        with pytest.raises(Killed):
            train(recipe, None, tmp_path / f"killed{stop}")
        monkeypatch.undo()
        again = train(recipe, None, tmp_path / f"killed{stop}")
        assert again.read_bytes() == whole.read_bytes()


def test_a_run_folder_belongs_to_one_recipe_and_one_teacher(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    recipe = load_recipe(tmp_path / "small.toml")
    claim_run_folder(tmp_path / "run", recipe)
    claim_run_folder(tmp_path / "run", recipe)
    with pytest.raises(ParameterError, match=r"another recipe or teacher \(not the same: seed\)"):
        claim_run_folder(tmp_path / "run", replace(recipe, seed=2))
    given = {"teacher_sha256": "1"}
    claim_run_folder(tmp_path / "given", recipe, given)
    claim_run_folder(tmp_path / "given", recipe, given)
    for folder, facts in (("run", given), ("given", {}), ("given", {"teacher_sha256": "2"})):
        with pytest.raises(ParameterError, match="not the same: teacher_sha256"):
            claim_run_folder(tmp_path / folder, recipe, facts)
    (tmp_path / "run" / "recipe.json").write_text("{")
    with pytest.raises(ParameterError, match="cannot be read"):
        claim_run_folder(tmp_path / "run", recipe)


def test_a_run_from_a_teacher_that_is_there_begins_with_its_conversion(tmp_path, monkeypatch):
    (tmp_path / "small.toml").write_text(SMALL)
    recipe = load_recipe(tmp_path / "small.toml")
    whole = train(recipe, None, tmp_path / "whole")
    teacher = tmp_path / "whole" / "teacher.safetensors"
    before = teacher.read_bytes()

    untrained = replace(recipe, teacher=replace(recipe.teacher, steps=10**6))  # would not end
    again = train(untrained, None, tmp_path / "again", teacher=teacher)
    (ours, card), (theirs, _) = load_model(again), load_model(whole)
    for name, array in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], array)
    digest = hashlib.sha256(before).hexdigest()
    assert card.facts["teacher_sha256"] == digest
    assert json.loads((tmp_path / "again" / "recipe.json").read_text())["teacher_sha256"] == digest
    assert not (tmp_path / "again" / "teacher").exists()
    assert teacher.read_bytes() == before

    longer = replace(untrained, network=replace(recipe.network, steps=3))  # only the spiking network has time steps
    assert load_model(train(longer, None, tmp_path / "longer", teacher=teacher))[1].config.steps == 3

    real, n = registration.registration_terms, 0

    def dying(*arguments):
        nonlocal n
        n += 1
        if n > 2:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(registration, "registration_terms", dying)
    with pytest.raises(Killed):
        train(untrained, None, tmp_path / "killed", teacher=teacher)
    monkeypatch.undo()
    other = tmp_path / "other.safetensors"
    network, _ = load_model(teacher)
    network.head.bias.data += 1
    save_model(other, network)
    for wrong in (other, None):
        with pytest.raises(ParameterError, match="not the same: teacher_sha256"):
            train(untrained, None, tmp_path / "killed", teacher=wrong)
    assert train(untrained, None, tmp_path / "killed", teacher=teacher).read_bytes() == again.read_bytes()


def test_a_file_that_is_no_teacher_of_the_recipe_is_refused(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    recipe = load_recipe(tmp_path / "small.toml")
    for network, says in (
        (SpikeReg(recipe.network, np.random.default_rng(0)), "must be a Teacher, not a SpikeReg"),
        (Teacher(SpikeRegConfig(encoder=(3, 5), decoder=(3,)), np.random.default_rng(0)), r"encoder = \(3, 5\)"),
        (Teacher(replace(recipe.network, integration_steps=2), np.random.default_rng(0)), "integration_steps = 2"),
    ):
        save_model(tmp_path / "net.safetensors", network)
        with pytest.raises(WeightsError, match=says):
            train(recipe, None, tmp_path / "run", teacher=tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match="no model"):
        train(recipe, None, tmp_path / "run", teacher=tmp_path / "absent.safetensors")
    assert not (tmp_path / "run").exists()


def test_real_volumes_need_a_folder():
    with pytest.raises(ParameterError, match="--data"):
        load_pairs(load_recipe("hippocampus"), None)


def test_presets_can_be_named_in_a_recipe():
    assert load_recipe("shapes").network == preset("tiny", head_kernel=3, integration_steps=5)
