"""Ids and caches change for files that are read anew, and for no others."""

import re
from pathlib import Path

import pytest

from marsbench.base import files
from marsbench.data import changed
from marsbench.data.changed import MARK, mark_of
from marsbench.data.sources.local import LocalSource
from tests.data.test_raster_matrix import CASES, SPEC, write
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


def test_plain_data_keep_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    spec = make_spec()
    folder = write_folder(spec, tmp_path)
    write(CASES, tmp_path / "matrix")
    after = LocalSource(spec, folder), LocalSource(SPEC, tmp_path / "matrix")
    monkeypatch.setattr("marsbench.data.sources.local.mark_of", lambda path: "")
    monkeypatch.setattr("marsbench.data.sources.local.MARK", "none")
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
        files.cached_facts(paths, MARK, compute)
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
