"""Damaged, dishonest and unusual NIfTI files, built by hand from the byte offsets of the standard (nifti1.h, nifti2.h).

Nothing here uses the package under test. Each case says what a careful reader does with the file: refuse it with a
sentence that contains a fragment, or read these values at this place.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# name: (offset, struct format) in the NIfTI-1 and the NIfTI-2 header
NIFTI1 = {
    "sizeof_hdr": (0, "i"), "dim_info": (39, "B"), "dim": (40, "8h"), "intent_code": (68, "h"), "datatype": (70, "h"),
    "bitpix": (72, "h"), "pixdim": (76, "8f"), "vox_offset": (108, "f"), "scl_slope": (112, "f"),
    "scl_inter": (116, "f"), "xyzt_units": (123, "B"), "descrip": (148, "80s"), "qform_code": (252, "h"),
    "sform_code": (254, "h"), "quatern": (256, "3f"), "qoffset": (268, "3f"), "srow": (280, "12f"),
    "intent_name": (328, "16s"), "magic": (344, "4s"),
}  # fmt: skip
NIFTI2 = {
    "sizeof_hdr": (0, "i"), "magic": (4, "8s"), "datatype": (12, "h"), "bitpix": (14, "h"), "dim": (16, "8q"),
    "pixdim": (104, "8d"), "vox_offset": (168, "q"), "scl_slope": (176, "d"), "scl_inter": (184, "d"),
    "descrip": (240, "80s"), "qform_code": (344, "i"), "sform_code": (348, "i"), "quatern": (352, "3d"),
    "qoffset": (376, "3d"), "srow": (400, "12d"), "xyzt_units": (500, "i"), "intent_code": (504, "i"),
    "intent_name": (508, "16s"), "dim_info": (524, "B"),
}  # fmt: skip
VOXELS = np.random.default_rng(7).integers(-900, 900, (7, 6, 5)).astype(np.int16)
RAS = np.array([[2.0, 0, 0, -7], [0, 1.5, 0, -4], [0, 0, 3, -6], [0, 0, 0, 1]])
LAS = RAS * [[-1], [1], [1], [1]]


@dataclass(frozen=True)
class Case:
    """One file. `refused` is a fragment of the message, or None where `voxels` and `affine` must be read."""

    name: str
    content: bytes
    refused: str | None = None
    voxels: np.ndarray | None = None
    affine: np.ndarray = field(default_factory=lambda: RAS)
    options: dict[str, Any] = field(default_factory=dict)


def header(version: int = 1, order: str = "<", **changes: Any) -> bytes:
    """A sound header of VOXELS at RAS, with some fields replaced; sform and qform agree."""
    layout, size, magic = (NIFTI1, 348, b"n+1\0") if version == 1 else (NIFTI2, 540, b"n+2\0\r\n\x1a\n")
    values: dict[str, Any] = {
        "sizeof_hdr": size, "dim": [3, 7, 6, 5, 1, 1, 1, 1], "datatype": 4, "bitpix": 16, "magic": magic,
        "pixdim": [1, 2, 1.5, 3, 1, 1, 1, 1], "vox_offset": size + 4, "scl_slope": 1, "xyzt_units": 2,
        "qform_code": 1, "sform_code": 1, "quatern": [0, 0, 0], "qoffset": RAS[:3, 3], "srow": RAS[:3].ravel(),
    }  # fmt: skip
    raw = bytearray(size)
    for name, value in (values | changes).items():
        offset, form = layout[name]
        numbers = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
        struct.pack_into(order + form, raw, offset, *numbers)
    return bytes(raw)


def nifti(
    voxels: np.ndarray = VOXELS, *, version: int = 1, order: str = "<", extra: bytes = b"", **changes: Any
) -> bytes:
    """A whole file: header, four bytes that announce no extension, voxels, first index fastest."""
    body = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")
    return header(version, order, **changes) + bytes(4) + extra + body


def typed(dtype: str, code: int, **changes: Any) -> Case:
    voxels = VOXELS.clip(0, 127).astype(dtype)
    content = nifti(voxels, datatype=code, bitpix=8 * voxels.itemsize, **changes)
    return Case(f"datatype {dtype}", content, voxels=voxels)


def refused(name: str, fragment: str, voxels: np.ndarray = VOXELS, **changes: Any) -> Case:
    return Case(name, nifti(voxels, **changes), refused=fragment)


def claim(name: str, dims: list[int], fragment: str, *, pack: bool, **changes: Any) -> Case:
    """A few kilobytes whose header claims much more."""
    content = nifti(dim=[len(dims), *dims, *[1] * (7 - len(dims))], **changes) + bytes(2000)
    return Case(name, packed(content) if pack else content, refused=fragment)


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def floats(**special: float) -> np.ndarray:
    voxels = VOXELS.astype(np.float32)
    voxels[3, 2, 1] = next(iter(special.values()))
    return voxels


def cases() -> list[Case]:
    """All of them. Names are unique."""
    return [*_sound(), *_cut_and_padded(), *_compressed(), *_sizes(), *_types(), *_values(), *_places(), *_axes()]


def _sound() -> list[Case]:
    plain = nifti()
    las = {"srow": LAS[:3].ravel(), "qoffset": LAS[:3, 3], "pixdim": [-1, 2, 1.5, 3, 1, 1, 1, 1], "quatern": [0, 1, 0]}
    extension = struct.pack("<ii", 32, 6) + b"a comment".ljust(24, b"\0")
    micro = {"xyzt_units": 3, "pixdim": [1, 2000, 1500, 3000, 1, 1, 1, 1], "srow": RAS[:3].ravel() * 1000}
    metre = {"xyzt_units": 1, "pixdim": [1, 0.002, 0.0015, 0.003, 1, 1, 1, 1], "srow": RAS[:3].ravel() / 1000}
    return [
        Case("sound", plain, voxels=VOXELS),
        Case("sound, compressed", packed(plain), voxels=VOXELS),
        Case("two gzip members", packed(plain[:500]) + packed(plain[500:]), voxels=VOXELS),
        Case("zeros behind the compressed file, as on tapes", packed(plain) + bytes(512), voxels=VOXELS),
        Case("big-endian", nifti(order=">"), voxels=VOXELS),
        Case("NIfTI-2", nifti(version=2), voxels=VOXELS),
        Case("NIfTI-2, big-endian", nifti(version=2, order=">"), voxels=VOXELS),
        Case("LAS", nifti(**las), voxels=VOXELS, affine=LAS),
        Case("LAS by qform alone", nifti(**las | {"sform_code": 0}), voxels=VOXELS, affine=LAS),
        Case("sform alone", nifti(qform_code=0, quatern=[9, 9, 9]), voxels=VOXELS),
        Case("qform alone", nifti(sform_code=0, srow=[0] * 12), voxels=VOXELS),
        Case("pixdim[0] = 0 counts as 1", nifti(pixdim=[0, 2, 1.5, 3, 0, 0, 0, 0]), voxels=VOXELS),
        Case("unit not stated", nifti(xyzt_units=0), voxels=VOXELS),
        Case("micrometres", nifti(**micro, qoffset=RAS[:3, 3] * 1000), voxels=VOXELS),
        Case("metres", nifti(**metre, qoffset=RAS[:3, 3] / 1000), voxels=VOXELS),
        Case("mm and seconds", nifti(xyzt_units=2 | 8), voxels=VOXELS),
        Case("constant", nifti(VOXELS * 0), voxels=VOXELS * 0),
        Case("one slice", nifti(VOXELS[:, :, :1], dim=[3, 7, 6, 1, 1, 1, 1, 1]), voxels=VOXELS[:, :, :1]),
        Case("one voxel", nifti(VOXELS[:1, :1, :1], dim=[3, 1, 1, 1, 1, 1, 1, 1]), voxels=VOXELS[:1, :1, :1]),
        Case("extension", nifti(extra=extension, vox_offset=384), voxels=VOXELS),
        Case("slope 0 means none", nifti(scl_slope=0, scl_inter=17), voxels=VOXELS),
        Case("slope and intercept", nifti(scl_slope=0.5, scl_inter=-3), voxels=VOXELS * 0.5 - 3),
        Case("forms differ, sform chosen", nifti(qoffset=[9, 9, 9]), voxels=VOXELS, options={"form": "sform"}),
        Case("forms differ, qform chosen", nifti(srow=LAS[:3].ravel()), voxels=VOXELS, options={"form": "qform"}),
        Case("NaN allowed", nifti(floats(nan=np.nan), datatype=16, bitpix=32), voxels=floats(nan=np.nan),
             options={"allow_nonfinite": True}),
        Case("no place, taken as RAS", nifti(sform_code=0, qform_code=0), voxels=VOXELS,
             affine=np.diag([2, 1.5, 3, 1.0]), options={"assume_ras": True}),
    ]  # fmt: skip


def _cut_and_padded() -> list[Case]:
    plain = nifti()
    small = packed(plain)
    cuts = [0, 1, 3, 4, 174, 347, 348, 351, 352, 354, 562, len(plain) - 1]  # the header has 348 bytes, then 4
    return [
        *(Case(f"cut after {n} bytes", plain[:n], refused="cut short" if n >= 348 else "header") for n in cuts),
        *(Case(f"cut, compressed: {n} bytes", small[:n], refused="") for n in (2, 9, 10, 11, 60, len(small) // 2)),
        *(Case(f"cut, compressed: last {n} bytes gone", small[:-n], refused="") for n in (1, 4, 5, 8)),
        *(Case(f"compressed of a cut file: {n}", packed(plain[:n]), refused="cut short" if n > 352 else "ends")
          for n in (0, 3, 200, 348, 351, 353, len(plain) - 1)),
        Case("one byte too many", plain + b"\0", refused="padded"),
        Case("one byte too many, compressed", packed(plain + b"\0"), refused="goes on after"),
        Case("a second image behind", packed(plain) + packed(plain), refused="goes on after"),
        Case("text behind the compressed file", small + b"hello", refused="damaged"),
        Case("random bytes", np.random.default_rng(0).bytes(4000), refused="no NIfTI file"),
        Case("zeros", bytes(4000), refused="no NIfTI file"),
        Case("text", b"NRRD0004\n# a volume of another format\n" * 30, refused="no NIfTI file"),
        Case("DICOM", bytes(128) + b"DICM" + bytes(600), refused="dcm2niix"),
        Case("compressed twice", packed(small), refused="no NIfTI file"),
    ]  # fmt: skip


def _compressed() -> list[Case]:
    plain = nifti()
    small = packed(plain)
    stored = gzip.compress(plain, compresslevel=0, mtime=0)
    bomb = header(dim=[3, 7, 6, 5, 1, 1, 1, 1]) + bytes(4) + bytes(64 * 2**20)
    return [
        Case("wrong checksum", small[:-8] + bytes(4) + small[-4:], refused="damaged"),
        Case("wrong length behind the checksum", small[:-4] + bytes(4), refused="damaged"),
        Case("one voxel bit flipped, stored", flipped(stored, 8 * 500), refused="damaged"),
        Case("one deflate bit flipped", flipped(small, 8 * (len(small) // 2)), refused=""),
        Case("unknown compression method", small[:2] + b"\x09" + small[3:], refused="damaged"),
        Case("zlib instead of gzip", zlib.compress(plain), refused="no NIfTI file"),
        Case("bomb: 64 MiB of zeros behind the voxels", packed(bomb), refused="goes on after"),
    ]


def _sizes() -> list[Case]:
    return [
        claim("claims 512 MiB", [1024, 1024, 256], "cut short, padded", pack=False),
        claim("claims 1 GiB, compressed", [1024, 1024, 256], "can hold", pack=True, datatype=8, bitpix=32),
        claim("claims 32767 per axis", [32767] * 3, "max_voxels", pack=True),
        claim("claims 32767 on seven axes", [32767] * 7, "max_voxels", pack=False),
        Case("NIfTI-2 claims 2^62", nifti(version=2, dim=[3, 2**62, 1, 1, 1, 1, 1, 1]), refused="max_voxels"),
        Case("NIfTI-2 claims 2^62 three times", nifti(version=2, dim=[3, 2**62, 2**62, 2**62, 1, 1, 1, 1]),
             refused="max_voxels"),
        Case("a sound one over a lower limit", nifti(), refused="max_voxels", options={"max_voxels": 209}),
        refused("no axes", "dim[0]", dim=[0, 7, 6, 5, 1, 1, 1, 1]),
        refused("eight axes", "dim[0]", dim=[8, 7, 6, 5, 1, 1, 1, 1]),
        refused("negative number of axes", "dim[0]", dim=[-3, 7, 6, 5, 1, 1, 1, 1]),
        refused("an axis of length 0", "at least one voxel", dim=[3, 7, 0, 5, 1, 1, 1, 1]),
        refused("an axis of negative length", "at least one voxel", dim=[3, 7, -6, 5, 1, 1, 1, 1]),
        refused("two negative lengths, right product", "at least one voxel", dim=[3, -7, -6, 5, 1, 1, 1, 1]),
        refused("one slice less claimed", "padded", dim=[3, 7, 6, 4, 1, 1, 1, 1]),
        refused("one slice more claimed", "cut short", dim=[3, 7, 6, 6, 1, 1, 1, 1]),
        refused("voxels from byte 0", "vox_offset", vox_offset=0),
        refused("voxels inside the header", "vox_offset", vox_offset=340),
        refused("voxels at half a byte", "vox_offset", vox_offset=352.5),
        refused("voxels at NaN", "vox_offset", vox_offset=np.nan),
        refused("voxels at infinity", "vox_offset", vox_offset=np.inf),
        refused("voxels before the file", "vox_offset", vox_offset=-352),
        refused("voxels behind the file", "cut short", vox_offset=100_000),
        refused("voxels 3 GB away", "vox_offset", vox_offset=3e9),
        Case("NIfTI-2 voxels 2^60 away", nifti(version=2, vox_offset=2**60), refused="vox_offset"),
        Case("compressed, voxels behind the file", packed(nifti(vox_offset=100_000)), refused="before the first voxel"),
    ]  # fmt: skip


def _types() -> list[Case]:
    bad = {"bits": (1, 1), "complex64": (32, 64), "RGB": (128, 24), "float128": (1536, 128), "complex128": (1792, 128),
           "complex256": (2048, 256), "RGBA": (2304, 32), "none": (0, 0), "unknown": (999, 16),
           "negative": (-4, 16)}  # fmt: skip
    return [
        *(typed(name, code) for name, code in zip(["uint8", "int16", "int32", "float32", "float64", "int8", "uint16",
          "uint32", "int64", "uint64"], [2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280], strict=True)),
        *(refused(f"datatype {name}", "datatype", datatype=code, bitpix=bits) for name, (code, bits) in bad.items()),
        refused("bitpix of another type", "bitpix", bitpix=8),
        refused("bitpix 0", "bitpix", bitpix=0),
    ]  # fmt: skip


def _values() -> list[Case]:
    single = {"datatype": 16, "bitpix": 32}
    return [
        refused("a NaN voxel", "NaN", floats(nan=np.nan), **single),
        refused("an infinite voxel", "infinite", floats(inf=np.inf), **single),
        refused("a negative infinite voxel", "infinite", floats(inf=-np.inf), **single),
        refused(
            "a voxel beyond single precision", "beyond", floats(big=1).astype("f8") * 1e300, datatype=64, bitpix=64
        ),
        refused("slope NaN", "scl_slope", scl_slope=np.nan),
        refused("slope infinite", "scl_slope", scl_slope=np.inf),
        refused("intercept NaN", "scl_inter", scl_inter=np.nan),
        refused("slope that overflows", "beyond", scl_slope=3e38),
    ]


def _places() -> list[Case]:
    def srow(*change: tuple[int, float]) -> np.ndarray:
        rows = RAS[:3].ravel().copy()
        for position, value in change:
            rows[position] = value
        return rows

    def pixdim(*change: tuple[int, float]) -> np.ndarray:
        sizes = np.array([1, 2, 1.5, 3, 1, 1, 1, 1])
        for position, value in change:
            sizes[position] = value
        return sizes

    return [
        refused("sform and qform mirror each other", "sform [[-2", srow=LAS[:3].ravel()),
        refused("sform and qform one voxel apart", "differently", qoffset=[-5, -4, -6]),
        refused("sform and qform turned by 5 degrees", "differently", quatern=[0, 0, np.sin(np.radians(2.5))]),
        refused("no place in the world", "assume_ras", sform_code=0, qform_code=0),
        refused("sform NaN", "finite", srow=srow((5, np.nan))),
        refused("sform infinite", "finite", srow=srow((3, np.inf)), qform_code=0),
        refused("sform zero", "singular", srow=[0] * 12),
        refused("sform with a zero column", "singular", srow=srow((0, 0)), qform_code=0),
        refused("sform with two equal columns", "singular", srow=[2, 2, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0], qform_code=0,
                pixdim=pixdim((2, 2), (3, 1.414))),
        refused("sform almost flat", "singular", srow=[2, 2, 0, 0, 0, 1e-4, 0, 0, 0, 0, 3, 0], qform_code=0,
                pixdim=pixdim((2, 2))),
        refused("sform far outside", "away", srow=srow((3, 1e20)), qform_code=0),
        refused("sform of other voxel sizes", "pixdim says", srow=srow((0, 4)), qform_code=0),
        refused("sform with two axes exchanged", "pixdim says", srow=RAS[:3, [1, 0, 2, 3]].ravel(), qform_code=0),
        refused("sform with huge voxels", "singular or absurd", srow=srow((0, 1e30)), qform_code=0),
        refused("sform with tiny voxels", "singular or absurd", srow=srow((0, 1e-30)), qform_code=0),
        refused("quaternion out of range", "quaternion", quatern=[0.9, 0.9, 0.9]),
        refused("quaternion NaN", "quaternion", quatern=[np.nan, 0, 0]),
        refused("quaternion out of range, no sform", "quaternion", quatern=[2, 0, 0], sform_code=0),
        refused("qform offset NaN", "finite", qoffset=[np.nan, 0, 0], sform_code=0),
        refused("handedness 5", "pixdim[0]", pixdim=pixdim((0, 5))),
        refused("handedness NaN", "pixdim[0]", pixdim=pixdim((0, np.nan))),
        refused("handedness mirrored", "differently", pixdim=pixdim((0, -1))),
        refused("voxel size 0", "above 0", pixdim=pixdim((2, 0))),
        refused("voxel size negative", "above 0", pixdim=pixdim((1, -2))),
        refused("voxel size NaN", "above 0", pixdim=pixdim((3, np.nan))),
        refused("voxel size infinite", "above 0", pixdim=pixdim((3, np.inf))),
        refused("unit 5", "unit of length", xyzt_units=5),
        refused("sform_code 77", "sform_code", sform_code=77),
        refused("qform_code negative", "qform_code", qform_code=-1),
        Case("sform chosen but not set", nifti(sform_code=0), refused="sets no sform", options={"form": "sform"}),
    ]  # fmt: skip


def _axes() -> list[Case]:
    four = np.stack([VOXELS, VOXELS + 1], axis=3)
    flat = VOXELS[:, :, 0]
    return [
        Case("trailing axis of length 1", nifti(dim=[4, 7, 6, 5, 1, 1, 1, 1]), voxels=VOXELS),
        Case("four trailing axes of length 1", nifti(dim=[7, 7, 6, 5, 1, 1, 1, 1]), voxels=VOXELS),
        refused("four axes", "3 axes", four, dim=[4, 7, 6, 5, 2, 1, 1, 1]),
        refused("a vector per voxel", "3 axes", four, dim=[5, 7, 6, 5, 1, 2, 1, 1]),
        refused("two axes", "dim[0]", flat, dim=[2, 7, 6, 1, 1, 1, 1, 1]),
        refused("one axis", "dim[0]", flat[:, 0], dim=[1, 7, 1, 1, 1, 1, 1, 1]),
        refused("half of a pair of files", ".hdr/.img", magic=b"ni1\0"),
        refused("Analyze", "Analyze", magic=b"\0\0\0\0"),
        refused("magic with a wrong end", "magic", magic=b"n+1x"),
        refused("NIfTI-2 magic in a NIfTI-1 header", "magic", magic=b"n+2\0"),
        refused("header size in the wrong byte order", "dim[0]", sizeof_hdr=0x5C010000),
        refused("header size 349", "no NIfTI file", sizeof_hdr=349),
    ]  # fmt: skip


def flipped(content: bytes, bit: int) -> bytes:
    """The same bytes with one bit reversed."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
