import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from marsbench.data.decode import image
from marsbench.data.rows import Raw
from marsbench.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(256, size=(5, 7), dtype=np.uint8)
COLOUR = RNG.integers(256, size=(5, 7, 3), dtype=np.uint8)


def encode(pixels: npt.NDArray[Any], mode: str | None = None, form: str = "PNG") -> Raw:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, form)
    return Raw(file.getvalue(), "folder/x.png")


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
        (Raw(b"<html>Not found</html>", "a.png"), ["a.png", "not an image"]),
        (Raw(encode(COLOUR).image[:-40], "a.png"), ["a.png", "damaged"]),
        (Raw(encode(COLOUR, form="JPEG").image[:300], "a.jpg"), ["a.jpg"]),
        (encode(GREY.astype(np.uint16) * 257), ["x.png", "I;16", "8-bit"]),
        (encode(COLOUR), ["x.png", "3 bands", "has 1"]),
        (encode(np.dstack([COLOUR, GREY])), ["x.png", "transparent"]),
        (encode(COLOUR, "CMYK", "JPEG"), ["x.png", "CMYK"]),
    ],
)
def test_bad_images_name_the_file(raw: Raw, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        image(raw, 1)
    for word in words:
        assert word in str(caught.value)
