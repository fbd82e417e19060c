"""Three forms of decomposed attention give one result and one gradient, and keep the laws of the four maps."""

import numpy as np
import pytest
from attention_cases import ALL_OUTPUTS, RUNS, operands, outputs, plain, spikes
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels, ops
from pysnnmed.backends import packed
from pysnnmed.decomposition import ACTIVE, HALVES, MAPS, SEPARATE, coefficients, without
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.neurons import LIF, run
from pysnnmed.nn.attention import decomposed_attention, packed_attention, spiking_self_attention, to_maps, to_tokens
from pysnnmed.nn.attention.packed import Packed, packed_tokens

AXES = st.sampled_from(["token", "channel"])


def attention(arrays, outputs=HALVES, form="linear", backend="numpy", axis="token"):
    with kernels.use_backend(backend):
        return decomposed_attention(*map(Tensor, arrays), outputs, form=form, axis=axis).data


def results_and_gradients(arrays, outputs, form, backend, axis, seed):
    """The sums, the spikes of neurons that meet their threshold exactly, and the gradients of Q, K, V through both."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    with kernels.use_backend(backend):
        sums = decomposed_attention(*tensors, outputs, form=form, axis=axis)
        rng = np.random.default_rng(seed)
        threshold = max(1.0, float(rng.choice(sums.data.ravel())))  # one of the sums
        fired, _ = run(LIF(beta=0.5, v_threshold=threshold), sums)  # the outputs take the place of steps
        loss = (sums * rng.normal(size=sums.shape)).sum() + (fired * rng.normal(size=sums.shape)).sum()
        loss.backward()
    return sums.data, fired.data, [tensor.grad for tensor in tensors]


def forms_agree(arrays, outputs, axis, seed):
    want = plain(*arrays, outputs) if axis == "token" else _channels_as_tokens(arrays, outputs)
    first = None
    for form, backend in RUNS:
        sums, fired, gradients = results_and_gradients(arrays, outputs, form, backend, axis, seed)
        np.testing.assert_array_equal(sums, want, err_msg=f"{form} {backend}")
        if first is None:
            first = fired, gradients
        np.testing.assert_array_equal(fired, first[0], err_msg=f"{form} {backend}")
        for gradient, literal in zip(gradients, first[1], strict=True):
            np.testing.assert_allclose(gradient, literal, rtol=0, atol=1e-10, err_msg=f"{form} {backend}")


def _channels_as_tokens(arrays, outputs):
    return plain(*(a.swapaxes(-1, -2) for a in arrays), outputs).swapaxes(-1, -2)


@given(operands(), outputs, st.integers(0, 999))
def test_three_forms_give_one_result_and_one_gradient(arrays, outputs, seed):
    forms_agree(arrays, outputs, "token", seed)


@given(operands(same_width=True), outputs, st.integers(0, 999))
def test_so_they_do_along_channels_which_are_the_tokens_of_the_transposed(arrays, outputs, seed):
    forms_agree(arrays, outputs, "channel", seed)


@pytest.mark.slow
def test_three_forms_agree_in_a_thousand_cases():
    rng = np.random.default_rng(2024)
    for case in range(1000):
        axis = "channel" if case % 3 == 2 else "token"
        lead = tuple(rng.integers(1, 3, rng.integers(0, 3)))
        tokens, channels, values = (int(n) for n in rng.integers(1, [25, 17, 17]))
        widths = (channels, channels, channels if axis == "channel" else values)
        arrays = tuple(spikes(rng, (*lead, tokens, n), rng.choice([0.05, 0.15, 0.5, 0.95])) for n in widths)
        drawn = tuple(ALL_OUTPUTS[i] for i in rng.integers(0, len(ALL_OUTPUTS), rng.integers(1, 5)))
        forms_agree(arrays, [HALVES, SEPARATE, drawn, HALVES][case % 4], axis, case)


# --------------------------------------------------------------------------------------------------- laws of the maps


@given(operands(), outputs, st.sampled_from(RUNS), st.integers(0, 99))
def test_attention_commutes_with_permutations_of_tokens(arrays, outputs, how, seed):
    order = np.random.default_rng(seed).permutation(arrays[0].shape[-2])
    q, k, v = arrays
    whole = attention(arrays, outputs, *how)
    np.testing.assert_array_equal(attention([x[..., order, :] for x in arrays], outputs, *how), whole[..., order, :])
    np.testing.assert_array_equal(attention([q, k[..., order, :], v[..., order, :]], outputs, *how), whole)


@given(operands(), outputs, st.sampled_from(RUNS), st.integers(0, 99))
def test_complementing_a_channel_of_q_and_k_exchanges_active_and_silent(arrays, outputs, how, seed):
    q, k, v = arrays
    turned = np.random.default_rng(seed).random(q.shape[-1]) < 0.5
    other = [np.where(turned, 1 - q, q), np.where(turned, 1 - k, k), v]
    # whichever channels: agreement (AA + II) and disagreement (AI + IA) stay, each by itself
    np.testing.assert_array_equal(attention(other, HALVES, *how), attention(arrays, HALVES, *how))
    # all channels: A and I change names in every output
    exchanged = tuple(tuple(name.translate(str.maketrans("AI", "IA")) for name in output) for output in outputs)
    np.testing.assert_array_equal(attention([1 - q, 1 - k, v], exchanged, *how), attention(arrays, outputs, *how))


def test_the_active_map_alone_is_not_invariant_under_a_joint_complement(rng):
    q, k, v = (spikes(rng, (6, 4), 0.3) for _ in "qkv")
    assert (attention([1 - q, 1 - k, v], ACTIVE) != attention([q, k, v], ACTIVE)).any()


@given(operands(), outputs, st.sampled_from(RUNS), AXES)
def test_an_output_is_the_sum_of_its_maps_and_all_maps_count_the_spikes_of_v(arrays, outputs, how, axis):
    if axis == "channel":
        arrays = [arrays[0], arrays[1], arrays[0]]
    separate = dict(zip(MAPS, attention(arrays, SEPARATE, *how, axis=axis), strict=True))
    for output, sums in zip(outputs, attention(arrays, outputs, *how, axis=axis), strict=True):
        np.testing.assert_array_equal(sums, sum(separate[name] for name in output))
    q, _, v = arrays
    features, along = (q.shape[-1], -2) if axis == "token" else (q.shape[-2], -1)
    spread = np.broadcast_to(features * v.sum(axis=along, keepdims=True), v.shape)
    np.testing.assert_array_equal(sum(separate.values()), spread)


@given(operands(), st.sampled_from(MAPS), st.sampled_from(RUNS))
def test_what_is_ablated_and_what_stays_are_the_whole(arrays, removed, how):
    whole, part = attention(arrays, HALVES, *how), attention(arrays, without(removed), *how)
    (lost,) = attention(arrays, ((removed,),), *how)
    which = [removed in output for output in HALVES].index(True)
    np.testing.assert_array_equal(part[which] + lost, whole[which])
    np.testing.assert_array_equal(part[1 - which], whole[1 - which])


@given(operands(), st.sampled_from(RUNS))
def test_silent_queries_see_one_row_and_tokens_without_values_are_not_seen(arrays, how):
    q, k, v = (a.copy() for a in arrays)
    q[..., 0, :] = 0
    u, w = v.sum(axis=-2), (k.sum(axis=-1, keepdims=True) * v).sum(axis=-2)
    aa, ai, ia, ii = attention([q, k, v], SEPARATE, *how)[..., 0, :]
    np.testing.assert_array_equal(ia, w)
    np.testing.assert_array_equal(ii, q.shape[-1] * u - w)
    assert not aa.any()
    assert not ai.any()
    valued = v.any(axis=-1)
    if v.ndim == 2 and valued.any():  # those that never fire a value may as well not exist
        fewer = attention([q[valued], k[valued], v[valued]], HALVES, *how)
        np.testing.assert_array_equal(attention([q, k, v], HALVES, *how)[:, valued], fewer)
    assert not attention([q, k, 0 * v], SEPARATE, *how).any()


@given(operands(), st.sampled_from(RUNS))
def test_agreement_is_c_minus_the_hamming_distance_and_sums_stay_in_range(arrays, how):
    q, k, v = arrays
    distance = (q[..., :, None, :] != k[..., None, :, :]).sum(axis=-1)
    agreeing, differing = attention(arrays, HALVES, *how)
    np.testing.assert_array_equal(differing, distance @ v)
    np.testing.assert_array_equal(agreeing, (q.shape[-1] - distance) @ v)
    assert agreeing.min() >= 0
    assert agreeing.max() <= q.shape[-1] * q.shape[-2]


@given(st.integers(0, 999), st.sampled_from([1, 2, 4]), outputs, st.sampled_from(RUNS), AXES)
def test_heads_are_independent_attentions_side_by_side(seed, heads, outputs, how, axis):
    rng = np.random.default_rng(seed)
    maps = [Tensor((rng.random((2, 1, heads * 3, 2, 4)) < 0.3).astype(np.float64)) for _ in "qkv"]
    together = decomposed_attention(*(to_tokens(m, heads, 2) for m in maps), outputs, form=how[0], axis=axis)
    parts = [
        decomposed_attention(*(to_tokens(m[:, :, 3 * h : 3 * h + 3], 1, 2) for m in maps), outputs, axis=axis)
        for h in range(heads)
    ]
    want = np.concatenate([to_maps(part, (2, 4)).data for part in parts], axis=3)
    np.testing.assert_array_equal(to_maps(together, (2, 4)).data, want)


@given(operands(), outputs, st.sampled_from(RUNS))
def test_a_map_does_not_depend_on_its_companions(arrays, outputs, how):
    alone = attention(arrays, outputs, *how)
    companions = [np.stack([a, 1 - a]) for a in arrays]
    np.testing.assert_array_equal(attention(companions, outputs, *how)[:, 0], alone)


def test_spiking_self_attention_is_the_active_map(rng):
    q, k, v = (spikes(rng, (2, 7, 4), 0.4) for _ in "qkv")
    for form in ("literal", "linear", "popcount"):
        got = spiking_self_attention(*map(Tensor, (q, k, v)), form=form)
        np.testing.assert_array_equal(got.data, q @ k.swapaxes(-1, -2) @ v)


# ------------------------------------------------------------------------------------------------------ packed spikes


@given(
    st.integers(0, 999), st.sampled_from([1, 2, 3]), st.sampled_from([1, 5, 8, 16, 24, 65]), outputs, AXES,
    st.sampled_from(kernels.available()),
)  # fmt: skip
def test_packed_spikes_of_several_heads_give_the_same_sums(seed, heads, width, outputs, axis, backend):
    rng = np.random.default_rng(seed)
    maps = [rng.random((2, heads * width, 3, 5)) < 0.3 for _ in "qkv"]
    with kernels.use_backend(backend):
        got = packed_attention(*(Packed(packed.pack(m), heads * width) for m in maps), outputs, heads, axis)
    tokens = [to_tokens(Tensor(m.astype(np.float64)), heads, 2) for m in maps]
    want = to_maps(decomposed_attention(*tokens, outputs, axis=axis), (3, 5)).data  # [outputs, slots, C, *S]
    assert got.sums.dtype == np.int32
    np.testing.assert_array_equal(np.moveaxis(got.sums, (1, -1), (0, 2)), want)


def test_packed_spikes_that_do_not_fit_are_refused(rng):
    q, k, v = (packed_tokens("Q", spikes(rng, (2, 5, 6), 0.5)) for _ in "qkv")
    with pytest.raises(ShapeError, match="same positions"):
        packed_attention(q, Packed(k.words[:, :4], 6), v)
    with pytest.raises(ShapeError, match="as many channels"):
        packed_attention(q, Packed(k.words, 5), v)
    with pytest.raises(ParameterError, match="4 heads must divide"):
        packed_attention(q, k, v, heads=4)
    with pytest.raises(ParameterError, match="must be equal for axis 'channel'"):
        packed_attention(q, k, Packed(v.words, 4), axis="channel")
    many = Packed(np.broadcast_to(np.zeros(1, np.uint64), (1, 2**23, 1)), 64)
    with pytest.raises(ParameterError, match="more than int32 holds"):
        packed_attention(many, many, many)


# ------------------------------------------------------------------------------------------------------ what is refused


def test_sums_beyond_float32_are_exact_or_refused(rng):
    q, k, v = (spikes(rng, (9, 5), 0.5).astype(np.float32) for _ in "qkv")
    v = (v * rng.integers(2**21, 2**22, v.shape)).astype(np.float32)  # counts, not spikes
    want = plain(q, k, v, SEPARATE + HALVES)
    assert want.max() > 2**24
    got = attention([q, k, v], SEPARATE + HALVES)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want.astype(np.float32))  # rounded once, at the end
    few = [x[:2] for x in (q, k, v)]  # from the left
    np.testing.assert_array_equal(attention(few, HALVES), plain(*few, HALVES).astype(np.float32))
    with pytest.raises(ParameterError, match="largest whole number that float32 holds"):
        attention([q, k, v], form="literal")


def test_what_is_no_attention_is_refused(rng):
    q, k, v = (spikes(rng, (4, 3), 0.5) for _ in "qkv")
    with pytest.raises(ParameterError, match="popcount form takes spikes of 0 and 1, and V"):
        attention([q, k, v * 0.5], form="popcount")
    with pytest.raises(ParameterError, match="form must be one of"):
        attention([q, k, v], form="quick")
    with pytest.raises(ParameterError, match="axis must be"):
        attention([q, k, v], axis="time")
    with pytest.raises(ShapeError, match="one shape"):
        attention([q, k[:3], v])
    with pytest.raises(ShapeError, match="Q, K and V must have one shape"):
        attention([q, k, v[:, :2]], axis="channel")
    with pytest.raises(ParameterError, match="all be float32, or all float64"):
        attention([q, k.astype(np.float32), v])
    for bad in ((), ((),), (("AB",),), (("AA", "AA"),)):
        with pytest.raises(ParameterError, match="output"):
            attention([q, k, v], bad)
    with pytest.raises(ParameterError, match="no map 'XX'"):
        without("XX")
    with pytest.raises(ParameterError, match="there must be at least one output"):
        without("AA", ACTIVE)


def test_maps_become_tokens_and_maps_again_without_a_copy(rng):
    x = Tensor(rng.normal(size=(2, 3, 8, 4, 5)))
    tokens = to_tokens(x, 2, 2)
    assert tokens.shape == (2, 3, 2, 20, 4)
    assert np.shares_memory(tokens.data, x.data)
    back = to_maps(tokens, (4, 5))
    assert np.shares_memory(back.data, x.data)
    np.testing.assert_array_equal(back.data, x.data)
    sums = decomposed_attention(*[tokens] * 3)
    assert np.shares_memory(to_maps(ops.index(sums, 0), (4, 5)).data, sums.data)


@pytest.mark.parametrize("output", ALL_OUTPUTS)
def test_coefficients_are_those_of_the_maps_counted_by_hand(output, rng):
    q, k = (rng.integers(0, 2, (4, 6)) for _ in "qk")
    a, b, c, d = coefficients(output)
    of_q, of_k = {"A": q, "I": 1 - q}, {"A": k, "I": 1 - k}
    want = sum(of_q[name[0]] @ of_k[name[1]].T for name in output)
    np.testing.assert_array_equal(a * q @ k.T + b * q.sum(1)[:, None] + c * k.sum(1) + 6 * d, want)
