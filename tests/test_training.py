"""Training: recipes say what they mean, runs resume exactly, logs and checkpoints survive kills and damage."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from pysnnmed import ops
from pysnnmed.deploy.pretrained import load_model
from pysnnmed.errors import ParameterError, WeightsError
from pysnnmed.models.spikereg import SpikeRegConfig, preset
from pysnnmed.nn import Linear
from pysnnmed.optim import Adam
from pysnnmed.tensor import Tensor
from pysnnmed.train import registration
from pysnnmed.train.loop import Schedule, fit, load_checkpoint, save_checkpoint
from pysnnmed.train.pairs import load_pairs
from pysnnmed.train.progress import Log, ProgressBar, read_log
from pysnnmed.train.recipe import RECIPES, Recipe, load_recipe
from pysnnmed.train.registration import content_box, train

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
    assert load_recipe(path.stem) == load_recipe(path)
    assert load_recipe(path.stem).name == path.stem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = 'x'", "seed must be int"),
        ("speed = 3", "unknown key 'speed'; known: name, seed"),
        ("[teacher]\nstep = 3", "unknown key 'step'"),
        ("teacher = 3", "must be a section"),
        ("[network]\nencoder = []", "encoder"),
        ("seed = ", "not valid TOML"),
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


def test_a_run_folder_belongs_to_one_recipe(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    recipe = load_recipe(tmp_path / "small.toml")
    registration._check_run_folder(recipe, tmp_path / "run")
    registration._check_run_folder(recipe, tmp_path / "run")
    with pytest.raises(ParameterError, match="another recipe"):
        registration._check_run_folder(replace(recipe, seed=2), tmp_path / "run")


def test_real_volumes_need_a_folder():
    with pytest.raises(ParameterError, match="--data"):
        load_pairs(load_recipe("hippocampus"), None)


def test_presets_can_be_named_in_a_recipe():
    assert load_recipe("shapes").network == preset("tiny", head_kernel=3, integration_steps=5)
