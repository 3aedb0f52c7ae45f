import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from marsbench.base.errors import DataError
from marsbench.data.decode import image, image_size, pair
from marsbench.data.rows import Raw
from marsbench.data.samples import decode_sample
from marsbench.tasks.kinds import Decode
from tests.fakes import make_spec

RNG = np.random.default_rng(0)
GREY = RNG.integers(256, size=(5, 7), dtype=np.uint8)
COLOUR = RNG.integers(256, size=(5, 7, 3), dtype=np.uint8)


def encode(pixels: npt.NDArray[Any], mode: str | None = None, form: str = "PNG") -> Raw:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, form)
    return Raw(file.getvalue(), "folder/x.png")


def animation(form: str) -> Raw:
    file = io.BytesIO()
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    first.save(file, form, save_all=True, append_images=[second], lossless=True)
    return Raw(file.getvalue(), "folder/x.png")


def twelve_bit() -> Raw:
    """A JPEG whose header says 12 bits; PIL opens no such file."""
    content = bytearray(encode(GREY, form="JPEG").image)
    at = content.index(b"\xff\xc0")
    content[at + 1], content[at + 4] = 0xC1, 12
    return Raw(bytes(content), "folder/x.jpg")


@pytest.mark.parametrize("compressed", [False, True])
def test_sizes_of_pngs_turned_by_xmp(compressed: bool) -> None:
    file, notes = io.BytesIO(), PngInfo()
    text = '<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    notes.add_itxt("XML:com.adobe.xmp", text, zip=compressed)
    Image.fromarray(GREY).save(file, "PNG", pnginfo=notes)
    assert image(Raw(file.getvalue(), "x.png"), 1).shape == (7, 5, 1)
    assert image_size(file.getvalue(), "x.png") == (7, 5)


def test_grey_and_colour() -> None:
    assert (image(encode(GREY), 1)[:, :, 0] == GREY).all()
    assert (image(encode(COLOUR), 3) == COLOUR).all()


def test_conversions_that_lose_nothing() -> None:
    assert (image(encode(GREY), 3) == GREY[:, :, None]).all()
    assert (image(encode(np.repeat(GREY[:, :, None], 3, 2)), 1)[:, :, 0] == GREY).all()
    assert (image(encode(COLOUR, "RGBA"), 3) == COLOUR).all()
    assert (image(encode(GREY, "LA"), 1)[:, :, 0] == GREY).all()
    assert image(encode(GREY, "P"), 1).shape == (5, 7, 1)
    assert set(np.unique(image(encode(GREY > 128, "1"), 1))) <= {0, 255}
    assert image(Raw(GREY[:, :, None], "drawn"), 3).shape == (5, 7, 3)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (Raw(b"", "a.png"), ["a.png", "empty"]),
        (Raw(b"<html>Not found</html>", "a.png"), ["a.png", "no known image format"]),
        (Raw(encode(COLOUR).image[:-40], "a.png"), ["a.png", "damaged"]),
        (Raw(encode(COLOUR, form="JPEG").image[:300], "a.jpg"), ["a.jpg"]),
        (encode(COLOUR), ["x.png", "3 bands of different values", "expected 1"]),
        (encode(COLOUR, "CMYK", "JPEG"), ["x.png", "mode CMYK", "grey or RGB of 8 bits"]),
        (animation("GIF"), ["x.png", "animation of 2 frames"]),
        (animation("WEBP"), ["x.png", "animation of 2 frames"]),
        (animation("PNG"), ["x.png", "animation of 2 frames"]),
        (twelve_bit(), ["x.jpg", "a JPEG of 12 bits (SOF1)"]),
        (Raw(b"LBLSIZE=2048 FORMAT='HALF'", "x.img"), ["x.img is a VICAR image"]),
        (Raw(b"\0\1\2" * 99, "x.IMG"), ["x.IMG holds no PDS or ISIS label", ".lbl"]),
        (Raw(b"%!PS-Adobe-3.0 EPSF-3.0\n", "x.png"), ["x.png is a document"]),
    ],
)
def test_bad_images_name_the_file(raw: Raw, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        image(raw, 1)
    for word in words:
        assert word in str(caught.value)


def test_a_pair_is_red_zero_green_after_blue_before() -> None:
    after = 255 - GREY
    composite = pair(Raw(encode(GREY).image, "b.png", Raw(encode(after).image, "a.png")), 1)
    assert composite.shape == (5, 7, 3)
    assert not composite[:, :, 0].any()
    assert (composite[:, :, 1] == after).all()
    assert (composite[:, :, 2] == GREY).all()


def test_bad_pairs_name_the_files() -> None:
    before = encode(GREY).image
    with pytest.raises(DataError, match=r"b\.png is 5 x 7 and a\.png is 4 x 7"):
        pair(Raw(before, "b.png", Raw(encode(GREY[:4]).image, "a.png")), 1)
    with pytest.raises(DataError, match=r"a\.png is empty"):
        pair(Raw(before, "b.png", Raw(b"", "a.png")), 1)
    with pytest.raises(DataError, match=r"b\.png has no second image"):
        pair(Raw(before, "b.png"), 1)


def test_an_image_of_another_size_than_the_task_says() -> None:
    assert decode_sample(make_spec(image_size=(5, 7)), encode(GREY)).pixels.shape == (5, 7, 1)
    with pytest.raises(DataError, match=r"x\.png is 5 x 7 pixels; expected 7 x 5"):
        decode_sample(make_spec(image_size=(7, 5)), encode(GREY))
    spec = make_spec(decode=Decode.PAIR_LABEL)
    both = Raw(encode(GREY).image, "b.png", encode(GREY))
    assert decode_sample(spec, both).pixels.shape == (5, 7, 3)
