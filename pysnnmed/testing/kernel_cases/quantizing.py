import numpy as np
from hypothesis import strategies as st

from . import KernelCase


@st.composite
def _numbers(draw):
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = (rng.integers(-40, 41, shape) / 8).astype(np.float32)  # halves among them
    if draw(st.booleans()):
        x.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return x, -3.0, 2.5, draw(st.sampled_from([1.0, 4.0, 255.0])), None


CASES = {"quantize": KernelCase(_numbers(), out=4)}
