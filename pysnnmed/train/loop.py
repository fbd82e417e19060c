"""The training loop: gradient steps with a schedule, clipping, a log, atomic checkpoints and exact resume.

All randomness of step k comes from a generator seeded by (seed, k), and a checkpoint holds every parameter, buffer and
optimiser array. So a run that was killed and resumed gives bit for bit the weights of one that was not, on the same
machine, backend and number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import sweep_temporaries
from ..deploy.weights import load_arrays, save_arrays
from ..errors import ParameterError, WeightsError
from ..nn import Module
from ..optim import clip_gradient_norm
from ..tensor import Tensor
from .progress import Log, ProgressBar

Terms = Mapping[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look.

    steps              gradient steps in all
    learning_rate      factor -> the optimiser's rate at step k is learning_rate * shape(k)
    shape              step -> factor in [0, 1]
    clip               largest gradient norm
    """

    steps: int
    learning_rate: float
    shape: Callable[[int], float]
    clip: float = 1.0
    log_every: int = 10
    checkpoint_every: int = 100
    evaluate_every: int = 0


def fit(
    name: str,
    model: Module,
    optimizer: Any,
    schedule: Schedule,
    loss_terms: Callable[[np.random.Generator], Terms],
    folder: Path,
    *,
    seed: int = 0,
    evaluate: Callable[[], Mapping[str, float]] | None = None,
) -> None:
    """Minimise the sum of `loss_terms(rng)` over the parameters of `model`, writing to `folder`.

    If `folder` holds a checkpoint of this run, training goes on from there. `evaluate` is called every
    `evaluate_every` steps and at the end; its numbers go to the log. Raises ParameterError when the loss or a gradient
    is no longer finite: the last checkpoint is then still the last good state.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder)
    checkpoint = folder / "checkpoint.safetensors"
    done = load_checkpoint(checkpoint, model, optimizer) if checkpoint.exists() else 0
    log = Log(folder, keep=lambda row: row["step"] <= done)
    bar = ProgressBar(name, schedule.steps, start=done)
    began, sums, n = time.monotonic(), dict[str, float](), 0
    for step in range(done, schedule.steps):
        values = _gradient_step(name, step, model, optimizer, schedule, loss_terms, np.random.default_rng([seed, step]))
        n += 1
        for key, value in values.items():
            sums[key] = sums.get(key, 0.0) + value
        at = step + 1
        if at % schedule.log_every == 0 or at == schedule.steps:
            means = {key: value / n for key, value in sums.items()}
            log.add(step=at, seconds=round(time.monotonic() - began, 2), **means)
            bar.update(at, f"loss {means['loss']:.4f}")
            sums, n = {}, 0
        if evaluate and (at == schedule.steps or (schedule.evaluate_every and at % schedule.evaluate_every == 0)):
            model.eval()
            log.add(step=at, **evaluate())
        if at % schedule.checkpoint_every == 0 or at == schedule.steps:
            save_checkpoint(checkpoint, model, optimizer, at)
    log.close()


def _gradient_step(
    name: str,
    step: int,
    model: Module,
    optimizer: Any,
    schedule: Schedule,
    loss_terms: Callable[[np.random.Generator], Terms],
    rng: np.random.Generator,
) -> dict[str, float]:
    model.train()
    terms = loss_terms(rng)
    first, *others = terms.values()
    loss = first
    for term in others:
        loss = loss + term
    if not np.isfinite(loss.item()):
        raise ParameterError(f"{name}: the loss is {loss.item()} at step {step}; lower the learning rate")
    model.zero_grad()
    loss.backward()
    norm = clip_gradient_norm(model.parameters(), schedule.clip)  # refuses gradients that are not finite
    optimizer.learning_rate = schedule.learning_rate * schedule.shape(step)
    optimizer.step()
    return {"loss": loss.item(), **{key: term.item() for key, term in terms.items()}, "gradient_norm": float(norm)}


def save_checkpoint(path: Path, model: Module, optimizer: Any, step: int) -> None:
    """Write everything the next step depends on, atomically."""
    arrays = {f"model.{k}": v for k, v in model.state_dict().items()}
    arrays |= {f"optimizer.{k}": v for k, v in optimizer.state_dict().items()}
    save_arrays(path, arrays, {"step": str(step)})


def load_checkpoint(path: Path, model: Module, optimizer: Any) -> int:
    """Read what save_checkpoint wrote. -> number of steps done"""
    arrays, metadata = load_arrays(path)
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "optimizer": {}}
    for key, array in arrays.items():
        part, _, rest = key.partition(".")
        if part not in parts:
            raise WeightsError(f"{path}: not a checkpoint: it holds {key!r}")
        parts[part][rest] = array
    if not metadata.get("step", "").isdigit():
        raise WeightsError(f"{path}: not a checkpoint: it does not say after how many steps it was written")
    model.load_state_dict(parts["model"])
    optimizer.load_state_dict(parts["optimizer"])
    return int(metadata["step"])
