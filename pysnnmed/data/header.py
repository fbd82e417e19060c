"""The NIfTI-1 and NIfTI-2 header: its layout, what a sound one says, and how to write one.

Every number is checked before anybody relies on it, because a damaged header rarely looks damaged: it yields wrong
voxels, a mirrored brain or an allocation of gigabytes. Sources: Cox et al. 2004 (NIfTI-1, nifti1.h) and the
NIfTI-2 data format (nifti2.h).

Messages here are sentences without a file name; `nifti` puts it in front.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import ImageError, ParameterError
from .affines import (
    check_affine,
    largest_shift,
    quaternion_from_rotation,
    rotation_from_quaternion,
    spacing_of,
)

Form = Literal["agreed", "sform", "qform"]

NIFTI1 = np.dtype(
    [
        ("sizeof_hdr", "<i4"),
        ("unused_1", "V35"),
        ("dim_info", "u1"),
        ("dim", "<i2", 8),
        ("intent_p", "<f4", 3),
        ("intent_code", "<i2"),
        ("datatype", "<i2"),
        ("bitpix", "<i2"),
        ("slice_start", "<i2"),
        ("pixdim", "<f4", 8),
        ("vox_offset", "<f4"),
        ("scl_slope", "<f4"),
        ("scl_inter", "<f4"),
        ("slice_end", "<i2"),
        ("slice_code", "u1"),
        ("xyzt_units", "u1"),
        ("cal_max", "<f4"),
        ("cal_min", "<f4"),
        ("slice_duration", "<f4"),
        ("toffset", "<f4"),
        ("unused_2", "V8"),
        ("descrip", "S80"),
        ("aux_file", "S24"),
        ("qform_code", "<i2"),
        ("sform_code", "<i2"),
        ("quatern", "<f4", 3),
        ("qoffset", "<f4", 3),
        ("srow", "<f4", (3, 4)),
        ("intent_name", "S16"),
        ("magic", "S4"),
    ]
)
NIFTI2 = np.dtype(
    [
        ("sizeof_hdr", "<i4"),
        ("magic", "S8"),
        ("datatype", "<i2"),
        ("bitpix", "<i2"),
        ("dim", "<i8", 8),
        ("intent_p", "<f8", 3),
        ("pixdim", "<f8", 8),
        ("vox_offset", "<i8"),
        ("scl_slope", "<f8"),
        ("scl_inter", "<f8"),
        ("cal_max", "<f8"),
        ("cal_min", "<f8"),
        ("slice_duration", "<f8"),
        ("toffset", "<f8"),
        ("slice_start", "<i8"),
        ("slice_end", "<i8"),
        ("descrip", "S80"),
        ("aux_file", "S24"),
        ("qform_code", "<i4"),
        ("sform_code", "<i4"),
        ("quatern", "<f8", 3),
        ("qoffset", "<f8", 3),
        ("srow", "<f8", (3, 4)),
        ("slice_code", "<i4"),
        ("xyzt_units", "<i4"),
        ("intent_code", "<i4"),
        ("intent_name", "S16"),
        ("dim_info", "u1"),
        ("unused_1", "V15"),
    ]
)
_MAGIC = {NIFTI1: b"n+1", NIFTI2: b"n+2\0\r\n\x1a\n"}
_EXTENSION_FLAG = 4  # bytes between header and voxels; zeros: no extension follows

_DATATYPES = {
    code: np.dtype(name)
    for code, name in {
        2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"
    }.items()
}  # fmt: skip
_DATATYPE_CODES = {dtype: code for code, dtype in _DATATYPES.items()}
_REFUSED_DATATYPES = {1: "bits", 32: "complex numbers", 128: "RGB colours", 1536: "128-bit floats",
                      1792: "complex numbers", 2048: "complex numbers", 2304: "RGBA colours"}  # fmt: skip
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unstated (read as mm), metre, mm, micrometre

_LARGEST_EXTENSION = 2**24  # bytes before the first voxel
_FORM_TOLERANCE = 0.2  # voxels at the corners; b, c, d in single precision leave up to 3e-4 rad near half turns
_WRITTEN_FORM_TOLERANCE = 0.01  # voxels; where the qform is worse (sheared axes), only the sform is written
_SPACING_TOLERANCE = 0.01  # relative


@dataclass(frozen=True, eq=False)
class Header:
    """What a checked header says. `affine` is in mm; voxels are stored first index fastest, from byte `offset` on."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    affine: np.ndarray
    form_code: int
    intent_code: int
    intent_name: str
    description: str

    @property
    def values(self) -> int:
        """Numbers stored in the file."""
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        """Size in bytes that the (uncompressed) file must have."""
        return self.offset + self.values * self.dtype.itemsize


def layout_of(start: bytes) -> np.dtype:
    """The layout, byte order included, of a header that begins with these (at least 4) bytes."""
    for layout in (NIFTI1, NIFTI2):
        if start[:4] == layout.itemsize.to_bytes(4, "little"):
            return layout
        if start[:4] == layout.itemsize.to_bytes(4, "big"):
            return layout.newbyteorder(">")
    raise ImageError(
        f"this is no NIfTI file: it starts with the bytes {start[:4].hex(' ')} instead of the header size 348 or 540; "
        "convert it to .nii or .nii.gz (for DICOM: dcm2niix)"
    )


def parse_header(raw: bytes, *, form: Form = "agreed", assume_ras: bool = False) -> Header:
    """Check the bytes of one header and say what they mean.

    `form="agreed"` wants sform and qform to agree where both are set; "sform" or "qform" trusts that one.
    `assume_ras` accepts a header without either, taking voxel axes for right, anterior, superior.
    """
    if form not in ("agreed", "sform", "qform"):
        raise ParameterError(f"form must be 'agreed', 'sform' or 'qform', not {form!r}")
    layout = layout_of(raw)
    fields = np.frombuffer(raw, layout, count=1)[0]
    _check_magic(bytes(fields["magic"]), layout)
    shape = _shape(fields)
    dtype = _datatype(fields)
    slope, intercept = _scaling(fields)
    affine, form_code = _world(fields, shape, form, assume_ras)
    return Header(
        shape=shape,
        dtype=dtype if layout["dim"].base.isnative else dtype.newbyteorder("S"),
        offset=_offset(fields, layout),
        slope=slope,
        intercept=intercept,
        affine=affine,
        form_code=form_code,
        intent_code=int(fields["intent_code"]),
        intent_name=_text(fields["intent_name"]),
        description=_text(fields["descrip"]),
    )


def _check_magic(magic: bytes, layout: np.dtype) -> None:
    expected = _MAGIC[NIFTI1 if layout.itemsize == NIFTI1.itemsize else NIFTI2]
    if magic[:2] == b"ni":
        raise ImageError("this is one half of a .hdr/.img pair; save the image as a single .nii or .nii.gz file")
    if magic != expected:
        raise ImageError(
            f"the magic of a single-file NIfTI image must be {expected!r}, not {magic!r}; "
            "Analyze images do not say left from right and are not read"
        )


def _shape(fields: np.void) -> tuple[int, ...]:
    n, *sizes = map(int, fields["dim"])
    if not 3 <= n <= 7:
        raise ImageError(f"the number of axes dim[0] must be 3 to 7, not {n}; store a slice as a volume of depth 1")
    if min(sizes[:n]) < 1:
        raise ImageError(f"every axis must have at least one voxel; the header says {_times(sizes[:n])}")
    return tuple(sizes[:n])


def _datatype(fields: np.void) -> np.dtype:
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    if code not in _DATATYPES:
        held = _REFUSED_DATATYPES.get(code, "an unknown type")
        raise ImageError(f"voxels must be real numbers; datatype {code} is {held}; save one plain channel instead")
    dtype = _DATATYPES[code]
    if bits != 8 * dtype.itemsize:
        raise ImageError(f"bitpix must be {8 * dtype.itemsize} for datatype {code} ({dtype}), not {bits}")
    return dtype


def _scaling(fields: np.void) -> tuple[float, float]:
    """Slope and intercept of value = slope * stored + intercept; a slope of 0 means none (NIfTI-1 standard)."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ImageError(f"scl_slope and scl_inter must be finite, not {slope} and {intercept}")
    return (1.0, 0.0) if slope == 0 else (slope, intercept)


def _offset(fields: np.void, layout: np.dtype) -> int:
    offset, first = float(fields["vox_offset"]), layout.itemsize + _EXTENSION_FLAG
    last = first + _LARGEST_EXTENSION
    if not (first <= offset <= last and offset.is_integer()):
        raise ImageError(f"vox_offset, the byte of the first voxel, must be whole, {first} to {last}, not {offset:g}")
    return int(offset)


def _world(fields: np.void, shape: tuple[int, ...], form: Form, assume_ras: bool) -> tuple[np.ndarray, int]:
    """Affine in mm and its code. Both forms and the voxel sizes are checked against each other where they are set."""
    qfac, *sizes = map(float, fields["pixdim"][:4])
    if qfac not in (-1, 0, 1):
        raise ImageError(f"pixdim[0], the handedness of the qform, must be 1 or -1, not {qfac:g}")
    if not all(0 < size < math.inf for size in sizes):
        raise ImageError(f"voxel sizes pixdim must be finite and above 0, not {_times(sizes)}")
    units = int(fields["xyzt_units"]) & 7
    if units not in _MILLIMETRES:
        raise ImageError(f"the unit of length must be metre, mm or micrometre (xyzt_units 0 to 3), not {units}")
    mm = _MILLIMETRES[units]
    codes = {"sform": int(fields["sform_code"]), "qform": int(fields["qform_code"])}
    for name, code in codes.items():
        if not 0 <= code <= 5:
            raise ImageError(f"{name}_code must be 0 to 5, not {code}")

    def affine_of(name: str) -> np.ndarray:
        affine = _sform(fields) if name == "sform" else _qform(fields, sizes, qfac)
        affine[:3] *= mm
        return check_affine(affine, name)

    if form != "agreed":
        if codes[form] == 0:
            raise ImageError(f"form={form!r} was asked for, but the header sets no {form}")
        return affine_of(form), codes[form]
    found = {name: affine_of(name) for name, code in codes.items() if code > 0}
    if not found:
        if not assume_ras:
            raise ImageError(
                "the header does not place the image in the world (qform_code and sform_code are 0), so left and right "
                "are unknown; if the voxel axes point right, anterior, superior, read it with assume_ras=True"
            )
        return check_affine(np.diag([*(mm * size for size in sizes), 1.0]), "voxel sizes"), 1
    _check_agreement(found, mm * np.array(sizes), shape[:3])
    name = next(iter(found))
    return found[name], codes[name]


def _check_agreement(found: dict[str, np.ndarray], sizes: np.ndarray, shape: tuple[int, ...]) -> None:
    if len(found) == 2 and not largest_shift(found["sform"], found["qform"], shape) <= _FORM_TOLERANCE:
        raise ImageError(
            f"sform and qform place the image differently: sform {found['sform'][:3].round(4).tolist()}, "
            f"qform {found['qform'][:3].round(4).tolist()}; choose one with form='sform' or form='qform'"
        )
    if "sform" in found and not np.allclose(spacing_of(found["sform"]), sizes, rtol=_SPACING_TOLERANCE, atol=0):
        raise ImageError(
            f"the sform has voxels of {_times(spacing_of(found['sform']))} mm, pixdim says {_times(sizes)} mm; "
            "if the sform is right, read it with form='sform'"
        )


def _sform(fields: np.void) -> np.ndarray:
    return np.vstack([fields["srow"].astype(np.float64), [0, 0, 0, 1]])


def _qform(fields: np.void, sizes: list[float], qfac: float) -> np.ndarray:
    """Rotation times voxel sizes, third axis reversed where qfac is -1 (0 counts as 1), plus offset."""
    affine = np.eye(4)
    affine[:3, :3] = rotation_from_quaternion(*map(float, fields["quatern"])) * sizes
    affine[:3, 2] *= -1 if qfac < 0 else 1
    affine[:3, 3] = fields["qoffset"]
    return affine


def pack_header(
    shape: tuple[int, ...],
    dtype: np.dtype,
    affine: np.ndarray,
    *,
    form_code: int = 1,
    description: str = "",
    intent_code: int = 0,
    intent_name: str = "",
) -> bytes:
    """The bytes before the first voxel of a single-file, little-endian NIfTI-1 image in mm: header and empty extension.

    sform and qform say the same; where the axes are sheared, which a qform cannot express, its code is 0.
    """
    if max(shape) > np.iinfo(np.int16).max:
        raise ImageError(f"NIfTI-1 holds at most 32767 voxels along an axis, not {_times(shape)}")
    fields = np.zeros(1, NIFTI1)[0]
    fields["sizeof_hdr"], fields["magic"] = NIFTI1.itemsize, _MAGIC[NIFTI1]
    fields["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    fields["datatype"], fields["bitpix"] = _DATATYPE_CODES[dtype], 8 * dtype.itemsize
    fields["vox_offset"], fields["scl_slope"] = NIFTI1.itemsize + _EXTENSION_FLAG, 1
    fields["xyzt_units"] = 2
    fields["intent_code"], fields["intent_name"] = intent_code, intent_name.encode("latin-1")
    fields["descrip"] = description.encode("latin-1", "replace")[:79]
    sizes = spacing_of(affine)
    directions = affine[:3, :3] / sizes
    qfac = 1.0 if np.linalg.det(directions) > 0 else -1.0
    fields["pixdim"] = [qfac, *sizes, 1, 1, 1, 1]
    fields["srow"], fields["sform_code"] = affine[:3], form_code
    fields["quatern"] = quaternion_from_rotation(directions * [1, 1, qfac])
    fields["qoffset"] = affine[:3, 3]
    same = largest_shift(affine, _qform(fields, list(sizes), qfac), shape[:3])
    fields["qform_code"] = form_code if same <= _WRITTEN_FORM_TOLERANCE else 0
    return fields.tobytes() + bytes(_EXTENSION_FLAG)


def _text(raw: bytes) -> str:
    return bytes(raw).partition(b"\0")[0].decode("latin-1").strip()


def _times(sizes: Iterable[float]) -> str:
    return "x".join(f"{size:g}" for size in sizes)
