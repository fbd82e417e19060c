"""The contract of a kernel backend, as checks to point at one of your own: `check_backend("numba")`."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from .. import kernels
from ..errors import ParameterError
from .hypotheses import hypothesis, quiet_settings, st
from .kernel_cases import CASES, KernelCase

Kernel = Callable[..., Any]


class KernelMismatch(AssertionError):
    """A kernel breaks the contract of `pysnnmed.backends`; `kernel` is its name, `arguments` the smallest case."""

    def __init__(self, kernel: str, reason: str, arguments: tuple | None = None):
        drawn = "" if arguments is None else f"; smallest case: {', '.join(map(_brief, arguments))}"
        super().__init__(f"{kernel}: {reason}{drawn}")
        self.kernel, self.arguments = kernel, arguments


def kernels_of(backend: str | ModuleType) -> dict[str, Kernel]:
    """The kernels of a backend, given by name or as a module.

    A kernel is a public function that is written in the module or package, or that has the name of a reference kernel.
    """
    module = kernels.load(backend) if isinstance(backend, str) else backend

    def is_kernel(name: str, value: Any) -> bool:
        written_here = inspect.isfunction(value) and value.__module__.startswith(module.__name__)
        return callable(value) and not name.startswith("_") and (written_here or name in CASES)

    return {name: value for name, value in vars(module).items() if is_kernel(name, value)}


def check_backend(
    backend: str | ModuleType,
    *,
    only: Iterable[str] | None = None,
    max_examples: int | None = None,
    threads: int = 3,
    seed: int = 0,
) -> tuple[str, ...]:
    """Check every kernel of `backend`, or those named in `only`, against the NumPy reference; the names checked.

    `backend` is a name that `kernels.use_backend` knows, or a module of functions. A kernel must have the signature and
    the results of the reference (shape, dtype, values within the tolerance of its case), must not write to its
    arguments nor to arrays inside them, apart from the one for its result, and must not change a bit with the number
    of threads or from call to call. Each meets `max_examples`
    cases drawn from `seed`; without it, as many as the hypothesis profile says. Raises KernelMismatch for the first
    kernel that breaks the contract, ParameterError for a name in `only` that the backend lacks.

        def test_my_backend():
            check_backend(my_kernels)
    """
    theirs, reference = kernels_of(backend), kernels_of(kernels.REFERENCE)
    names = list(theirs) if only is None else list(only)
    if missing := sorted(set(names) - theirs.keys()):
        raise ParameterError(f"check_backend: there is no kernel {missing[0]!r}; there are {', '.join(theirs)}")
    n = hypothesis.settings().max_examples if max_examples is None else max_examples
    for name in names:
        if name not in reference:
            raise KernelMismatch(name, "the reference has no such kernel; helpers start with an underscore")
        _check_signature(name, theirs[name], reference[name])
        _check_results(name, theirs[name], reference[name], CASES[name], n, threads, seed)
    return tuple(names)


def _check_signature(name: str, kernel: Kernel, reference: Kernel) -> None:
    theirs, ours = (
        [(p.name, p.default) for p in inspect.signature(f).parameters.values()] for f in (kernel, reference)
    )
    if theirs != ours:
        raise KernelMismatch(
            name, f"the parameters must be {inspect.signature(reference)}, not {inspect.signature(kernel)}"
        )


def _check_results(
    name: str, kernel: Kernel, reference: Kernel, case: KernelCase, max_examples: int, threads: int, seed: int
) -> None:
    @hypothesis.seed(seed)
    @quiet_settings(max_examples)
    @hypothesis.given(arguments=case.arguments, n=st.integers(1, threads))
    def examine(arguments: tuple, n: int) -> None:
        kept = copy.deepcopy(arguments)
        want = _parts(reference(*copy.deepcopy(arguments)))
        try:
            with kernels.use_threads(n, split_small=True):
                result = kernel(*arguments)
            got = _parts(result)
        except Exception as error:  # whatever a kernel of one's own may raise
            raise KernelMismatch(name, f"it raises {type(error).__name__}: {error}", kept) from error
        problem = (
            _written_to(arguments, kept, case.out)
            or _returned(result, arguments, case.out)
            or _difference(got, want, case.rtol, case.atol, case.own)
            or _depends_on_threads(kernel, kept, got, 1 if n > 1 else threads)
        )
        if problem:
            raise KernelMismatch(name, problem, kept)

    examine()


def _parts(result: Any) -> list[Any]:
    """The arrays and numbers of a result, copied, in order; None stays None."""
    return [None if part is None else np.array(part) for part in _flat(result)]


def _flat(result: Any) -> Iterator[Any]:
    """The parts of a tuple, and of the tuples in it."""
    if isinstance(result, tuple):
        for part in result:
            yield from _flat(part)
    else:
        yield result


def _written_to(arguments: tuple, kept: tuple, out: int | None) -> str:
    for i, (argument, before) in enumerate(zip(arguments, kept, strict=True)):
        pairs = zip(_arrays(argument), _arrays(before), strict=True)
        if i != out and not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs):
            return f"it writes to its argument {i}"
    return ""


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """The arrays in an argument, those inside tuples and fields included."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _arrays(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _arrays(getattr(value, field.name))


def _returned(result: Any, arguments: tuple, out: int | None) -> str:
    given = None if out is None else arguments[out]
    first = result[0] if isinstance(result, tuple) else result
    return "" if given is None or first is given else f"its first result must be its argument {out}"


def _difference(got: list[Any], want: list[Any], rtol: float, atol: float, own: tuple[int, ...] = ()) -> str:
    if len(got) != len(want):
        return f"it returns {len(got)} results instead of {len(want)}"
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        if (g is None) != (w is None):
            return f"result {i} is {'None' if g is None else 'an array'} where that of the reference is not"
        if g is None or i in own:
            continue
        if (g.shape, g.dtype) != (w.shape, w.dtype):
            return f"result {i} is {g.dtype} of shape {g.shape} instead of {w.dtype} of shape {w.shape}"
        whole = g.dtype.kind in "biu" and rtol == atol == 0  # words of 64 bits have no exact float
        wrong = g != w if whole else ~np.isclose(g, w, rtol=rtol, atol=atol, equal_nan=True)
        if wrong.any():
            index = tuple(int(j) for j in np.argwhere(wrong)[0])
            found, wanted = (str(a[index]) if whole else f"{a[index]:.10g}" for a in (g, w))
            return f"result {i} at {index} is {found} instead of {wanted}"
    return ""


def _depends_on_threads(kernel: Kernel, arguments: tuple, first: list[Any], threads: int) -> str:
    with kernels.use_threads(threads, split_small=True):
        again = _parts(kernel(*copy.deepcopy(arguments)))
    problem = _difference(again, first, 0.0, 0.0)
    return f"on another number of threads, or when called again, {problem}" if problem else ""


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_brief, value))})"
    if dataclasses.is_dataclass(value) and any(True for _ in _arrays(value)):
        fields = (f"{f.name}={_brief(getattr(value, f.name))}" for f in dataclasses.fields(value))
        return f"{type(value).__name__}({', '.join(fields)})"
    return repr(value)
