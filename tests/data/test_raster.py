"""Rasters by GDAL against tifffile and PIL, and every format by files of known content."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import from_origin

from marsbench.base.errors import DataError
from marsbench.data import formats, gdal, pds, raster
from marsbench.data.decode import image, mask
from marsbench.data.georeference import Georeference, create
from marsbench.data.rows import Raw
from marsbench.data.sources.local import LocalSource
from tests.fakes import make_spec, write_folder

MARS = CRS.from_proj4("+proj=eqc +lat_ts=0 +lon_0=180 +R=3396190 +units=m +no_defs")
PLACE = from_origin(1000, 5000, 2, 2)
ALL = slice(None)
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 50)).astype(np.uint8)
DEEP = RNG.integers(1, 1024, (40, 50)).astype(np.uint16)


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def pil(pixels: np.ndarray, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, "TIFF", **options)
    return file.getvalue()


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "deflate": {"compression": "zlib", "predictor": True},
    "planar": {"planarconfig": "separate"},
    "big": {"bigtiff": True},
    "big endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
)
def test_numbers_are_those_of_tifffile(dtype: str, layout: str) -> None:
    for bands in (1, 3, 7):
        values = (RNG.random((40, 50, bands)) * 200 - 100 * (dtype[0] != "u")).astype(dtype)
        options = dict(LAYOUTS[layout])
        if dtype.startswith("float"):
            options.pop("predictor", None)  # tifffile leaves it to another package
        if bands == 1:
            options.pop("planarconfig", None)
            values = values[:, :, 0]
        else:
            options = {"planarconfig": "contig"} | options
        written = np.moveaxis(values, -1, 0) if layout == "planar" and bands > 1 else values
        encoded = tiff(np.ascontiguousarray(written), photometric="minisblack", **options)
        expected = tifffile.imread(io.BytesIO(encoded))
        if layout == "planar" and bands > 1:
            expected = np.moveaxis(expected, 0, -1)
        read = raster.numbers(encoded, "x")
        assert read.dtype == expected.dtype
        np.testing.assert_array_equal(read.reshape(expected.shape), expected)
        assert raster.size(encoded, "x") == (40, 50)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_are_parts_of_the_whole(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raster, "_IN_MEMORY", 0)
    monkeypatch.setattr(gdal, "_CHUNK", 1000)
    options = {k: v for k, v in LAYOUTS[layout].items() if k != "planarconfig"}
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(DEEP, photometric="minisblack", **options))
    pixels = raster.open_raster(path).pixels
    assert isinstance(pixels, gdal.Windows)
    for part in (
        (ALL, ALL),
        (slice(3, 21), slice(10, 50)),
        (slice(None, None, 7), slice(None, None, 7)),
        (slice(38, 99), slice(0, 1)),
        (slice(5, 5), ALL),
    ):
        np.testing.assert_array_equal(pixels[part], DEEP[:, :, None][part])


@pytest.mark.parametrize(
    "encoded",
    [
        pil(GREY),
        pil(GREY, compression="tiff_lzw"),
        pil(GREY, compression="jpeg"),
        pil(np.dstack([GREY] * 3) // 2, compression="jpeg"),
        pil(GREY, "P"),
        pil(GREY > 99, compression="group4"),
        pil(GREY, "P", tiffinfo={42113: "7"}),
        pil(GREY > 99, compression="group4", tiffinfo={42113: "0"}),
        tiff(GREY, photometric="miniswhite"),
        pil(GREY, "LA"),
    ],
    ids=[
        "grey",
        "lzw",
        "jpeg",
        "colour jpeg",
        "palette",
        "1 bit",
        "palette with nodata",
        "1 bit with nodata",
        "white is 0",
        "opaque",
    ],
)
def test_pictures_are_those_of_pil(encoded: bytes) -> None:
    with Image.open(io.BytesIO(encoded)) as opened:
        expected = np.array(opened.convert("RGB"))
        if opened.mode == "P" and 42113 in opened.tag_v2:  # type: ignore[attr-defined]
            expected[np.asarray(opened) == 7] = 0  # without data
    np.testing.assert_array_equal(image(Raw(encoded, "x"), 3), expected)


def label(pointer: str, lines: int = 40) -> str:
    """A PDS3 label of `DEEP`, whose records are rows."""
    statements = [
        "PDS_VERSION_ID = PDS3",
        "RECORD_TYPE = FIXED_LENGTH",
        "RECORD_BYTES = 100",
        f"^IMAGE = {pointer}",
        '^DESCRIPTION = "HIRISE/DOC.TXT"',
        "OBJECT = IMAGE",
        f"  LINES = {lines}",
        "  LINE_SAMPLES = 50",
        "  BANDS = 1",
        "  SAMPLE_BITS = 16",
        "  SAMPLE_TYPE = LSB_UNSIGNED_INTEGER",
        "END_OBJECT = IMAGE",
        "END",
        "",
    ]
    return "\r\n".join(statements)


def write(path: Path, driver: str, pixels: np.ndarray = DEEP, **options: Any) -> Path:
    """Write one band by GDAL, with a place on Mars."""
    with rasterio.open(
        path,
        "w",
        driver=driver,
        width=pixels.shape[1],
        height=pixels.shape[0],
        count=1,
        dtype=pixels.dtype,
        crs=MARS,
        transform=PLACE,
        **options,
    ) as file:
        file.write(pixels, 1)
    return path


def make(kind: str, folder: Path) -> Path:
    """Write `DEEP` in a format; the path of what names it."""
    lossless = {"QUALITY": 100, "REVERSIBLE": "YES", "NBITS": 10}
    written: dict[str, tuple[str, str, dict[str, Any]]] = {
        "GeoTIFF": ("a.tif", "GTiff", {}),
        "COG": ("a.tif", "COG", {}),
        "JPEG 2000": ("a.jp2", "JP2OpenJPEG", lossless),
        "PDS4": ("a.xml", "PDS4", {"IMAGE_FILENAME": str(folder / "a.img")}),
        "ISIS cube": ("a.cub", "ISIS3", {}),
        "detached cube": ("a.lbl", "ISIS3", {"DATA_LOCATION": "EXTERNAL"}),
    }
    if kind in written:
        name, driver, options = written[kind]
        return write(folder / name, driver, **options)
    if kind == "PDS3":
        (folder / "a.img").write_bytes(label("11").ljust(1000).encode() + DEEP.tobytes())
        return folder / "a.img"
    pointer = {"detached PDS3": '"A.IMG"', "with offset": '("A.IMG", 201 <BYTES>)'}[kind]
    (folder / "a.img").write_bytes(b" " * 200 * (kind == "with offset") + DEEP.tobytes())
    (folder / "a.lbl").write_text(label(pointer))
    return folder / "a.lbl"


KINDS = [
    *("GeoTIFF", "COG", "JPEG 2000", "PDS3", "detached PDS3", "with offset"),
    *("PDS4", "ISIS cube", "detached cube"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = raster.open_raster(path)
        stored = raster.numbers(path.read_bytes(), "x", path)
    np.testing.assert_array_equal(opened.pixels[:, :][:, :, 0], DEEP)
    np.testing.assert_array_equal(stored[:, :, 0], DEEP)
    assert formats.is_raster(path)
    if "PDS3" in kind or kind == "with offset":
        assert opened.geo is None
    else:
        assert opened.geo is not None
        assert opened.geo.transform is not None
        assert opened.geo.transform.almost_equals(PLACE)
        assert "3396190" in opened.geo.crs.to_wkt()  # type: ignore[union-attr]
    # What training sees: as predict, on 8 bits.
    seen = image(Raw(path.read_bytes(), "x", path=path), 1)[:, :, 0]
    # 1 and 2 are saturated pixels in a cube.
    low, high = np.percentile(DEEP[2 * ("cube" in kind) < DEEP], raster.PERCENTILES)
    scaled = np.clip((DEEP - low) / (high - low), 0, 1)
    np.testing.assert_allclose(seen, 255 * scaled, atol=0.51)
    ids = (DEEP % 3).astype(np.uint8)
    if kind == "GeoTIFF":
        path = write(tmp_path / "ids.tif", "GTiff", ids)
        found = mask(Raw(b"", "x", mask=Raw(path.read_bytes(), "ids")), 3)
        np.testing.assert_array_equal(found, ids)


def test_labels_are_read_below_their_data_files_content(tmp_path: Path) -> None:
    """A folder whose images are detached labels: opened, and known by the pixels' files too."""
    spec = make_spec()
    folder = write_folder(spec, tmp_path / "data")
    source = LocalSource(spec, folder)
    before = source.revision
    (path,) = source.files("train", 0)
    path.unlink()
    table = folder / "annotation.csv"
    table.write_text(table.read_text().replace(path.name, "a.lbl"))
    (path.parent / "a.lbl").write_text(label('"a.img"'))
    with pytest.raises(DataError, match=r"describes a\.img, which is missing"):
        LocalSource(spec, folder)
    (path.parent / "a.img").write_bytes(DEEP.tobytes())
    again = LocalSource(spec, folder)
    index = list(again.rows("train").sample_ids).index("a.lbl")
    assert image(again.read("train", index), 1).shape == (40, 50, 1)
    (path.parent / "a.img").write_bytes(DEEP.tobytes() + b" ")
    assert len({before, again.revision, LocalSource(spec, folder).revision}) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (label('"../a.img"'), r"refers to '\.\./a\.img'; expected a file in the folder"),
        (label('"/vsicurl/http://localhost/a.img"'), "refers to '/vsicurl"),
        (label('"other.img"'), r"describes other\.img, which is missing"),
        (label('"a.img"', lines=41), r"is damaged: its data end after 4000 of 4100 bytes"),
        (
            label('"a.img"').replace("OBJECT = IMAGE", "OBJECT = COMPRESSED_FILE"),
            "in a file of another format",
        ),
        ("Object = IsisCube\n ^Core = ../a.img\n StartByte = 1\n", r"refers to '\.\./a\.img'"),
        ("Object = IsisCube\n ^Core = a.tif\n Format = GeoTIFF\n", "of another format"),
        ("<Product_Observational><file_name>../a.img</file_name>", r"refers to '\.\./a\.img'"),
        ("<Product_Observational><file_name>a.img</file_name>", "cannot be read"),
    ],
)
def test_labels_that_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(DEEP.tobytes())
    path = tmp_path / "a.lbl"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        raster.open_raster(path)
    assert str(path) in caught.value.problem
    assert caught.value.remedy


def test_labels_end_before_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of value 10 are line breaks, and long labels need no search per tag."""
    pixels = np.full((200, 200), 10, np.uint8)
    text = label("11", 200).replace("SAMPLES = 50", "SAMPLES = 200").replace("= 16", "= 8")
    searched: list[int] = []

    def parse(text: bytes) -> tuple[None, int]:
        searched.append(len(text))
        return None, 1000

    encoded = text.encode().ljust(1000) + pixels.tobytes()
    assert pds.read_label(encoded, "PDS", "x") == pds.Label(None, 1000)
    np.testing.assert_array_equal(raster.numbers(encoded, "x")[:, :, 0], pixels)
    monkeypatch.setitem(pds._PARSERS, "PDS", parse)
    raster.open_raster(encoded, "x")
    assert searched == [text.index("END\r\n", text.index("END_OBJECT") + 9)]

    endless = text.replace("END\r\n", "\n").encode().ljust(1 << 20, b"\n")
    with pytest.raises(DataError, match="x has no end of the label within 1048576 bytes"):
        raster.open_raster(endless, "x")
    # Quadratic patterns would take minutes for 20,000 tags.
    tags = b"<Product_Observational><Array_2D>" + 20_000 * b"<Array_2D><offset <file_name> "
    assert pds.read_label(tags, "PDS4", "x") == pds.Label(None, 0)
    last = tags + b'<offset unit="byte">9</offset><file_name> a.img </file_name>'
    assert pds.read_label(last, "PDS4", "x") == pds.Label("a.img", 9)


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_short_are_refused(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path)
    data = formats.companion(path) or path
    content = data.read_bytes()
    data.write_bytes(content[: min(len(content) - 500, 3500)])
    with pytest.raises(DataError, match=r"a\.\w+ .*(damaged|cannot be read)"):
        raster.open_raster(path)


def test_a_vrt_is_no_raster(tmp_path: Path) -> None:
    """It would make GDAL open other files, or addresses."""
    write(tmp_path / "a.tif", "GTiff")
    vrt = tmp_path / "b.tif"
    vrt.write_text(
        '<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="UInt16" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(DataError, match=r"b\.tif has no known image format"):
        raster.open_raster(vrt)


def test_alpha_nodata_and_places(tmp_path: Path) -> None:
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        width=9,
        height=8,
        count=4,
        dtype="uint8",
        photometric="rgb",
        alpha="yes",
    ) as file:
        file.write(np.full((4, 8, 9), 7, np.uint8))
    opened = raster.open_raster(tmp_path / "a.tif")
    assert (opened.has_alpha, opened.colors, opened.geo) == (True, 3, None)
    opened = raster.open_raster(write(tmp_path / "b.tif", "GTiff", nodata=5))
    assert opened.special.empty.tolist() == [5]
    assert (opened.valid(opened.pixels[:, :], (0,)) == (DEEP != 5)).all()


def test_sparse_images_are_read_by_windows(tmp_path: Path) -> None:
    options = {"SPARSE_OK": True, "TILED": True, "count": 1, "dtype": "uint8"}
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", width=30_000, height=20_000, **options):
        pass
    opened = raster.open_raster(path)
    assert opened.pixels.shape == (20_000, 30_000, 1)
    assert not opened.pixels[5:9, 5:9].any()
    with pytest.raises(DataError, match=r"is damaged: its header declares 600000000 bytes"):
        raster.open_raster(path.read_bytes(), "x")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """GDAL closes a file that it could not write to the end without a word."""
    import resource

    pixels = RNG.integers(0, 256, (500, 500)).astype(np.uint8)
    geo = Georeference(MARS, PLACE)
    with create(tmp_path / "a.tif", (500, 500), 1, geo) as file:
        file.write(pixels, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "a.tif").stat().st_size
    for room in (size // 2, size - 3000, size - 10):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with (
                pytest.raises(OSError, match=r"failed|Failed"),
                create(tmp_path / f"{room}.tif", (500, 500), 1, geo) as file,
            ):
                file.write(pixels, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    contents = [(p := make(kind, tmp_path)).read_bytes() for kind in ("COG", "JPEG 2000", "PDS3")]
    assert p.exists()
    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error")
        read = pool.map(lambda i: raster.numbers(contents[i % 3], "x"), range(60))
        assert all((values[:, :, 0] == DEEP).all() for values in read)
