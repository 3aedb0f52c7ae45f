import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from marsbench.data.decode import image_size, is_negative, mask
from marsbench.data.rows import Boxes, Raw
from marsbench.data.spec import Decode
from marsbench.errors import DataError
from marsbench.kinds import Kind
from tests.fakes import make_spec

IDS = np.array([[0, 1, 2, 255, 1], [2, 2, 0, 0, 3], [0, 255, 1, 3, 3]], dtype=np.uint8)


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
}


@pytest.mark.parametrize("form", MASKS)
def test_class_ids_are_kept_whatever_the_type(form: str) -> None:
    found = mask(MASKS[form], 4)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, IDS)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(bits: int) -> None:
    """PIL stretches 2 and 4 bits of grey to 8 when it reads them."""
    ids = (np.arange(12, dtype=np.uint8) % 2**bits).reshape(3, 4)
    file = io.BytesIO()
    if bits == 1:
        Image.fromarray(ids.astype(bool)).save(file, "PNG")
    else:
        Image.fromarray(ids).save(file, "PNG", bits=bits)
        encoded = file.getvalue()
        assert encoded[24:26] == bytes([bits, 0]), "PIL writes another depth"
    assert np.array_equal(mask(of(file.getvalue()), 2**bits), ids)


def colour_of_16_bits() -> bytes:
    """A PNG that PIL cannot write: 1 x 1, RGB of 16 bits each."""
    import struct
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
        (of(b"<html>"), ["not an image"]),
        (of(b"II*\0" + b"junk" * 20), ["cannot be read"]),
        (png(COLOUR.astype(np.uint8), form="TIFF", compression="tiff_lzw"), ["6 x 4 x 3"]),
        (png(IDS[:, :3] + 3), ["holds 4, 5", "0 to 3", "255"]),
        (tiff(IDS.astype(np.int16) - 1), ["holds -1, 254"]),
        (tiff(IDS + np.float32(0.5)), ["0.5, 1.5"]),
        (tiff(np.where(IDS == 1, np.nan, 0).astype(np.float32)), ["holds nan"]),
        (tiff(IDS.astype(np.uint32) + 65536), ["65536"]),
        (png(np.dstack([IDS, IDS, IDS + 1])), ["3 x 5 x 3", "one band"]),
        (png(IDS, form="JPEG"), ["JPEG"]),
        (of(colour_of_16_bits()), ["16 bits"]),
    ],
)
def test_bad_masks_name_the_file_and_the_ids(raw: Raw, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        mask(raw, 4)
    for word in words:
        assert word in str(caught.value)
    assert "a.jpg" in str(caught.value) or "masks/a.png" in str(caught.value)


def test_negative_samples() -> None:
    spec = make_spec(Kind.SEGMENTATION, ("background", "cone"), decode=Decode.IMAGE_MASK)
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
    for raw in (MASKS["8-bit PNG"], MASKS["float32 TIFF"]):
        assert raw.mask is not None
        assert isinstance(raw.mask.image, bytes)
        assert image_size(raw.mask.image, "x") == (3, 5)
    with pytest.raises(DataError, match=r"b\.png is not an image"):
        image_size(b"<html>", "b.png")
