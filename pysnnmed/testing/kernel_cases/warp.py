import numpy as np
from hypothesis import strategies as st

from . import KernelCase


@st.composite
def _image_and_displacement(draw):
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.integers(-8, 9, (batch, channels, *shape)).astype(np.float64)
    # eighths: every product of fractions and samples is exact; the field reaches beyond every border
    displacement = rng.integers(-40, 41, (batch, len(shape), *shape)) / 8
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return image.astype(dtype), displacement.astype(dtype)


@st.composite
def _backward(draw):
    image, displacement = draw(_image_and_displacement())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grad = rng.integers(-8, 9, image.shape).astype(image.dtype)
    return grad, image, displacement, draw(st.booleans()), draw(st.booleans())


CASES = {"warp_forward": KernelCase(_image_and_displacement()), "warp_backward": KernelCase(_backward())}
