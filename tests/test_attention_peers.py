"""Three layers are those of SpikingJelly 2.0, weights and all: the same spikes and gradients. Skipped without it."""

import numpy as np
import pytest

from pysnnmed import Tensor
from pysnnmed.neurons import preset
from pysnnmed.nn.attention import QKAttention, SpikeDrivenSelfAttention, SpikingSelfAttention
from pysnnmed.surrogate import Sigmoid

torch = pytest.importorskip("torch", reason="compares with SpikingJelly")
peers = pytest.importorskip("spikingjelly.activation_based.layer", reason="compares with SpikingJelly")
if not hasattr(peers, "SpikeDrivenSelfAttention"):
    pytest.skip("compares with SpikingJelly 2.0", allow_module_level=True)

CHANNELS, HEADS, SPACE = 8, 2, (4, 3)


def neurons(threshold):
    return preset("spikingjelly_lif", v_threshold=threshold, detach_reset=True, surrogate=Sigmoid(4.0))


def ours(kind, **options):
    layer = kind(
        2, CHANNELS, HEADS, rng=np.random.default_rng(0), neuron=neurons(1.0), gate=neurons(0.5), **options
    ).astype(np.float64)
    rng = np.random.default_rng(1)
    for name, parameter in layer.named_parameters():
        parameter.data = parameter.data + rng.normal(1.0 if "gamma" in name else 0.2, 0.2, parameter.shape)
    for name, buffer in layer.named_buffers():
        buffer.data = rng.uniform(0.3, 1.5, buffer.shape) if "variance" in name else rng.normal(0, 0.3, buffer.shape)
    return layer.eval()


def take_weights(projections, conv, norm):
    """Make one convolution and norm of torch compute what these projections do, one after the other."""

    def joined(parts, like):
        return torch.from_numpy(np.concatenate([part.data for part in parts])).reshape(like.shape)

    with torch.no_grad():
        conv.weight.copy_(joined([p.conv.weight for p in projections], conv.weight))
        if conv.bias is not None:
            conv.bias.zero_()
        for theirs, name in (("weight", "gamma"), ("bias", "beta")):
            getattr(norm, theirs).copy_(joined([getattr(p.norm, name) for p in projections], norm.weight))
        norm.running_mean.copy_(joined([p.norm.running_mean for p in projections], norm.weight))
        norm.running_var.copy_(joined([p.norm.running_variance for p in projections], norm.weight))
        norm.eps = projections[0].norm.epsilon


def compare(layer, peer, flat):
    x = np.random.default_rng(2).normal(0.4, 1.2, (4, 2, CHANNELS, *SPACE))
    weight = np.random.default_rng(3).normal(size=x.shape)
    tensor = Tensor(x, requires_grad=True)
    out = layer(tensor)
    (out * weight).sum().backward()
    theirs = torch.from_numpy(x).requires_grad_(True)
    expected = peer.eval()(theirs.flatten(3) if flat else theirs).reshape(x.shape)
    (expected * torch.from_numpy(weight)).sum().backward()
    np.testing.assert_allclose(out.data, expected.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(tensor.grad, theirs.grad.numpy(), rtol=0, atol=1e-10)
    assert np.mean(out.data != 0) > 0
    assert np.abs(tensor.grad).max() > 1e-3


def test_spiking_self_attention():
    layer, peer = ours(SpikingSelfAttention), peers.SpikingSelfAttention(CHANNELS, HEADS).double()
    take_weights(layer.projections, *peer.qkv_conv_bn)
    take_weights([layer.out], *peer.proj_conv_bn)
    compare(layer, peer, flat=True)


@pytest.mark.parametrize("axis", ["token", "channel"])
def test_qk_attention(axis):
    layer, peer = ours(QKAttention, axis=axis), peers.QKAttention(CHANNELS, HEADS, axis).double()
    take_weights(layer.projections, *peer.qk_conv_bn)
    take_weights([layer.out], *peer.proj_conv_bn)
    compare(layer, peer, flat=True)


def test_spike_driven_attention_where_the_peer_calls_the_mask_that_of_keys_and_values():
    layer = ours(lambda ndim, channels, heads, **options: SpikeDrivenSelfAttention(ndim, channels, **options))
    peer = peers.SpikeDrivenSelfAttention(CHANNELS, HEADS).double()
    for projection, name in zip(layer.projections, "kvq", strict=True):
        take_weights([projection], getattr(peer, f"{name}_conv"), getattr(peer, f"{name}_bn"))
    take_weights([layer.out], peer.proj_conv, peer.proj_bn)
    compare(layer, peer, flat=False)
