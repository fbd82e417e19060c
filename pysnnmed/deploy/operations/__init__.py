"""The operations of a program, each with its equation, what it asks of its inputs and what it returns.

Every number that an operation needs is in it: batch norm is folded, thresholds and leaks are numbers. An operation is
either of whole numbers (weights int8 or int16, sums and membranes int32), and then every executor returns the same
bits, or of float32, where the order of a sum shows in its last digits. `result` gives the type of the value it returns
and raises ProgramError, naming the operation, for anything that does not fit.

    spikes      layers of neurons fused over time, read-outs, pooling and repetition of bits
    currents    real numbers at every step: the convolutions of a membrane trunk, its sums, its neurons
    attention   spikes that attend to each other
    fields      real numbers that stay: rounding, interpolation, displacements
"""

from .attention import Attend, Gate
from .base import EXACT_IN_FLOAT32, INT32, LONGEST, MOST_SLOTS, MOST_SQUARINGS, Operation
from .currents import Add, Convolve, Fire, MeanSteps
from .fields import Enlarge, Integrate, Quantize, Warp
from .parts import Dynamics, Geometry, Raised, Synapses, check_synapses, checked_output_shape
from .spikes import Pool, ReadOut, Repeat, SpikingLayer

__all__ = [
    "EXACT_IN_FLOAT32",
    "INT32",
    "LONGEST",
    "MOST_SLOTS",
    "MOST_SQUARINGS",
    "Add",
    "Attend",
    "Convolve",
    "Dynamics",
    "Enlarge",
    "Fire",
    "Gate",
    "Geometry",
    "Integrate",
    "MeanSteps",
    "Operation",
    "Pool",
    "Quantize",
    "Raised",
    "ReadOut",
    "Repeat",
    "SpikingLayer",
    "Synapses",
    "Warp",
    "check_synapses",
    "checked_output_shape",
]
