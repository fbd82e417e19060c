"""The published strategies draw valid objects of every kind they promise, and hypothesis finds them by type."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from pysnnmed import Image
from pysnnmed.conv import conv
from pysnnmed.data.affines import check_affine, orientation_codes
from pysnnmed.errors import ParameterError
from pysnnmed.neurons import IF, LIF, Neuron, run
from pysnnmed.surrogate import Surrogate
from pysnnmed.tensor import Tensor
from pysnnmed.testing import _register, strategies

_register()  # what the entry point does where the package is installed
once = settings(database=None, max_examples=2000, phases=[Phase.generate])


@given(neuron=st.from_type(LIF) | st.from_type(IF) | st.from_type(Neuron), surrogate=st.from_type(Surrogate))
def test_drawn_neurons_run(neuron, surrogate):
    spikes, _ = run(neuron, Tensor(np.linspace(-1, 2, 12).reshape(4, 1, 3)))
    assert spikes.shape == (4, 1, 3)
    assert np.isfinite(spikes.data).all()
    assert surrogate(np.zeros(1)) > 0


@pytest.mark.parametrize("choice", [{"reset": "soft"}, {"reset": "hard"}, {"tie": ">"}, {"beta": 1.0}, {"beta": 0.0}])
def test_every_option_of_a_neuron_is_drawn(choice):
    find(
        strategies.neurons(LIF), lambda n: all(getattr(n, key) == value for key, value in choice.items()), settings=once
    )


@dataclass(frozen=True)
class Unheard:
    """Parameters by name, by type, by its own word, by default."""

    beta: float
    quick: bool
    levels: int
    label: str = "x"

    def __post_init__(self):
        if self.levels == 3:
            raise ParameterError("Unheard: levels must not be 3")

    @classmethod
    def strategies(cls):
        return {"levels": st.integers(2, 5)}


@given(neuron=strategies.neurons(Unheard))
def test_neurons_draws_a_class_it_has_never_seen(neuron):
    assert 0 <= neuron.beta <= 1
    assert isinstance(neuron.quick, bool)
    assert neuron.levels in (2, 4, 5)  # 3 is refused by the class and drawn again
    assert neuron.label == "x"


@given(neuron=strategies.neurons(Unheard, levels=st.just(7), label=st.sampled_from("yz")))
def test_a_strategy_given_by_name_comes_first(neuron):
    assert neuron.levels == 7
    assert neuron.label in "yz"


def test_parameters_that_cannot_be_drawn_are_named():
    @dataclass
    class Opaque:
        secret: complex

    with pytest.raises(ParameterError, match="nothing says how to draw the parameter 'secret'; pass secret=<strategy>"):
        strategies.neurons(Opaque)
    with pytest.raises(ParameterError, match="'tau' is no parameter; there are beta, v_threshold"):
        strategies.neurons(LIF, tau=st.just(2))
    with pytest.raises(ParameterError, match="int must be a dataclass"):
        strategies.neurons(int)


@given(data=st.data(), steps=st.integers(1, 5), shape=strategies.shapes(), rate=st.floats(0, 1))
def test_spike_trains_have_the_rate_asked_for(data, steps, shape, rate):
    spikes = data.draw(strategies.spike_trains(steps, shape, rate, np.float32))
    assert spikes.shape == (steps, *shape)
    assert spikes.dtype == np.float32
    assert np.isin(spikes, (0, 1)).all()
    assert spikes.sum() == round(rate * spikes.size)


def test_a_rate_beyond_one_spike_a_step_is_refused():
    with pytest.raises(ParameterError, match=r"rate must be in \[0, 1\] spikes a step, not 1.5"):
        find(strategies.spike_trains(2, (3,), 1.5), lambda _: True)


@given(x=strategies.dyadic_currents((4, 1, 2), 1 / 4096), y=strategies.currents((2, 3), dtype=np.float32))
def test_currents_are_what_they_say(x, y):
    np.testing.assert_array_equal(x * 4096, np.round(x * 4096))
    np.testing.assert_array_equal(x.sum(axis=0), x[::-1].sum(axis=0))
    assert y.dtype == np.float32
    assert ((y >= -1) & (y <= 2)).all()


def test_quarters_of_the_threshold_force_ties():
    def ties(x):
        return (x.cumsum(axis=0) == 0.37).any()

    find(strategies.dyadic_currents((4, 1, 1), 0.37 / 4, low=-4, high=8), ties, settings=once)


@given(geometry=strategies.convolution_geometries(max_width=8))
def test_convolution_geometries_fit(geometry):
    x, weight = (Tensor(np.zeros(shape)) for shape in (geometry.x, geometry.weight))
    assert conv(x, weight, None, *geometry[3:]).shape == geometry.out


@given(affine=strategies.affines())
def test_affines_are_accepted(affine):
    np.testing.assert_array_equal(check_affine(affine), affine)


def test_there_are_48_orientations_and_an_oblique_one_keeps_its_code():
    def code(axes):
        return orientation_codes(np.block([[axes, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]))

    assert len({code(axes) for axes in strategies.ORIENTATIONS}) == 48
    for wanted in ("RAS", "LPI", "SAR", "PIR"):
        find(strategies.affines(oblique=True), lambda a, wanted=wanted: orientation_codes(a) == wanted, settings=once)


@given(image=st.from_type(Image), labels=strategies.label_maps((2, 3, 4), n_labels=3))
def test_images_and_label_maps(image, labels):
    assert image.data.dtype in (np.uint8, np.int16, np.uint16, np.float32, np.float64)
    assert labels.shape == (2, 3, 4)
    assert labels.max() <= 3


@given(image=strategies.images((2, 1, 3), dtype=np.float32, oblique=False))
def test_images_of_one_kind(image):
    assert image.shape == (2, 1, 3)
    assert image.data.dtype == np.float32
    axes = image.affine[:3, :3]
    assert np.count_nonzero(axes) == 3


@pytest.mark.parametrize(
    "code",
    [
        "from hypothesis import HealthCheck, given, settings, strategies as st\n"
        "from pysnnmed.neurons import LIF; import pysnnmed\n"  # the first draw imports the strategies, which takes time
        "@settings(max_examples=3, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])\n"
        "@given(st.from_type(LIF), st.from_type(pysnnmed.Image))\n"
        "def check(neuron, image):\n    assert (type(neuron), type(image)) == (LIF, pysnnmed.Image)\n"
        "check()",
        "from pysnnmed.testing import strategies",  # imports hypothesis, which calls the entry point in the middle
    ],
)
def test_hypothesis_finds_the_strategies_of_the_installed_package(tmp_path, code):
    installed = tmp_path / "pysnnmed-0.dist-info"  # what pip would write from setup.cfg
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: pysnnmed\nVersion: 0\n")
    (installed / "entry_points.txt").write_text("[hypothesis]\npysnnmed = pysnnmed.testing:_register\n")
    path = f"{tmp_path}:{ROOT}"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": path})


def test_the_bench_names_the_extra_that_is_missing(tmp_path):
    (tmp_path / "hypothesis.py").write_text("raise ImportError('not installed')")
    code = (
        "from pysnnmed.testing import check_gradient\n"
        "try:\n    from pysnnmed.testing import check_neuron\n"
        "except ImportError as error:\n    assert \"pip install 'pysnnmed[test]'\" in str(error), error\n"
        "else:\n    raise SystemExit('imported')"
    )
    path = f"{tmp_path}:{ROOT}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": path})
