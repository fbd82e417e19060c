"""Inputs on which the gradient of each Function is checked, one module per kind of operation.

Each module defines SAMPLES: {Function name: [(arrays, options), ...]}, in float64, away from kinks.
"""

import importlib
import pkgutil

SAMPLES: dict = {}
for _module in pkgutil.iter_modules(__path__):
    for _name, _samples in importlib.import_module(f"{__name__}.{_module.name}").SAMPLES.items():
        SAMPLES.setdefault(_name, []).extend(_samples)
