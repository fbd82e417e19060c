import numpy as np
from hypothesis import strategies as st

from . import KernelCase


@st.composite
def _volume_and_points(draw):
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int16, np.uint8]))
    volume = rng.integers(0, 9, shape).astype(dtype)
    if draw(st.booleans()):
        volume = np.asfortranarray(volume)
    # eighths: every product of fractions and values is exact; points lie beyond every border, and on halves
    points = rng.integers(-16, 64, (3, draw(st.integers(0, 40)))) / 8
    return volume, points, draw(st.booleans())


CASES = {"sample": KernelCase(_volume_and_points())}
