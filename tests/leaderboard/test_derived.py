"""Derived files of a submission are compared by value."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from marsbench.leaderboard.derived import follows
from marsbench.leaderboard.files import Files
from marsbench.leaderboard.rows import write_rows
from tests.leaderboard.test_rows import check_of, checked

CSV, YAML = "rows/classification.csv", ".eval_results/marsbench.yaml"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the derived files of a check."""
    check = check_of(checked("frost_cls", 0, accuracy=0.51234, f1_positive=0.6, f1_weighted=0.9))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_rows(check, tmp_path / name)
    return tmp_path / "a", tmp_path / "b"


def compare(folders: tuple[Path, Path], name: str) -> bool:
    stored, written = folders
    return follows(Files(stored, {name: (stored / name).stat().st_size}), name, written / name)


def quoted(path: Path) -> None:
    """Write a CSV with quotes, a byte order mark and the line ends of Windows."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)


def replaced(a: str, b: str) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        text = path.read_text()
        assert a in text
        path.write_text(text.replace(a, b))

    return change


def flow(path: Path) -> None:
    """Write the values in the other style, keys sorted and the time without quotes."""
    text = yaml.safe_dump(yaml.safe_load(path.read_text()), default_flow_style=True)
    path.write_text(text.replace("'2026-01-01T00:00:00+00:00'", "2026-01-01T00:00:00+00:00"))


@pytest.mark.parametrize(
    ("name", "change", "is_equal"),
    [
        (CSV, lambda path: None, True),
        (CSV, quoted, True),
        (CSV, replaced("0.5123", "0.5124"), True),  # rounding of another machine
        (CSV, replaced("0.6", "0.60"), True),
        (CSV, replaced("0.5123", "0.5126"), False),
        (CSV, replaced("0.5123", "nan"), False),
        (CSV, replaced("vit", "resnet"), False),
        (CSV, lambda path: path.write_text(path.read_text() * 2), False),
        (YAML, flow, True),
        (YAML, replaced("0.9", "0.99"), False),
        (YAML, replaced("frost_cls", "mmls"), False),
        (YAML, lambda path: path.write_text(""), False),
        (YAML, lambda path: path.write_text("{a: {b: [1]}}"), False),
    ],
)
def test_values_are_compared(
    name: str, change: Callable[[Path], Any], is_equal: bool, folders: tuple[Path, Path]
) -> None:
    change(folders[0] / name)
    assert compare(folders, name) == is_equal


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (CSV, b"", "is not a CSV"),
        (CSV, b'a,b\n"1', "is not a CSV"),
        (CSV, b"a,b\n1\n", "is not a CSV"),
        (CSV, b"\xff\xfe", "is not a CSV"),
        (CSV, b"a,a\n1,2\n", "is not a CSV: it has columns twice"),
        (CSV, b"a\n" + b"x" * 200_000, "is not a CSV: field larger"),
        (YAML, b"{", "cannot be read: YAML: this is not valid YAML"),
        (YAML, b"!!python/object/apply:os.system [ls]", "cannot be read: YAML"),
        (YAML, b"[" * 100, "cannot be read: YAML is refused"),
        (YAML, b" " * 1_000_001, "is larger than 1 MB"),
    ],
)
def test_unreadable_files(
    name: str, content: bytes, reason: str, folders: tuple[Path, Path]
) -> None:
    (folders[0] / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        compare(folders, name)


def test_a_file_that_no_score_gives(folders: tuple[Path, Path]) -> None:
    (folders[1] / CSV).unlink()
    assert not compare(folders, CSV)
