"""The README's examples do what they print, its two commands are the only ones, and the package lists every folder."""

import configparser
import re
import subprocess
import sys

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def test_the_example_of_a_broken_neuron_ends_in_the_error_it_promises():
    (example,) = (block for block in EXAMPLES if "check_neuron" in block)
    (promised,) = re.findall(r"# (NeuronLawError: .*) \.\.\.$", example, flags=re.M)
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=False)
    assert promised in done.stderr


def said_by(call, folder):
    """What the example with this call prints, run in `folder`."""
    (example,) = (block for block in EXAMPLES if call in block)
    assert len(example.splitlines()) <= 15
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_segments_a_picture(tmp_path):
    (overlap,) = map(float, re.findall(r"IoU ([\d.]+)", said_by("pysnnmed.segment", tmp_path)))
    assert overlap >= 0.7
    assert (tmp_path / "mask.png").exists()


def test_the_example_registers_a_pair(tmp_path):
    before, after = map(float, re.findall(r"Dice ([\d.]+) -> ([\d.]+)", said_by("pysnnmed.register", tmp_path))[0])
    assert after - before >= 0.15
    assert {p.name for p in tmp_path.glob("*.nii.gz")} == {"moved.nii.gz", "warp.nii.gz"}


def test_there_are_exactly_two_commands_to_set_up():
    assert len(re.findall(r"^pip install ", README, flags=re.M)) == 2


@pytest.mark.parametrize("name", re.findall(r"^  ([\w.]+(?:/|\.py))", README, flags=re.M))
def test_the_map_names_what_exists(name):
    assert (ROOT / "pysnnmed" / name.rstrip("/")).exists()


def test_setup_lists_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    ours = {p.parent.relative_to(ROOT).parts for p in (ROOT / "pysnnmed").rglob("__init__.py")}
    theirs = {("pysnnmed", *p.parent.relative_to(ROOT).parts) for p in (ROOT / "backends").rglob("__init__.py")}
    found = {".".join(parts) for parts in ours | theirs}
    assert listed == found
