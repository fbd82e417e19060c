"""Numba kernels: the loops written out, compiled once and kept on disk, spread over threads by `..threads`.

Numba notices an edit of a cached function but not of the jitted helpers it calls (numba issue 1833), and a cache beside
an installed file outlives its package (issue 9350). So the cache has a folder of its own, named after a digest of every
source file of the backends, in $NUMBA_CACHE_DIR if that is set, else in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numba


def _cache_folder() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).resolve().parents[1].rglob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return str(home / "pysnnmed" / "numba" / digest.hexdigest()[:16])


_users_choice = numba.config.CACHE_DIR
if not _users_choice:
    numba.config.CACHE_DIR = _cache_folder()  # read by the decorators of the modules imported below

from .attention import add_rows, coincidences
from .conv import conv_backward_input, conv_backward_weight, conv_forward
from .events import layer_scratch, read_out, spiking_layer
from .fire_currents import fire_currents
from .neurons import lif_backward, lif_forward
from .norm import batch_norm_backward, batch_norm_forward, channel_moments
from .packed_attention import attend, attend_scratch, gate
from .resample import (
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
    upsample_linear_backward,
    upsample_linear_forward,
    upsample_nearest_backward,
    upsample_nearest_forward,
)
from .sampling import sample
from .similarity import lncc
from .spike_maps import pool_spikes, repeat_spikes
from .trunk import convolve_reals, convolve_scratch, convolve_spikes
from .warp import warp_backward, warp_forward

numba.config.CACHE_DIR = _users_choice

__all__ = [
    "add_rows",
    "attend",
    "attend_scratch",
    "avg_pool_backward",
    "avg_pool_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "channel_moments",
    "coincidences",
    "conv_backward_input",
    "conv_backward_weight",
    "conv_forward",
    "convolve_reals",
    "convolve_scratch",
    "convolve_spikes",
    "fire_currents",
    "gate",
    "layer_scratch",
    "lif_backward",
    "lif_forward",
    "lncc",
    "max_pool_backward",
    "max_pool_forward",
    "pool_spikes",
    "read_out",
    "repeat_spikes",
    "sample",
    "spiking_layer",
    "upsample_linear_backward",
    "upsample_linear_forward",
    "upsample_nearest_backward",
    "upsample_nearest_forward",
    "warp_backward",
    "warp_forward",
]
