"""What other libraries compute under a name, as one of our surrogates; and what we leave to them, with the reason.

Keys read library/name(parameters): sj SpikingJelly 2.0.0, snn snnTorch 1.0.0, norse Norse 1.1.0, sinabs sinabs 3.1.3.
Held to derivatives recorded from those versions by tests/test_surrogate.py.
"""

from __future__ import annotations

import math

from .base import Scaled, Surrogate
from .bounded import PiecewiseQuadratic, Rectangle
from .tailed import ATan, FastSigmoid, Gaussian, PiecewiseExponential, Sigmoid, SoftSign, StraightThrough

EQUIVALENTS: dict[str, Surrogate | Scaled] = {
    "sj/ATan(2)": ATan(2),
    "sj/Sigmoid(4)": Sigmoid(4),
    "sj/PiecewiseQuadratic(1)": PiecewiseQuadratic(1),
    "sj/PiecewiseExp(1)": PiecewiseExponential(1),
    "sj/SoftSign(2)": SoftSign(2),
    "sj/SuperSpike(1)": FastSigmoid(1),  # of alpha: Scaled(FastSigmoid(1), alpha)
    "sj/Erf(2)": Gaussian(2),
    "sj/QPseudoSpike(2)": FastSigmoid(2),  # (1 + 2 |z| / (alpha - 1))^-alpha, at alpha = 2 only
    "sj/Rect(1)": Rectangle(1),
    "sj/DeterministicPass": StraightThrough(1),
    "snn/atan(2)": ATan(2),
    "snn/fast_sigmoid(25)": FastSigmoid(25),
    "snn/sigmoid(25)": Sigmoid(25),
    "snn/straight_through": StraightThrough(1),
    "norse/super(100.0)": FastSigmoid(1),  # 1.1.0 ignores alpha
    "norse/super(5.0)": FastSigmoid(1),
    "norse/triangle(0.3)": Scaled(PiecewiseQuadratic(1), 0.3),
    "norse/tanh(1.0)": Scaled(Sigmoid(2), 2.0),  # 1 - tanh(k z)^2 without the factor k / 2 of integral 1
    "norse/heavi_erfc(1.0)": Scaled(Gaussian(1), 2.0),  # 2 / sqrt(pi) exp(-(k z)^2), without k / 2
    "sinabs/SingleExponential": Scaled(PiecewiseExponential(2), 2.0),
    "sinabs/Gaussian": Gaussian(math.sqrt(2)),  # standard deviation 1 / 2
}

_ONE_SIDED = "not even: 0, or another formula, on one side of the threshold"
_ENDLESS = "falls no faster than 1 / |z|: its integral is infinite"
_NEGATIVE = "negative in places: such a spike would learn in the wrong direction there"

NOT_OFFERED: dict[str, str] = {
    "sj/NonzeroSignLogAbs(1)": _ENDLESS,
    "sj/PiecewiseLeakyReLU(1,0.01)": _ENDLESS,
    "sj/FakeNumericalGradient(0.3)": _ENDLESS,
    "sj/S2NN(4,1)": _ONE_SIDED,
    "sj/LeakyKReLU(0,1)": _ONE_SIDED,
    "sj/LogTailedReLU(0)": _ONE_SIDED,
    "sj/SquarewaveFourierSeries(2,8)": _NEGATIVE,
    "sj/MultiLevelSpikeCount(4)": "the window of integer counts 0 <= h <= D, which belongs to the neuron that counts",
    "snn/triangular(1)": "a sign, +1 below the threshold and -1 above, although named a triangle",
    "snn/heaviside": _ONE_SIDED,
    "snn/spike_rate_escape(1,25)": "highest 1 above the threshold, which it takes off twice",
    "snn/SFS(25,1)": _ONE_SIDED,
    "norse/circ(0.3)": "no paper: alpha^3 / (alpha^2 + z^2)^1.5, a bump between ATan and Gaussian",
    "sinabs/PeriodicExponential": "repeats at every multiple of the threshold, for neurons that fire several spikes",
    "sinabs/MultiGaussian": _NEGATIVE,
    "sinabs/Heaviside": _ONE_SIDED,
}
