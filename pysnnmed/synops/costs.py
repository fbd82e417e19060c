"""What one operation and one access cost [pJ], by name, with the source: arithmetic, and where data live.

`TABLES` has every arithmetic alone ("fp32") and with every placement of data ("fp32@dram"). Energies of a table without
a placement are of arithmetic alone; see `energy`, which keeps the two apart.

Source of all numbers: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, p. 10-14,
figure 1.1.9, a 45 nm process at 0.9 V. An operation there is a functional unit without instruction and registers. A
read from a cache is given for 64 bits; narrower values cost their share of it, and a write is taken to cost as much
as a read. DRAM is given as 1.3 to 2.6 nJ for 64 bits, of which this is the lower end. Where an adder or multiplier is
given, the multiply-accumulate is their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..errors import ParameterError

WORD = 64  # bits of one access
ACCESS = MappingProxyType({"8 KB": 10.0, "32 KB": 20.0, "1 MB": 100.0, "DRAM": 1300.0})  # pJ for a word


@dataclass(frozen=True)
class Placement:
    """Where weights, membranes and spikes live, and with the spikes real values and activations: keys of ACCESS."""

    name: str
    weights: str
    states: str
    spikes: str

    def __str__(self) -> str:
        if self.weights == self.states == self.spikes:
            return f"everything in {self.weights}"
        return f"weights in {self.weights}, membranes in {self.states}, spikes in {self.spikes}"


@dataclass(frozen=True)
class CostTable:
    """Energy of one operation [pJ], the widths of what is read and written [bit], and where it lives.

    `leak` is the multiplication of a membrane by its leak.
    """

    name: str
    mac: float  # a multiplication and an addition
    add: float
    source: str
    leak: float = 0.0
    weight_bits: int = 32
    state_bits: int = 32
    activation_bits: int = 32  # of the conventional network, and of real values in both
    placement: Placement | None = None

    @property
    def conditions(self) -> str:
        """The table in words: name, source, where data live."""
        return f"{self.name} ({self.source}{'' if self.placement is None else f', {self.placement}'})"


SOURCE = "45 nm, Horowitz 2014"
ARITHMETIC = (
    CostTable("fp32", 4.6, 0.9, SOURCE, leak=3.7),
    CostTable("fp16", 1.5, 0.4, SOURCE, leak=1.1, weight_bits=16, state_bits=16, activation_bits=16),
    CostTable("int32", 3.2, 0.1, SOURCE, leak=3.1),
    CostTable("int8", 0.23, 0.03, SOURCE, leak=0.2, weight_bits=8, state_bits=8, activation_bits=8),
    # int8 weights into int32 membranes: an 8-bit multiplier, a 32-bit adder
    CostTable("int8-int32", 0.3, 0.1, SOURCE, leak=3.1, weight_bits=8, activation_bits=8),
)
PLACEMENTS = (
    Placement("cache", weights="32 KB", states="32 KB", spikes="8 KB"),  # the best that a small core can hope for
    Placement("sram", weights="1 MB", states="1 MB", spikes="1 MB"),
    Placement("dram", weights="DRAM", states="DRAM", spikes="1 MB"),
)
TABLES: Mapping[str, CostTable] = MappingProxyType(
    {table.name: table for table in ARITHMETIC}
    | {
        f"{table.name}@{place.name}": replace(table, name=f"{table.name}@{place.name}", placement=place)
        for table in ARITHMETIC
        for place in PLACEMENTS
    }
)


def cost_table(name: str) -> CostTable:
    """The table of that name. Raises ParameterError for a name that is not in TABLES."""
    if name not in TABLES:
        arithmetic, places = (", ".join(entry.name for entry in entries) for entries in (ARITHMETIC, PLACEMENTS))
        raise ParameterError(
            f"cost table: the name must be one of {arithmetic}, alone or followed by @ and one of {places}, "
            f"not {name!r}"
        )
    return TABLES[name]


def access_energy(bits: float, place: str) -> float:
    """Energy [pJ] of reading or writing that many bits, in whole words that are used to the last bit."""
    return bits / WORD * ACCESS[place]
