"""Our counts beside those that other frameworks gave for the same layers.

Recorded is, for each of fourteen products, the exact number of SynOps by brute force and what the counters of
SpikingJelly, syops, NeuroBench, sinabs and the formula "spikes x kernel x outputs / groups" returned. The spikes behind
the record were random and are not kept, so:

* Determined by the shapes alone, and checked as recorded: the MACs of every layer, with and without padding taps. (The
  record does not say all channels; they follow from the MACs and from what the counts are multiples of.)
* Determined by the number of spikes, which follows from the recorded formula: the transposed convolution whose kernel
  is its stride, every formula that only sees how many spikes there are, and the fan-out of V in attention.
* Determined by where the spikes lay: the exact SynOps. For these, spikes are placed anew so that their number is the
  recorded one and their fan-out, summed by plain loops, the recorded one; what is checked is that our count finds it,
  and that the formulas return the recorded numbers of the other frameworks for it, which are different.
* Not reproducible: where the spikes lay; which weights were 0 (NeuroBench drops them, we show that ours does not see
  them); how many additions of attention were of a score that is not 0. The two rows that differ from others only in
  what a framework leaves out (a bias; events on the border) are checked like the others.
"""

import functools
from itertools import product

import numpy as np
import pytest

from pysnnmed.conv import conv
from pysnnmed.synops import (
    conv_int_macs,
    conv_macs,
    conv_synops,
    fanout,
    full_kernel_synops,
    matmul_synops,
    padded_macs,
    rate_times_macs,
    ssa_counts,
    zero_scores,
)
from pysnnmed.tensor import Tensor

PLANE = dict(kernel=3, padding=1, out_channels=16)
VOLUME = dict(kernel=3, padding=1, out_channels=8)
DOUBLE = dict(kernel=2, stride=2, out_channels=4, transposed=True)
ODD = dict(kernel=3, stride=2, padding=1, out_channels=4, transposed=True, output_padding=1)

# name: input [C, *S], geometry, exact SynOps, spikes x kernel x outputs / groups, rate x padded MACs (syops)
BINARY = {
    "conv2d": ((8, 16, 16), PLANE, 34160, 36720, 36720),
    "with bias": ((8, 16, 16), PLANE, 33408, 36144, None),  # syops: 36646, bias x rate included
    "stride 2": ((8, 16, 16), PLANE | {"stride": 2}, 8832, 39456, 9864),
    "depthwise": ((8, 16, 16), PLANE | {"out_channels": 8, "groups": 8}, 2184, 2349, 2349),
    "border": ((8, 16, 16), PLANE, 23040, 35712, 35712),
    "conv3d": ((4, 12, 12, 12), VOLUME, 146696, 173016, 173016),
    "conv3d stride 2": ((4, 12, 12, 12), VOLUME | {"stride": 2}, 21176, 193320, 24165),
    "transposed 2": ((8, 6, 6, 6), DOUBLE, 7232, 7232, 57856),
    "transposed 3": ((8, 6, 6, 6), ODD, 20836, 24624, 196992),
    "half of the weights 0": ((8, 16, 16), PLANE, 33024, 35856, 35856),
}
UNITS, VALUES, FULL = 54480, 50352, 59328  # I-LIF on conv2d: unit events, values that are not 0, and the formula

MACS = {  # exact, and with the padding as SpikingJelly counts
    "conv2d": (270848, 294912),
    "stride 2": (67712, 73728),
    "depthwise": (16928, 18432),
    "conv3d": (1257728, 1492992),
    "conv3d stride 2": (157216, 186624),
    "transposed 2": (55296, 442368),
    "transposed 3": (157216, 1492992),
}


def geometry_of(case):
    shape, geometry, *_ = BINARY[case]
    fan = fanout(shape[1:], **geometry)
    return shape, geometry, fan


def padded(case):
    shape, geometry, _ = geometry_of(case)
    options = {k: v for k, v in geometry.items() if k not in ("kernel", "out_channels")}
    return padded_macs(shape[1:], geometry["kernel"], shape[0], geometry["out_channels"], **options)


@functools.cache
def reached(case):
    """Outputs that each input [C, *S] reaches, one by one in plain loops: the brute force."""
    shape, g, _ = geometry_of(case)
    k, s, p = g["kernel"], g.get("stride", 1), g.get("padding", 0)
    total = np.zeros(shape[1:], int)
    if g.get("transposed"):
        sizes = [(n - 1) * s - 2 * p + k + g.get("output_padding", 0) for n in shape[1:]]
    else:
        sizes = [(n + 2 * p - k) // s + 1 for n in shape[1:]]
    for where in np.ndindex(*shape[1:]):
        for tap in product(range(k), repeat=len(sizes)):
            if g.get("transposed"):
                targets = [i * s - p + t for i, t in zip(where, tap, strict=True)]
            elif any((i + p - t) % s for i, t in zip(where, tap, strict=True)):
                continue
            else:
                targets = [(i + p - t) // s for i, t in zip(where, tap, strict=True)]
            total[where] += all(0 <= o < n for o, n in zip(targets, sizes, strict=True))
    return np.broadcast_to(total, shape) * (g["out_channels"] // g.get("groups", 1))


def placed(fan, spikes, total, allowed, rng):
    """`spikes` of the `allowed` places, chosen so that their fan-outs sum to `total`: random, then exchanged."""
    places = np.flatnonzero(allowed)
    rng.shuffle(places)
    inside, outside = list(places[:spikes]), list(places[spikes:])
    weight = fan.reshape(-1)
    missing = total - int(weight[inside].sum())
    for _ in range(200_000):
        if missing == 0:
            break
        i, o = rng.integers(len(inside)), rng.integers(len(outside))
        gain = int(weight[outside[o]] - weight[inside[i]])
        if abs(missing - gain) <= max(abs(missing) - 1, 2 * int(weight.max())):  # near the end, wander
            inside[i], outside[o] = outside[o], inside[i]
            missing -= gain
    assert missing == 0, "no placement of the recorded number of spikes has the recorded fan-out"
    out = np.zeros(fan.size, np.float32)
    out[inside] = 1
    return out.reshape(fan.shape)


def spikes_like_those_recorded(case, rng):
    shape, geometry, exact, full, _ = BINARY[case]
    taps = geometry["kernel"] ** (len(shape) - 1) * geometry["out_channels"] // geometry.get("groups", 1)
    count, left = divmod(full, taps)
    assert left == 0
    allowed = np.ones(shape, bool)
    if case == "border":
        allowed[:, 1:-1, 1:-1] = False
    return placed(reached(case), count, exact, allowed, rng)


@pytest.mark.parametrize("case", MACS)
def test_macs_are_those_recorded(case):
    shape, _, fan = geometry_of(case)
    exact, as_counted = MACS[case]
    assert conv_macs(np.ones(shape), fan) == int(reached(case).sum()) == exact
    assert padded(case) == as_counted > exact


@pytest.mark.parametrize("case", BINARY)
def test_the_exact_count_is_found_and_the_formulas_are_off_as_recorded(case, rng):
    _, geometry, exact, full, by_rate = BINARY[case]
    shape, _, fan = geometry_of(case)
    spikes = spikes_like_those_recorded(case, rng)
    assert conv_synops(spikes, fan) == exact
    ndim = len(shape) - 1
    formula = full_kernel_synops(spikes, geometry["kernel"], ndim, geometry["out_channels"], geometry.get("groups", 1))
    assert formula == full
    if by_rate is not None:
        assert round(rate_times_macs(spikes, padded(case))) == by_rate
    if case != "transposed 2":  # there, no tap is in the padding, and each spike reaches its whole kernel
        assert exact < full
    assert by_rate is None or exact < by_rate


def test_a_transposed_convolution_whose_kernel_is_its_stride_depends_on_the_number_of_spikes_only(rng):
    _, _, fan = geometry_of("transposed 2")
    spikes = np.zeros(8 * 6**3)
    spikes[rng.permutation(spikes.size)[:226]] = 1
    assert conv_synops(spikes.reshape(8, 6, 6, 6), fan) == 7232
    assert 7232 * 8 == 57856  # what a profiler says that has every output read a whole kernel


@pytest.mark.parametrize("levels", [1, 4], ids=["I-LIF", "NI-LIF"])
def test_integer_spikes_count_their_units_and_values_apart(levels, rng):
    """Counts 0 ... 4, and the same divided by 4: sinabs adds up the values of the latter, NeuroBench sees no counts."""
    shape, _, fan = geometry_of("conv2d")
    weight = reached("conv2d")
    units = FULL // (9 * 16)
    values = 381  # the record has their total fan-out, not their number: one that fits it
    nonzero = placed(weight, values, VALUES, np.ones(shape, bool), rng)
    counts = nonzero + placed(weight, units - values, UNITS - VALUES, nonzero > 0, rng)
    spikes = counts / levels
    assert conv_synops(spikes, fan, levels) == UNITS
    assert conv_int_macs(spikes, fan, levels) == VALUES
    assert full_kernel_synops(spikes, 3, 2, 16, levels=levels) == FULL
    by_value = float((spikes * weight).sum())
    assert by_value == UNITS / levels
    assert spikes.sum() * 9 * 16 == FULL / levels
    if levels == 4:
        assert (by_value, FULL / levels) == (13620, 14832)


def test_weights_that_are_zero_count_as_any_other(rng):
    """An accumulator adds them; a counter that multiplies by [weight != 0] finds about half (recorded: 16576)."""
    spikes = spikes_like_those_recorded("half of the weights 0", rng)
    kept = (rng.random((16, 8, 3, 3)) < 0.5).astype(float)
    neurobench = conv(Tensor(spikes[None].astype(float)), Tensor(kept), padding=1).data.sum()
    exact = conv_synops(spikes, geometry_of("half of the weights 0")[2])
    assert exact == 33024
    assert 0.45 * exact < neurobench < 0.55 * exact


def test_attention(rng):
    """Q K^T by coincidences; A V by the spikes of V, each of which reaches all N outputs: of N = 49, C = 64."""
    coincidences, n, c = 6053, 49, 64
    v = np.zeros(n * c)
    v[rng.permutation(v.size)[: 30870 // n]] = 1
    v = v.reshape(n, c)
    q, k = (rng.random((n, c)) < 0.2).astype(float), np.zeros((n, c))
    q[:, 0] = np.arange(n) == 0  # so that a spike of K in channel 0 has one coincidence: the small change
    for i, j in rng.permutation(np.argwhere(np.ones((n, c - 1)))):
        if (q @ k.T).sum() + q[:, j + 1].sum() <= coincidences:
            k[i, j + 1] = 1
    k[: coincidences - int((q @ k.T).sum()), 0] = 1
    assert matmul_synops(q, k.T) == int((q @ k.T).sum()) == coincidences
    count = ssa_counts(q, k, v)
    assert dict(count.terms) == {"Q K^T": 6053, "A V": 30870}
    assert 0 < zero_scores(q, k, v) < 30870
