import numpy as np
from hypothesis import strategies as st

from . import KernelCase


@st.composite
def _pairs(draw):
    shape = (*draw(st.lists(st.integers(1, 7), max_size=2)), draw(st.integers(1, 20)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = rng.normal(size=(2, draw(st.integers(1, 2)), draw(st.integers(1, 2)), *shape)) + draw(
        st.sampled_from([0, 5])
    )
    fixed, moving = images.astype(draw(st.sampled_from([np.float32, np.float64])))
    radius, squared = draw(st.integers(1, 4)), draw(st.booleans())
    return fixed, moving, radius, squared, 1e-3, draw(st.booleans()), draw(st.booleans())


CASES = {"lncc": KernelCase(_pairs(), rtol=2e-5, atol=1e-5)}
