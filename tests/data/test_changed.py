"""Ids and caches change for files that are read anew, and for no others."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import ExifTags, Image

from marsbench.base import files
from marsbench.data import changed
from marsbench.data.changed import KIND, MARK, mark_of
from marsbench.data.sources.local import LocalSource
from marsbench.data.special import NULL
from tests.data.test_raster_matrix import CASES, LOSSLESS, SPEC, geotiff, write
from tests.fakes import make_spec, write_folder

PLAIN = re.compile(
    r"PNG: 8|PNG: .*grey|(TIFF|GeoTIFF|JP2): |.*orientation 1\b|PGM of four|GeoTIFF, one scale"
)
"""Cases with the pixels of earlier versions, and 16-bit PNGs in grey, which were refused."""

ANEW = re.compile(
    r"PNG: (10|16).*RGB|.*nodata|.*internal mask|PDS|ISIS|TIFF of ISIS|.*orientation [2-8]"
    r"|PPM of 16|.*white is 0"
)


def test_marks_of_every_case(tmp_path: Path) -> None:
    paths = write(CASES, tmp_path)
    marks = {name: mark_of(path) for name, path in paths.items()}
    plain = {name for name in CASES if PLAIN.match(name) and not name.startswith("16-bit PNG")}
    assert {name for name in plain if marks[name]} == set()
    assert {name for name in CASES if ANEW.match(name) and not marks[name]} == set()
    assert len(plain) > 40
    assert mark_of(tmp_path / "absent.png") == ""


def hidden(folder: Path) -> list[Path]:
    """Write files whose difference from earlier versions stands in no usual place."""
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    grey, picture = colors[:, :, 0], Image.fromarray(colors)
    notes = Image.Exif()
    notes[ExifTags.Base.Orientation] = 6
    picture.save(folder / "profile.png", exif=notes, icc_profile=rng.bytes(9000))
    notes[ExifTags.Base.ImageDescription] = "x" * 9000
    picture.save(folder / "long.webp", exif=notes, lossless=True)
    tifffile.imwrite(folder / "deep.tif", colors.astype("u4") << 20, photometric="rgb")
    tifffile.imwrite(folder / "signed.tif", grey.view("i1"), photometric="miniswhite")
    null = grey.astype("f4")[:, :, None]
    null[:4] = NULL
    geotiff(folder / "null.tif", null)
    geotiff(folder / "few.tif", colors >> 4, nbits=4)
    geotiff(folder / "few.jp2", colors >> 4, "JP2OpenJPEG", NBITS=4, **LOSSLESS)
    geotiff(folder / "scaled.tif", colors)
    with rasterio.open(folder / "scaled.tif", "r+") as dataset:
        dataset.scales = (1.0, 2.0, 3.0)
    return sorted(folder.iterdir())


def test_marks_wherever_a_file_holds_the_difference(tmp_path: Path) -> None:
    marks = {path.name: (mark_of(path), mark_of(path.read_bytes())) for path in hidden(tmp_path)}
    assert len(marks) == 8
    assert {name for name, both in marks.items() if both != (MARK, MARK)} == set()


def test_marks_of_damaged_files_are_no_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for path in (*hidden(tmp_path), *write(CASES, tmp_path / "matrix").values()):
        content = path.read_bytes()
        for length in (0, 1, 16, 21, len(content) // 2):
            assert mark_of(content[:length]) in ("", MARK)
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(4, min(len(damaged), 400), 20)] = 255
        assert mark_of(damaged.tobytes()) in ("", MARK)


def test_plain_data_keep_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    spec = make_spec()
    folder = write_folder(spec, tmp_path)
    write(CASES, tmp_path / "matrix")
    after = LocalSource(spec, folder), LocalSource(SPEC, tmp_path / "matrix")
    monkeypatch.setattr("marsbench.data.sources.fingerprints.mark_of", lambda path: "")
    monkeypatch.setattr("marsbench.data.sources.fingerprints.KIND", "none")
    before = LocalSource(spec, folder), LocalSource(SPEC, tmp_path / "matrix")
    assert [a.revision == b.revision for a, b in zip(after, before, strict=True)] == [True, False]
    prints = [
        [s.rows("train").fingerprint for s in sources]
        for sources in zip(after, before, strict=True)
    ]
    assert [len(set(pair)) for pair in prints] == [1, 2]


def test_marks_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(files, "_SETTLED", -1)
    paths = list(write(dict(list(CASES.items())[:5]), tmp_path).values())
    seen: list[Path] = []

    def compute(path: Path) -> str:
        seen.append(path)
        return changed.mark_of(path)

    for _ in range(2):
        files.cached_facts(paths, KIND, compute)
    assert seen == paths


def test_a_mask_beside_an_image_belongs_to_it(tmp_path: Path) -> None:
    spec = make_spec()
    folder = write_folder(spec, tmp_path)
    before = LocalSource(spec, folder)
    (path,) = before.files("train", 0)
    cases = {k: v for k, v in CASES.items() if k == "GeoTIFF, external mask: 8, grey"}
    (image,) = write(cases, tmp_path / "masked").values()
    mask = path.with_name(f"{path.name}.msk")
    mask.write_bytes(image.with_name(f"{image.name}.msk").read_bytes())
    after = LocalSource(spec, folder)
    assert before.revision != after.revision
    assert before.rows("train").fingerprint != after.rows("train").fingerprint
