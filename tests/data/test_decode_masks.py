import contextlib
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from marsbench.base.errors import DataError
from marsbench.data.decode import image, image_size, is_negative, mask
from marsbench.data.rows import Raw
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import make_spec

IDS = np.array([[0, 1, 2, 255, 1], [2, 2, 0, 0, 3], [0, 255, 1, 3, 3]], dtype=np.uint8)


PLANAR = np.repeat(IDS[None], 3, 0)
COLOUR = np.arange(72).reshape(6, 4, 3)


def of(content: bytes | npt.NDArray[np.uint8]) -> Raw:
    return Raw(b"", "a.jpg", mask=Raw(content, "masks/a.png"))


def png(pixels: npt.NDArray[Any], mode: str | None = None, **options: Any) -> Raw:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    if mode == "P":
        # As segmentation tools write them: ids are indices into a palette of colours.
        picture = picture.copy()
        picture.putpalette([7 * i % 256 for i in range(768)])
    elif mode:
        picture = picture.convert(mode)
    picture.save(file, options.pop("form", "PNG"), **options)
    return of(file.getvalue())


def tiff(pixels: npt.NDArray[Any], **options: Any) -> Raw:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return of(file.getvalue())


def pages(*arrays: npt.NDArray[Any], preview: bool = False) -> Raw:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number, array in enumerate(arrays):
            kind = int(preview and number > 0)
            writer.write(array, subfiletype=kind, metadata=None, contiguous=False)
    return of(file.getvalue())


MASKS = {
    "pixels": of(IDS),
    "pixels with a band axis": of(IDS[:, :, None]),
    "8-bit PNG": png(IDS),
    "palette": png(IDS, "P"),
    "three equal bands": png(np.repeat(IDS[:, :, None], 3, 2)),
    "opaque": png(IDS, "RGBA"),
    "grey and opaque": png(IDS, "LA"),
    "16-bit PNG": png(IDS.astype(np.uint16)),
    "32-bit TIFF of PIL": png(IDS.astype(np.int32), form="TIFF"),
    "float TIFF of PIL": png(IDS.astype(np.float32), form="TIFF"),
    "palette TIFF": png(IDS, "P", form="TIFF"),
    "LZW TIFF": png(IDS, form="TIFF", compression="tiff_lzw"),
    **{
        f"{kind} TIFF": tiff(IDS.astype(kind))
        for kind in ("uint8", "uint16", "uint32", "int16", "int32", "float32", "float64")
    },
    "deflated TIFF": tiff(IDS, compression="zlib"),
    "TIFF of three bands": tiff(np.repeat(IDS[:, :, None], 3, 2), photometric="rgb"),
    "big TIFF": tiff(IDS, bigtiff=True),
    "TIFF with a page axis": tiff(IDS[None]),
    "TIFF with a band axis": tiff(IDS[:, :, None], photometric="minisblack"),
    "planar TIFF": tiff(PLANAR, photometric="rgb", planarconfig="separate"),
    "deflated planar TIFF": tiff(
        PLANAR, photometric="minisblack", planarconfig="separate", compression="zlib"
    ),
    "TIFF of channels": tiff(PLANAR, imagej=True),
    "TIFF with a preview": pages(IDS, IDS[:2, :2], preview=True),
    "lossless WebP": png(np.repeat(IDS[:, :, None], 3, 2), form="WEBP", lossless=True),
}


@pytest.mark.parametrize("form", MASKS)
def test_class_ids_are_kept_whatever_the_type(form: str) -> None:
    found = mask(MASKS[form], 4)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, IDS)


def grey_of_few_bits(ids: npt.NDArray[np.uint8], bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits, which not every version of PIL writes."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = ids.shape
    each = np.unpackbits(ids[:, :, None], axis=2)[:, :, 8 - bits :].reshape(height, width * bits)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in each)
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(bits: int) -> None:
    """PIL stretches 2 and 4 bits of grey to 8 when it reads them."""
    ids = (np.arange(12, dtype=np.uint8) % 2**bits).reshape(3, 4)
    assert np.array_equal(mask(of(grey_of_few_bits(ids, bits)), 2**bits), ids)


def colour_of_16_bits() -> bytes:
    """A PNG that PIL cannot write: 1 x 1, RGB of 16 bits each."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + b"\0\1" * 3)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (Raw(b"", "a.jpg"), ["a.jpg has no mask"]),
        (of(b""), ["empty"]),
        (of(b"<html>"), ["no known image format"]),
        (of(b"II*\0" + b"junk" * 20), ["cannot be read"]),
        (png(COLOUR.astype(np.uint8), form="TIFF", compression="tiff_lzw"), ["6 x 4 x 3"]),
        (png(IDS[:, :3] + 3), ["holds 4, 5", "0 to 3", "255"]),
        (tiff(IDS.astype(np.int16) - 1), ["holds -1, 254"]),
        (tiff(IDS + np.float32(0.5)), ["0.5, 1.5"]),
        (tiff(np.where(IDS == 1, np.nan, 0).astype(np.float32)), ["holds nan"]),
        (tiff(IDS.astype(np.uint32) + 65536), ["65536"]),
        (png(np.dstack([IDS, IDS, IDS + 1])), ["3 x 5 x 3", "one band"]),
        (png(IDS, form="JPEG"), ["is a JPEG"]),
        (tiff(np.stack([IDS] * 4), photometric="minisblack"), ["several pages: 4", "3 x 5"]),
        (tiff(np.stack([IDS] * 2), truncate=True), ["several pages: 2"]),
        (pages(IDS, IDS), ["several pages: 2", "3 x 5"]),
        (pages(IDS, IDS[:2]), ["several pages: 2"]),
        (
            tiff(np.stack([IDS, IDS, IDS + 1]), photometric="rgb", planarconfig="separate"),
            ["3 x 5 x 3", "one band"],
        ),
        (png(COLOUR.astype(np.uint8), form="WEBP"), ["lossy WebP"]),
    ],
)
def test_bad_masks_name_the_file_and_the_ids(raw: Raw, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        mask(raw, 4)
    for word in words:
        assert word in str(caught.value)
    assert "a.jpg" in str(caught.value) or "masks/a.png" in str(caught.value)


@pytest.mark.parametrize("ids", [[0, 255], [255]])
def test_white_is_no_class(ids: list[int]) -> None:
    values = np.resize(np.array(ids, np.uint8), (4, 5))
    for raw in (of(values), png(values)):
        with pytest.raises(DataError, match=r"masks/a\.png holds 255 and no 1: it is unclear"):
            mask(raw, 2)
        assert np.array_equal(mask(raw, 3), values)
    values[0, 0] = 1
    assert np.array_equal(mask(of(values), 2), values)
    assert not mask(of(np.zeros((4, 5), np.uint8)), 2).any()


def with_tag(number: int, value: int) -> bytes:
    """A TIFF in which one tag says another number."""
    found = tiff(IDS).mask
    assert found is not None
    assert isinstance(found.image, bytes)
    file = io.BytesIO(found.image)
    with tifffile.TiffFile(file) as opened:
        offset = opened.pages.first.tags[number].offset
    content = bytearray(found.image)
    content[offset + 2 : offset + 12] = struct.pack("<HII", 4, 1, value)
    return bytes(content)


@pytest.mark.parametrize("number", [256, 257, 277])
def test_a_damaged_tag_does_not_fill_the_memory(number: int) -> None:
    content = with_tag(number, 2**26)
    reads: list[Callable[[], object]] = [
        lambda: image_size(content, "masks/a.png"),
        lambda: mask(of(content), 4),
    ]
    for read in reads:
        with pytest.raises(
            DataError,
            match=r"masks/a\.png (is damaged: its header declares \d{9,} bytes|cannot be read)",
        ):
            read()
    with pytest.raises(DataError, match=r"masks/a\.png (is damaged|cannot be read)"):
        image(Raw(content, "masks/a.png"), 1)


def test_equal_colours_of_16_bits_are_ids() -> None:
    assert mask(of(colour_of_16_bits()), 4).tolist() == [[1]]


@pytest.mark.filterwarnings("ignore")
def test_any_damaged_byte_is_an_error_or_a_number() -> None:
    found = png(IDS, form="TIFF", compression="tiff_lzw").mask
    assert found is not None
    assert isinstance(found.image, bytes)
    for at in range(len(found.image)):
        for value in (0, 255):
            content = found.image[:at] + bytes([value]) + found.image[at + 1 :]
            for raw in (of(content), Raw(content, "a.tif")):
                with contextlib.suppress(DataError):
                    mask(raw, 4) if raw.mask else image(raw, 1)


def test_negative_samples() -> None:
    spec = make_spec(Kind.SEGMENTATION, ("background", "cone", "pit"), decode=Decode.IMAGE_MASK)
    empty = np.zeros((4, 4), np.uint8)
    ignored = empty.copy()
    ignored[0] = 255
    cone = ignored.copy()
    cone[2, 2] = 1
    expected = {"empty": True, "ignored": True, "cone": False, "nothing known": False}
    masks = {"empty": empty, "ignored": ignored, "cone": cone, "nothing known": empty + 255}
    assert {name: is_negative(spec, of(ids)) for name, ids in masks.items()} == expected
    no_background = make_spec(Kind.SEGMENTATION, ("sky", "sand"), decode=Decode.IMAGE_MASK)
    assert not is_negative(no_background, of(empty))


def test_negative_images_of_detection() -> None:
    spec = make_spec(Kind.DETECTION, ("cone",), decode=Decode.IMAGE_BOXES)
    none = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64))
    one = Boxes(np.array([[0.0, 0, 2, 2]]), np.zeros(1, np.int64))
    assert is_negative(spec, Raw(b"", "a.png", boxes=none))
    assert not is_negative(spec, Raw(b"", "a.png", boxes=one))
    assert not is_negative(make_spec(), Raw(b"", "a.png"))


def test_image_sizes() -> None:
    assert image_size(np.zeros((3, 5, 1), np.uint8), "x") == (3, 5)
    for name, raw in MASKS.items():
        assert raw.mask is not None
        if name.startswith("pixels"):
            continue
        assert isinstance(raw.mask.image, bytes)
        assert image_size(raw.mask.image, "x") == (3, 5)
    seven = np.zeros((12, 11, 7), np.float32)
    bands_first = np.moveaxis(seven, 2, 0)
    for raw in (
        # As mmls has it: a page for each row, seven columns wide.
        tiff(seven),
        pages(*seven),
        tiff(seven, photometric="minisblack", planarconfig="contig"),
        tiff(bands_first, photometric="minisblack", planarconfig="separate"),
        tiff(bands_first, imagej=True),
    ):
        assert raw.mask is not None
        assert isinstance(raw.mask.image, bytes)
        assert image_size(raw.mask.image, "x") == (12, 11)
    with pytest.raises(DataError, match=r"b\.png has no known image format"):
        image_size(b"<html>", "b.png")
