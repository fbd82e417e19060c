"""What can be said of a PNG, JPEG or TIFF file before anybody decodes it: its format, and whether it can be whole.

A decoder allocates what the header claims. So the claim is first held against the size of the file: no format stores
more pixels in a byte than its compression can.

    PNG           deflate, 1032 bytes from one (zlib manual); the check sum of every chunk is verified, and the end is
                  there
    JPEG          a block of 8 x 8 pixels takes a bit at least: 512 pixels from a byte
    TIFF          by its compression; those with a stated bound are read, and no others

Messages here are sentences without a file name; `pictures` puts it in front.
"""

from __future__ import annotations

import os
import stat
import zlib

from ..errors import ImageError

MAX_BYTES = 2**29
_PNG, _JPEG, _TIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"II*\0", b"MM\0*")
_DEFLATE_RATIO, _PIXELS_PER_JPEG_BYTE = 1032, 512
# Bytes from one: 128 from 2 in PackBits; strings of LZW grow by a byte with each of its 9 to 12 bits long codes.
_TIFF_RATIOS = {"raw": 1, "packbits": 64, "tiff_lzw": 1400, "tiff_deflate": 1032, "tiff_adobe_deflate": 1032}


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file, or `ImageError` for another kind of file, an empty and a huge one."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device never end
        raise ImageError("this is not a file; give the path of a picture")
    if status.st_size > max_bytes:
        raise ImageError(f"the file has {status.st_size} bytes, more than the {max_bytes} that are read as a picture")
    with open(path, "rb") as stream:
        content = stream.read(status.st_size)  # a larger number would be allocated at once
    if not content:
        raise ImageError("the file is empty; fetch it again")
    return content


def format_of(content: bytes) -> str:
    """'PNG', 'JPEG' or 'TIFF', told by content and not by name."""
    if content.startswith(_PNG):
        return "PNG"
    if content.startswith(_JPEG):
        return "JPEG"
    if content.startswith(_TIFF):
        return "TIFF"
    raise ImageError(
        f"this is no PNG, JPEG or TIFF picture: it starts with the bytes {content[:8].hex(' ')}; convert it to PNG"
    )


def check_png(content: bytes) -> None:
    """Walk through the chunks of a PNG file: every check sum is right and the last chunk is there (PNG, section 5)."""
    position = len(_PNG)
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        kind, end = content[position + 4 : position + 8], position + 12 + length
        if end > len(content):
            break
        if zlib.crc32(memoryview(content)[position + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise ImageError(f"the picture is damaged: the check sum of its part {kind!r} is wrong; fetch it again")
        if kind == b"IEND":
            return
        position = end
    raise ImageError(f"the picture is cut short: its {len(content)} bytes do not reach its last part; fetch it again")


def png_depth(content: bytes) -> int:
    """Bits of a sample, from the header of a PNG file."""
    return content[24] if len(content) > 24 else 0


def check_claim(content: bytes, kind: str, shape: tuple[int, int], bits: int, compression: str) -> None:
    """Refuse a height and width that a file of this size cannot hold; `bits` are those of a pixel."""
    height, width = shape
    needed = height * -(-width * bits // 8)
    if kind == "JPEG" or compression == "jpeg":
        needed, ratio = height * width, _PIXELS_PER_JPEG_BYTE
    elif kind == "PNG":
        ratio = _DEFLATE_RATIO
    elif compression in _TIFF_RATIOS:
        ratio = _TIFF_RATIOS[compression]
    else:
        known = ", ".join((*_TIFF_RATIOS, "jpeg"))
        raise ImageError(f"a TIFF must be compressed by one of {known}, not by {compression!r}; convert it to PNG")
    if needed > ratio * len(content):
        raise ImageError(
            f"the header claims {height} x {width} pixels, more than a file of {len(content)} bytes can hold; "
            "it is cut short or its header is damaged"
        )
