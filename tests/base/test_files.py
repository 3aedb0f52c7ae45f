"""Cached digests of files."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from marsbench.base import files
from marsbench.base.files import cached_digest, cached_digests


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(files, "_SETTLED", 0.0)
    return tmp_path / "home"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_change_is_noticed_with_the_old_time_and_size(tmp_path: Path) -> None:
    file, other = tmp_path / "weights.bin", tmp_path / "other.bin"
    file.write_bytes(b"first")
    other.write_bytes(b"third")
    time.sleep(0.05)
    assert cached_digest(file) == sha256(b"first")
    stat = file.stat()
    file.write_bytes(b"other")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    time.sleep(0.05)
    assert cached_digest(file) == sha256(b"other")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    shutil.copy2(other, file)
    assert cached_digest(file) == sha256(b"third")


def test_unchanged_files_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(path.name.encode())
    time.sleep(0.05)
    digests = cached_digests(paths)
    assert digests == [sha256(b"a"), sha256(b"b")]
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert cached_digests(paths[::-1]) == digests[::-1]


def test_a_damaged_table_and_a_read_only_home_are_no_error(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"a")
    time.sleep(0.05)
    cached_digest(file)
    (table,) = (home / "digests").iterdir()
    table.write_text("[")
    assert cached_digest(file) == sha256(b"a")
    shutil.rmtree(home)
    home.write_text("a file, not a folder")
    assert cached_digest(file) == sha256(b"a")
