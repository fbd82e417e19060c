import numpy as np

from pysnnmed.decomposition import HALVES, SEPARATE
from pysnnmed.nn.attention import DecomposedAttention

_rng = np.random.default_rng(15)
_OTHERS = (("AA", "AI"), ("AA", "AI", "IA", "II"), ("AA", "IA"), ("IA", "II"), ("AI",), ("AA", "AI", "II"))


def _arrays(lead, tokens, channels, values):
    return tuple(_rng.normal(size=(*lead, tokens, n)) for n in (channels, channels, values))


SAMPLES = {  # many tokens run from the right, few from the left
    DecomposedAttention.__name__: [
        (_arrays(lead, *sizes), {"outputs": outputs})
        for outputs in (HALVES, SEPARATE, _OTHERS, HALVES + HALVES)
        for lead, sizes in [((2, 1), (9, 3, 2)), ((2,), (2, 5, 4))]
    ]
}
