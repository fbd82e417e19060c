"""Hypothesis strategies for the objects of this package. Importing it needs the extra `test`.

    from hypothesis import given
    from pysnnmed.testing import strategies

    @given(neuron=strategies.neurons(LIF), x=strategies.dyadic_currents((5, 2, 3)))
    def test_something(neuron, x): ...

Neurons, surrogates and images are also what `st.from_type(LIF)`, `st.from_type(Image)` draw, without any import, where
the package is installed (`testing._register`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from ..data import Image
from ..data.affines import rotation_from_quaternion
from ..errors import ParameterError
from ..neurons import Neuron
from ..surrogate import Surrogate
from .hypotheses import hnp, st

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FLOATS = (np.float32, np.float64)
Shape = Sequence[int]
N = TypeVar("N")

# ---------------------------------------------------------------------------------------------------- neurons


def surrogates() -> SearchStrategy[Surrogate]:
    """Every surrogate there is; its `alpha` over two orders of magnitude, other parameters at their defaults."""
    return st.sampled_from(sorted(Surrogate.registry.values(), key=lambda kind: kind.__name__)).flatmap(_surrogate)


def _surrogate(kind: type[Surrogate]) -> SearchStrategy[Surrogate]:
    return st.builds(kind, alpha=st.floats(0.1, 10)) if "alpha" in _parameters(kind) else st.builds(kind)


# What a parameter of a neuron is drawn from, by its name. A parameter that is not here is drawn from its type if that
# is bool or a Literal, and else keeps its default.
PARAMETERS: dict[str, Callable[[], Any]] = {
    "beta": lambda: st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),  # membrane that survives a step
    "v_threshold": lambda: st.sampled_from([0.25, 0.5, 1.0]) | st.floats(0.01, 10),
    "v_reset": lambda: st.floats(-1, 1),
    "v_initial": lambda: st.floats(-1, 1),
    "alpha": lambda: st.sampled_from([0.0, 0.5]) | st.floats(0, 1),  # synaptic current that survives a step
    "gain": lambda: st.sampled_from([0.5, 1.0, 2.0]),
    "levels": lambda: st.integers(1, 8),  # the largest count of events in one step
    "surrogate": surrogates,
}


def neurons(cls: type[N], **parameters: SearchStrategy[Any]) -> SearchStrategy[N]:
    """Valid neurons of the dataclass `cls`, also of one that this package has never seen.

    Each parameter of the constructor is drawn from, in this order: the strategy given here by its name; the one in
    `cls.strategies()`, an optional classmethod that returns {name: strategy}; `PARAMETERS`; its type (bool, Literal);
    its default. Choices that `cls` refuses with a ParameterError are drawn again. Raises ParameterError for a parameter
    that none of these covers and for a name that is no parameter.

        neurons(LIF, beta=st.just(1.0))          # LIF without leak, everything else drawn
    """
    fields = _parameters(cls)
    known = {**getattr(cls, "strategies", dict)(), **parameters}
    if unknown := sorted(known.keys() - fields.keys()):
        raise ParameterError(f"neurons({cls.__name__}): {unknown[0]!r} is no parameter; there are {', '.join(fields)}")
    hints = _type_hints(cls)
    drawn = {}
    for name, field in fields.items():
        strategy = known.get(name)
        if strategy is None and name in PARAMETERS:
            strategy = PARAMETERS[name]()
        if strategy is None:
            strategy = _of_type(hints.get(name))
        if strategy is not None:
            drawn[name] = strategy
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ParameterError(
                f"neurons({cls.__name__}): nothing says how to draw the parameter {name!r}; "
                f"pass {name}=<strategy>, or give {cls.__name__} a classmethod strategies() that returns it"
            )
    return (
        st.fixed_dictionaries(drawn).map(lambda choice: _built(cls, choice)).filter(lambda neuron: neuron is not None)
    )


def any_neuron() -> SearchStrategy[Neuron]:
    """A neuron of any model of this package."""
    models = sorted(registered_neurons().items())
    return st.one_of([neurons(model) for _, model in models])


def registered_neurons() -> dict[str, type[Neuron]]:
    """The models of this package by name, without those that a test or a user has defined since."""
    home = Neuron.__module__.rpartition(".")[0]
    return {name: model for name, model in Neuron.registry.items() if model.__module__.startswith(f"{home}.")}


def _parameters(cls: type) -> dict[str, dataclasses.Field[Any]]:
    if not dataclasses.is_dataclass(cls):
        raise ParameterError(
            f"{cls.__name__} must be a dataclass for its parameters to be drawn; pass a factory instead"
        )
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def _type_hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls)
    except NameError:  # a class inside a function may name types that cannot be looked up from outside
        return {}


def _of_type(hint: Any) -> SearchStrategy[Any] | None:
    if hint is bool:
        return st.booleans()
    return st.sampled_from(get_args(hint)) if get_origin(hint) is Literal else None


def _built(cls: type[N], choice: dict[str, Any]) -> N | None:
    try:
        return cls(**choice)
    except ParameterError:
        return None


# ---------------------------------------------------------------------------------------------------- arrays


def shapes(
    ndim: int | None = None, *, max_batch: int = 3, max_channels: int = 3, max_side: int = 4
) -> SearchStrategy[tuple[int, ...]]:
    """Shapes [B, C, *S] of the input of one step, with `ndim` spatial axes or with 0 to 3."""
    axes = st.integers(0, 3) if ndim is None else st.just(ndim)
    sides = st.integers(1, max_side)
    return axes.flatmap(lambda n: st.tuples(st.integers(1, max_batch), st.integers(1, max_channels), *[sides] * n))


@st.composite
def spike_trains(
    draw: Callable, steps: int, shape: Shape, rate: float | None = None, dtype: Any = np.float64
) -> np.ndarray:
    """Binary spikes [steps, *shape] of which round(rate * size) are 1, anywhere; without `rate` it is drawn too."""
    if rate is None:
        rate = draw(st.floats(0, 1))
    if not 0 <= rate <= 1:
        raise ParameterError(f"spike_trains: rate must be in [0, 1] spikes a step, not {rate}")
    spikes = np.zeros((steps, *shape), dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spikes.flat[rng.permutation(spikes.size)[: round(rate * spikes.size)]] = 1
    return spikes


def currents(
    shape: Shape | SearchStrategy, *, low: float = -1.0, high: float = 2.0, dtype: Any = np.float64
) -> SearchStrategy[np.ndarray]:
    """Input currents of any value in [low, high]."""
    width = np.dtype(dtype).itemsize * 8
    return hnp.arrays(dtype, shape, elements=st.floats(low, high, width=width))


def dyadic_currents(
    shape: Shape | SearchStrategy, unit: float = 1 / 64, *, low: int = -64, high: int = 128, dtype: Any = np.float64
) -> SearchStrategy[np.ndarray]:
    """Input currents k * unit with whole numbers low <= k <= high.

    With a power of two as the unit, such as 1/4096, sums are exact in any order for a few hundred steps. With a quarter
    of the threshold (unit=neuron.v_threshold / 4, low=-4, high=8) membranes meet the threshold exactly, again and
    again, so that the tie rule counts.
    """
    whole = hnp.arrays(np.int64, shape, elements=st.integers(low, high))
    return whole.map(lambda k: (k * unit).astype(dtype))


class ConvolutionGeometry(NamedTuple):
    """Shapes and settings of one convolution that fit together; tuples of one number per spatial axis."""

    x: tuple[int, ...]  # [B, C, *S]
    weight: tuple[int, ...]  # [O, C/groups, *K]
    out: tuple[int, ...]  # [B, O, *S']
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


@st.composite
def convolution_geometries(draw: Callable, max_width: int = 40) -> ConvolutionGeometry:
    """Convolutions over one to three axes; the last has up to `max_width` voxels, which fills vector registers."""
    ndim = draw(st.integers(1, 3))

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(ndim))

    kernel, stride, padding, dilation = per_axis(1, 3), per_axis(1, 3), per_axis(0, 2), per_axis(1, 2)
    shortest = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    longest = [6] * (ndim - 1) + [max_width]
    size = tuple(draw(st.integers(a, max(a, b))) for a, b in zip(shortest, longest, strict=True))
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    out_size = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
    groups, batch = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    n_in, n_out = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    return ConvolutionGeometry(
        (batch, groups * n_in, *size),
        (groups * n_out, n_in, *kernel),
        (batch, groups * n_out, *out_size),
        stride,
        padding,
        dilation,
        groups,
    )


# ---------------------------------------------------------------------------------------------------- volumes

ORIENTATIONS = [
    np.eye(3)[:, order] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]  # the 48 ways to lay three voxel axes along three world axes


@st.composite
def affines(draw: Callable, *, oblique: bool | None = None) -> np.ndarray:
    """Valid affines [4, 4] in RAS mm: each of the 48 orientations, anisotropic spacing, any origin.

    An `oblique` one is turned by up to 40 degrees about any axis, so that it keeps its orientation code; by default
    some are and some are not.
    """
    spacing = [draw(st.sampled_from([0.5, 1.0, 3.0]) | st.floats(0.2, 8)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = draw(st.sampled_from(ORIENTATIONS)) * spacing
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    if draw(st.booleans()) if oblique is None else oblique:
        half_sine = st.floats(-0.19, 0.19)  # sin(20 degrees) / sqrt(3) for each part of the quaternion
        affine[:3, :3] = rotation_from_quaternion(*(draw(half_sine) for _ in range(3))) @ affine[:3, :3]
    return affine


def volume_shapes(max_side: int = 6) -> SearchStrategy[tuple[int, int, int]]:
    """Shapes [I, J, K] of volumes, single slices included."""
    return st.tuples(*[st.integers(1, max_side)] * 3)


@st.composite
def images(
    draw: Callable,
    shape: Shape | SearchStrategy | None = None,
    *,
    dtype: Any = None,
    oblique: bool | None = None,
) -> Image:
    """Volumes `data.Image` of small whole numbers in any dtype a scanner writes, with `affines(oblique=oblique)`."""
    kind = np.dtype(draw(st.sampled_from(["u1", "i2", "u2", "f4", "f8"])) if dtype is None else dtype)
    grid = volume_shapes() if shape is None else shape
    values = st.integers(0, 255).map(float if kind.kind == "f" else int)
    return Image(draw(hnp.arrays(kind, grid, elements=values)), draw(affines(oblique=oblique)))


def label_maps(shape: Shape | SearchStrategy | None = None, n_labels: int = 4) -> SearchStrategy[np.ndarray]:
    """Label maps [*S] uint8 of 0 (background) to `n_labels`, each of which may be absent."""
    return hnp.arrays(np.uint8, volume_shapes() if shape is None else shape, elements=st.integers(0, n_labels))
