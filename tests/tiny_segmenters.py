"""Small MedSpikeFormers with random weights, whose heads are biased so that some pixels are foreground and some not."""

import numpy as np

from pysnnmed.data.network_input import NetworkInput
from pysnnmed.deploy.pretrained import save_model
from pysnnmed.models.medspikeformer import MedSpikeFormer, MedSpikeFormerConfig
from pysnnmed.tensor import Tensor, no_grad

WIDTHS = (4, 8)
PICTURES = NetworkInput(size=(16, 16))
VOLUMES = NetworkInput(
    "volumes",
    channels=1,
    size=(16, 16),
    padding="zeros",
    plane="sagittal",
    context=1,
    spacing=(1.0, 1.0),
    labels={1: "anterior", 2: "posterior"},
)


def save_tiny(path, form=PICTURES, kind=MedSpikeFormer, seed=0, **changes):
    """A network for images of this form in a weights file; about half of the pixels of noise are foreground."""
    config = MedSpikeFormerConfig(
        **{
            "widths": WIDTHS,
            "softmax_axes": ("channel", "token"),
            "in_channels": form.in_channels,
            "classes": len(form.labels),
            "steps": 2,
            **changes,
        }
    )
    rng = np.random.default_rng(seed)
    network = kind(config, rng)
    network.eval()
    with no_grad():
        noise = rng.random((4, form.in_channels, *form.size), np.float32)
        logits = network(Tensor(noise)).data
    last = [p for name, p in network.named_parameters() if name.startswith("head.") and name.endswith("bias")][-1]
    last.data -= np.median(logits, axis=(0, 2, 3))
    save_model(path, network, {"input": form.facts()})
    return path
