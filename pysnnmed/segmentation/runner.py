"""A segmentation network that is ready to look: its program, or the network itself as it was trained."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import ops
from ..data.network_input import NetworkInput
from ..deploy import lower, memory
from ..deploy.executor import Executor
from ..deploy.observation import Observation
from ..deploy.pretrained import load_model
from ..deploy.program import Program
from ..deploy.programs import load_program
from ..deploy.running_weights import RUNNING_WEIGHTS, RunningWeights
from ..errors import ParameterError, WeightsError
from ..models.medspikeformer import MedSpikeFormer, SegmentationTeacher
from ..synops import Report
from ..tensor import Tensor, no_grad

SPIKING, ANALOG = MedSpikeFormer.__name__, SegmentationTeacher.__name__


class Tally:
    """What a network did so far: how often it ran, for how long, and what its neurons fired."""

    def __init__(self) -> None:
        self.windows, self.seconds = 0, 0.0
        self._observation: Observation | None = None
        self._fired: dict[str, tuple[float, int]] = {}

    def add(self, seconds: float, shown: Observation | Mapping[str, tuple[float, int]]) -> None:
        """One run: its seconds, and what its program has shown; without one, {layer: (spikes, neurons times steps)}.

        All runs are of one network, on windows of one size.
        """
        self.windows += 1
        self.seconds += seconds
        if isinstance(shown, Observation):
            self._observation = shown if self._observation is None else self._observation + shown
            return
        for name, (spikes, sites) in shown.items():
            before = self._fired.get(name, (0, 0))
            self._fired[name] = (before[0] + spikes, before[1] + sites)

    def report(self) -> Report | None:
        """The counts of all runs together, None where they are not known."""
        return self._observation.report if self._observation else None

    @property
    def fired(self) -> Mapping[str, tuple[float, int]]:
        """{layer: (spikes, neurons times steps)}"""
        return self._observation.fired if self._observation else self._fired

    @property
    def rates(self) -> dict[str, float]:
        """{layer: spikes for each neuron and time step}"""
        return {name: spikes / sites for name, (spikes, sites) in self.fired.items()}

    @property
    def rate(self) -> float | None:
        """The same over all neurons; None of a network without spikes."""
        fired = self.fired.values()
        sites = sum(sites for _, sites in fired)
        return sum(spikes for spikes, _ in fired) / sites if sites else None


class Runner:
    """Pixels [C, h, w] in [0, 1] -> what is there, as probabilities [K, h, w] (see `probabilities`).

    form      what the card says of the images that the network knows
    weights   what it runs with; a network without a program, as the analog teacher is, runs as trained

    One window is one run, alone: what is found in it depends on nothing that is looked at besides.
    """

    def __init__(self, model: str | Path, weights: RunningWeights, memory_limit: int | None = None):
        """Raises WeightsError for an unknown or damaged model, for one of another task, and for a card that says too
        little; ProgramError for a network that has no program with such weights."""
        if weights not in RUNNING_WEIGHTS:
            raise ParameterError(f"segment: weights must be {', '.join(RUNNING_WEIGHTS)}, not {weights!r}")
        network: Any
        network, self.card = load_model(model)
        if self.card.network not in (SPIKING, ANALOG):
            raise WeightsError(
                f"{self.card.path}: holds a {self.card.network}, segmentation needs a {SPIKING} or a {ANALOG}"
            )
        self.form = NetworkInput.from_facts(self.card.facts, str(self.card.path))
        self._check_config()
        self.weights: RunningWeights = weights if type(network) in lower.NETWORKS else "trained"
        self.memory_limit = memory_limit
        if self.weights == "trained":
            if memory_limit is not None:
                raise ParameterError(
                    "segment: memory_limit needs a program, which plans its memory; this network runs as it was trained"
                )
            self._network: Any = network
        else:
            program, _ = load_program(model, self.weights)
            self._network = Executor(program, memory_limit=memory_limit)

    @property
    def program(self) -> Program | None:
        """The program, if one runs."""
        return self._network.program if isinstance(self._network, Executor) else None

    @property
    def classes(self) -> int:
        """Channels of the network's answer."""
        return int(self.card.config.classes)

    @property
    def exclusive(self) -> bool:
        """Whether one of the channels is the background, so that they exclude each other."""
        return self.form.has_background(self.classes)

    def nbytes(self, shape: tuple[int, int]) -> int | None:
        """Bytes that a run on a window takes with the kernels now in use; None where nobody plans them."""
        return memory.plan(self.program, shape).peak if self.program is not None else None

    def __call__(self, pixels: np.ndarray, tally: Tally) -> np.ndarray:
        """Look at a window; `tally` is told."""
        run = self._by_program if self.program is not None else self._as_trained
        return probabilities(run(np.ascontiguousarray(pixels, np.float32), tally), self.exclusive)

    def _by_program(self, pixels: np.ndarray, tally: Tally) -> np.ndarray:
        (name,) = self._network.program.inputs
        run = self._network({name: pixels})
        tally.add(run.total_seconds, run.observation)
        (logits,) = run.outputs.values()
        return logits

    def _as_trained(self, pixels: np.ndarray, tally: Tally) -> np.ndarray:
        fired: dict[str, tuple[float, int]] = {}

        def watch(name: str, x: Tensor) -> None:
            if self.card.network == SPIKING:
                fired[name] = (float(x.data.sum(dtype=np.float64)), x.data.size)

        began = time.perf_counter()
        with no_grad():
            logits = self._network(Tensor(pixels[None]), observe=watch).data[0]
        tally.add(time.perf_counter() - began, fired)
        return logits

    def _check_config(self) -> None:
        config, form, path = self.card.config, self.form, self.card.path
        if config.ndim != 2:
            raise WeightsError(f"{path}: holds a network of {config.ndim} axes; slices and pictures have 2")
        if config.in_channels != form.in_channels:
            raise WeightsError(
                f"{path}: its network takes {config.in_channels} channels, and its card speaks of {form.in_channels}"
            )
        self.check_window(form.size)
        form.has_background(self.classes)

    def check_window(self, window: tuple[int, int]) -> None:
        """Raise ParameterError for a window that the network cannot look at."""
        multiple = self.card.config.shape_multiple
        if any(n < multiple or n % multiple for n in window):
            raise ParameterError(
                f"segment: height and width of the window must be multiples of {multiple} for {self.card.name}, not "
                f"{window[0]} x {window[1]}"
            )


def probabilities(logits: np.ndarray, exclusive: bool) -> np.ndarray:
    """Logits [K, ...] as probabilities: of channels that exclude each other (softmax), or of each alone (sigmoid)."""
    with no_grad():
        return (ops.softmax(Tensor(logits), axis=0) if exclusive else ops.sigmoid(Tensor(logits))).data
