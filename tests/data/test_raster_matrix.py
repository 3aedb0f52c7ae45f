"""Files of the same known numbers, in every format: equal pixels, or a refusal by name.

Training, `data verify` and `predict` must agree. The expected pixels come from numpy alone;
tifffile writes the TIFFs and reads them back.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray
from PIL import Image

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.data import raster
from marsbench.data.dataset import MarsDataset
from marsbench.data.rows import Raw
from marsbench.data.samples import decode_pixels, decode_sample
from marsbench.data.sources.local import LocalSource
from marsbench.data.special import NULL
from marsbench.data.tools.verify.folder import verify_folder
from marsbench.predict.inputs import open_picture
from marsbench.predict.walk import Item
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import make_spec

HEIGHT, WIDTH = 24, 36
ALL = slice(None)
SPEC = make_spec(channels=3, folder="")
BANDS = {"grey": 1, "RGB": 3, "RGBA": 3}
GAP = np.zeros((HEIGHT, WIDTH), bool)
GAP[:7, :9] = True
"""Pixels without data in some files."""

Pixels = NDArray[Any]


def content(depth: str, bands: int) -> Pixels:
    """Numbers of a depth, (H, W, bands), all of them far from special ones."""
    tens = np.random.default_rng(7).integers(40, 1000, (HEIGHT, WIDTH, bands))
    written: dict[str, Pixels] = {
        "8": (tens // 4).astype(np.uint8),
        "10 in 16": tens.astype(np.uint16),
        "16": (tens * 64).astype(np.uint16),
        "float 32": (tens / 2000).astype(np.float32),
    }
    return written[depth]


def shown(numbers: Pixels, empty: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Pixels that a model must see, (H, W, 3)."""
    valid = np.ones(numbers.shape[:2], bool) if empty is None else ~empty
    pixels = numbers
    if numbers.dtype != np.uint8:
        low, high = np.percentile(numbers[valid].astype(float), (0.5, 99.5))
        scaled = np.clip((numbers.astype(np.float32) - low) / (high - low), 0, 1)
        pixels = np.round(255 * scaled).astype(np.uint8)
    pixels = np.where(valid[:, :, None], pixels, 0).astype(np.uint8)
    return pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels


def png(path: Path, pixels: Pixels, chunks: bytes = b"") -> None:
    """A PNG of any depth; PIL writes no 16-bit colours."""
    height, width, bands = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    head = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = chunk(b"IHDR", head) + chunks + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(path: Path, pixels: Pixels, **options: Any) -> None:
    options["photometric"] = "rgb" if pixels.shape[2] > 2 else "minisblack"
    if pixels.shape[2] in (2, 4):
        options["extrasamples"] = ["unassalpha"]
    values = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    tifffile.imwrite(path, values, **options)
    np.testing.assert_array_equal(tifffile.imread(path), values)


def geotiff(path: Path, pixels: Pixels, driver: str = "GTiff", **options: Any) -> None:
    mask, internal = options.pop("mask", None), options.pop("internal", True)
    colors = {"photometric": "RGB"} if pixels.shape[2] > 2 and driver == "GTiff" else {}
    with (
        warnings.catch_warnings(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
    ):
        warnings.simplefilter("ignore")
        with rasterio.open(
            path,
            "w",
            driver=driver,
            width=pixels.shape[1],
            height=pixels.shape[0],
            count=pixels.shape[2],
            dtype=pixels.dtype,
            **colors,
            **options,
        ) as file:
            file.write(np.moveaxis(pixels, 2, 0))
            if mask is not None:
                file.write_mask(mask)


OPAQUE: dict[str, Any] = {"alpha": "NON-PREMULTIPLIED"}
LOSSLESS: dict[str, Any] = {"QUALITY": 100, "REVERSIBLE": "YES"}
PDS3_NAMES = (
    "MISSING_CONSTANT",
    *("LOW_REPR_SATURATION", "LOW_INSTR_SATURATION"),
    *("HIGH_INSTR_SATURATION", "HIGH_REPR_SATURATION"),
)
PDS4_NAMES = (
    "missing_constant",
    *("low_representation_saturation", "low_instrument_saturation"),
    *("high_instrument_saturation", "high_representation_saturation"),
)
PDS3_TYPES = {"uint8": "UNSIGNED_INTEGER", "uint16": "LSB_UNSIGNED_INTEGER", "int16": "LSB_INTEGER"}


def pds3(
    path: Path, pixels: Pixels, statements: Sequence[str] = (), kind: str | None = None
) -> None:
    height, width, bands = pixels.shape
    lines = [
        "PDS_VERSION_ID = PDS3",
        "RECORD_TYPE = FIXED_LENGTH",
        "RECORD_BYTES = 1500",
        "^IMAGE = 2",
        "OBJECT = IMAGE",
        f"  LINES = {height}",
        f"  LINE_SAMPLES = {width}",
        f"  BANDS = {bands}",
        "  BAND_STORAGE_TYPE = BAND_SEQUENTIAL",
        f"  SAMPLE_BITS = {8 * pixels.dtype.itemsize}",
        f"  SAMPLE_TYPE = {kind or PDS3_TYPES.get(pixels.dtype.name, 'PC_REAL')}",
        *statements,
        "END_OBJECT = IMAGE",
        "END",
        "",
    ]
    body = np.moveaxis(pixels, 2, 0).tobytes()
    path.write_bytes("\r\n".join(lines).encode().ljust(1500) + body)


def pds4(path: Path, pixels: Pixels, constants: str = "") -> None:
    geotiff(path, pixels, "PDS4", IMAGE_FILENAME=str(path.with_suffix(".dat")), nodata=0)
    text = path.read_text()
    start, end = (text.index(f"<{slash}Special_Constants>") for slash in ("", "/"))
    path.write_text(text[:start] + f"<Special_Constants>{constants}" + text[end:])


def isis(path: Path, pixels: Pixels) -> None:
    geotiff(path, pixels, "ISIS3")


@dataclass(frozen=True)
class Case:
    """A file with its expected pixels, (H, W, 3); None if it must be refused."""

    write: Callable[[Path], Any]
    suffix: str
    expected: Pixels | None
    words: str = ""


def with_alpha(numbers: Pixels) -> Pixels:
    opaque = 1.0 if numbers.dtype.kind == "f" else np.iinfo(numbers.dtype).max
    alpha = np.where(GAP, 0, opaque).astype(numbers.dtype)
    return np.dstack([numbers, alpha])


def marked(numbers: Pixels, *marks: float) -> Pixels:
    """Numbers with gaps of the first mark, and a row each of the other marks below."""
    dtype = numbers.dtype.type
    out = np.where(GAP[:, :, None], dtype(marks[0]), numbers)
    for row, mark in enumerate(marks[1:], 10):
        out[row] = dtype(mark)
    return out


def with_saturation(numbers: Pixels, highs: int, lows: int) -> Pixels:
    """Expected pixels of `marked` numbers: `lows` black rows, then `highs` white ones."""
    first, middle, last = 10, 10 + lows, 10 + lows + highs
    counted = np.delete(np.where(GAP, 0, 1).astype(bool), slice(first, last), axis=0)
    kept = np.delete(numbers, slice(first, last), axis=0)
    pixels = shown(kept, ~counted)
    black, white = np.zeros((lows, WIDTH, 3)), np.full((highs, WIDTH, 3), 255)
    assert middle == first + lows
    return np.concatenate([pixels[:first], black, white, pixels[first:]]).astype(np.uint8)


def turned(stored: Pixels, orientation: int) -> Pixels:
    """Upright pixels of EXIF's definition: the place of the stored row 0 and column 0."""
    if orientation > 4:
        stored = np.transpose(stored, (1, 0, 2))
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return stored[:, ::-1] if orientation in (2, 3, 6, 7) else stored


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def _plain() -> Iterator[tuple[str, Case]]:
    """Every depth, colour and plain format, with alpha, tags and masks."""
    for depth in ("8", "10 in 16", "16", "float 32"):
        for color, bands in BANDS.items():
            numbers = content(depth, bands)
            stored = with_alpha(numbers) if color == "RGBA" else numbers
            expected = shown(numbers, GAP if color == "RGBA" else None)
            name = f"{depth}, {color}"
            if depth != "float 32":
                yield (
                    f"PNG: {name}",
                    Case(partial(png, pixels=stored), ".png", expected),
                )
            yield f"TIFF: {name}", Case(partial(tiff, pixels=stored), ".tif", expected)
            yield (
                f"GeoTIFF: {name}",
                Case(
                    partial(geotiff, pixels=stored, **(OPAQUE if color == "RGBA" else {})),
                    ".tif",
                    expected,
                ),
            )
            if color == "RGBA":
                continue
            gaps = shown(numbers, GAP)
            for mark in (0, 7) if depth != "float 32" else (NULL, -1.0, np.nan):
                yield (
                    f"GeoTIFF, nodata {mark:g}: {name}",
                    Case(
                        partial(geotiff, pixels=marked(numbers, mark), nodata=mark),
                        ".tif",
                        gaps,
                    ),
                )
            for internal in (True, False):
                yield (
                    f"GeoTIFF, {'internal' if internal else 'external'} mask: {name}",
                    Case(
                        partial(geotiff, pixels=numbers, mask=~GAP, internal=internal),
                        ".tif",
                        gaps,
                    ),
                )
            if depth != "float 32":
                yield (
                    f"JP2: {name}",
                    Case(
                        partial(geotiff, pixels=numbers, driver="JP2OpenJPEG", **LOSSLESS),
                        ".jp2",
                        shown(numbers),
                    ),
                )


def _planetary() -> Iterator[tuple[str, Case]]:
    """PDS3, PDS4 and ISIS, whose labels or types name special numbers."""
    bits = [f"16#{number:X}#" for number in range(0xFF7FFFFB, 0xFF800000)]
    floats = [struct.unpack(">f", struct.pack(">I", n))[0] for n in range(0xFF7FFFFB, 0xFF800000)]
    words = [-32768, -32767, -32766, -32765, -32764]
    for color in ("grey", "RGB"):
        for depth in ("8", "10 in 16", "16", "float 32"):
            numbers, name = content(depth, BANDS[color]), f"{depth}, {color}"
            plain = shown(numbers)
            yield f"PDS3: {name}", Case(partial(pds3, pixels=numbers), ".img", plain)
            yield f"PDS4: {name}", Case(partial(pds4, pixels=numbers), ".xml", plain)
            yield f"ISIS: {name}", Case(partial(isis, pixels=numbers), ".cub", plain)
        for depth, marks, texts in (
            ("10 in 16", [3000, 3001, 3002, 3003, 3004], None),
            ("float 32", floats, bits),
            ("8", [254, 1, 2, 3, 253], None),
        ):
            numbers = content(depth, BANDS[color])
            stored = marked(numbers, *marks)
            expected = with_saturation(numbers, 2, 2)
            stated = [f"{n} = {v}" for n, v in zip(PDS3_NAMES, texts or marks, strict=True)]
            yield (
                f"PDS3, constants: {depth}, {color}",
                Case(partial(pds3, pixels=stored, statements=stated), ".img", expected),
            )
            values = [t.replace("16#", "0x").strip("#") for t in texts] if texts else marks
            xml = "".join(f"<{n}>{v}</{n}>" for n, v in zip(PDS4_NAMES, values, strict=True))
            yield (
                f"PDS4, constants: {depth}, {color}",
                Case(partial(pds4, pixels=stored, constants=xml), ".xml", expected),
            )
        for depth, marks in (
            ("10 in 16", [0, 1, 2, 65534, 65535]),
            ("float 32", floats),
            ("signed 16", words),
        ):
            numbers = content("10 in 16" if depth == "signed 16" else depth, BANDS[color])
            if depth == "signed 16":
                numbers = (numbers.astype(int) - 500).astype(np.int16)
            stored, expected = marked(numbers, *marks), with_saturation(numbers, 2, 2)
            yield (
                f"ISIS, special pixels: {depth}, {color}",
                Case(partial(isis, pixels=stored), ".cub", expected),
            )
            if depth == "float 32":
                yield (
                    f"TIFF of ISIS, special pixels: {depth}, {color}",
                    Case(partial(geotiff, pixels=stored, nodata=NULL), ".tif", expected),
                )
        numbers = content("8", BANDS[color])
        stored = marked(numbers, 0, 255)
        yield (
            f"ISIS, special pixels: 8, {color}",
            Case(partial(isis, pixels=stored), ".cub", shown(stored)),
        )


def _turned() -> Iterator[tuple[str, Case]]:
    """Each EXIF orientation; JPEG is compared with the pixels that it stores."""
    for orientation in range(1, 9):
        for color in ("grey", "RGB"):
            numbers = content("8", BANDS[color])
            picture = Image.fromarray(numbers[:, :, 0] if color == "grey" else numbers)
            for form, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp")):
                file = io.BytesIO()
                picture.save(file, form, exif=exif(orientation), lossless=True)
                encoded = file.getvalue()
                with Image.open(io.BytesIO(encoded)) as opened:
                    stored = np.asarray(opened.convert("RGB"))
                yield (
                    f"{form}, orientation {orientation}: {color}",
                    Case(
                        partial(Path.write_bytes, data=encoded),
                        suffix,
                        turned(stored, orientation),
                    ),
                )
        deep = content("10 in 16", 3)
        late = chunk(b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0"))
        yield (
            f"16-bit PNG, orientation {orientation}",
            Case(
                partial(png, pixels=deep, chunks=late),
                ".png",
                turned(shown(deep), orientation),
            ),
        )
        tag = [(274, "H", 1, orientation, True)]
        yield (
            f"TIFF, orientation {orientation}",
            Case(
                partial(tiff, pixels=deep, extratags=tag),
                ".tif",
                turned(shown(deep), orientation),
            ),
        )


def pnm(path: Path, pixels: Pixels, largest: int) -> None:
    height, width, bands = pixels.shape
    kind, dtype = (5 if bands == 1 else 6), (">u2" if largest > 255 else "u1")
    head = f"P{kind}\n# a comment\n{width} {height}\n{largest}\n".encode()
    path.write_bytes(head + pixels.astype(dtype).tobytes())


def _others() -> Iterator[tuple[str, Case]]:
    deep, grey = content("10 in 16", 3), content("10 in 16", 1)
    yield "PPM of 16 bits", Case(lambda p: pnm(p, deep, 1023), ".ppm", shown(deep))
    yield "PGM of 16 bits", Case(lambda p: pnm(p, grey, 1023), ".pgm", shown(grey))
    few = (grey // 256).astype(np.uint8)
    spread = np.round(few / 3 * 255).astype(np.uint8).repeat(3, axis=2)
    yield "PGM of four greys", Case(lambda p: pnm(p, few, 3), ".pgm", spread)

    def white_is_0(path: Path) -> None:
        tifffile.imwrite(path, grey[:, :, 0], photometric="miniswhite")

    yield "TIFF of 16 bits, white is 0", Case(white_is_0, ".tif", 255 - shown(grey))

    def scaled(path: Path, scales: tuple[float, ...], offsets: tuple[float, ...]) -> None:
        geotiff(path, deep)
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = scales, offsets

    yield (
        "GeoTIFF, one scale",
        Case(lambda p: scaled(p, (0.1,) * 3, (4.0,) * 3), ".tif", shown(deep)),
    )
    factors, offsets = np.array([0.5, 1, 2]), np.array([0.0, 10, -20])
    yield (
        "GeoTIFF, a scale per band",
        Case(
            lambda p: scaled(p, tuple(factors), tuple(offsets)),
            ".tif",
            shown((deep * factors + offsets).astype(np.float64)),
        ),
    )


CASES = dict([*_plain(), *_planetary(), *_turned(), *_others()])


def wrong_mask(path: Path) -> None:
    geotiff(path, content("8", 3))
    tifffile.imwrite(path.with_name(f"{path.name}.msk"), np.zeros((3, 3), np.uint8))


REFUSED = {
    "TIFF of four bands": Case(
        lambda p: tifffile.imwrite(
            p, content("16", 4), photometric="rgb", extrasamples=["unspecified"]
        ),
        ".tif",
        None,
        "4 bands",
    ),
    "TIFF in CMYK": Case(
        lambda p: tifffile.imwrite(p, content("8", 4), photometric="separated"),
        ".tif",
        None,
        "colours in CMYK",
    ),
    "TIFF in CMYK of 16 bits": Case(
        lambda p: tifffile.imwrite(p, content("16", 4), photometric="separated"),
        ".tif",
        None,
        "colours in CMYK",
    ),
    "TIFF with a deep palette": Case(
        lambda p: tifffile.imwrite(
            p,
            content("16", 1)[:, :, 0],
            photometric="palette",
            colormap=np.zeros((3, 65536), np.uint16),
        ),
        ".tif",
        None,
        "palette of 16 bits",
    ),
    "TIFF of complex numbers": Case(
        lambda p: tifffile.imwrite(p, content("16", 1)[:, :, 0].astype(np.complex64)),
        ".tif",
        None,
        "complex64",
    ),
    "GeoTIFF turned": Case(
        lambda p: tifffile.imwrite(
            p,
            content("8", 3),
            extratags=[
                (274, "H", 1, 6, True),
                (33550, "d", 3, (2.0, 3.0, 0.0), True),
                (33922, "d", 6, (0.0, 0.0, 0.0, 9.0, 9.0, 0.0), True),
            ],
        ),
        ".tif",
        None,
        "stored turned .orientation 6. and has a georeference",
    ),
    "external mask of another size": Case(
        wrong_mask,
        ".tif",
        None,
        r"\.msk is 3 x 3 pixels; its image is 24 x 36",
    ),
    "PDS3 of signed bytes": Case(
        lambda p: pds3(p, content("8", 1), kind="MSB_INTEGER"),
        ".img",
        None,
        "type MSB_INTEGER and 8 bits",
    ),
    "PDS3 of 32-bit integers": Case(
        lambda p: pds3(p, content("float 32", 1), kind="LSB_INTEGER"),
        ".img",
        None,
        "type LSB_INTEGER and 32 bits",
    ),
    "PDS3 of a VAX": Case(
        lambda p: pds3(p, content("float 32", 1), kind="VAX_REAL"), ".img", None, "type VAX_REAL"
    ),
    "PDS3 upside down": Case(
        lambda p: pds3(p, content("8", 1), ["LINE_DISPLAY_DIRECTION = UP"]),
        ".img",
        None,
        "stored upside down or mirrored",
    ),
    "PDS3 compressed": Case(
        lambda p: pds3(p, content("8", 1), ["ENCODING_TYPE = HUFFMAN"]),
        ".img",
        None,
        "cannot be read as a PDS3 image: GDAL",
    ),
}


def write(cases: dict[str, Case], folder: Path) -> dict[str, Path]:
    """A task of one class per split, with a file per case in the train split."""
    place = folder / "data" / "train" / "plain"
    place.mkdir(parents=True)
    lines, paths = ["file_id,split,feature_name,label"], {}
    for number, (name, case) in enumerate(cases.items()):
        paths[name] = place / f"f{number:03}{case.suffix}"
        case.write(paths[name])
        lines.append(f"{paths[name].name},train,plain,2")
    (folder / "annotation.csv").write_text("\n".join([*lines, ""]))
    (folder / "mapping.json").write_text('{"0": "crater", "1": "dune", "2": "plain"}')
    return paths


@dataclass(frozen=True)
class Opened:
    """All cases in a folder, as training sees them and as `data verify` tells of them."""

    paths: dict[str, Path]
    dataset: MarsDataset
    notes: str
    problems: list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    root = tmp_path_factory.mktemp("matrix")
    paths = write(CASES, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_HOME", str(root / "home"))
        report = verify_folder(SPEC, root)
        dataset = MarsDataset(SPEC, LocalSource(SPEC, root), "train")
    lines = [p for p in report.problems if "f" in p and "/data/train" in p]
    return Opened(paths, dataset, "\n".join(report.notes), lines)


@pytest.mark.parametrize("name", CASES)
def test_training_and_predict_see_the_same_pixels(name: str, folder: Opened) -> None:
    path, expected = folder.paths[name], CASES[name].expected
    assert expected is not None
    sample = folder.dataset[folder.dataset.sample_ids.index(path.name)]
    trained = np.round(255 * sample["image"].numpy().transpose(1, 2, 0)).astype(np.uint8)
    predicted = open_picture(Item(path, path.name), SPEC, Bands.RGB).part(ALL, ALL)
    np.testing.assert_array_equal(trained, predicted)
    # Ties of a rounding fall either way in single precision.
    assert np.abs(trained.astype(int) - expected).max() <= 1
    assert (trained == expected).mean() > 0.999
    assert raster.size(path.read_bytes(), "x", path) == expected.shape[:2]


def test_verify_tells_how_files_were_read(folder: Opened) -> None:
    assert folder.problems == []
    for words in (
        "reading: 8 bits: ",
        "reading: percentiles 0.5 to 99.5: ",
        "reading: turned upright: ",
        "reading: empty pixels, 0 for the model: ",
    ):
        assert words in folder.notes


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_everywhere(name: str, tmp_path: Path) -> None:
    case = REFUSED[name]
    (path,) = write({name: case}, tmp_path).values()
    with pytest.raises(DataError, match=case.words) as caught:
        decode_sample(SPEC, Raw(path.read_bytes(), str(path), path=path))
    assert path.name in caught.value.problem
    assert caught.value.remedy
    with pytest.raises(DataError, match=case.words) as caught:
        open_picture(Item(path, path.name), SPEC, Bands.RGB)
    assert path.name in caught.value.problem
    assert any(path.name in p for p in verify_folder(SPEC, tmp_path).problems)


SEVEN = make_spec(
    Kind.SEGMENTATION,
    ("background", "slide"),
    channels=7,
    rgb_bands=(2, 1, 0),
    decode=Decode.IMAGE_MASK,
)


@pytest.mark.parametrize("bands", Bands)
def test_many_bands_in_training_and_predict(bands: Bands, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random((HEIGHT, WIDTH, 7), dtype=np.float32)
    path = tmp_path / "a.tif"
    for mark in (-1.0, np.nan, None):
        stored = numbers if mark is None else marked(numbers, mark)
        geotiff(path, stored, nodata=mark)
        expected = numbers if mark is None else np.where(GAP[:, :, None], 0, numbers)
        chosen = [2, 1, 0] if bands is Bands.RGB else list(range(7))
        raw = Raw(path.read_bytes(), str(path), path=path)
        trained = decode_pixels(SEVEN, raw, bands).pixels
        np.testing.assert_array_equal(trained, expected[:, :, chosen])
        predicted = open_picture(Item(path, path.name), SEVEN, bands).part(ALL, ALL)
        np.testing.assert_array_equal(trained, predicted)
    # NaN that the file does not declare, and numbers in other units.
    for wrong in (marked(numbers, np.nan), numbers * 40):
        geotiff(path, wrong)
        with pytest.raises(DataError, match="expected 0 to 1"):
            decode_pixels(SEVEN, Raw(path.read_bytes(), str(path), path=path), bands)
        with pytest.raises(DataError, match="expected 0 to 1"):
            open_picture(Item(path, path.name), SEVEN, bands)


@pytest.mark.parametrize("bands", Bands)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_fourth_band_marked_as_alpha_is_data_of_four_bands(
    bands: Bands, dtype: str, tmp_path: Path
) -> None:
    four = replace(SEVEN, channels=4, rgb_bands=(3, 2, 1))
    numbers = content("8", 4).copy()
    numbers[0, 0] = 0
    stored = numbers if dtype == "uint8" else (numbers / 255).astype(dtype)
    path = tmp_path / "a.tif"
    tiff(path, stored, photometric="rgb", extrasamples=["unassalpha"])
    chosen = [3, 2, 1] if bands is Bands.RGB else list(range(4))
    raw = Raw(path.read_bytes(), str(path), path=path)
    trained = decode_pixels(four, raw, bands).pixels
    np.testing.assert_array_equal(trained, stored[:, :, chosen])
    predicted = open_picture(Item(path, path.name), four, bands).part(ALL, ALL)
    np.testing.assert_array_equal(predicted, trained)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_turned_as_images(orientation: int) -> None:
    spec = make_spec(Kind.SEGMENTATION, ("background", "a", "b"), decode=Decode.IMAGE_MASK)
    ids = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    encoded = []
    for form in ("PNG", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(ids).save(file, form, exif=exif(orientation))
        encoded.append(file.getvalue())
    for image, mask in zip(encoded, encoded[::-1], strict=True):
        sample = decode_sample(spec, Raw(image, "image", mask=Raw(mask, "mask")))
        assert sample.mask is not None
        upright = turned(ids[:, :, None], orientation)
        np.testing.assert_array_equal(sample.mask, upright[:, :, 0])
        np.testing.assert_array_equal(sample.pixels, upright)
