"""Arguments on which each kernel of each backend is compared with the reference, one module per kind of kernel.

Each module defines CASES: {kernel name: KernelCase}. A strategy draws the tuple of positional arguments. Where sums are
exact (integer-valued data) the results must be equal; elsewhere a tolerance says how far two summation orders may part.
Needs hypothesis.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass

from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True)
class KernelCase:
    """A strategy of argument tuples, and how far results may be from the reference: atol + rtol |reference|.

    `out` is the position of the argument that the kernel may write to, if it has one: an array, which is then its first
    result, or None. `own` are the positions of results, those in tuples counted one by one, that are each backend's own
    affair: how it worked, not what came out.
    """

    arguments: SearchStrategy[tuple]
    rtol: float = 0.0
    atol: float = 0.0
    out: int | None = None
    own: tuple[int, ...] = ()


CASES: dict[str, KernelCase] = {}
for _module in pkgutil.iter_modules(__path__):
    CASES.update(importlib.import_module(f"{__name__}.{_module.name}").CASES)
