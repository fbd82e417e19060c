"""Neuron models, one file each. Importing this package imports them all, so that Neuron.registry is complete.

A model is parameters and one pure step (see base.Neuron); `run` takes it over time. To add one, add one file.
"""

import importlib
import pkgutil

from .base import Neuron, unroll
from .bounded import BoundedILIF
from .current_based import CurrentLIF
from .integer import ILIF, NILIF, thermometer
from .integrate_and_fire import IF
from .lif import LIF
from .parametric import parametric
from .presets import PRESETS, preset
from .running import run
from .snntorch_leaky import SnnTorchLeaky
from .ternary import TernaryLIF
from .winners import WinnersLIF

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "IF",
    "ILIF",
    "LIF",
    "NILIF",
    "PRESETS",
    "BoundedILIF",
    "CurrentLIF",
    "Neuron",
    "SnnTorchLeaky",
    "TernaryLIF",
    "WinnersLIF",
    "parametric",
    "preset",
    "run",
    "thermometer",
    "unroll",
]
