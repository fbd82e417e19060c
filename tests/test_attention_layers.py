"""Layers of attention: what goes in and out, what may depend on what, and what they count."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels, ops
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.neurons import IF, LIF, Neuron, preset, run
from pysnnmed.nn.attention import (
    DecomposedSelfAttention,
    Projection,
    QKAttention,
    SoftmaxSelfAttention,
    SpikeDrivenSelfAttention,
    SpikingSelfAttention,
    softmax_attention,
    spiking_self_attention,
    to_maps,
    to_tokens,
)
from pysnnmed.nn.attention.exact import EXACT, require_exact_sum
from pysnnmed.synops import count_synops, qk_counts, sdsa_counts, spike_driven_counts, ssa_counts
from pysnnmed.testing import check_gradient

CHANNELS, HEADS = 8, 2


def ssa(**options):
    return SpikingSelfAttention(2, CHANNELS, HEADS, rng=np.random.default_rng(1), **options)


def driven(**options):
    return SpikeDrivenSelfAttention(2, CHANNELS, rng=np.random.default_rng(1), **options)


def qk(axis="token", **options):
    return QKAttention(2, CHANNELS, HEADS, axis=axis, rng=np.random.default_rng(1), **options)


def decomposed(**options):
    return DecomposedSelfAttention(2, CHANNELS, HEADS, rng=np.random.default_rng(1), **options)


KINDS = {
    "ssa": ssa,
    "ssa channel": lambda **o: ssa(axis="channel", **o),
    "spike-driven": driven,
    "qk token": qk,
    "qk channel": lambda **o: qk("channel", **o),
    "decomposed": decomposed,
    "decomposed maps": lambda **o: decomposed(fusion="map", **o),
    "decomposed channel": lambda **o: decomposed(axis="channel", **o),
    "decomposed as in the code": lambda **o: decomposed(fusion="map", output_kernel=1, **o),
    "decomposed without AI": lambda **o: decomposed(removed="AI", **o),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def currents(seed=0, steps=3, batch=2, space=(3, 4)):
    """Real maps [T, B, C, *S], as a patch embedding gives them."""
    return np.random.default_rng(seed).normal(0.3, 1.5, (steps, batch, CHANNELS, *space)).astype(np.float32)


def calibrated(make, **options):
    """The layer in inference mode, its statistics those of some training maps, so that every population fires."""
    layer = make(**options).name_layers()
    for seed in range(15):
        layer(Tensor(currents(seed + 100, batch=3)))
    return layer.eval()


@kinds
def test_a_layer_keeps_the_shape_and_every_population_and_every_parameter_takes_part(kind):
    layer, x = calibrated(KINDS[kind]), Tensor(currents())
    rates = [s.data.mean() for s in layer.spikes(x)]
    assert all(0.02 < rate < 0.9 for rate in rates), rates
    mixed = layer.attend(*layer.spikes(x))
    assert set(np.unique(mixed.data)) == {0, 1}  # the convolution behind it only adds
    out = layer(x)
    assert out.shape == x.shape
    (out * currents(7)).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert np.abs(parameter.grad).max() > 0, name


@kinds
def test_the_shortcut_adds_the_maps_or_there_are_spikes(kind):
    x = Tensor(currents())
    membrane, none = (calibrated(KINDS[kind], shortcut=s) for s in ("membrane", "none"))
    none.load_state_dict(membrane.state_dict())
    current = membrane(x).data - x.data
    spikes, _ = run(preset("medspikeformer"), Tensor(current))
    assert np.mean(none(x).data != spikes.data) < 0.01  # the difference has been rounded
    assert set(np.unique(none(x).data)) == {0, 1}


@kinds
def test_a_sample_does_not_depend_on_its_companions(kind):
    layer = calibrated(KINDS[kind])
    first, others = currents(3, batch=1), currents(4, batch=3)
    alone = layer(Tensor(first)).data
    for together in (np.concatenate([first, others], axis=1), np.concatenate([first, first, others], axis=1)):
        np.testing.assert_array_equal(layer(Tensor(together)).data[:, :1], alone)


@kinds
def test_a_step_does_not_depend_on_later_ones(kind):
    layer, x = calibrated(KINDS[kind]), currents(5, steps=4)
    changed = x.copy()
    changed[2:] += 1
    before, after = layer(Tensor(x)).data, layer(Tensor(changed)).data
    np.testing.assert_array_equal(before[:2], after[:2])
    assert (before[2:] != after[2:]).any()


@kinds
def test_without_neighbourhoods_a_layer_commutes_with_permutations_of_positions(kind):
    layer, x = calibrated(KINDS[kind], kernel_size=1), currents(6)
    order = np.random.default_rng(2).permutation(12)

    def permuted(a):
        return np.ascontiguousarray(a.reshape(*a.shape[:3], 12)[..., order].reshape(a.shape))

    np.testing.assert_array_equal(layer(Tensor(permuted(x))).data, permuted(layer(Tensor(x)).data))


@pytest.mark.parametrize("make", [ssa, decomposed])
@pytest.mark.parametrize("axis", ["token", "channel"])
def test_the_forms_make_one_layer(make, axis):
    x, state = currents(), calibrated(make, axis=axis).state_dict()
    for backend in kernels.available():
        results = []
        for form in ("literal", "linear", "popcount"):
            layer = make(form=form, axis=axis).eval()
            layer.load_state_dict(state)
            with kernels.use_backend(backend):
                out = layer(Tensor(x))
                out.sum().backward()
            results.append((out.data, [p.grad for p in layer.parameters()]))
        (first, gradients), *others = results
        for out, grads in others:
            np.testing.assert_array_equal(out, first)
            for a, b in zip(grads, gradients, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_an_ablation_leaves_its_map_out():
    x = Tensor(currents())
    layer = calibrated(decomposed, fusion="map")
    assert [len(decomposed(fusion="map", removed=r).outputs) for r in (None, "AA")] == [4, 3]
    assert decomposed(removed="IA").outputs == (("AA", "II"), ("AI",))
    # the channels of a removed map are those that the last convolution no longer has
    ablated = calibrated(decomposed, fusion="map", removed="AI")
    state = layer.state_dict()
    kept = np.delete(np.arange(4 * CHANNELS), np.arange(CHANNELS, 2 * CHANNELS))
    for name, value in state.items():
        if name.startswith("mixing.norm."):
            state[name] = value[kept]
        elif name == "out.conv.weight":
            state[name] = value[:, kept]
    ablated.load_state_dict(state)
    whole, part = layer.attend(*layer.spikes(x)).data, ablated.attend(*ablated.spikes(x)).data
    np.testing.assert_array_equal(whole[:, :, kept], part)


def test_depthwise_projections_keep_channels_apart_and_pointwise_ones_positions():
    x, changed = currents(), currents()
    changed[:, :, 3, 1, 1] += 5

    def touched(layer):
        """Where spikes of Q, K and V differ, [3, C, *S]."""
        pairs = zip(layer.spikes(Tensor(x)), layer.spikes(Tensor(changed)), strict=True)
        return np.stack([(before.data != after.data).any(axis=(0, 1)) for before, after in pairs])

    neighbours, mixing = touched(calibrated(decomposed)), touched(calibrated(ssa))
    assert not np.delete(neighbours, 3, axis=1).any()
    assert neighbours[:, 3].sum() > 3
    assert set(np.argwhere(mixing)[:, 2:].ravel()) == {1}
    assert mixing[:, :, 1, 1].sum() > 3
    assert [p.conv.weight.shape for p in ssa().projections] == [(CHANNELS, CHANNELS, 1, 1)] * 3
    assert [p.conv.bias is None for p in (*decomposed().projections, *decomposed(bias=True).projections)] == [
        *[True] * 3,
        *[False] * 3,
    ]


def test_outputs_may_have_a_depthwise_convolution_of_their_own():
    plain, extended = decomposed(fusion="map"), decomposed(fusion="map", output_kernel=3, bias=True)
    width = 4 * CHANNELS
    assert plain.mixing.conv is None
    assert extended.mixing.conv.weight.shape == (width, 1, 3, 3)
    biases = 3 * CHANNELS  # of the convolutions that make Q, K and V
    assert extended.n_parameters == plain.n_parameters + 9 * width + biases
    state = calibrated(decomposed, fusion="map").state_dict()
    extended = decomposed(fusion="map", output_kernel=3).eval()
    centre = np.zeros((width, 1, 3, 3), np.float32)
    centre[:, 0, 1, 1] = 1
    extended.load_state_dict({**state, "mixing.conv.weight": centre})
    plain.eval().load_state_dict(state)
    np.testing.assert_array_equal(extended(Tensor(currents())).data, plain(Tensor(currents())).data)


# ------------------------------------------------------------------------------------------------ what the papers say


def by_hand(spikes, threshold):
    """MedSpikeFormer's neuron on [T, ...], written out."""
    v, out = np.zeros_like(spikes[0]), []
    for x in spikes:
        h = 0.5 * v + x
        fired = (h >= threshold).astype(x.dtype)
        v = h - threshold * fired
        out.append(fired)
    return np.stack(out)


@pytest.mark.parametrize("axis", ["token", "channel"])
def test_qk_attention_gates_keys_by_sums_of_queries(axis):
    layer = qk(axis)
    q, k = ((np.random.default_rng(i).random((3, 2, CHANNELS, 3, 4)) < 0.2).astype(np.float32) for i in range(2))
    if axis == "token":
        sums = q.reshape(3, 2, HEADS, CHANNELS // HEADS, 3, 4).sum(axis=3).repeat(CHANNELS // HEADS, axis=2)
    else:
        sums = q.sum(axis=(-2, -1), keepdims=True)
    np.testing.assert_array_equal(layer.attend(Tensor(q), Tensor(k)).data, by_hand(sums, 0.5) * k)


def test_spike_driven_attention_masks_values_by_sums_of_columns():
    layer = driven()
    q, k, v = ((np.random.default_rng(i).random((3, 2, CHANNELS, 3, 4)) < 0.2).astype(np.float32) for i in range(3))
    q[:, :, 0] = 0
    masked = layer.attend(*map(Tensor, (q, k, v))).data
    np.testing.assert_array_equal(masked, by_hand((q * k).sum(axis=(-2, -1), keepdims=True), 0.5) * v)
    assert not masked[:, :, 0].any()


def test_spiking_self_attention_scales_and_fires():
    layer = ssa(scale=0.25)
    maps = [(np.random.default_rng(i).random((3, 2, CHANNELS, 3, 4)) < 0.3).astype(np.float32) for i in range(3)]
    q, k, v = (to_tokens(Tensor(m), HEADS, 2).data for m in maps)
    current = (0.25 * (q @ k.swapaxes(-1, -2) @ v)).swapaxes(-1, -2).reshape(maps[0].shape)
    np.testing.assert_array_equal(layer.attend(*map(Tensor, maps)).data, by_hand(current, 0.5))


def test_softmax_attention_is_a_mean_of_values_with_positive_weights(rng):
    q, k, v = rng.normal(size=(3, 2, 5, 4))
    scores = np.exp(q @ k.swapaxes(-1, -2) / 2)
    want = scores / scores.sum(axis=-1, keepdims=True) @ v
    np.testing.assert_allclose(softmax_attention(*map(Tensor, (q, k, v))).data, want, rtol=1e-12)
    np.testing.assert_allclose(softmax_attention(*map(Tensor, (0 * q, k, v))).data, v.mean(-2, keepdims=True) + 0 * v)
    check_gradient(softmax_attention, (q, k, v))


@pytest.mark.parametrize("axis", ["token", "channel"])
def test_a_teacher_attends_within_heads_and_samples(axis):
    layer = SoftmaxSelfAttention(2, CHANNELS, HEADS, axis=axis, rng=np.random.default_rng(0))
    x = currents()[0]
    for seed in range(5):
        layer(Tensor(currents(seed)[0]))
    layer.eval()
    out = layer(Tensor(x)).data
    assert out.shape == x.shape
    np.testing.assert_allclose(layer(Tensor(x[:1])).data, out[:1], atol=1e-5)
    order = np.random.default_rng(2).permutation(12)
    permuted = x.reshape(2, CHANNELS, 12)[..., order].reshape(x.shape)
    want = out.reshape(2, CHANNELS, 12)[..., order].reshape(x.shape)
    np.testing.assert_allclose(layer(Tensor(np.ascontiguousarray(permuted))).data, want, atol=1e-5)
    q, k, v = (
        norm(conv(Tensor(x))).data.reshape(2, HEADS, CHANNELS // HEADS, 12)
        for conv, norm in zip(layer.convs, layer.norms, strict=True)
    )
    if axis == "token":
        scores = np.exp(np.einsum("bhcn,bhcm->bhnm", q, k) / np.sqrt(CHANNELS / HEADS))
        mixed = np.einsum("bhnm,bhcm->bhcn", scores / scores.sum(-1, keepdims=True), v)
    else:
        scores = np.exp(np.einsum("bhcn,bhdn->bhcd", q, k) / np.sqrt(12))
        mixed = np.einsum("bhcd,bhdn->bhcn", scores / scores.sum(-1, keepdims=True), v)
    projected = layer.out_norm(layer.out(Tensor(mixed.reshape(x.shape).astype(np.float32)))).data
    np.testing.assert_allclose(out, x + projected, atol=1e-4)


# --------------------------------------------------------------------------------------------------------------- counts


@given(st.integers(0, 99), st.sampled_from(["linear", "literal", "popcount"]), st.sampled_from(["token", "channel"]))
def test_the_meter_sees_the_attention_in_the_form_that_runs(seed, form, axis):
    layer = decomposed(form=form, axis=axis).name_layers()
    layer.name = "stage.attention"
    x = Tensor(currents(seed))
    with count_synops() as meter:
        layer(x)
    spikes = [s.data for s in layer.spikes(x)]
    tokens = [to_tokens(Tensor(s), HEADS, 2).data for s in spikes]
    if axis == "channel":
        tokens = [t.swapaxes(-1, -2) for t in tokens]
    executed = {"literal": "literal", "linear": "linear", "popcount": "linear"}[form]
    if axis == "channel" and form != "literal":
        executed = "reduced"
    want = sdsa_counts(*tokens, executed)
    got = meter["stage.attention"]
    assert (got.synops, got.adds, got.macs, got.steps) == (want.synops, want.adds, want.macs, 3)
    both = layer.counts(*spikes)
    assert both.executed == want
    assert both.literal == sdsa_counts(*tokens, "literal")
    n, c = tokens[0].shape[-2:]
    pairs = sum(both.literal.terms[name] for name in ("AA", "AI", "IA", "II"))
    assert pairs == 3 * 2 * HEADS * n * n * c  # every pair of bits is one of the four, whatever the rate


def test_the_other_layers_are_counted_from_their_spikes():
    x = Tensor(currents())
    for layer in (ssa(), driven(), qk(), qk("channel")):
        with count_synops() as meter:
            layer(x)
        spikes = [s.data for s in layer.spikes(x)]
        if isinstance(layer, SpikingSelfAttention):
            want = ssa_counts(*(to_tokens(Tensor(s), HEADS, 2).data for s in spikes), "linear")
        else:
            want = (spike_driven_counts if len(spikes) == 3 else qk_counts)(*spikes)
        assert meter[type(layer).__name__].synops == want.synops > 0
    q, k, v = spikes[0], spikes[1], spikes[1]
    assert spike_driven_counts(q, k, v).synops == int((q * k).sum())
    assert spike_driven_counts(q, k, v).gates == int(k.sum() + v.sum())


# ------------------------------------------------------------------------------------------------------ what is refused


@dataclasses.dataclass(frozen=True)
class NoThreshold(Neuron, abstract=True):
    """A neuron that fires by another rule."""


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    layer = decomposed().name_layers()
    with pytest.raises(ShapeError, match=r"expected x of shape \[T, B, C=8, 2 spatial axes\], got"):
        layer(Tensor(currents()[:, :, :4]))
    with pytest.raises(ShapeError, match="expected x of shape"):
        layer(Tensor(currents()[0]))
    with pytest.raises(ShapeError, match=r"expected x of shape \[B, C=8"):
        SoftmaxSelfAttention(2, 8, rng=rng)(Tensor(currents()))
    for kind in (SpikingSelfAttention, QKAttention, DecomposedSelfAttention, SoftmaxSelfAttention):
        with pytest.raises(ParameterError, match="heads must divide the 8 channels, not 3"):
            kind(2, 8, 3, rng=rng)
    with pytest.raises(ParameterError, match="axis must be"):
        qk("time")
    with pytest.raises(ParameterError, match="axis must be"):
        SoftmaxSelfAttention(2, 8, axis="time", rng=rng)
    with pytest.raises(ParameterError, match="shortcut must be"):
        ssa(shortcut="dense")
    with pytest.raises(ParameterError, match="fusion must be"):
        decomposed(fusion="quarter")
    with pytest.raises(ParameterError, match="no map 'XX'"):
        decomposed(removed="XX")
    with pytest.raises(ParameterError, match="kernel_size must be odd"):
        ssa(kernel_size=2)
    with pytest.raises(ParameterError, match="kernel_size must be odd"):
        SoftmaxSelfAttention(2, 8, kernel_size=2, rng=rng)
    with pytest.raises(ParameterError, match="8 channels stay, and do not become 4"):
        Projection(2, 8, 4, depthwise=True, rng=rng)
    with pytest.raises(ParameterError, match="NoThreshold has no v_threshold to halve"):
        ssa(neuron=NoThreshold())


def test_sums_of_columns_that_float32_would_round_are_refused(monkeypatch):
    with pytest.raises(ParameterError, match="a sum of 16777217 spikes can pass 16777216"):
        require_exact_sum("gate", 2**24 + 1, np.dtype(np.float32))
    require_exact_sum("gate", 2**24, np.dtype(np.float32))
    monkeypatch.setitem(EXACT, np.dtype(np.float32), 11)  # maps of 12 positions, then, are too large
    for layer in (qk("channel"), driven()):
        with pytest.raises(ParameterError, match=f"{type(layer).__name__}: a sum of 12 spikes"):
            layer(Tensor(currents()))
    qk("token")(Tensor(currents()))


def test_neurons_and_gates_can_be_chosen():
    layer = ssa(neuron=IF(), gate=LIF(v_threshold=2.0))
    assert layer.mixing.neuron == LIF(v_threshold=2.0)
    assert all(projection.neuron.neuron == IF() for projection in layer.projections)
    assert ssa(neuron=IF()).mixing.neuron == IF(v_threshold=0.5)
    assert "AA+II | AI+IA" in repr(decomposed())


def test_one_and_three_spatial_axes(rng):
    for ndim, space in ((1, (6,)), (3, (2, 3, 2))):
        x = Tensor(rng.normal(size=(2, 1, 4, *space)).astype(np.float32))
        for kind in (SpikingSelfAttention, QKAttention, DecomposedSelfAttention, SpikeDrivenSelfAttention):
            assert kind(ndim, 4, heads=2, rng=np.random.default_rng(0))(x).shape == x.shape
        assert SoftmaxSelfAttention(ndim, 4, 2, rng=rng)(ops.index(x, 0)).shape == x.shape[1:]


def test_active_maps_alone_are_spiking_self_attention_in_the_surroundings_of_the_decomposed_one():
    layer = calibrated(decomposed, fusion="active")
    q, k, v = layer.spikes(Tensor(currents()))
    tokens = (to_tokens(s, HEADS, 2) for s in (q, k, v))
    sums = spiking_self_attention(*tokens) * (HEADS / CHANNELS) ** 0.5
    expected = layer.mixing(to_maps(sums, q.shape[3:]))
    assert np.mean(layer.attend(q, k, v).data != expected.data) < 0.01  # rounded in another order


SIZELESS = {
    "decomposed": lambda **o: decomposed(mean=True, **o),
    "qk token": lambda **o: qk(normed=True, **o),
    "qk channel": lambda **o: qk("channel", normed=True, **o),
    "spike-driven": lambda **o: driven(normed=True, **o),
}


@pytest.mark.parametrize("make", SIZELESS.values(), ids=SIZELESS)
def test_means_and_norms_do_not_mind_how_many_tokens_there_are(make):
    """Maps beside copies of themselves have the same attention, whatever the number of copies."""
    layer = calibrated(make, depthwise=False, kernel_size=1)
    for name, parameter in layer.named_parameters():
        if name in ("gate.norm.beta", "mixing.norm.beta"):
            parameter.data += 1  # so that these neurons fire often
    x = currents()
    once, thrice = (layer.attend(*layer.spikes(Tensor(np.tile(x, (1, 1, 1, 1, n))))).data for n in (1, 3))
    assert np.mean(np.tile(once, (1, 1, 1, 1, 3)) != thrice) < 0.01
    assert 0.02 < once.mean() < 0.9


@kinds
def test_observers_are_told_the_spikes_of_every_operand_and_those_projected(kind):
    layer, x, seen = calibrated(KINDS[kind]), Tensor(currents()), {}
    assert np.array_equal(layer(x, seen.__setitem__).data, layer(x).data)
    assert list(seen) == [*layer.operands, "out"]
    spikes = layer.spikes(x)
    for told, s in zip(seen.values(), (*spikes, layer.attend(*spikes)), strict=True):
        assert np.array_equal(told.data, s.data)
