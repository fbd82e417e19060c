"""Reading PNG, JPEG and TIFF pictures without trusting them.

A picture that reads without complaint is what was stored, with these rules:

    size         refused above `max_pixels`, and where the header claims more than the file can hold (`picture_bytes`),
                 before anything is decoded
    damage       refused; PNG carries check sums, and all are verified. JPEG and TIFF carry none: a bit changed inside
                 their data can pass
    orientation  where Exif says that a camera was turned, the picture is turned upright, as every viewer shows it, and
                 as annotators saw it; `Picture.orientation` keeps what Exif said (1: nothing to turn)
    palette      colours take the place of indices; three equal channels are not made one
    alpha        dropped where every pixel is opaque, else refused: colours behind transparent pixels mean nothing
    16 bits      kept for grey; refused for colour, where the decoder would keep 8 of them in silence
    frames       one; an animation and a TIFF of many pages are refused. Of a JPEG with a preview the picture is read
    channels     1 or 3, as stored or as asked for; grey becomes colour and colour grey only with `convert=True`
"""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, MissingExtraError, ParameterError, ShapeError, require
from .nifti import naming
from .picture_bytes import check_claim, check_png, format_of, png_depth, read_bytes

MAX_PIXELS = 2**26  # 8192 x 8192
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SAMPLES = {
    "1": 1,
    "L": 1,
    "P": 1,
    "I;16": 1,
    "I;16L": 1,
    "I;16B": 1,
    "I;16N": 1,
    "LA": 2,
    "PA": 2,
    "RGB": 3,
    "RGBA": 4,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture: `data` [C, H, W], C = 1 (grey) or 3 (red, green, blue), uint8 or uint16 over their whole range.

    Made of an array it may be float32 in [0, 1] as well.
    `orientation` is what Exif said of the camera before the picture was turned upright, 1 to 8.
    """

    data: np.ndarray
    source: str = "picture"
    orientation: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        _, height, width = self.data.shape
        return height, width

    def unit(self) -> np.ndarray:
        """Intensities as float32 in [0, 1]: 1 is the largest value that the type can hold."""
        if self.data.dtype.kind == "f":
            return self.data
        return self.data.astype(np.float32) / np.float32(np.iinfo(self.data.dtype).max)


def read_picture(
    path: str | os.PathLike[str],
    channels: int | None = None,
    *,
    convert: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """The picture in a .png, .jpg or .tif file, told by content; the rules are those of the module.

    channels    1 or 3 where that many are expected; None: as stored
    convert     allow grey to be repeated three times, and colour to be weighted into grey (ITU-R BT.601)
    max_pixels  refuse larger pictures, before memory is allocated

    Raises `ImageError`, naming the file, for everything that is not a sound picture, also when it cannot be opened.
    """
    if channels not in (None, 1, 3):
        raise ParameterError(f"read_picture: channels must be 1, 3 or None, not {channels!r}")
    with naming(path):
        decoded = decode(path, max_pixels)
        data = decoded.colours()
        if channels is not None and channels != len(data):
            data = with_channels(data, channels, convert)
    return Picture(data, os.fspath(path), decoded.orientation)


def is_picture(path: Path) -> bool:
    """Whether the name is that of a picture; hidden files, such as those that macOS leaves in archives, are not."""
    return path.suffix.lower() in PICTURE_ENDINGS and not path.name.startswith(".")


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded file: `values` [H, W] or [H, W, C] as stored, `palette` [256, 3] where they are indices into it.

    Grey of less than 8 bits is spread over 0 to 255; `spread` is the factor.
    """

    values: np.ndarray
    palette: np.ndarray | None
    spread: int
    lossy: bool
    orientation: int

    def colours(self) -> np.ndarray:
        """[1, H, W] or [3, H, W]."""
        values = self.values if self.palette is None else self.palette[self.values]
        return np.ascontiguousarray(values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0))


def decode(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Decoded:
    """The checked pixels of a file. Raises as `read_picture` does; use it within `naming`."""
    if max_pixels < 1:
        raise ParameterError(f"read_picture: max_pixels must be positive, not {max_pixels}")
    pillow = require("PIL.Image", extra="med", purpose="reading pictures")
    content = read_bytes(path)
    kind = format_of(content)
    if kind == "PNG":
        check_png(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes, which max_pixels limits, and about tags that do not matter
            return _decoded(pillow, content, kind, max_pixels)
    except (ImageError, MissingExtraError, MemoryError):
        raise
    except pillow.DecompressionBombError as error:
        raise ImageError(f"the header claims more pixels than Pillow decodes ({error})") from error
    except Exception as error:  # on damaged files decoders raise whatever they stumble over
        raise ImageError(
            f"the picture cannot be decoded: it is damaged or cut short ({error}); fetch it again"
        ) from error


def _decoded(pillow: Any, content: bytes, kind: str, max_pixels: int) -> Decoded:
    if require("PIL.ImageFile", extra="med", purpose="reading pictures").LOAD_TRUNCATED_IMAGES:
        raise ImageError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, which hides damage; set it to False")
    with pillow.open(io.BytesIO(content), formats=(kind,)) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(
                f"the header claims {height} x {width} pixels, more than max_pixels={max_pixels}; "
                "raise that limit if the picture is really so large"
            )
        if kind != "JPEG" and getattr(image, "n_frames", 1) != 1:
            raise ImageError(f"a picture must have one frame, not {image.n_frames}; save the one you mean as PNG")
        depth = _depth(image, content, kind)
        bits = depth * _SAMPLES[image.mode]
        check_claim(content, kind, (height, width), bits, image.info.get("compression", ""))
        orientation = image.getexif().get(0x0112, 1)  # read before decoding, for TIFF is turned by the decoder
        image.load()
        operations = require("PIL.ImageOps", extra="med", purpose="reading pictures")
        upright = operations.exif_transpose(image)
        palette = _palette(upright) if upright.mode in ("P", "PA") else None
        values = _opaque(np.array(upright), image)
    spread = 255 // (2**depth - 1) if depth < 8 and palette is None else 1
    return Decoded(values, palette, spread, kind == "JPEG", orientation if orientation in range(1, 9) else 1)


def _depth(image: Any, content: bytes, kind: str) -> int:
    """Bits of a sample; raises for those kinds of pixels that are not read."""
    if image.mode not in _SAMPLES:
        raise ImageError(
            f"a picture must be grey (8 or 16 bits), RGB or of a palette, not of the kind {image.mode!r}; convert it "
            "to PNG, or to NIfTI where its numbers are measurements"
        )
    depth = 8
    if kind == "PNG":
        depth = png_depth(content)
    elif kind == "TIFF":
        found = image.tag_v2.get(258, 1)  # BitsPerSample, 1 where it is missing (TIFF 6.0)
        depth = max(found) if isinstance(found, tuple) else found
    if depth > 8 and not image.mode.startswith("I;16"):
        raise ImageError(
            "colour or alpha with 16 bits is not read, for half of them would be lost; save it with 8 bits"
        )
    return depth


def _palette(image: Any) -> np.ndarray:
    """The colours of a palette as [256, 3]; those that it does not define are black."""
    colours = np.frombuffer(bytes(image.getpalette("RGB")), np.uint8).reshape(-1, 3)
    return np.concatenate((colours, np.zeros((256 - len(colours), 3), np.uint8)))


def _opaque(values: np.ndarray, image: Any) -> np.ndarray:
    """The pixels [H, W] or [H, W, 3] of an image as stored, if none of them is transparent."""
    transparent = np.False_
    if image.mode in ("LA", "PA", "RGBA"):
        transparent = values[..., -1] != 255
        values = values[..., :-1] if image.mode == "RGBA" else values[..., 0]
    declared = image.info.get("transparency")
    if isinstance(declared, bytes):  # an alpha for each index of the palette, 255 for those that are not listed
        transparent = (np.frombuffer(declared.ljust(256, b"\xff"), np.uint8) != 255)[values]
    elif declared is not None:  # one grey, colour or index
        alike = values == np.array(declared)
        transparent = alike.all(axis=-1) if alike.ndim == 3 else alike
    if transparent.any():
        raise ImageError(
            f"{transparent.mean():.1%} of the pixels are transparent, and their colours mean nothing; lay the picture "
            "on a background first"
        )
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def picture_of(array: np.ndarray, source: str = "picture") -> Picture:
    """A picture from an array [H, W] or [H, W, C]: uint8, uint16, or floating-point numbers in [0, 1].

    Raises `ShapeError` for other axes and channels, `ImageError` for other types, other values and NaN.
    """
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[-1] not in (1, 3)):
        raise ShapeError(f"{source}: a picture must be [H, W] or [H, W, C] with C = 1 or 3, not {array.shape}")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # NaN fails both
            raise ImageError(
                f"{source}: floating-point pixels must lie in [0, 1] and be no NaN, not in [{array.min()}, "
                f"{array.max()}]; scale them, or give uint8 or uint16"
            )
        array = array.astype(np.float32, copy=False)
    elif array.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{source}: pixels must be uint8, uint16 or floating-point numbers in [0, 1], not {array.dtype}"
        )
    return Picture(array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0), source)


def with_channels(data: np.ndarray, channels: int, convert: bool) -> np.ndarray:
    """Pixels [C, H, W] with 1 or 3 channels, as `read_picture` has it. Raises `ImageError` without `convert`."""
    if len(data) == channels:
        return data
    if channels == 1 and (data == data[:1]).all():
        return data[:1]  # grey that was stored as colour
    if not convert:
        kinds = {1: "one channel (grey)", 3: "three channels (colour)"}
        raise ImageError(
            f"the picture has {kinds[len(data)]} where {kinds[channels]} must be; give another picture, or allow "
            "convert=True"
        )
    if channels == 3:
        return np.repeat(data, 3, axis=0)
    grey = np.tensordot(_LUMA, data, axes=1)[None]
    return (grey if data.dtype.kind == "f" else np.rint(grey)).astype(data.dtype)
