"""Samples of pysnnmed.ops.elementwise."""

import numpy as np

rng = np.random.default_rng(1)
SHAPE = (2, 3)
values = rng.normal(size=SHAPE)
nonzero = np.sign(values) * (0.2 + np.abs(values))  # away from the kinks at 0
positive = 0.5 + rng.random(SHAPE)

# Pairs of shapes that broadcast: equal, stretched on either side, with missing axes, with a scalar.
PAIRS = [
    (rng.normal(size=a), 0.5 + rng.random(b))
    for a, b in [((2, 3), (2, 3)), ((2, 1), (3,)), ((3,), (4, 2, 1)), ((), (2, 3)), ((1, 3), ())]
]
APART = [(values, values + 0.3 * np.sign(rng.normal(size=SHAPE))), (np.array([[0.5], [0.2]]), np.array([0.0, 1.0]))]

SAMPLES = {
    "Add": [(pair, {}) for pair in PAIRS],
    "Sub": [(pair, {}) for pair in PAIRS],
    "Mul": [(pair, {}) for pair in PAIRS],
    "Div": [(pair, {}) for pair in PAIRS],
    "Maximum": [(pair, {}) for pair in APART],
    "Minimum": [(pair, {}) for pair in APART],
    "Where": [
        ((values, positive), {"condition": np.array([[True, False, True], [False, False, True]])}),
        ((values[:1], positive[:, :1]), {"condition": np.array([True, False, True])}),
    ],
    "Pow": [((positive,), {"exponent": e}) for e in (0.0, 0.5, 1.0, 2.0, 3.0, -1.5)] + [((values,), {"exponent": 2.0})],
    "Neg": [((values,), {})],
    "Abs": [((nonzero,), {})],
    "Exp": [((values,), {})],
    "Log": [((positive,), {})],
    "Sqrt": [((positive,), {})],
    "Tanh": [((values,), {})],
    "Sigmoid": [((values,), {})],
    "Softplus": [((values,), {})],
    "ReLU": [((nonzero,), {})],
    "LeakyReLU": [((nonzero,), {"slope": 0.1})],
    "Clip": [((nonzero,), {"low": low, "high": high}) for low, high in [(-0.1, 0.1), (None, 0.0), (0.0, None)]],
}
