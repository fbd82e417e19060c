"""Widths and options of the network, and the named ones among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from ...decomposition import MAPS, Axis
from ...errors import ParameterError
from ...neurons import Neuron
from ...neurons import preset as neuron_preset

Mode: TypeAlias = Literal["sound", "paper"]
Attention: TypeAlias = Literal["decomposed", "spiking", "qk-token", "qk-channel", "spike-driven"]
Upsampling: TypeAlias = Literal["linear", "nearest"]
NEURONS = ("medspikeformer", "medspikeformer_code")  # of the paper's equations; of its released code


@dataclass(frozen=True)
class MedSpikeFormerConfig:
    """Widths and options of the network, spiking and analog.

    widths              channels of the stages, from the full resolution down
    in_channels         of the images
    classes             channels of the logits
    ndim                spatial axes of the images
    steps               T, time steps of the spiking network
    heads               of every attention
    mode                "sound" or "paper": which skeleton, see the package
    attention           which spiking attention, see nn.attention; all make networks of nearly equal size
    axis                whether tokens attend to each other or channels do; decomposed and spiking attention only
    fusion              what of decomposed attention meets a norm and neurons of its own: "half", each of the two sums
                        of maps (equations 8 and 9), or each "map". The mode "paper" always projects each map
    removed             a map of decomposed attention to leave out, AA, AI, IA or II: an ablation
    softmax_axes        what the teacher's attention of each stage runs over; between tokens it takes time and memory
                        that grow with N^2, so that by default only the smallest map has it
    spike_convolution   False leaves the spike convolutions out of embeddings and decoders: an ablation
    upsampling          of the decoders; "nearest" keeps spikes binary
    strict_spike        whether every convolution but the first, that of the images, sees spikes only: neurons fire
                        before each that would see real numbers. Needs nearest upsampling and the mode "sound"
    neuron              name of the preset of all neurons but those inside the rival attentions, see neurons.preset
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    in_channels: int = 3
    classes: int = 1
    ndim: int = 2
    steps: int = 4
    heads: int = 4
    mode: Mode = "sound"
    attention: Attention = "decomposed"
    axis: Axis = "token"
    fusion: Literal["half", "map"] = "half"
    removed: str | None = None
    softmax_axes: tuple[Axis, ...] = ("channel", "channel", "channel", "token")
    spike_convolution: bool = True
    upsampling: Upsampling = "linear"
    strict_spike: bool = False
    neuron: str = "medspikeformer"

    def __post_init__(self) -> None:
        for name in ("widths", "softmax_axes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_sizes()
        self._require_one_of("mode", get_args(Mode))
        self._require_one_of("attention", get_args(Attention))
        self._require_one_of("axis", get_args(Axis))
        self._require_one_of("fusion", ("half", "map"))
        self._require_one_of("upsampling", get_args(Upsampling))
        self._require_one_of("neuron", NEURONS)
        self._check_attention()
        if self.strict_spike and (self.upsampling != "nearest" or self.mode != "sound"):
            raise ParameterError(
                f"MedSpikeFormerConfig: strict_spike needs upsampling 'nearest', which keeps spikes binary, and mode "
                f"'sound', not {self.upsampling!r} and {self.mode!r}"
            )

    def _check_sizes(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ParameterError(
                f"MedSpikeFormerConfig: widths must list two or more positive channel counts, not {self.widths}"
            )
        if self.heads < 1 or any(width % self.heads for width in self.widths):
            raise ParameterError(
                f"MedSpikeFormerConfig: heads must divide every width of {self.widths}, not {self.heads}"
            )
        if min(self.in_channels, self.classes, self.steps) < 1 or self.ndim not in (2, 3):
            raise ParameterError(
                f"MedSpikeFormerConfig: in_channels, classes and steps must be at least 1 and ndim 2 or 3, not "
                f"{self.in_channels}, {self.classes}, {self.steps} and {self.ndim}"
            )
        if len(self.softmax_axes) != len(self.widths) or not set(self.softmax_axes) <= set(get_args(Axis)):
            raise ParameterError(
                f"MedSpikeFormerConfig: softmax_axes must say 'token' or 'channel' for each of the {len(self.widths)} "
                f"stages, not {self.softmax_axes}"
            )

    def _check_attention(self) -> None:
        if self.removed is not None:
            self._require_one_of("removed", MAPS)
        for name, plain in (("removed", None), ("fusion", "half")):
            if self.attention != "decomposed" and getattr(self, name) != plain:
                raise ParameterError(
                    f"MedSpikeFormerConfig: {name} is about the maps of decomposed attention; leave it {plain!r} with "
                    f"attention {self.attention!r}, not {getattr(self, name)!r}"
                )
        if self.attention not in ("decomposed", "spiking") and self.axis != "token":
            raise ParameterError(
                f"MedSpikeFormerConfig: axis is about decomposed and spiking attention; leave it 'token' with "
                f"attention {self.attention!r}, whose name says what it gates"
            )

    def _require_one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, name) not in allowed:
            raise ParameterError(
                f"MedSpikeFormerConfig: {name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}"
            )

    @property
    def pools(self) -> int:
        """How often the resolution is halved."""
        return len(self.widths) - (self.mode == "sound")

    @property
    def shape_multiple(self) -> int:
        """Every spatial axis must be a multiple of this."""
        return 2**self.pools

    @property
    def firing(self) -> Neuron:
        """The neuron of every population but those inside the rival attentions."""
        return neuron_preset(self.neuron)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


PRESETS: Mapping[str, MedSpikeFormerConfig] = {
    "tiny": MedSpikeFormerConfig(widths=(4, 8, 16, 32)),
    "small": MedSpikeFormerConfig(widths=(8, 16, 32, 64)),
    "paper-small": MedSpikeFormerConfig(widths=(16, 32, 64, 128), mode="paper"),
    "paper": MedSpikeFormerConfig(widths=(32, 64, 128, 256), mode="paper"),
    "paper-large": MedSpikeFormerConfig(widths=(64, 128, 256, 512), mode="paper"),
}


def preset(name: str, **changes: Any) -> MedSpikeFormerConfig:
    """The configuration called `name`, with fields replaced by `changes`."""
    if name not in PRESETS:
        raise ParameterError(f"there is no MedSpikeFormer preset {name!r}; there are: {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
