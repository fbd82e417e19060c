"""Hypothesis profiles, the place of the real data, and a seeded generator."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("dev", deadline=None, print_blob=True, max_examples=25, derandomize=True)
settings.register_profile("ci", deadline=None, print_blob=True, max_examples=100, derandomize=True)
settings.load_profile(os.environ.get("PYSNNMED_PROFILE", "dev"))

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real images, which are never committed: $PYSNNMED_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("PYSNNMED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: set PYSNNMED_DATA to a folder that holds msd_hippocampus and the other sets")
    return folder


@pytest.fixture(scope="session")
def golden():
    """Folder of vectors recorded from other simulators: $PYSNNMED_GOLDEN, else ../shared/golden beside the checkout."""
    folder = Path(os.environ.get("PYSNNMED_GOLDEN", ROOT.parent / "shared" / "golden"))
    if not folder.is_dir():
        pytest.skip("no recorded vectors: set PYSNNMED_GOLDEN to the folder of golden_neurons.npz")
    return folder
