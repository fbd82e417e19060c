"""Spikes for tests of attention, with many tokens alike, and the plain sums that every form must give."""

import itertools

import numpy as np
from hypothesis import strategies as st

from pysnnmed import kernels
from pysnnmed.decomposition import ACTIVE, HALVES, MAPS, SEPARATE

ALL_OUTPUTS = [names for size in range(1, 5) for names in itertools.combinations(MAPS, size)]
RUNS = [(form, backend) for form in ("literal", "linear", "popcount") for backend in kernels.available()]


def spikes(rng, shape, rate):
    """0 and 1 [..., N, C]; every token is one of a few, so that scores and sums tie."""
    kinds = rng.random((*shape[:-2], rng.integers(1, shape[-2] + 1), shape[-1])) < rate
    chosen = rng.integers(0, kinds.shape[-2], shape[-2])
    return kinds[..., chosen, :].astype(np.float64)


@st.composite
def operands(draw, same_width=False, most_tokens=12):
    """Q, K [..., N, C] and V [..., N, Cv], float64, with any leading axes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lead = tuple(draw(st.lists(st.integers(1, 2), max_size=2)))
    tokens, channels = draw(st.integers(1, most_tokens)), draw(st.integers(1, 8))
    values = channels if same_width else draw(st.integers(1, 8))
    rates = st.sampled_from([0.0, 0.15, 0.5, 1.0])
    return tuple(spikes(rng, (*lead, tokens, n), draw(rates)) for n in (channels, channels, values))


outputs = st.sampled_from([HALVES, SEPARATE, ACTIVE]) | st.lists(
    st.sampled_from(ALL_OUTPUTS), min_size=1, max_size=4
).map(tuple)


def plain(q, k, v, outputs):
    """For each output the sum of its maps, each an outer loop over pairs of tokens, times V: whole numbers."""
    q, k, v = (x.astype(np.int64) for x in (q, k, v))
    results = []
    for output in outputs:
        scores = np.zeros((*q.shape[:-1], k.shape[-2]), np.int64)
        for i, j in np.ndindex(q.shape[-2], k.shape[-2]):
            for query, key in output:
                of_q, of_k = q[..., i, :] == (query == "A"), k[..., j, :] == (key == "A")
                scores[..., i, j] += (of_q & of_k).sum(axis=-1)
        results.append(np.einsum("...ij,...jd->...id", scores, v))
    return np.stack(results)
