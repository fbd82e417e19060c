"""The peers of the event-driven executors, in PyTorch: a graph of unet_graph.py, run densely in four ways.

`make(name, graph, weights, inputs, steps, threads)` gives a function without required arguments that runs the graph
once, gradients off, and returns the value of the last layer as NumPy. Given `visit`, it calls visit(layer name, spikes
[T, C, *S]) after each layer of neurons.

    spikingjelly-eager    the layers and the neuron of SpikingJelly in their multi-step mode, default memory layout
    torch-snn-best        what an expert gets out of PyTorch for the same spikes: channels last, oneDNN called directly,
                          neurons over T compiled into one loop, mean over T before the head
    torch-ann-f32         the same convolutions in a network without time: one pass with ReLU, channels last
    torch-ann-f32-onednn  the same, with oneDNN also where PyTorch prefers its own loops (batch 1 and few channels, or
                          few voxels), which is faster
    torch-ann-int8        the int8 convolutions of that one pass and nothing else (no pooling, upsampling or
                          concatenation): a lower bound, and no network: it returns no flow. oneDNN takes AMX or VNNI
                          where the processor has them; ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI keeps AMX out

All share the first convolution's current between the T steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from unet_graph import BETA, CONVOLUTIONS, NEURONS, THRESHOLD, Layer, Weights, size_of, walk

Visit = Callable[[str, np.ndarray], None] | None
CHANNELS_LAST = torch.channels_last_3d


class _Network:
    """A graph whose layers are applied by `step`."""

    def __init__(
        self, graph: Sequence[Layer], weights: Mapping[str, Weights], inputs: Mapping[str, np.ndarray], steps: int
    ):
        self.graph, self.steps = graph, steps
        self.weight = {name: self.laid_out(torch.from_numpy(w.float32)) for name, w in weights.items()}
        self.bias = {name: torch.from_numpy(w.bias) for name, w in weights.items()}
        self.inputs = {name: self.prepared(array) for name, array in inputs.items()}

    def __call__(self, visit: Visit = None) -> np.ndarray:
        def apply(layer: Layer, sources: list[torch.Tensor]) -> torch.Tensor:
            value = self.step(layer, sources)
            if visit is not None and layer.kind in NEURONS:
                visit(layer.name, self.finished(value))
            return value

        with torch.inference_mode():
            return self.finished(walk(self.graph, self.inputs, apply))

    def step(self, layer: Layer, sources: list[torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError

    def laid_out(self, x: torch.Tensor) -> torch.Tensor:
        return x.contiguous(memory_format=CHANNELS_LAST)

    def prepared(self, array: np.ndarray) -> torch.Tensor:
        """An image [C, *S] as [1, C, *S], spikes [T, C, *S] as they are."""
        x = torch.from_numpy(np.asarray(array, np.float32))
        return self.laid_out(x[None] if array.ndim == 4 else x)

    def finished(self, value: torch.Tensor) -> np.ndarray:
        return value.numpy()


# ------------------------------------------------------------------------------------------------ spiking networks


class SpikingJelly(_Network):
    """Spikes are [T, 1, C, *S], as SpikingJelly's multi-step mode has them."""

    def __init__(self, graph, weights, inputs, steps):
        from spikingjelly.activation_based import functional, layer, neuron

        super().__init__(graph, weights, inputs, steps)
        self.reset = functional.reset_net
        self.modules = torch.nn.ModuleDict()
        for one in graph:
            if one.kind in CONVOLUTIONS:
                c = self.weight[one.name].shape[1]
                # The image has no time axis; its convolution runs once, as SpikingJelly's static encoders do.
                mode = "s" if one.kind == "analog" else "m"
                conv = layer.Conv3d(c, one.channels, kernel_size=3, padding=1, step_mode=mode)
                conv.load_state_dict({"weight": self.weight[one.name], "bias": self.bias[one.name]})
                self.modules[one.name] = conv
                node = neuron.LIFNode(
                    tau=1 / (1 - BETA), decay_input=False, v_threshold=THRESHOLD, v_reset=None, step_mode="m"
                )
                if one.kind != "head":
                    self.modules[f"{one.name}_neuron"] = node
        self.modules["pool"] = layer.MaxPool3d(2, step_mode="m")
        self.modules["upsample"] = layer.SeqToANNContainer(torch.nn.Upsample(scale_factor=2))
        self.modules.eval()

    def __call__(self, visit: Visit = None) -> np.ndarray:
        try:
            return super().__call__(visit)
        finally:
            self.reset(self.modules)  # before the next image, and to give back the membranes

    def step(self, layer, sources):
        if layer.kind in ("pool", "upsample"):
            return self.modules[layer.kind](*sources)
        x = sources[0] if len(sources) == 1 else torch.cat(sources, dim=2)
        sources.clear()
        x = self.modules[layer.name](x)
        if layer.kind == "head":
            return x.mean(dim=0)
        if layer.kind == "analog":
            x = x.expand(self.steps, *x.shape)
        return self.modules[f"{layer.name}_neuron"](x)

    def laid_out(self, x):
        return x.contiguous()

    def prepared(self, array):
        x = super().prepared(array)
        return x if array.ndim == 4 else x[:, None]

    def finished(self, value):
        return value.squeeze(-5).numpy() if value.ndim == 5 else value.squeeze(1).numpy()


def _fire(current: torch.Tensor, steps: int, beta: float, threshold: float) -> torch.Tensor:
    """Spikes [T, N] of currents [T, N], or [1, N] that stay."""
    spikes = []
    v = torch.zeros_like(current[0])
    for t in range(steps):
        h = v * beta + current[t if current.shape[0] > 1 else 0]
        s = (h >= threshold).to(current.dtype)
        spikes.append(s)
        v = h - s * threshold
    return torch.stack(spikes)


def compiled_fire() -> tuple[Callable[..., torch.Tensor], str]:
    """_fire compiled into one loop over the neurons, and a note; scripted where nothing can compile C++."""
    fire = torch.compile(_fire, dynamic=True)
    try:
        with torch.inference_mode():
            fire(torch.zeros(1, 64), 2, BETA, THRESHOLD)
    except Exception as error:  # what torch raises for a compiler that is absent or broken differs between versions
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return torch.jit.script(_fire), f"torch-snn-best: neurons in torch.jit.script, torch.compile failed: {reason}"
    return fire, "torch-snn-best: neurons in torch.compile"


class BestSpiking(_Network):
    """Spikes are [T, C, *S] with channels last, T in the place of the batch."""

    def __init__(self, graph, weights, inputs, steps):
        super().__init__(graph, weights, inputs, steps)
        self.fire, self.note = compiled_fire()

    def step(self, layer, sources):
        if layer.kind == "pool":
            return F.max_pool3d(sources[0], 2)
        if layer.kind == "upsample":
            return F.interpolate(sources[0], scale_factor=2, mode="nearest")
        x = sources[0] if len(sources) == 1 else torch.cat(sources, dim=1)
        sources.clear()
        if layer.kind == "head":
            return _onednn(x.mean(dim=0, keepdim=True), self.weight[layer.name], self.bias[layer.name])
        current = _onednn(x, self.weight[layer.name], self.bias[layer.name])
        del x
        # Seen as [T, N] in memory order, so that neither the compiler nor the result knows about layouts.
        last = current.permute(0, 2, 3, 4, 1)
        spikes = self.fire(last.reshape(len(last), -1), self.steps, BETA, THRESHOLD)
        return spikes.reshape(self.steps, *last.shape[1:]).permute(0, 4, 1, 2, 3)

    def finished(self, value):
        return value.squeeze(0).numpy() if len(value) == 1 else value.numpy()


# ---------------------------------------------------------------------------------------------- networks without time


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.mkldnn_convolution(x, weight, bias, [1] * 3, [1] * 3, [1] * 3, 1)


def _dispatched(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.conv3d(x, weight, bias, padding=1)


class Dense(_Network):
    """One pass with ReLU in the place of the neurons; spikes that come in are read at the first step only."""

    convolve = staticmethod(_dispatched)

    def step(self, layer, sources):
        if layer.kind == "pool":
            return F.max_pool3d(sources[0], 2)
        if layer.kind == "upsample":
            return F.interpolate(sources[0], scale_factor=2, mode="nearest")
        x = sources[0] if len(sources) == 1 else torch.cat(sources, dim=1)
        sources.clear()
        x = self.convolve(x, self.weight[layer.name], self.bias[layer.name])
        return x if layer.kind == "head" else x.relu_()

    def prepared(self, array):
        return super().prepared(array if array.ndim == 4 else array[0])

    def finished(self, value):
        return value[0].numpy()


class DenseOneDNN(Dense):
    convolve = staticmethod(_onednn)


class Int8Convolutions:
    """Every convolution of the graph once, on its own 8-bit input of the right size."""

    ACTIVATION_SCALE, ZERO_POINT = 0.02, 0

    def __init__(
        self, graph: Sequence[Layer], weights: Mapping[str, Weights], inputs: Mapping[str, np.ndarray], steps: int
    ):
        engines = torch.backends.quantized.supported_engines
        torch.backends.quantized.engine = next(e for e in ("onednn", "x86", "fbgemm", "qnnpack") if e in engines)
        tiles = " with AMX" if torch.cpu._is_amx_tile_supported() else ""
        self.note = f"torch-ann-int8: engine {torch.backends.quantized.engine} on a processor{tiles}"
        size = next(iter(inputs.values())).shape[-3:]
        draw = torch.Generator().manual_seed(0)
        self.calls = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the quantised tensors are announced to move to another package
            for layer in graph:
                if layer.kind in CONVOLUTIONS:
                    self.calls.append(self._call(layer, weights[layer.name], size_of(layer, size), draw))

    def _call(
        self, layer: Layer, weights: Weights, size: Sequence[int], draw: torch.Generator
    ) -> Callable[[], torch.Tensor]:
        weight = torch._make_per_channel_quantized_tensor(
            torch.from_numpy(weights.q),
            torch.from_numpy(weights.scale.astype(np.float64)),
            torch.zeros(len(weights.q), dtype=torch.int64),
            0,
        )
        packed = torch.ops.quantized.conv3d_prepack(
            weight, torch.from_numpy(weights.bias), [1] * 3, [1] * 3, [1] * 3, 1
        )
        values = torch.randint(0, 128, (1, weights.q.shape[1], *size), dtype=torch.uint8, generator=draw)
        x = torch._make_per_tensor_quantized_tensor(
            values.contiguous(memory_format=CHANNELS_LAST), self.ACTIVATION_SCALE, self.ZERO_POINT
        )
        convolve = torch.ops.quantized.conv3d if layer.kind == "head" else torch.ops.quantized.conv3d_relu
        return lambda: convolve(x, packed, self.ACTIVATION_SCALE, self.ZERO_POINT)

    def __call__(self, visit: Visit = None) -> None:
        with torch.inference_mode():
            for call in self.calls:
                call()


PEERS: dict[str, Callable[..., Any]] = {
    "spikingjelly-eager": SpikingJelly,
    "torch-snn-best": BestSpiking,
    "torch-ann-f32": Dense,
    "torch-ann-f32-onednn": DenseOneDNN,
    "torch-ann-int8": Int8Convolutions,
}


def make(
    name: str,
    graph: Sequence[Layer],
    weights: Mapping[str, Weights],
    inputs: Mapping[str, np.ndarray],
    steps: int,
    threads: int,
) -> Callable[..., np.ndarray | None]:
    """The function that runs `graph` in the manner of peer `name`."""
    torch.set_num_threads(threads)
    return PEERS[name](graph, weights, inputs, steps)
