"""Telling the result of a registration or a segmentation: as text, as files, as a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import viz
from ..data.displacements import displacement_to_voxels
from ..data.files import write_text
from ..data.geometry import warp_image
from ..data.images import Image, normalize_intensity
from ..registration import Registration
from ..synops import Report


def as_text(facts: Mapping[str, Any]) -> str:
    """The summary of a registration for people."""
    energy = facts["projected_energy"]
    lines = [
        f"registered with {facts['model']} ({facts['weights']} weights) on the {facts['backend']} backend in "
        f"{facts['seconds']:.2f} s",
        f"folding        {facts['folding_percent']:.3f} % of the voxels",
        f"spike rate     {facts['spike_rate']:.3f} per neuron and step, T = {facts['steps']}",
        f"operations     {facts['synops']:,} SynOps and {facts['macs']:,} MACs; "
        f"analog network {facts['ann_macs']:,} MACs",
        _energy(energy),
    ]
    if "affine" in facts:
        affine, scales = facts["affine"], " ".join(f"{s:.3f}" for s in facts["affine"]["scales"])
        lines.insert(
            1,
            f"{affine['kind']:<15}{affine['rotation_degrees']:.1f} degrees, scales {scales}; {affine['seconds']:.2f} s",
        )
    if "refinement" in facts:
        refinement = facts["refinement"]
        lines.insert(
            1,
            f"refined        {refinement['iterations']} iterations at each of {refinement['levels']} resolutions in "
            f"{refinement['seconds']:.2f} s; local correlation {refinement['similarity_before']:.4f} before, "
            f"{refinement['similarity_after']:.4f} after",
        )
    if "dice_before" in facts:
        lines.insert(1, f"Dice           {facts['dice_before']:.3f} before, {facts['dice_after']:.3f} after")
    return "\n".join(lines)


def segmentation_text(facts: Mapping[str, Any]) -> str:
    """The summary of a segmentation for people."""
    unit, sizes = next((key.partition("_")[2], facts[key]) for key in facts if key.startswith("sizes_"))
    lines = [
        f"segmented with {facts['model']} ({facts['weights']} weights) on the {facts['backend']} backend in "
        f"{facts['seconds']:.2f} s, {facts['windows']} window{'s' if facts['windows'] != 1 else ''}",
        *(f"{name:<15}{size:,.0f} {unit}" for name, size in sizes.items()),
    ]
    if facts["spike_rate"] is not None:
        lines.append(f"spike rate     {facts['spike_rate']:.3f} per neuron and step")
    if "projected_energy" in facts:
        energy = facts["projected_energy"]
        lines += [
            f"operations     {facts['synops']:,} SynOps and {facts['macs']:,} MACs; "
            f"analog network {facts['ann_macs']:,} MACs",
            _energy(energy),
        ]
    return "\n".join(lines)


def _energy(energy: Mapping[str, Any]) -> str:
    """A projected energy beside that of the analog network, whichever is the smaller one."""
    ratio = energy["ratio"]
    compared = f"{ratio:.2f} times less" if ratio >= 1 or not ratio else f"{1 / ratio:.2f} times more"
    return (
        f"energy         {energy['spiking_microjoule']:.1f} uJ against {energy['analog_microjoule']:.1f} uJ, "
        f"{compared} ({energy['conditions']})"
    )


def write_energy(path: Path, facts: Mapping[str, Any], operations: Report) -> None:
    """The exact counts of every layer, and what they would cost, as JSON."""
    content = {**facts, "operations": json.loads(operations.to_json())}
    write_text(path, json.dumps(content, indent=1) + "\n")


def save_preview(
    path: Path,
    moving: Image,
    fixed: Image,
    result: Registration,
    *,
    moving_labels: Image | None = None,
    fixed_labels: Image | None = None,
    caption: str = "",
) -> None:
    """Draw one page about a registration: before, after, the deformation, the spikes, the projected energy."""
    start = result.start
    before = warp_image(moving, start)
    figure = viz.registration_figure(
        normalize_intensity(fixed.data),
        normalize_intensity(before.data),
        normalize_intensity(result.moved.data),
        displacement_to_voxels(result.displacement.world - start.world, start.affine),
        fixed_labels=None if fixed_labels is None else fixed_labels.data,
        moving_labels=None if moving_labels is None else warp_image(moving_labels, start, interpolation="nearest").data,
        moved_labels=None if result.moved_labels is None else result.moved_labels.data,
        spikes=result.spikes,
        report=result.operations,
        table=result.cost_table,
        spacing=fixed.spacing,
        caption=caption,
    )
    viz.save_figure(figure, path)
