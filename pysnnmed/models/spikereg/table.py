"""The network as a table: its layers, what feeds each, and the options that decide both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from ...errors import ParameterError

IMAGES = "images"  # name of the input in the table of layers
FIELD = "field"  # name under which observers get the head's output: velocity or displacement on the head's grid

Mode: TypeAlias = Literal["sound", "paper"]
MODES: tuple[Mode, ...] = get_args(Mode)
FIRST_SHORTCUT = 2  # the first encoder block that has a shortcut, where there are any
FIRST_INHIBITED = 1  # and the first whose neurons inhibit each other


@dataclass(frozen=True)
class Layer:
    """One convolution of the network and what feeds it.

    `frames` are layers whose spikes arrive step by step, `rates` are sources that arrive as a current constant over
    time: the images, or the firing rate of a layer. The input channels are those of `frames`, then those of `rates`;
    with `average`, the mean of the sources, which then have equal widths. Whoever reads the layer reads the sum of its
    spikes and those of the earlier layers `plus`.
    """

    name: str
    out_channels: int
    frames: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    kernel_size: int = 3
    stride: int = 1
    transposed: bool = False
    average: bool = False
    plus: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Everything the layer reads, in the order of its input channels."""
        return self.frames + self.rates

    @property
    def padding(self) -> int:
        """Keeps the size, up to the stride."""
        return 0 if self.transposed else self.kernel_size // 2


@dataclass(frozen=True)
class SpikeRegConfig:
    """Widths and options of the network.

    encoder, decoder    channels per level; the decoder may be shorter than the encoder
    average_skips       decoder levels that average with the encoder's map, of equal width, instead of concatenating
    steps               T, time steps of the spiking network
    integration_steps   scaling-and-squaring steps; 0 takes the head's output as the displacement itself
    head_kernel         kernel size of the head
    displacement_scale  voxels of the head's grid per unit of its output
    leak                beta of the neurons, 1 for none
    reset               what a spike does to a membrane of the mode "sound": "soft" subtracts the threshold, "hard" sets
                        it to 0, as the mode "paper" always does
    learn_leak          whether fine-tuning may change the leak of each layer
    learn_threshold     whether fine-tuning may change the threshold of each layer
    negative_slope      slope of the teacher's activation below zero: 0 is ReLU, else LeakyReLU, whose negative part
                        the spiking network carries in a second population of neurons
    mode                neurons and conversion of the spiking network, see the package

    Of the mode "paper" only, and of its spiking network only:
    leaks               beta of each block in the place of `leak`: encoder blocks, bottleneck, decoder blocks
    shortcuts           a convolution 1, stride 2, past each encoder block from the third on, whose spikes are added
    smoothing           a learnable smoothing of each component of the head's output, kernel 3
    winners             fraction of the membranes of a sample that keep their potential before each step, in the encoder
                        blocks from the second on and the bottleneck: k-winners-take-all; 1 is no inhibition
    """

    encoder: tuple[int, ...] = (8, 16, 32)
    decoder: tuple[int, ...] = (16, 8, 8)
    average_skips: tuple[int, ...] = ()
    ndim: int = 3
    steps: int = 4
    integration_steps: int = 0
    head_kernel: int = 1
    displacement_scale: float = 1.0
    leak: float = 1.0
    reset: Literal["soft", "hard"] = "soft"
    learn_leak: bool = False
    learn_threshold: bool = False
    negative_slope: float = 0.0
    mode: Mode = "sound"
    leaks: tuple[float, ...] = ()
    shortcuts: bool = False
    smoothing: bool = False
    winners: float = 1.0

    def __post_init__(self) -> None:
        for name in ("encoder", "decoder"):
            widths = tuple(getattr(self, name))
            object.__setattr__(self, name, widths)
            if not widths or min(widths) < 1:
                raise ParameterError(f"SpikeRegConfig: {name} must list positive channel counts, not {widths}")
        for name in ("average_skips", "leaks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for j in self.average_skips:
            level = len(self.encoder) - 2 - j
            if not 0 <= j < len(self.decoder) or level < 0 or self.encoder[level] != self.decoder[j]:
                raise ParameterError(
                    f"SpikeRegConfig: average_skips names decoder level {j}, which has no encoder map of its width"
                )
        if len(self.decoder) > len(self.encoder):
            raise ParameterError(
                f"SpikeRegConfig: the decoder has {len(self.decoder)} levels, the encoder only {len(self.encoder)}"
            )
        if self.steps < 1 or self.integration_steps < 0 or self.ndim not in (2, 3) or self.head_kernel % 2 != 1:
            raise ParameterError(
                f"SpikeRegConfig: steps must be at least 1, integration_steps at least 0, ndim 2 or 3 and head_kernel "
                f"odd, not {self.steps}, {self.integration_steps}, {self.ndim}, {self.head_kernel}"
            )
        if self.reset not in ("soft", "hard"):
            raise ParameterError(f"SpikeRegConfig: reset must be 'soft' or 'hard', not {self.reset!r}")
        self._check_mode()

    def _check_mode(self) -> None:
        if self.mode not in MODES:
            raise ParameterError(f"SpikeRegConfig: mode must be {' or '.join(MODES)}, not {self.mode!r}")
        if not 0 <= self.negative_slope <= 1:
            raise ParameterError(f"SpikeRegConfig: negative_slope must be in [0, 1], not {self.negative_slope}")
        if self.mode == "paper" and self.negative_slope:
            raise ParameterError(
                f"SpikeRegConfig: mode 'paper' has ReLU teachers, negative_slope must be 0, not {self.negative_slope}; "
                f"use mode 'sound'"
            )
        for name, plain in PAPER_ONLY.items():
            if self.mode == "sound" and getattr(self, name) != plain:
                raise ParameterError(
                    f"SpikeRegConfig: {name} must be {plain!r} in mode 'sound', whose spiking network has the "
                    f"teacher's graph, not {getattr(self, name)!r}; use mode 'paper'"
                )
        if self.leaks and (len(self.leaks) != self._n_blocks or not all(0 <= b <= 1 for b in self.leaks)):
            raise ParameterError(
                f"SpikeRegConfig: leaks must be {self._n_blocks} numbers in [0, 1], one for each encoder block, the "
                f"bottleneck and each decoder block, not {self.leaks}"
            )
        if not 0 < self.winners <= 1:
            raise ParameterError(f"SpikeRegConfig: winners must be in (0, 1], not {self.winners}")

    @property
    def _n_blocks(self) -> int:
        return len(self.encoder) + 1 + len(self.decoder)

    @property
    def shape_multiple(self) -> int:
        """Every spatial axis must be a multiple of this."""
        return 2 ** len(self.encoder)

    @property
    def head_stride(self) -> int:
        """Voxels of the images per voxel of the head's grid."""
        return 2 ** (len(self.encoder) - len(self.decoder))

    @property
    def populations(self) -> int:
        """Populations of neurons that carry one layer: a second one for negative activations."""
        return 2 if self.negative_slope else 1

    def layers(self, spiking: bool = False) -> Iterator[Layer]:
        """The network as a table, each layer after its sources; the head is not in it.

        Those of the teacher, or of the `spiking` network, which may have shortcuts besides.
        """
        source = IMAGES
        for i, width in enumerate(self.encoder):
            block = f"encoder.{i}"
            plus = (f"{block}.shortcut",) if spiking and self.shortcuts and i >= FIRST_SHORTCUT else ()
            yield Layer(f"{block}.conv1", width, rates=(source,), stride=2)
            for shortcut in plus:
                yield Layer(shortcut, width, rates=(source,), kernel_size=1, stride=2)
            yield Layer(f"{block}.conv2", width, frames=(f"{block}.conv1",), plus=plus)
            source = f"{block}.conv2"
        yield Layer("bottleneck", self.encoder[-1], rates=(source,))
        source = "bottleneck"
        for j, width in enumerate(self.decoder):
            block, level = f"decoder.{j}", len(self.encoder) - 2 - j
            skip = (f"encoder.{level}.conv2",) if level >= 0 else ()
            yield Layer(f"{block}.up", width, frames=(source,), kernel_size=2, stride=2, transposed=True)
            yield Layer(f"{block}.refine", width, frames=(f"{block}.up",), rates=skip, average=j in self.average_skips)
            source = f"{block}.refine"

    def channels(self) -> dict[str, int]:
        """Output channels of every source by name."""
        return {IMAGES: 2, **{layer.name: layer.out_channels for layer in self.layers(spiking=True)}}

    def in_channels(self, layer: Layer) -> int:
        """Input channels of the convolution of a layer."""
        channels = self.channels()
        return sum(channels[source] for source in layer.sources) // (len(layer.sources) if layer.average else 1)

    def leak_of(self, name: str) -> float:
        """beta of the neurons of a layer."""
        return self.leaks[self._block(name)] if self.leaks else self.leak

    def winners_of(self, name: str) -> float:
        """The fraction of membranes that keep their potential in a layer."""
        inhibited = FIRST_INHIBITED <= self._block(name) <= len(self.encoder) and not name.endswith("shortcut")
        return self.winners if inhibited else 1.0

    def _block(self, name: str) -> int:
        """Which block a layer belongs to: encoder blocks, bottleneck, decoder blocks."""
        block, _, rest = name.partition(".")
        first = {"encoder": 0, "bottleneck": len(self.encoder), "decoder": len(self.encoder) + 1}[block]
        return first + (int(rest.partition(".")[0]) if rest else 0)

    def analog(self) -> SpikeRegConfig:
        """What of this the teacher knows; the rest is put back to the defaults."""
        plain = SpikeRegConfig()
        of_neurons = ("steps", "leak", "reset", "learn_leak", "learn_threshold", "mode", *PAPER_ONLY)
        return replace(self, **{name: getattr(plain, name) for name in of_neurons})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


PAPER_ONLY: dict[str, Any] = {"leaks": (), "shortcuts": False, "smoothing": False, "winners": 1.0}

PRESETS = {
    "micro": SpikeRegConfig(encoder=(4, 8, 16), decoder=(8, 4, 4), average_skips=(1,)),
    "tiny": SpikeRegConfig(encoder=(8, 16, 32), decoder=(16, 8, 8), average_skips=(1,)),
    "small": SpikeRegConfig(encoder=(16, 32, 64, 128), decoder=(64, 32, 16, 16), average_skips=(2,)),
    # Leak and threshold of each layer are learnt there: learn_leak and learn_threshold, one number a layer and each.
    "paper": SpikeRegConfig(
        encoder=(16, 32, 64, 128),
        decoder=(64, 32, 16, 16),
        average_skips=(2,),
        mode="paper",
        leaks=(0.9, 0.85, 0.8, 0.75, 0.7, 0.75, 0.8, 0.85, 0.9),
        shortcuts=True,
        smoothing=True,
    ),
}


def preset(name: str, **changes: Any) -> SpikeRegConfig:
    """The configuration called `name`, with fields replaced by `changes`."""
    if name not in PRESETS:
        raise ParameterError(f"there is no SpikeReg preset {name!r}; there are: {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)


def as_paper(config: SpikeRegConfig) -> SpikeRegConfig:
    """The configuration in the mode "paper" with everything that the authors' spiking network adds to the teacher.

    The leaks are theirs for four encoder blocks and as many decoder blocks: 0.05 less a block down to 0.7 in the
    bottleneck of the deepest, and back up.
    """
    down = [round(0.9 - 0.05 * i, 2) for i in range(len(config.encoder) + 1)]
    up = down[::-1][1 : len(config.decoder) + 1]
    return replace(config, mode="paper", leaks=tuple(max(b, 0.0) for b in down + up), shortcuts=True, smoothing=True)
