"""Pictures and masks: as Pillow stored them, by the stated rules, or refused with a sentence that names the file."""

import io
import os
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysnnmed.data import (
    Picture,
    overlay,
    read_labels,
    read_mask,
    read_picture,
    write_labels,
    write_mask,
    write_overlay,
    write_probability,
)
from pysnnmed.data.picture_output import PREDICTED, TRUE, contour
from pysnnmed.errors import FileError, ImageError, MissingExtraError, ParameterError, ShapeError

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (9, 12), dtype=np.uint8)
GREY_16 = RNG.integers(0, 65536, (9, 12), dtype=np.uint16)
DISC = np.hypot(*(np.indices((64, 80)) - np.array([30, 40])[:, None, None])) < 20
MEMORY = 16 * 2**20

pictures = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


def saved(image, path, **options):
    image = image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)
    image.save(path, **options)
    return path


def png_of(ihdr, *chunks):
    """A PNG file with right check sums from a header and (kind, content) pairs."""
    parts = ((b"IHDR", ihdr), *chunks, (b"IEND", b""))
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def refused(path, *fragments, read=read_picture, **options):
    with pytest.raises(ImageError) as caught:
        read(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    for fragment in fragments:
        assert fragment in str(caught.value)


# ---------------------------------------------------------------------------------------------------- sound files


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("values", [COLOUR, GREY, GREY_16], ids=["colour", "grey", "grey16"])
def test_lossless_files_give_back_every_value(values, ending, tmp_path):
    picture = read_picture(saved(values, tmp_path / f"a.{ending}"))
    np.testing.assert_array_equal(picture.data, values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0))
    assert picture.data.dtype == values.dtype
    assert picture.shape == (9, 12)


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_tiff_gives_back_every_value(compression, tmp_path):
    path = saved(COLOUR, tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_picture(path).data, np.moveaxis(COLOUR, -1, 0))


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_the_most_compressible_pictures_are_not_taken_for_lies(compression, tmp_path):
    path = saved(np.zeros((2000, 3000), np.uint8), tmp_path / "a.tif", compression=compression)
    assert not read_picture(path).data.any()
    assert not read_picture(saved(np.zeros((2000, 3000), np.uint8), tmp_path / "a.png")).data.any()
    for shape in ((2000, 3000), (2000, 3000, 3)):
        path = saved(np.zeros(shape, np.uint8), tmp_path / "a.jpg", progressive=True, optimize=True, subsampling=2)
        assert not read_picture(path).data.any()


def test_jpeg_is_what_pillow_decodes(tmp_path):
    path = saved(COLOUR, tmp_path / "wrong-ending.png", format="JPEG")
    np.testing.assert_array_equal(read_picture(path).data, np.moveaxis(np.asarray(PIL.Image.open(path)), -1, 0))


def test_of_a_jpeg_with_a_preview_the_picture_is_read(tmp_path):
    large, small = (PIL.Image.fromarray(values) for values in (COLOUR, COLOUR[:4, :4]))
    large.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[small])
    assert read_picture(tmp_path / "a.jpg").shape == (9, 12)


def test_unit_intensities_end_at_one(tmp_path):
    for values in (GREY, GREY_16):
        unit = read_picture(saved(values, tmp_path / "a.png")).unit()
        assert unit.dtype == np.float32
        np.testing.assert_allclose(unit[0], values / np.iinfo(values.dtype).max, atol=1e-6)


def test_palettes_become_colours(tmp_path):
    image = PIL.Image.fromarray(COLOUR).quantize(16)
    path = saved(image, tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(path).data, np.moveaxis(np.asarray(image.convert("RGB")), -1, 0))


def test_channels_are_never_made_in_silence(tmp_path):
    grey, colour = saved(GREY, tmp_path / "g.png"), saved(COLOUR, tmp_path / "c.png")
    refused(grey, "one channel", "three channels", "convert=True", channels=3)
    refused(colour, "three channels", "convert=True", channels=1)
    np.testing.assert_array_equal(read_picture(grey, 3, convert=True).data, np.stack([GREY] * 3))
    luma = read_picture(colour, 1, convert=True).data[0]
    assert np.abs(luma.astype(int) - np.asarray(PIL.Image.fromarray(COLOUR).convert("L"))).max() <= 1
    equal = saved(np.stack([GREY] * 3, axis=-1), tmp_path / "e.png")
    np.testing.assert_array_equal(read_picture(equal, 1).data, GREY[None])
    with pytest.raises(ParameterError, match="channels must be 1, 3 or None"):
        read_picture(grey, 2)


def test_only_opaque_pixels_have_a_colour(tmp_path):
    alpha = np.full((9, 12, 1), 255, np.uint8)
    np.testing.assert_array_equal(
        read_picture(saved(np.concatenate((COLOUR, alpha), -1), tmp_path / "a.png")).data, np.moveaxis(COLOUR, -1, 0)
    )
    alpha[0, 0] = 254
    refused(saved(np.concatenate((COLOUR, alpha), -1), tmp_path / "b.png"), "transparent")
    refused(saved(GREY, tmp_path / "c.png", transparency=int(GREY[2, 3])), "transparent")
    unused = next(v for v in range(256) if v not in GREY)
    np.testing.assert_array_equal(read_picture(saved(GREY, tmp_path / "d.png", transparency=unused)).data, GREY[None])


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture_upright(orientation, ending, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(saved(GREY, tmp_path / f"a.{ending}", exif=exif))
    flat = saved(GREY, tmp_path / f"b.{ending}")
    stored = read_picture(flat).data[0]
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.T, 6: stored.T[:, ::-1], 7: stored[::-1, ::-1].T, 8: stored.T[::-1],
    }[orientation]  # fmt: skip
    np.testing.assert_array_equal(picture.data[0], upright)
    assert picture.orientation == orientation


# ------------------------------------------------------------------------------------------ damaged and dishonest files


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_every_truncation_is_refused(ending, tmp_path):
    content = saved(RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8), tmp_path / f"whole.{ending}").read_bytes()
    path = tmp_path / f"cut.{ending}"
    last = len(content) - 12 if ending == "jpg" else len(content)
    for length in {*range(0, last, 37), 1, 9, last - 1}:
        path.write_bytes(content[:length])
        refused(path)


def test_a_changed_bit_anywhere_in_a_png_is_found(tmp_path):
    path = tmp_path / "a.png"
    content = saved(COLOUR, path).read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        refused(path)


@given(ending=st.sampled_from(["jpg", "tif"]), position=st.integers(0, 2**31), bits=st.integers(1, 255))
@settings(max_examples=150)
def test_any_changed_byte_is_read_or_refused_with_a_sentence(ending, position, bits, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / f"a.{ending}"
    content = bytearray(saved(COLOUR, path).read_bytes())
    content[position % len(content)] ^= bits
    path.write_bytes(content)
    try:
        read_picture(path, max_pixels=2**16)
    except ImageError as error:
        sentence = str(error)
    else:
        return
    assert sentence.startswith(f"{path}: ")


def test_no_claim_is_allocated(tmp_path):
    claims = {
        "png": png_of(struct.pack(">IIBBBBB", 8000, 8000, 8, 2, 0, 0, 0), (b"IDAT", zlib.compress(bytes(99)))),
        "large.png": png_of(struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0), (b"IDAT", b"")),
    }
    jpeg = bytearray(saved(GREY, tmp_path / "a.jpg").read_bytes())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 8000, 8000)
    tiff = bytearray(saved(GREY, tmp_path / "a.tif").read_bytes())
    for tag in (256, 257):
        at = next(i for i in range(8, len(tiff)) if tiff[i : i + 2] == struct.pack("<H", tag))
        tiff[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 8000)
    claims |= {"jpg": jpeg, "tif": tiff}
    for ending, content in claims.items():
        path = tmp_path / f"liar.{ending}"
        path.write_bytes(content)
        tracemalloc.start()
        resident = _resident()
        refused(path, "claims" if "large" not in ending else "")
        assert tracemalloc.get_traced_memory()[1] < MEMORY
        assert _resident() - resident < MEMORY  # Pillow allocates outside of Python
        tracemalloc.stop()


def _resident():
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_huge_pictures_are_refused_by_their_header(tmp_path):
    path = saved(GREY, tmp_path / "a.png")
    refused(path, "max_pixels=107", max_pixels=107)
    assert read_picture(path, max_pixels=108).shape == (9, 12)
    with pytest.raises(ParameterError):
        read_picture(path, max_pixels=0)


def test_what_is_no_picture_is_named(tmp_path):
    refused(tmp_path / "absent.png", "cannot be read")
    refused(tmp_path, "")
    for content, fragment in ((b"", "empty"), (b"GIF89a" + bytes(20), "no PNG, JPEG or TIFF"), (b"no", "no PNG")):
        path = tmp_path / "a.png"
        path.write_bytes(content)
        refused(path, fragment)
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a file")


def test_pixels_that_would_lose_something_are_refused(tmp_path):
    refused(saved(PIL.Image.fromarray(GREY.astype(np.float32)), tmp_path / "f.tif"), "'F'")
    refused(saved(PIL.Image.fromarray(GREY.astype(np.int32)), tmp_path / "i.tif"), "'I'")
    refused(saved(PIL.Image.fromarray(COLOUR).convert("CMYK"), tmp_path / "k.jpg"), "'CMYK'")
    deep = zlib.compress(bytes(2 * (1 + 2 * 6)))
    (tmp_path / "d.png").write_bytes(png_of(struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0), (b"IDAT", deep)))
    refused(tmp_path / "d.png", "16 bits")
    pages = [PIL.Image.fromarray(GREY)] * 2
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    refused(tmp_path / "p.tif", "one frame")


def test_a_missing_pillow_names_the_extra(tmp_path, monkeypatch):
    path = saved(GREY, tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    for call in (lambda: read_picture(path), lambda: write_mask(path, DISC)):
        with pytest.raises(MissingExtraError, match=r"pysnnmed\[med\]"):
            call()


def test_a_setting_that_hides_damage_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    refused(saved(GREY, tmp_path / "a.png"), "LOAD_TRUNCATED_IMAGES")


# ---------------------------------------------------------------------------------------------------- masks


@given(masks)
def test_masks_survive_writing_and_reading(mask):
    for high in (1, 7, 255):
        stream = io.BytesIO()
        PIL.Image.fromarray(mask.astype(np.uint8) * np.uint8(high)).save(stream, "PNG")
        found = _mask_of(stream.getvalue())
        np.testing.assert_array_equal(found.data, mask)
        assert found.ambiguous == 0


def _mask_of(content):
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(content)
        file.flush()
        return read_mask(file.name)


def test_the_same_mask_in_every_kind_of_file(tmp_path):
    grey = DISC.astype(np.uint8) * np.uint8(255)
    two = PIL.Image.fromarray(DISC.astype(np.uint8), mode="P")
    files = {"grey": grey, "rgb": np.stack([grey] * 3, -1), "bits": PIL.Image.fromarray(grey).convert("1")}
    files["sixteen"] = grey.astype(np.uint16) * np.uint16(257)
    files["rgba"] = np.dstack([grey] * 3 + [np.full_like(grey, 255)])
    for name, colours in (("dark-red", [0, 0, 0, 128, 0, 0]), ("white", [0, 0, 0, 255, 255, 255])):
        two.putpalette(colours)
        files[name] = two.copy()
    for name, values in files.items():
        for ending in ("png", "tif"):
            found = read_mask(saved(values, tmp_path / f"{name}.{ending}"))
            np.testing.assert_array_equal(found.data, DISC, err_msg=f"{name}.{ending}")


def test_a_palette_of_reversed_greys_is_read_by_its_colours(tmp_path):
    image = PIL.Image.fromarray(DISC.astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(read_mask(saved(image, tmp_path / "a.png")).data, ~DISC)


@pytest.mark.parametrize("kind", ["L", "RGB"])
@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_masks_keep_their_shape_and_report_their_doubt(kind, quality, tmp_path):
    image = PIL.Image.fromarray(DISC.astype(np.uint8) * np.uint8(255)).convert(kind)
    found = read_mask(saved(image, tmp_path / "a.jpg", quality=quality))
    assert np.count_nonzero(found.data != DISC) <= 12
    values = np.asarray(PIL.Image.open(tmp_path / "a.jpg").convert("L"))
    assert found.ambiguous == ((values > 31) & (values < 224)).mean()


def test_a_noisy_black_jpeg_is_an_empty_mask(tmp_path):
    path = saved(RNG.integers(0, 20, (40, 40), dtype=np.uint8), tmp_path / "a.jpg", quality=95)
    assert not read_mask(path).data.any()


def test_what_is_no_binary_mask_is_refused(tmp_path):
    labels = np.where(DISC, 2, 0).astype(np.uint8)
    labels[:3] = 1
    refused(saved(labels, tmp_path / "l.png"), "from 0 to 2 of 255", "read_labels", read=read_mask)
    refused(saved(COLOUR, tmp_path / "c.png"), "colours", read=read_mask)
    refused(saved(RNG.integers(0, 256, (40, 40), dtype=np.uint8), tmp_path / "p.png"), "no mask", read=read_mask)
    np.testing.assert_array_equal(read_labels(tmp_path / "l.png"), labels)
    refused(saved(labels, tmp_path / "l.jpg"), "JPEG", read=read_labels)
    with pytest.raises(ParameterError):
        read_mask(tmp_path / "l.png", max_ambiguous=2)


def test_labels_of_a_palette_are_its_indices(tmp_path):
    labels = RNG.integers(0, 4, (9, 9), dtype=np.uint8)
    image = PIL.Image.fromarray(labels, mode="P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    np.testing.assert_array_equal(read_labels(saved(image, tmp_path / "a.png")), labels)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_labels_of_few_bits_are_what_is_stored(depth, tmp_path):
    labels = RNG.integers(0, 2**depth, (6, 8), dtype=np.uint8)
    bits = (labels[..., None] >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(6, -1), axis=1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", 8, 6, depth, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png_of(header, (b"IDAT", packed)))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), labels)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").data[0], labels * (255 // (2**depth - 1)))


# ---------------------------------------------------------------------------------------------------- writing


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "a.png"
    write_mask(path, DISC)
    np.testing.assert_array_equal(read_mask(path).data, DISC)
    for labels in (GREY, GREY_16):
        write_labels(path, labels)
        np.testing.assert_array_equal(read_labels(path), labels)
    probability = RNG.random((9, 12))
    write_probability(path, probability)
    assert np.abs(read_picture(path).unit()[0] - probability).max() <= 1 / 131070 + 1e-7
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    write_mask(path, DISC)
    old = path.read_bytes()
    for write, values, error in (
        (write_mask, DISC.astype(float), ParameterError),
        (write_probability, np.full((2, 2), 1.5), ParameterError),
        (write_probability, np.full((2, 2), np.nan), ParameterError),
        (write_labels, np.array([[-1]]), ParameterError),
        (write_labels, np.array([[65536]]), ParameterError),
        (write_mask, np.zeros((0, 3), bool), ShapeError),
        (write_mask, np.zeros((1, 2, 3), bool), ShapeError),
    ):
        with pytest.raises(error):
            write(path, values)
    assert path.read_bytes() == old
    with pytest.raises(ParameterError, match=r"\.png"):
        write_mask(tmp_path / "a.jpg", DISC)
    with pytest.raises(FileError):
        write_mask(tmp_path / "nowhere" / "a.png", DISC)


def test_an_overlay_changes_the_contour_only(tmp_path):
    picture = RNG.random((1, 64, 80)).astype(np.float32)
    drawn = overlay(picture, DISC)
    edge = contour(DISC)
    assert (drawn[:, edge] == np.array(PREDICTED)[:, None]).all()
    np.testing.assert_array_equal(drawn[:, ~edge], np.rint(picture * 255).astype(np.uint8).repeat(3, 0)[:, ~edge])
    both = overlay(picture, np.zeros_like(DISC), DISC)
    assert (both[:, edge] == np.array(TRUE)[:, None]).all()
    write_overlay(tmp_path / "a.png", picture, DISC)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").data, drawn)
    with pytest.raises(ShapeError):
        overlay(picture, DISC[:5])
    with pytest.raises(ParameterError):
        overlay(picture * 300, DISC)


@given(masks)
def test_a_contour_is_what_has_a_neighbour_outside(mask):
    padded = np.pad(mask, 1)
    for (i, j), found in np.ndenumerate(contour(mask)):
        around = (padded[i, j + 1], padded[i + 2, j + 1], padded[i + 1, j], padded[i + 1, j + 2])
        assert found == (mask[i, j] and not all(around))


def test_a_picture_knows_its_shape():
    assert Picture(np.zeros((3, 4, 5), np.uint8)).shape == (4, 5)
