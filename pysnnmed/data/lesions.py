"""Generated lesions: pictures that resemble dermoscopy, out of nothing, with masks that are exact.

A picture is skin seen through melanin. With the colour of the skin, a field of its texture and of the light falling on
it, pigment dims each colour channel c by the law of Beer and Lambert:

    picture_c = skin_c texture light exp(-absorption_c density)

The density is alpha(x) (1 + variegation), alpha the logistic function of the distance to the border over its softness.
The border is the zero level of an ellipse with noise on it, so the mask, where that is positive, is known exactly, and
whatever lies over it (hairs, a ruler, bubbles of the immersion fluid) leaves it as it is. Some pictures have no lesion.

These are no photographs and no patients: they serve for tests, demonstrations and weights that owe nothing to anybody's
data. What is measured on them says little about real lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError, ShapeError
from .generate import gaussian_blur, smooth_noise

SMALLEST = 16  # pixels; below, a lesion is no shape
_SKINS = np.array([(0.94, 0.80, 0.74), (0.88, 0.68, 0.57), (0.72, 0.51, 0.38), (0.48, 0.33, 0.25)])  # pale to dark
_MELANIN = np.array([0.55, 1.0, 1.35])  # absorption of red, green, blue: brown
_BLOOD = np.array([0.15, 1.0, 0.8])  # red
_VEIL = np.array([1.2, 1.0, 0.75])  # blue-grey


class GeneratedLesion(NamedTuple):
    """A picture [3, H, W] float32 in [0, 1] and its mask [H, W] bool, all background where there is no lesion."""

    picture: np.ndarray
    mask: np.ndarray


def generate_lesion(shape: Sequence[int], rng: np.random.Generator, *, empty: float = 0.05) -> GeneratedLesion:
    """One generated picture of height and width `shape`, without a lesion with probability `empty`.

    Everything scales with the smaller side; all random numbers come from `rng`. Raises ShapeError for a side below 16
    pixels and ParameterError for a probability that is none.
    """
    if len(shape) != 2 or min(shape) < SMALLEST:
        raise ShapeError(f"generate_lesion: shape must be a height and a width of at least {SMALLEST}, not {shape}")
    if not 0 <= empty <= 1:
        raise ParameterError(f"generate_lesion: empty must be a probability, not {empty}")
    height, width = (int(n) for n in shape)
    picture = _skin((height, width), rng)
    mask = np.zeros((height, width), bool)
    if rng.random() >= empty:
        inside = _inside((height, width), rng)
        mask = inside > 0
        picture *= np.exp(-_optical_density(inside, rng))
    _draw_distractors(picture, rng)
    blur, noise = rng.uniform(0.3, 0.9), rng.uniform(0.003, 0.02)
    picture = np.stack([gaussian_blur(channel, blur) for channel in picture])
    picture += noise * rng.standard_normal(picture.shape, dtype=np.float32)
    balance = np.exp(rng.normal((0.02, -0.04, 0.0), 0.06)[:, None, None]).astype(np.float32)
    picture = np.clip(picture * (_light((height, width), rng) * balance), 0, 1)
    return GeneratedLesion(picture ** np.float32(np.exp(rng.normal(0, 0.12))), mask)


# ------------------------------------------------------------------------------------------------- skin and light


def _skin(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Colour and texture of skin, [3, H, W] float32."""
    side = min(shape)
    place = rng.uniform(0, len(_SKINS) - 1) * rng.random()  # pale skin is most of what dermoscopy shows
    low = min(int(place), len(_SKINS) - 2)
    colour = _SKINS[low] + (place - low) * (_SKINS[low + 1] - _SKINS[low]) + rng.normal(0, 0.03, 3)
    pores = smooth_noise(shape, (max(2.0, side / 60), side / 25), rng.uniform(0.01, 0.035), rng)
    blotches = smooth_noise(shape, (side / 4,), 1.0, rng, leading=(2,))
    dimming = rng.uniform(0, 0.06) * np.multiply.outer(_BLOOD, blotches[0]) + rng.uniform(0, 0.04) * blotches[1] + pores
    return (colour[:, None, None] * np.exp(-dimming)).astype(np.float32)


def _light(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The light on it, [H, W] float32: brighter on one side, darker to the corners, sometimes black outside a tube."""
    y, x = _coordinates(shape)
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.15)
    radius_2 = x * x + y * y
    light = np.exp(slope * (x * np.cos(angle) + y * np.sin(angle)) - rng.uniform(0, 0.2) * radius_2)
    if rng.random() < 0.12:
        edge = rng.uniform(1.05, 1.3)
        light *= 1 / (1 + np.exp((np.sqrt(radius_2) - edge) / 0.02))
    return light.astype(np.float32)


def _coordinates(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Height and width as [H, 1] and [1, W], the centre 0, the ends of the smaller side at -1 and 1."""
    half = (min(shape) - 1) / 2
    y, x = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) / np.float32(half) for n in shape)
    return y[:, None], x[None, :]


# ------------------------------------------------------------------------------------------------- lesion


def _inside(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """How far inside the border each pixel lies, [H, W], about in pixels; negative outside."""
    side = min(shape)
    y, x = _coordinates(shape)
    centre = rng.normal(0, 0.16, 2).clip(-0.45, 0.45)
    radius, stretch, angle = 0.18 + 0.65 * rng.beta(1.6, 2.0), np.exp(rng.normal(0, 0.18)), rng.uniform(0, np.pi)
    y, x = y - centre[0], x - centre[1]
    along, across = (x * np.cos(angle) + y * np.sin(angle)) / stretch, (y * np.cos(angle) - x * np.sin(angle)) * stretch
    dents = smooth_noise(shape, (side * radius / 1.2, side * radius / 3), 1.0, rng)
    fringe = smooth_noise(shape, (max(3.0, side / 20),), 1.0, rng)
    level = 1 - np.hypot(along, across) / radius
    level += rng.uniform(0.05, 0.5) * np.tanh(dents) + rng.uniform(0, 0.15) * np.tanh(fringe)
    return (level * (radius * side / 2)).astype(np.float32)


def _optical_density(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the pigment takes from each colour channel, [3, H, W], 0 far outside."""
    shape, side = inside.shape, min(inside.shape)
    alpha = 1 / (1 + np.exp(-np.clip(inside / (rng.uniform(0.004, 0.05) * side), -30, 30)))
    strength = rng.uniform(0.18, 1.1)
    fields = smooth_noise(shape, (side / 5, side / 12), 1.0, rng, leading=(3,))
    grain = smooth_noise(shape, (max(2.0, side / 40),), 1.0, rng)
    brown = strength * np.exp(rng.uniform(0.05, 0.5) * fields[0] + rng.uniform(0, 0.35) * grain)
    density = np.multiply.outer(_MELANIN * np.exp(rng.normal(0, 0.15, 3)), brown)
    for colour, field, often in ((_BLOOD, fields[1], 0.35), (_VEIL, fields[2], 0.3)):
        if rng.random() < often:
            patch = 1 / (1 + np.exp(-(field - rng.uniform(0, 1)) / 0.15))
            density += np.multiply.outer(colour * rng.uniform(0.1, 0.5), patch)
    return (density * alpha).astype(np.float32)


# ------------------------------------------------------------------------------------------------- what lies over it


def _draw_distractors(picture: np.ndarray, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        _draw_hairs(picture, rng)
    if rng.random() < 0.15:
        _draw_ruler(picture, rng)
    if rng.random() < 0.2:
        _draw_bubbles(picture, rng)


def _draw_hairs(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Curved strokes of one colour, some thick, some thin."""
    shape = picture.shape[1:]
    cover, size = np.zeros(shape, np.float32), np.array(shape)
    for _ in range(int(rng.integers(1, 16))):
        start, end = rng.uniform(-0.1, 1.1, (2, 2)) * size
        middle = (start + end) / 2 + rng.normal(0, 0.15, 2) * min(shape)
        t = np.linspace(0, 1, 3 * max(shape))[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        _stroke(cover, curve, rng.uniform(0.25, 0.8) * max(1.0, min(shape) / 128))
    colour = np.array([0.9, 0.85, 0.75]) if rng.random() < 0.1 else rng.uniform(0.03, 0.3) * np.array([1, 0.75, 0.6])
    _cover(picture, cover * np.float32(rng.uniform(0.5, 0.95)), colour)


def _draw_ruler(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Ticks along an edge."""
    height, width = shape = picture.shape[1:]
    cover, side = np.zeros(shape, np.float32), min(shape)
    along_rows, far = bool(rng.integers(2)), bool(rng.integers(2))
    length, depth = (height, width) if along_rows else (width, height)
    gap, tick = rng.uniform(0.05, 0.1) * side, rng.uniform(0.04, 0.09) * side
    for i, place in enumerate(np.arange(rng.uniform(0, gap), length, gap)):
        steps = np.arange(0, tick * (1.8 if i % 5 == 0 else 1), 0.5)
        steps = depth - 1 - steps if far else steps
        places = np.full(len(steps), place)
        _stroke(cover, np.stack((places, steps) if along_rows else (steps, places), axis=1), 0.5 * max(1.0, side / 128))
    _cover(picture, cover, np.full(3, rng.uniform(0.02, 0.25)))


def _draw_bubbles(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Bright rims with a faint shine inside."""
    shape = picture.shape[1:]
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    cover = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 8))):
        row, column = rng.uniform(0, 1, 2) * shape
        radius = rng.uniform(0.015, 0.07) * min(shape)
        distance = np.hypot(y - row, x - column) - radius
        rim = np.exp(-((distance / max(0.7, 0.12 * radius)) ** 2)) * rng.uniform(0.3, 0.8)
        np.maximum(cover, rim + 0.1 * (distance < 0), out=cover, casting="same_kind")
    _cover(picture, cover, np.ones(3))


def _cover(picture: np.ndarray, share: np.ndarray, colour: np.ndarray) -> None:
    """Let `share` [H, W] of each pixel take a colour."""
    picture += share.clip(0, 1) * (colour.astype(np.float32)[:, None, None] - picture)


def _stroke(cover: np.ndarray, points: np.ndarray, width: float) -> None:
    """Raise `cover` [H, W] near points [N, 2] to exp(-(distance / width)^2 / 2); they lie less than a pixel apart."""
    reach = int(np.ceil(3 * width))
    around = np.arange(-reach, reach + 1)
    near = np.rint(points).astype(np.intp)[:, None, :] + np.stack(np.meshgrid(around, around), -1).reshape(-1, 2)
    distance_2 = ((near - points[:, None, :]) ** 2).sum(axis=-1)
    inside = ((near >= 0) & (near < cover.shape)).all(axis=-1)
    values = np.exp(-distance_2 / (2 * width**2)).astype(np.float32)
    np.maximum.at(cover, tuple(near[inside].T), values[inside])
