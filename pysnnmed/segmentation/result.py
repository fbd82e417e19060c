"""What a segmentation found, and the files that it is kept in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import Image
from ..data.nifti import write_array, write_nifti
from ..data.picture_output import write_label_overlay, write_labels, write_mask, write_probability
from ..data.slices import Plane, slices_of
from ..deploy.pretrained import Card
from ..deploy.running_weights import COST_TABLES, RunningWeights
from ..errors import ParameterError
from ..synops import Report, projected_energy


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What `segment` found in a picture or a volume.

    labels       uint8 on the pixels [H, W] or voxels [I, J, K] of the input: 0, or the value of a structure
    names        {value: name of the structure}, in the order of the channels of `probability`
    volume       the input with `labels` in its place, of a volume; None of a picture
    probability  float32 [structures, *S], if it was asked for: how sure the network is of each, in [0, 1]
    operations   exact counts over all windows; None where the network ran as trained, which counts nothing
    rates        {layer: spikes for each neuron and time step}; `spike_rate` is that of all neurons, None without spikes
    model        the card of the network; weights it ran with, backend it ran on; seconds the network took
    windows      how often it ran
    peak         bytes that were planned for everything but the input, without the network where it ran as trained
    """

    labels: np.ndarray = field(repr=False)
    names: Mapping[int, str]
    volume: Image | None
    probability: np.ndarray | None = field(repr=False)
    operations: Report | None = field(repr=False)
    rates: Mapping[str, float] = field(repr=False)
    spike_rate: float | None
    model: Card
    weights: RunningWeights
    backend: str
    seconds: float
    windows: int
    peak: int
    plane: Plane
    source: str = "image"

    @property
    def mask(self) -> np.ndarray:
        """Whether a pixel or voxel belongs to any structure, bool."""
        return self.labels != 0

    @property
    def cost_table(self) -> str:
        """The cost table of the arithmetic that this segmentation ran in."""
        return COST_TABLES[self.weights]

    def sizes(self) -> dict[str, float]:
        """{structure: its size}: in pixels of a picture, in mm³ of a volume."""
        unit = 1.0 if self.volume is None else float(np.prod(self.volume.spacing))
        return {name: unit * int(np.count_nonzero(self.labels == value)) for value, name in self.names.items()}

    def summary(self) -> dict[str, Any]:
        """The numbers of this segmentation, JSON-able. Energies are projected from the counts of the network alone."""
        counted = self.operations
        energy = {}
        if counted is not None:
            energy = {
                "steps": counted.steps,
                "synops": counted.total.synops,
                "macs": counted.total.macs,
                "ann_macs": counted.ann_macs,
                "projected_energy": projected_energy(counted, self.cost_table).facts(),
            }
        return {
            "source": self.source,
            "model": self.model.name,
            "weights": self.weights,
            "backend": self.backend,
            "seconds": round(self.seconds, 3),
            "windows": self.windows,
            "planned_bytes": self.peak,
            "shape": list(self.labels.shape),
            "sizes_pixels" if self.volume is None else "sizes_mm3": self.sizes(),
            "spike_rate": self.spike_rate,
            **energy,
        }

    # ---------------------------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the labels: of a volume as NIfTI on its voxels, of a picture as PNG.

        A network that knows one structure, of value 1, gives a mask of 0 and 255; else pixels hold the values.
        Raises ParameterError for another ending of the name, FileError where the system refuses.
        """
        if self.volume is not None:
            write_nifti(path, self.volume)
        elif tuple(self.names) == (1,):
            write_mask(path, self.labels)
        else:
            write_labels(path, self.labels)

    def save_probability(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write the probabilities -> the files: NIfTI of float32, with a fourth axis for several structures, or PNG.

        PNG has 16 bits, and of several structures each has a file of its own, NAME_STRUCTURE.png.
        """
        if self.probability is None:
            raise ParameterError("save_probability: there are none; ask segment for them with probability=True")
        target = Path(path)
        if self.volume is not None:
            data = self.probability[0] if len(self.probability) == 1 else np.moveaxis(self.probability, 0, -1)
            write_array(target, data, self.volume.affine, form_code=self.volume.form_code)
            return [target]
        files = [target]
        if len(self.names) > 1:
            files = [target.with_name(f"{target.stem}_{_plain(n)}{target.suffix}") for n in self.names.values()]
        for file, one in zip(files, self.probability, strict=True):
            write_probability(file, one)
        return files

    def save_overlay(self, path: str | os.PathLike[str], image: np.ndarray) -> None:
        """Draw the contours of the structures on the image as PNG; of a volume, on the slice that shows most of them.

        `image` is a picture [C, H, W] in [0, 1] or uint8, or the intensities of the volume, [I, J, K] in [0, 1].
        """
        if self.volume is None:
            write_label_overlay(path, image, self.labels)
            return
        labels = slices_of(self.volume, self.plane)[:, 0]
        fullest = int(np.count_nonzero(labels, axis=(1, 2)).argmax()) if labels.any() else len(labels) // 2
        shown = slices_of(self.volume.with_data(image), self.plane)[fullest]
        write_label_overlay(path, np.rot90(shown, axes=(1, 2)), np.rot90(labels[fullest]))


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
