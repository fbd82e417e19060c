"""The four maps of decomposed spike attention, and every sum of them as a few numbers.

A neuron that is silent carries information as well: Q = Q_A is where a query fires, Q_I = 1 - Q where it does not, and
so for K. The four interactions of N tokens over C channels are, with q_i and k_j the spikes of a token,

    AA = Q K^T                      AI = Q (1 - K)^T       = q 1^T - AA
    IA = (1 - Q) K^T = 1 k^T - AA   II = (1 - Q) (1 - K)^T = C - q 1^T - 1 k^T + AA          AA + AI + IA + II = C

so any sum of them is  a Q K^T + b q 1^T + c 1 k^T + d C  with whole numbers a, b, c, d: its `Coefficients`. An output
of the attention is a tuple of names, the maps that are added before they meet V. MedSpikeFormer (equations 8 and 9)
has two of them, `HALVES`; an ablation is an output without a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from .errors import ParameterError

Output: TypeAlias = tuple[str, ...]
Outputs: TypeAlias = tuple[Output, ...]
Axis: TypeAlias = Literal["token", "channel"]

MAPS = ("AA", "AI", "IA", "II")
HALVES: Outputs = (("AA", "II"), ("AI", "IA"))  # [Q, 1 - Q] [K, 1 - K]^T and [1 - Q, Q] [K, 1 - K]^T
SEPARATE: Outputs = (("AA",), ("AI",), ("IA",), ("II",))
ACTIVE: Outputs = (("AA",),)  # Q K^T alone: spiking self-attention


class Coefficients(NamedTuple):
    """both Q K^T + query q 1^T + key 1 k^T + constant C 1 1^T"""

    both: int
    query: int
    key: int
    constant: int


class Reading(NamedTuple):
    """An output as sign * product + key * w + constant * C u, with w = k^T V and u = 1^T V the same for every token.

    `product` is the index of a product Q (both K^T V + query 1 u), None where the output has none.
    """

    product: int | None
    sign: int
    key: int
    constant: int


class Products(NamedTuple):
    """What the linear form computes: the products, each once, as (both, query), and how the outputs read them."""

    products: tuple[tuple[int, int], ...]
    readings: tuple[Reading, ...]

    @property
    def needs_u(self) -> bool:
        return any(query for _, query in self.products) or any(reading.constant for reading in self.readings)

    @property
    def needs_w(self) -> bool:
        return any(reading.key for reading in self.readings)


def checked_outputs(outputs: Sequence[Sequence[str]]) -> Outputs:
    """`outputs` as tuples. Raises ParameterError unless each is a set of at least one of the four maps."""
    checked = tuple(tuple(output) for output in outputs)
    if not checked:
        raise ParameterError("attention: there must be at least one output, a tuple of names of maps")
    for output in checked:
        if not output or len(set(output)) < len(output) or not set(output) <= set(MAPS):
            raise ParameterError(
                f"attention: an output must name one or more of the maps {', '.join(MAPS)}, each once, not {output}"
            )
    return checked


def without(removed: str, outputs: Outputs = HALVES) -> Outputs:
    """An ablation: `outputs` with the map `removed` left out of every sum, and without those that were it alone.

    Raises ParameterError for an unknown map, or if nothing is left.
    """
    if removed not in MAPS:
        raise ParameterError(f"attention: there is no map {removed!r} to leave out; there are {', '.join(MAPS)}")
    return checked_outputs([[name for name in output if name != removed] for output in outputs if output != (removed,)])


def coefficients(output: Output) -> Coefficients:
    """The sum of the maps of an output.

    >>> coefficients(("AA", "II"))
    Coefficients(both=2, query=-1, key=-1, constant=1)
    """
    aa, ai, ia, ii = (name in output for name in MAPS)
    return Coefficients(aa - ai - ia + ii, ai - ii, ia - ii, int(ii))


def products(outputs: Outputs) -> Products:
    """The least products that the linear form needs: two outputs whose products differ in sign share one.

    >>> products(HALVES).products
    ((2, -1),)
    """
    known: list[tuple[int, int]] = []
    readings = []
    for a, b, key, constant in map(coefficients, outputs):
        opposite = (-a, -b)
        if (a, b) == (0, 0):
            readings.append(Reading(None, 1, key, constant))
            continue
        if (a, b) not in known and opposite not in known:
            known.append((a, b))
        sign = 1 if (a, b) in known else -1
        readings.append(Reading(known.index((a, b) if sign > 0 else opposite), sign, key, constant))
    return Products(tuple(known), tuple(readings))


def complements(outputs: Outputs) -> tuple[int | None, ...]:
    """For each output, the index of an earlier one that has exactly the other maps, whose sum it completes to C u.

    >>> complements(HALVES)
    (None, 0)
    """
    sets = [frozenset(output) for output in outputs]
    first = {names: i for i, names in reversed(list(enumerate(sets)))}
    found = []
    for i, names in enumerate(sets):
        other = first.get(frozenset(MAPS) - names)
        found.append(other if other is not None and other < i else None)
    return tuple(found)


def cheaper_form(tokens: int, channels: int, values: int) -> Literal["linear", "reduced"]:
    """Which form multiplies less: "linear" from the right, 2 N C Cv, or "reduced" through the scores, N N (C + Cv)."""
    return "linear" if 2 * channels * values <= tokens * (channels + values) else "reduced"
