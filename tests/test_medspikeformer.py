"""MedSpikeFormer: what it computes, its published sizes, every option, and its files."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysnnmed import kernels, ops, synops
from pysnnmed.deploy.pretrained import load_model, save_model
from pysnnmed.deploy.weights import load_arrays, save_arrays
from pysnnmed.errors import ParameterError, ShapeError, WeightsError
from pysnnmed.evaluation.cases import Network, Settings
from pysnnmed.kernels import use_backend
from pysnnmed.models.medspikeformer import (
    PRESETS,
    MedSpikeFormer,
    MedSpikeFormerConfig,
    SegmentationTeacher,
    preset,
    table,
    unused_in_release,
)
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig
from pysnnmed.tensor import Tensor, no_grad

ATTENTIONS = ("decomposed", "spiking", "qk-token", "qk-channel", "spike-driven")
OPTIONS = {
    "sound": {},
    "paper": {"mode": "paper"},
    "maps apart": {"fusion": "map"},
    "without AA": {"removed": "AA"},
    "without AI": {"removed": "AI"},
    "without IA": {"removed": "IA"},
    "without II": {"removed": "II"},
    "maps apart without AI": {"fusion": "map", "removed": "AI"},
    "paper without IA": {"mode": "paper", "removed": "IA"},
    "channel axis": {"axis": "channel"},
    **{name: {"attention": name} for name in ATTENTIONS[1:]},
    "paper, spiking": {"mode": "paper", "attention": "spiking"},
    "no spike convolution": {"spike_convolution": False},
    "paper, no spike convolution": {"mode": "paper", "spike_convolution": False},
    "nearest": {"upsampling": "nearest"},
    "strict": {"strict_spike": True, "upsampling": "nearest"},
    "strict, no spike convolution": {"strict_spike": True, "upsampling": "nearest", "spike_convolution": False},
    "neuron of the code": {"neuron": "medspikeformer_code"},
    "one step": {"steps": 1},
    "seven steps": {"steps": 7},
    "two classes, one channel": {"classes": 2, "in_channels": 1},
    "3-d": {"ndim": 3},
}
each_option = pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
each_mode = pytest.mark.parametrize("mode", ["sound", "paper"])
each_kind = pytest.mark.parametrize("kind", [MedSpikeFormer, SegmentationTeacher])


@pytest.fixture(autouse=True)
def _fast():
    """Depthwise convolutions of the reference loop over channels; a test that is about backends chooses its own."""
    with use_backend(kernels.fastest()):
        yield


def network(kind=MedSpikeFormer, seed=0, name="tiny", **changes):
    return kind(preset(name, **changes), np.random.default_rng(seed))


def images(config, batch=2, multiples=(2, 3, 1), seed=1):
    shape = tuple(config.shape_multiple * n for n in multiples[: config.ndim])
    return Tensor(np.random.default_rng(seed).random((batch, config.in_channels, *shape), dtype=np.float32))


def settled(net, batches=2):
    """The network with running statistics of its own instead of the initial ones, ready to predict."""
    with no_grad():
        for seed in range(batches):
            net(images(net.config, seed=100 + seed))
    return net.eval()


def with_gradients(net, x, seed=3):
    """One training step up to the optimiser: a loss that reads every pixel of the logits and of every mask."""
    rng = np.random.default_rng(seed)
    logits, masks = net.logits_and_masks(x)
    first, *others = (ops.sum(out * rng.normal(size=out.shape).astype(np.float32)) for out in (logits, *masks))
    sum(others, start=first).backward()


# ------------------------------------------------------------------------------------------------- what it computes


@each_kind
@pytest.mark.parametrize(
    ("changes", "backend"),
    [
        ({}, kernels.REFERENCE),
        *(({"attention": name}, kernels.fastest()) for name in ATTENTIONS),
        *((OPTIONS[name], kernels.fastest()) for name in ("paper", "strict")),
    ],
    ids=str,
)
def test_the_output_for_an_image_does_not_depend_on_its_companions(kind, changes, backend):
    net = settled(network(kind, **changes), 1)
    x = images(net.config, batch=3, multiples=(1, 2))
    with no_grad(), use_backend(backend):
        together = net(x).data
        others = Tensor(np.concatenate([x.data[:1], 1 - x.data[1:]]))
        assert np.array_equal(net(others).data[0], together[0])
        for i in range(3):
            assert np.array_equal(net(Tensor(x.data[i : i + 1])).data[0], together[i])


@settings(max_examples=8)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from(["sound", "paper"]), st.booleans())
def test_logits_have_the_shape_of_the_images_and_masks_that_of_their_stages(batch, rows, columns, mode, analog):
    net = network(SegmentationTeacher if analog else MedSpikeFormer, mode=mode, classes=2).eval()
    x = images(net.config, batch, (rows, columns))
    with no_grad():
        logits, masks = net.logits_and_masks(x)
    space = x.shape[2:]
    assert logits.shape == (batch, 2, *space)
    assert [mask.shape for mask in masks] == [(batch, 1, *(n // 2**i for n in space)) for i in range(4)]
    assert logits.dtype == np.float32


@each_mode
@each_kind
def test_prediction_is_that_of_training_without_its_masks(kind, mode):
    net = settled(network(kind, mode=mode))
    x = images(net.config)
    with no_grad():
        assert np.array_equal(net(x).data, net.logits_and_masks(x)[0].data)
        for head in net.mask_heads:
            for parameter in head.parameters():
                parameter.data = parameter.data + 1
        assert np.array_equal(net(x).data, net.logits_and_masks(x)[0].data)


def flipped_weights(net, axis):
    """Every kernel mirrored along a spatial axis, in place."""
    for parameter in net.parameters():
        if parameter.ndim == net.config.ndim + 2:
            parameter.data = np.ascontiguousarray(np.flip(parameter.data, axis))
    return net


MIRRORED = [{}, {"mode": "paper"}, {"axis": "channel"}, {"fusion": "map"}, {"mode": "paper", "axis": "channel"}]
MIRRORED += [{"attention": name} for name in ATTENTIONS[1:]]


@pytest.mark.parametrize("changes", MIRRORED, ids=str)
@pytest.mark.parametrize("axis", [-1, -2])
def test_a_mirrored_network_sees_the_mirrored_image_mirrored(changes, axis):
    """Pixels keep their places and channels theirs all the way: a reshape that mixed the two would break this."""
    net = settled(network(**changes), 1)
    x = images(net.config)
    seen, mirrored = {}, {}
    with no_grad():
        net(x, observe=lambda name, s: seen.__setitem__(name, s.data))
        flipped_weights(net, axis)(Tensor(np.flip(x.data, axis)), observe=lambda n, s: mirrored.__setitem__(n, s.data))
    for name, spikes in seen.items():
        assert np.mean(np.flip(mirrored[name], axis) != spikes) < 0.01, name  # sums run in another order


@each_mode
def test_attention_reaches_across_the_whole_map(mode):
    """The embedding of the first stage sees one pixel around: what lies farther away arrives by attention alone."""
    net = settled(network(mode=mode), 1)
    x = images(net.config, batch=1, multiples=(4, 4))
    other = x.data.copy()
    other[..., : x.shape[-1] // 2] = 0
    stage = net.stages[0]
    with no_grad():
        embedded = [stage.embedding(ops.reshape(Tensor(a), (1, *x.shape))) for a in (x.data, other)]
        assert np.array_equal(*(e.data[..., -8:] for e in embedded))
        assert not np.array_equal(*(stage.attention(e).data[..., -8:] for e in embedded))


@pytest.mark.parametrize("changes", [{}, {"mode": "paper"}, *({"attention": n} for n in ATTENTIONS[1:])], ids=str)
def test_statistics_of_one_size_hold_for_another(changes):
    """The same picture side by side with itself, sixteen times the tokens: sums over them grow, rates must not."""
    net, rates = network(**changes), []
    x = images(net.config, batch=4, multiples=(2, 2))
    reader = "attention.projection.parts.1" if changes.get("mode") == "paper" else "attention.out"
    with no_grad():
        for _ in range(30):
            net.stages[0](ops.reshape(x, (1, *x.shape)))  # statistics of the first stage
        net.eval()
        for repeats in (1, 4):
            seen = {}
            large = np.tile(x.data, (1, 1, repeats, repeats))[None]
            net.stages[0](Tensor(large), observe=lambda name, s, seen=seen: seen.__setitem__(name, s.data))
            rates.append(seen[reader].mean(axis=(0, 1, 3, 4)))
    assert np.abs(rates[0] - rates[1]).max() < 0.15, rates


def test_all_four_maps_are_used_and_every_ablation_computes_something_else():
    changed = [{}, *({"removed": name} for name in ("AA", "AI", "IA", "II")), {"spike_convolution": False}]
    changed += [{"attention": name} for name in ATTENTIONS[1:]]
    changed += [{"axis": "channel"}, {"fusion": "map"}, {"upsampling": "nearest"}, {"steps": 2}, {"mode": "paper"}]
    changed += [{"neuron": "medspikeformer_code"}, {"strict_spike": True, "upsampling": "nearest"}]
    x, outs = images(preset("tiny"), multiples=(4, 4)), []
    for changes in changed:
        with no_grad():
            outs.append(network(**changes)(x).data)
    for (i, a), (j, b) in itertools.combinations(enumerate(outs), 2):
        assert not np.allclose(a, b), (changed[i], changed[j])


@pytest.mark.parametrize("removed", ["AA", "AI", "IA", "II"])
@each_mode
def test_an_ablation_of_the_paper_drops_the_projection_of_its_map_alone(mode, removed):
    whole = network(mode=mode, fusion="half" if mode == "paper" else "map")
    less = network(mode=mode, fusion="half" if mode == "paper" else "map", removed=removed)
    per_width = 9 + 2 + 1 + 1 if mode == "paper" else 2  # depthwise, its bias and norm, the bias of the 1x1
    dropped = sum(per_width * width + width**2 for width in whole.config.widths)
    assert whole.n_parameters - less.n_parameters == dropped


def test_what_is_constant_in_time_is_computed_once():
    calls = []
    run = kernels.run

    def counted(name, *arguments):
        if name == "conv_forward":
            x, weight = arguments[:2]
            out = run(name, *arguments)
            calls.append(out[0].size * weight[0].size)
            assert len(x) == 2 or len(x) == 2 * 4
            executed[0] += len(x) // 2 * out[0].size * weight[0].size
            return out
        return run(name, *arguments)

    for kind, changes in itertools.product((MedSpikeFormer, SegmentationTeacher), OPTIONS.values()):
        if changes.get("steps", 4) != 4:
            continue
        net, executed = network(kind, **changes), [0]
        x = images(net.config)
        with pytest.MonkeyPatch.context() as patch, no_grad():
            patch.setattr("pysnnmed.conv.run", counted)
            net.logits_and_masks(x)
        rows = table(net, x.shape[2:])
        assert executed[0] == sum(r.macs * r.times for r in rows if r.kernel_size), (kind, changes)
        assert calls


@each_mode
def test_images_that_change_nothing_over_time_make_neurons_of_one_step_a_prefix(mode):
    """Neurons are causal: the spikes of T = 2 are the first two steps of those of T = 4, in evaluation."""
    long, short = settled(network(mode=mode)), network(mode=mode, steps=2).eval()
    short.load_state_dict(long.state_dict())
    x, of_long, of_short = images(long.config), {}, {}
    with no_grad():
        long(x, observe=lambda name, s: of_long.__setitem__(name, s.data))
        short(x, observe=lambda name, s: of_short.__setitem__(name, s.data))
    assert list(of_long) == list(of_short)
    for name, spikes in of_long.items():
        assert np.array_equal(spikes[:2], of_short[name]), name


@each_option
def test_observers_see_binary_spikes_of_every_step_before_each_convolution_that_reads_any(changes):
    net = network(**changes)
    seen = {}
    with no_grad():
        net(images(net.config), observe=lambda name, s: seen.__setitem__(name, s.data))
    assert all(np.isin(s, (0, 1)).all() and s.shape[:2] == (net.config.steps, 2) for s in seen.values())
    assert all(0.001 < s.mean() < 0.7 for s in seen.values()), {n: float(s.mean()) for n, s in seen.items()}
    readers = {row.name for row in table(net, (8, 8, 8)) if row.kernel_size}
    operands = {f"stages.{i}.attention.{name}" for i in range(4) for name in "qkv"}
    for name in seen.keys() - operands:
        known = (f"{name}.conv", name.replace("attention.out", "attention.layer.out") + ".conv")
        assert readers & set(known), name


def test_strict_networks_multiply_nothing_but_the_image():
    """Every convolution of the trunk but the first sees 0 and 1 only; the head sees a mean of them."""
    inputs = {"strict": [], "plain": []}
    run = kernels.run
    for name, changes in (("strict", {"strict_spike": True, "upsampling": "nearest"}), ("plain", {})):

        def watched(kernel, *arguments, into=inputs[name]):
            if kernel == "conv_forward":
                into.append(arguments[0])
            return run(kernel, *arguments)

        net = network(**changes)
        with pytest.MonkeyPatch.context() as patch, no_grad():
            patch.setattr("pysnnmed.conv.run", watched)
            net(images(net.config))
    _, *trunk, merge, _ = inputs["strict"]
    assert all(np.isin(x, (0, 1)).all() for x in trunk)
    assert np.isin(merge * 4, range(5)).all()
    assert not all(np.isin(x, (0, 1)).all() for x in inputs["plain"][1:-2])


# ------------------------------------------------------------------------------------------------------------ training


def require_gradients(net, without_effect=()):
    """Every parameter has a finite gradient that is more than rounding, but those that a norm takes away again."""
    with_gradients(net, images(net.config, multiples=(4, 4, 1)))
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert np.isfinite(parameter.grad).all(), name
        assert np.abs(parameter.grad).max() > 1e-6 or name.endswith(without_effect), name


SHIFTS = ("conv.bias", "spike_convolution.norms.1.beta")  # in the mode "paper" norms follow upon them


@each_option
def test_every_option_trains_every_parameter(changes):
    of_masks = tuple(f"mask_heads.{i}.parts.0.norm.beta" for i in range(4))
    released = (*SHIFTS, *of_masks, "attention.layer.out.norm.beta")
    require_gradients(network(**changes), released if changes.get("mode") == "paper" else ())


@each_mode
def test_the_teacher_trains_every_parameter(mode):
    # A shift that all keys share moves no score, and one that all values share is taken away by the norm after them.
    shared = tuple(f"attention.layer.norms.{i}.beta" for i in (1, 2))
    released = (*SHIFTS, "attention.layer.out_norm.beta") if mode == "paper" else ()
    require_gradients(network(SegmentationTeacher, mode=mode), shared + released)


def test_training_fits_an_image():
    """A bright disc on noise: some steps of plain gradient descent bring the loss to a fraction."""
    rng = np.random.default_rng(0)
    i, j = np.mgrid[:16, :16]
    disc = ((i - 7) ** 2 + (j - 9) ** 2 < 20).astype(np.float32)
    x = Tensor(np.clip(0.3 * rng.random((2, 3, 16, 16)) + 0.6 * disc, 0, 1).astype(np.float32))
    for kind in (MedSpikeFormer, SegmentationTeacher):
        net, losses = network(kind), []
        for _ in range(16):
            net.zero_grad()
            logits = net(x)
            loss = ops.mean(ops.softplus(logits) - logits * disc)  # binary cross-entropy of logits
            loss.backward()
            losses.append(float(loss.data))
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter.data = parameter.data - 0.1 * parameter.grad
        assert losses[-1] < 0.5 * losses[0], (kind, losses)


@each_mode
def test_teacher_and_student_have_masks_of_one_shape(mode):
    student, teacher = network(mode=mode), network(SegmentationTeacher, mode=mode)
    x = images(student.config)
    with no_grad():
        (_, of_student), (_, of_teacher) = (net.logits_and_masks(x) for net in (student, teacher))
    assert [mask.shape for mask in of_student] == [mask.shape for mask in of_teacher]


def test_the_teacher_knows_no_spikes():
    """What is about spikes in the configuration changes nothing in the analog network."""
    x = images(preset("tiny"))
    with no_grad():
        plain = network(SegmentationTeacher)(x).data
        for changes in ({"steps": 2}, {"attention": "qk-token"}, {"removed": "AA"}, {"neuron": "medspikeformer_code"}):
            assert np.array_equal(network(SegmentationTeacher, **changes)(x).data, plain)
        other = network(SegmentationTeacher, softmax_axes=("token",) * 4)(x).data
    assert not np.allclose(plain, other)


# --------------------------------------------------------------------------------------------------- published sizes

PUBLISHED = [  # widths, side, parameters without and with what the released code never uses, GMAC, GMAC of attention
    ((32, 64, 128, 256), 256, 2_271_461, 2_540_741, 23.6, 2.15),
    ((16, 32, 64, 128), 256, 589_429, 658_789, 6.33, 0.54),
    ((64, 128, 256, 512), 256, None, 9.97e6, None, None),
    ((8, 16, 32, 64), 128, 158_141, None, 0.45, 0.034),
    ((8, 16, 32, 64), 64, 158_141, None, 0.113, 0.008),
    ((4, 8, 16, 32), 64, 44_929, None, 0.035, 0.002),
]


def digits_of(value):
    return len(f"{value:g}".replace("0.", "").lstrip("0").replace(".", ""))


@pytest.mark.parametrize(("widths", "side", "clean", "whole", "gmac", "of_attention"), PUBLISHED, ids=str)
def test_the_mode_paper_has_the_sizes_of_the_released_code(widths, side, clean, whole, gmac, of_attention):
    config = preset("paper", widths=widths)
    net = MedSpikeFormer(config, np.random.default_rng(0))
    rows, unused = table(net, (side, side)), unused_in_release(config, (side, side))
    assert sum(row.parameters for row in rows) == net.n_parameters
    if clean:
        assert net.n_parameters == clean
    if whole:
        total = net.n_parameters + sum(row.parameters for row in unused)
        assert total == whole if isinstance(whole, int) else round(total / 1e4) * 1e4 == whole
    if gmac:
        # The released code repeats the image T times before its first layer; and it computes a layer it then drops.
        steps = [config.steps if row.name.startswith(("stages", "pools")) else row.times for row in rows + unused]
        macs = [row.macs * n for row, n in zip(rows + unused, steps, strict=True)]
        attention = sum(m for row, m in zip(rows, macs, strict=False) if row.name.endswith("attention"))
        for ours, printed in (((sum(macs) - attention) / 1e9, gmac), (attention / 1e9, of_attention)):
            assert float(f"{ours:.{digits_of(printed)}g}") == printed


def test_tensors_have_the_published_shapes():
    """The mode "paper" at widths 32 to 256 on 256 x 256: features, pooled skips, decoders, head."""
    net = MedSpikeFormer(preset("paper"), np.random.default_rng(0))
    made = {row.name: (*row.shape, row.out_channels) for row in table(net, (256, 256))}
    stages = [made[f"stages.{i}.mlp.parts.2.conv"] for i in range(4)]
    pooled = [made[f"pools.{i}.conv"] for i in range(4)]
    decoded = [made[f"decoders.{j}.up.synapses.conv"] for j in range(4)]
    assert stages == [(256, 256, 32), (128, 128, 64), (64, 64, 128), (32, 32, 256)]
    assert pooled == [(128, 128, 32), (64, 64, 64), (32, 32, 128), (16, 16, 256)]
    assert decoded == [(32, 32, 128), (64, 64, 64), (128, 128, 32), (256, 256, 32)]
    assert made["head.merge.conv"] == (256, 256, 32)
    assert made["head.logits.conv"] == (256, 256, 1)


@each_option
@each_kind
def test_the_table_has_the_shapes_and_the_parameters_of_the_network(kind, changes):
    net = network(kind, **changes)
    x = images(net.config)
    made, rows = {}, table(net, x.shape[2:])
    for path, module in net.named_modules():
        if type(module).__name__ == "Conv":

            def watched(frames, module=module, path=path):
                out = type(module).forward(module, frames)
                made[path] = (out.shape[1], *out.shape[2:])
                return out

            module.forward = watched
    with no_grad():
        net.logits_and_masks(x)
    assert made == {row.name: (row.out_channels, *row.shape) for row in rows if row.kernel_size}
    assert sum(row.parameters for row in rows) == net.n_parameters
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("name", PRESETS)
def test_networks_of_every_attention_have_nearly_equal_size(name):
    sizes = [network(name=name, mode="sound", attention=attention).n_parameters for attention in ATTENTIONS]
    assert max(sizes) < 1.03 * min(sizes)


def test_the_default_is_the_sound_mode_with_three_pools():
    config = MedSpikeFormerConfig()
    assert (config.mode, config.shape_multiple, config.widths) == ("sound", 8, (32, 64, 128, 256))
    assert preset("paper").shape_multiple == 16
    neuron = config.firing
    assert (neuron.beta, neuron.v_threshold, neuron.reset, neuron.detach_reset) == (0.5, 1.0, "soft", True)


def test_the_meter_counts_every_attention_by_its_name():
    net = network().name_layers()
    with no_grad(), synops.count_synops() as meter:
        net(images(net.config))
    assert [layer.name for layer in meter.report().layers] == [f"stages.{i}.attention.layer" for i in range(4)]
    net = network(mode="paper").name_layers()
    with no_grad(), synops.count_synops() as meter:
        net(images(net.config))
    assert [layer.name for layer in meter.report().layers] == [f"stages.{i}.attention" for i in range(4)]


# ------------------------------------------------------------------------------------------------------ files, refusals


@each_kind
@pytest.mark.parametrize("changes", [{}, {"mode": "paper", "removed": "AI"}, {"attention": "qk-channel", "ndim": 3}])
def test_a_file_gives_the_network_back(kind, changes, tmp_path):
    net = settled(network(kind, **changes))
    save_model(tmp_path / "net.safetensors", net, {"recipe": "none"})
    again, card = load_model(tmp_path / "net.safetensors")
    assert type(again) is kind
    assert (again.config, card.config, card.network) == (net.config, net.config, kind.__name__)
    assert card.facts == {"recipe": "none"}
    x = images(net.config)
    with no_grad():
        for ours, theirs in zip(net.logits_and_masks(x)[1], again.logits_and_masks(x)[1], strict=True):
            assert np.array_equal(ours.data, theirs.data)  # the mask heads are in the file: training can go on
        assert np.array_equal(net(x).data, again(x).data)


def test_files_with_a_configuration_of_another_network_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_model(path, network())
    arrays, metadata = load_arrays(path)
    for network_name, config in (
        ("MedSpikeFormer", SpikeRegConfig().to_dict()),
        ("SpikeReg", preset("tiny").to_dict()),
        ("UNet", preset("tiny").to_dict()),
        ("MedSpikeFormer", preset("tiny").to_dict() | {"mode": "loud"}),
    ):
        save_arrays(path, arrays, {**metadata, "network": network_name, "config": json.dumps(config)})
        with pytest.raises(WeightsError, match="does not describe a network"):
            load_model(path)
    save_arrays(path, arrays, {**metadata, "config": json.dumps(preset("small").to_dict())})
    with pytest.raises(WeightsError, match="shape"):
        load_model(path)


def test_registration_refuses_a_network_that_segments(tmp_path):
    path = tmp_path / "net.safetensors"
    save_model(path, network())
    with pytest.raises(WeightsError, match="holds a MedSpikeFormer"):
        Network.load(str(path), Settings())


def test_files_of_registration_networks_still_load(tmp_path):
    net = SpikeReg(SpikeRegConfig(encoder=(2,), decoder=(2,)), np.random.default_rng(0))
    save_model(tmp_path / "net.safetensors", net)
    again, card = load_model(tmp_path / "net.safetensors")
    assert isinstance(again, SpikeReg)
    assert card.config == net.config


@each_kind
@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 1, 16, 16), "3 channels"),
        ((3, 16, 16), "2 spatial axes"),
        ((2, 3, 16, 16, 16), "2 spatial axes"),
        ((2, 3, 16, 20), "multiple of 8"),
        ((2, 3, 0, 16), "multiple of 8"),
        ((0, 3, 16, 16), "at least one image"),
    ],
)
def test_images_that_do_not_fit_are_refused(kind, shape, said):
    with pytest.raises(ShapeError, match=said):
        network(kind)(Tensor(np.zeros(shape, np.float32)))


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": ()},
        {"widths": (4,)},
        {"widths": (4, 0, 8, 8)},
        {"widths": (4, 6, 8, 8)},
        {"heads": 0},
        {"steps": 0},
        {"classes": 0},
        {"in_channels": 0},
        {"ndim": 1},
        {"mode": "loud"},
        {"attention": "softmax"},
        {"axis": "time"},
        {"fusion": "third"},
        {"removed": "XX"},
        {"attention": "spiking", "removed": "AA"},
        {"attention": "qk-token", "fusion": "map"},
        {"attention": "qk-token", "axis": "channel"},
        {"softmax_axes": ("token",)},
        {"softmax_axes": ("token", "token", "token", "time")},
        {"upsampling": "cubic"},
        {"strict_spike": True},
        {"strict_spike": True, "upsampling": "nearest", "mode": "paper"},
        {"neuron": "lif"},
    ],
    ids=str,
)
def test_options_that_make_no_network_are_refused(changes):
    with pytest.raises(ParameterError, match="MedSpikeFormerConfig: "):
        preset("tiny", **changes)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ParameterError, match=r"'huge'.*paper-large"):
        preset("huge")
