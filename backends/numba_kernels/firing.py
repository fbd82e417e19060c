"""The neurons of a row of outputs over all steps: from sums of weights to packed spikes, membranes in registers."""

from __future__ import annotations

from numba import njit

from .vectors import add, bits, load, multiply, popcount, reached, shift_down, splat, store, subtract, where, zeros


@njit(nogil=True, cache=True, error_model="numpy")
def fire(
    blocks, state, sums, has_sums, factor, scaled, constant, constant_pitch, leak, shift, decay,
    thresholds, levels, amount, initial, reset_to, hard, out, out_words, positions, first, count, steps,
):  # fmt: skip
    """Run `count` positions, the first of which is position `first` of the output; return how many spikes there are.

    sums is flat [steps, count, lanes], if it has_sums; the current is sums * factor + constant, where position i has
    constant[i * constant_pitch :]. out is flat [steps * levels, positions, out_words]. The membranes have the type of
    the array `state`. Equations: `Dynamics` of pysnnmed.deploy.operations.

    `decay` is a tuple given for its length: what a step does to the membrane before, nothing, divide it by 2**shift, or
    multiply it by `leak` first. A value would not do: LLVM would multiply by 1, which costs as much as all the rest.
    """
    n = 16 * len(blocks)
    lanes = n * out_words
    spikes = 0
    one = splat(state, state.dtype.type(1), blocks)
    leaky = splat(state, leak, blocks)
    none = zeros(state, blocks)
    for word in range(out_words):
        lane = word * n
        scale, less = load(state, factor, lane, blocks), load(state, amount, lane, blocks)
        start, again = load(state, initial, lane, blocks), load(state, reset_to, lane, blocks)
        for i in range(count):
            v = start
            still = load(state, constant, i * constant_pitch + lane, blocks)
            for t in range(steps):
                if len(decay) > 1:
                    v = multiply(v, leaky)
                if len(decay) > 0:
                    v = shift_down(v, shift)
                h = add(v, still)
                if has_sums:
                    weighted = load(state, sums, (t * count + i) * lanes + lane, blocks)
                    h = add(h, multiply(weighted, scale) if scaled else weighted)
                at = (t * levels * positions + first + i) * out_words + word
                if levels == 1:
                    fires = reached(h, load(state, thresholds, lane, blocks))
                    after = again if hard else subtract(h, less)
                    v = where(fires, after, h)
                    fired = bits(fires)
                    out[at] = fired
                    spikes += popcount(fired)
                else:
                    s = none
                    for d in range(levels):
                        fires = reached(h, load(state, thresholds, d * lanes + lane, blocks))
                        s = add(s, where(fires, one, none))
                        fired = bits(fires)
                        out[at + d * positions * out_words] = fired
                        spikes += popcount(fired)
                    v = where(reached(s, one), again, h) if hard else subtract(h, multiply(less, s))
    return spikes


@njit(nogil=True, cache=True, error_model="numpy")
def fill_rows(blocks, rows, row, count):
    """rows [count, lanes] = row [lanes]."""
    for lane in range(0, row.size, 16 * len(blocks)):
        numbers = load(row, row, lane, blocks)
        for i in range(count):
            store(numbers, rows, i * row.size + lane)


@njit(nogil=True, cache=True, error_model="numpy")
def add_scaled(rows, sums, factor, count):
    """rows [count, lanes] += sums [count, lanes] * factor [lanes]."""
    n = factor.size
    for i in range(count):
        for c in range(n):
            rows[i * n + c] += rows.dtype.type(sums[i * n + c]) * factor[c]
