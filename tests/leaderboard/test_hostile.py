"""Submissions that are broken, or made to harm.

Each is refused with its reason: without a crash, a file outside of the upload, or code run.
"""

import base64
import json
import os
import pickle
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from marsbench.base.lazy import load
from marsbench.leaderboard import document, files, rescore
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.schema import SUBMISSION, Check
from marsbench.models.pretraining import Pretraining
from marsbench.results.store import PREDICTIONS, RECORD
from tests.leaderboard.fabricated import (
    change_predictions,
    change_record,
    rename_run,
    run_folders,
    seal,
    submit,
)

LABELS, MASKS = "landmark_cls", "mars_seg_mer"

Spoil = Callable[[Path], Path | None]
"""Change of a submission; returns the path to check if it is not the folder."""


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("valid")
    submit(place / "data", place / "submission", (LABELS, MASKS), seeds=(0, 1))
    return place


@pytest.fixture
def upload(valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the submission; nothing else may be there afterwards, and no code run."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("MARKER", str(tmp_path / "marker"))
    folder = shutil.copytree(valid / "submission", tmp_path / "upload" / "submission")
    yield folder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "upload"]
    assert not list(scratch.iterdir())
    for name in ("evil", "evil.txt"):
        assert not Path("/tmp", name).exists()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open archives and tables in this process, which saves a second."""

    def limited(function: str, calls: Sequence[Sequence[str]]) -> list[str]:
        return [load(function)(*arguments) for arguments in calls]

    monkeypatch.setattr(files, "limited", limited)
    monkeypatch.setattr(rescore, "limited", limited)


class Payload:
    """A pickle that writes the marker."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch $MARKER",)


def first(submission: Path, task: str = LABELS) -> Path:
    """Folder of a task's first run."""
    return next(run for run in run_folders(submission) if f"/{task}/" in str(run))


# Archives


def zipped(submission: Path, add: Callable[[zipfile.ZipFile], object]) -> Path:
    path = submission.parent / "upload.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in submission.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(submission))
        add(archive)
    return path


def zip_member(name: str, content: str = "x", mode: int = stat.S_IFREG | 0o644) -> Spoil:
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)

    return lambda submission: zipped(submission, add)


def zip_bytes(change: Callable[[bytearray], None], size: int = 4) -> Spoil:
    """Change the bytes of an archive whose last member is ``zzz``."""

    def spoil(submission: Path) -> Path:
        path = zipped(submission, lambda archive: archive.writestr("zzz", b"\0" * size))
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)
        return path

    return spoil


def encrypted(content: bytearray) -> None:
    content[content.rindex(b"PK\1\2") + 8] |= 1
    content[content.rindex(b"PK\3\4") + 6] |= 1


def huge(content: bytearray) -> None:
    """Give a member a size of 4 GB, as in a bomb."""
    at = content.rindex(b"PK\1\2")
    content[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFFE)


def understated(content: bytearray) -> None:
    """Give a member of 100 MB the size of a byte."""
    at = content.rindex(b"PK\1\2")
    content[at + 24 : at + 28] = struct.pack("<I", 1)


def tar_member(**fields: Any) -> Spoil:
    def spoil(submission: Path) -> Path:
        path = submission.parent / "upload.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(submission, "")
            info = tarfile.TarInfo("x")
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info)
        return path

    return spoil


def truncated_archive(submission: Path) -> Path:
    path = Path(shutil.make_archive(str(submission.parent / "upload"), "gztar", submission))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def archive_in_archive(submission: Path) -> Path:
    inner = zipped(submission, lambda _: None)
    path = inner.with_name("outer.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "submission.zip")
    return path


def file_of(content: bytes) -> Spoil:
    def spoil(submission: Path) -> Path:
        path = submission.parent / "upload.zip"
        path.write_bytes(content)
        return path

    return spoil


def nothing(submission: Path) -> Path:
    return submission / "missing.zip"


def pipe(submission: Path) -> Path:
    path = submission.parent / "upload.zip"
    os.mkfifo(path)
    return path


def empty_archive(submission: Path) -> Path:
    path = submission.parent / "upload.zip"
    zipfile.ZipFile(path, "w").close()
    return path


ARCHIVES: dict[str, tuple[Spoil, str]] = {
    "zip_parent": (zip_member("../evil.txt"), r"'\.\./evil\.txt' leads out of the folder"),
    "zip_absolute": (zip_member("/tmp/evil"), "'/tmp/evil' leads out of the folder"),
    "zip_drive": (zip_member("C:/evil.txt"), "leads out of the folder"),
    "zip_backslash": (zip_member("runs\\..\\..\\evil.txt"), "leads out of the folder"),
    "zip_link": (zip_member("x", "/etc/passwd", stat.S_IFLNK | 0o777), "is a link or a special"),
    "zip_device": (zip_member("x", "", stat.S_IFCHR | 0o666), "is a link or a special file"),
    "zip_twice": (zip_member(SUBMISSION, "{}"), r"'submission\.json' is in it twice"),
    "zip_case": (zip_member("Submission.json"), "differ in upper and lower case alone"),
    "zip_long_name": (zip_member("a" * 5000), "File name too long"),
    "zip_script": (zip_member("setup.py", "import os"), r"do not belong .*: setup\.py"),
    "zip_encrypted": (zip_bytes(encrypted), "'zzz' is encrypted"),
    "zip_huge": (zip_bytes(huge), r"it unpacks to more than [\d,]+ bytes"),
    "zip_understated": (zip_bytes(understated, 100_000_000), "is damaged or not an archive"),
    "tar_parent": (tar_member(name="../evil.txt"), "leads out of the folder"),
    "tar_absolute": (tar_member(name="/tmp/evil.txt"), "leads out of the folder"),
    "tar_link": (tar_member(type=tarfile.SYMTYPE, linkname="/etc"), "is a link or a special"),
    "tar_hard_link": (tar_member(type=tarfile.LNKTYPE, linkname="/etc/passwd"), "is a link or a"),
    "tar_device": (tar_member(type=tarfile.CHRTYPE), "is a link or a special file"),
    "tar_pipe": (tar_member(type=tarfile.FIFOTYPE), "is a link or a special file"),
    "tar_truncated": (truncated_archive, "is damaged or not an archive"),
    "nested": (archive_in_archive, "The file is missing"),
    "web_page": (file_of(b"<!doctype html><p>Sign in"), "a web page"),
    "pickle": (file_of(pickle.dumps(Payload())), "not an archive"),
    "empty": (empty_archive, "holds no files"),
    "missing": (nothing, "cannot be read: No such file"),
    "named_pipe": (pipe, "it is a named pipe"),
}


# Folders


def link(submission: Path) -> None:
    path = first(submission) / RECORD
    path.unlink()
    path.symlink_to("/etc/passwd")


def linked_folder(submission: Path) -> None:
    shutil.move(first(submission), submission.parent / "elsewhere")
    first(submission).symlink_to(submission.parent / "elsewhere")


def named_pipe(submission: Path) -> None:
    path = first(submission) / PREDICTIONS
    path.unlink()
    os.mkfifo(path)


def name(text: str) -> Spoil:
    def spoil(submission: Path) -> None:
        path = submission / text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")

    return spoil


def missing_file(submission: Path) -> None:
    (first(submission) / PREDICTIONS).unlink()


def folder_as_document(submission: Path) -> None:
    (submission / SUBMISSION).unlink()
    (submission / SUBMISSION).mkdir()


FOLDERS: dict[str, tuple[Spoil, str]] = {
    "link": (link, r"record\.json: The file is a link"),
    "linked_folder": (linked_folder, "The file is a link"),
    "pipe": (named_pipe, "The file is a named pipe"),
    "deep": (name("/".join("a" * 40) + "/x"), "is nested more than 32 levels deep"),
    "line_break": (name("a\nb.txt"), r"a\\nb\.txt: The name of the file has control characters"),
    "right_to_left": (name("a\u202egnp.exe"), r"a\\u202egnp\.exe: The name"),
    "further_file": (name("runs/.hidden"), r"do not belong to the submission: runs/\.hidden"),
    "missing_file": (missing_file, r"1 listed file\(s\) are missing: runs/.*predictions"),
    "folder_as_document": (folder_as_document, r"submission\.json: The file is missing"),
    "other_rows": (name("rows/classification.csv"), "does not follow from the scores"),
}


# The document


def text(change: Callable[[str], str]) -> Spoil:
    def spoil(submission: Path) -> None:
        path = submission / SUBMISSION
        path.write_text(change(path.read_text()), encoding="utf-8")

    return spoil


def replaced(content: bytes) -> Spoil:
    def spoil(submission: Path) -> None:
        (submission / SUBMISSION).write_bytes(content)

    return spoil


def fields(**values: Any) -> Spoil:
    return lambda submission: _set(submission, lambda content: content.update(values))


def author(**values: str) -> Spoil:
    return lambda submission: _set(submission, lambda content: content["author"].update(values))


def model(**values: Any) -> Spoil:
    return lambda submission: _set(submission, lambda content: content["model"].update(values))


def run(**values: Any) -> Spoil:
    return lambda submission: _set(submission, lambda content: content["runs"][0].update(values))


def _set(submission: Path, change: Callable[[Any], object]) -> None:
    path = submission / SUBMISSION
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def one_more(content: dict[str, Any]) -> None:
    content["runs"].append(content["runs"][0])


def latin(submission: Path) -> None:
    path = submission / SUBMISSION
    path.write_bytes(path.read_bytes().replace(b"Ada", b"\xc5da"))


DOCUMENTS: dict[str, tuple[Spoil, str]] = {
    "deep": (replaced(b'{"a":' * 200_000), "nested more than 50 levels"),
    "unclosed": (replaced(b"{"), "is not a submission"),
    "list": (replaced(b"[]"), "is not a submission"),
    "pickle": (replaced(pickle.dumps(Payload())), "not UTF-8"),
    "utf_16": (replaced("{}".encode("utf-16")), "not UTF-8"),
    "latin": (latin, "not UTF-8"),
    "nan": (text(lambda t: t.replace('"parameters": null', '"parameters": NaN')), "NaN"),
    "infinite": (text(lambda t: t.replace('"parameters": null', '"parameters": 1e999')), "1e999"),
    "huge_number": (text(lambda t: t.replace("[0, 1]", f"[0, 1{'0' * 9000}]")), "digits"),
    "keys_twice": (text(lambda t: t[:-1] + ', "mode": "scratch"}'), "'mode' is given twice"),
    "newer": (fields(schema_version=99), "has schema version 99"),
    "unknown_key": (fields(run_code="import os"), "Unknown key 'run_code'"),
    "wrong_types": (fields(seeds={"0": "1"}, partial="no"), "'seeds' is a mapping"),
    "lone_surrogate": (text(lambda t: t.replace("Ada", "\\udc80")), "surrogates not allowed"),
    "markup": (author(name="<script>alert(1)</script>"), "'author.name' holds markup"),
    "formula": (author(name='=HYPERLINK("http://x")'), "begins like a formula"),
    "right_to_left": (author(name="abc\u202edef"), r"holds control characters: abc\\u202edef"),
    "two_lines": (model(name="vit\nAccuracy: 1.0"), "'model.name' is|holds control characters"),
    "script_link": (author(link="javascript:alert(1)"), "'author.link' is"),
    "password_link": (author(link="https://a:b@example.org"), "expected the https address"),
    "local_link": (model(links=["https://localhost/x"]), "'model.links.1' is"),
    "file_link": (model(links=["file:///etc/passwd"]), "'model.links.1' is"),
    "long_note": (fields(note="a" * 5000), "'note' is"),
    "id_of_parent": (run(run_id="../../../../etc"), "holds ids that are not task/model"),
    "id_with_line": (run(run_id="a/b/frozen/full/0-0123456789\n"), "holds ids that are not"),
    "file_of_parent": (run(files={"maps/../../../../x.png": "0" * 64}), "do not belong to a run"),
    "absolute_file": (run(files={"/etc/passwd": "0" * 64}), "do not belong to a run"),
    "weights": (run(files={"model.safetensors": "0" * 64}), "do not belong to a run"),
    "digests": (run(files={RECORD: "0", PREDICTIONS: "0" * 64}), "digests that are not SHA-256"),
    "run_twice": (lambda s: _set(s, one_more), "names runs twice"),
    "unknown_task": (fields(tasks=["mars_cls"]), "not in the catalogue: mars_cls"),
    "task_as_path": (fields(tasks=["../task.yaml", LABELS]), r"catalogue: \.\./task\.yaml"),
    "tasks_unsorted": (fields(tasks=[MASKS, LABELS]), "unsorted"),
    "seed_negative": (fields(seeds=[-1, 0, 1]), "'seeds' holds -1"),
    "too_few_seeds": (fields(partial=False), "has 2 seeds; a complete submission has at least 7"),
    "missing_seed": (fields(seeds=[*range(7)], partial=False), "Runs are missing: landmark_cls"),
    "mode": (fields(mode="cheat"), "'mode' is 'cheat'"),
    "subset": (
        fields(subset="partition_0.1"),
        "'subset' is partition_0.1; expected partition_0.10",
    ),
    "time": (fields(created="yesterday"), "'created' is 'yesterday'"),
    "overlaps": (model(pretraining={"overlaps": ["x"]}), "overlaps' names tasks not in"),
}


# Records


def record(change: Callable[[Any], object]) -> Spoil:
    def spoil(submission: Path) -> None:
        change_record(first(submission), change)
        seal(submission)

    return spoil


def renamed(change: Callable[[Any], object]) -> Spoil:
    """Change the fields of a record behind its run id, and its run id with them."""

    def spoil(submission: Path) -> None:
        def apply(read: Any) -> Any:
            change(read)
            return read

        rename_run(submission, first(submission), apply)
        seal(submission)

    return spoil


def record_text(content: bytes) -> Spoil:
    def spoil(submission: Path) -> None:
        (first(submission) / RECORD).write_bytes(content)
        seal(submission)

    return spoil


def record_nan(submission: Path) -> None:
    path = first(submission) / RECORD
    path.write_text(re.sub(r'"accuracy": [0-9.]+', '"accuracy": NaN', path.read_text()))
    seal(submission)


def metric(**values: float) -> Spoil:
    return record(lambda content: content["metrics"]["test"].update(values))


def overlapping(content: Any) -> None:
    content["pretraining"] = {"data": "HiRISE", "overlaps": [LABELS]}


RECORDS: dict[str, tuple[Spoil, str]] = {
    "truncated": (record_text(b'{"run_id": "a'), "is not a record"),
    "pickle": (record_text(pickle.dumps(Payload())), "not UTF-8"),
    "deep": (record_text(b"[" * 100_000), "nested more than 50 levels"),
    "large": (record_text(b" " * 1_100_000), "is larger than 1 MB"),
    "nan": (record_nan, "is not a record: the number NaN"),
    "changed_identity": (record(lambda c: c["identity"].update(x=1)), "run_id does not follow"),
    "another_model": (record(lambda c: c.update(model="vit_l_16")), "The record is of the run"),
    "another_seed": (record(lambda c: c.update(seed=5)), "The record is of the run"),
    "ensemble": (record(lambda c: c.update(record_type="ensemble")), "of the type 'ensemble'"),
    "protocol": (record(lambda c: c.update(protocol="online")), "has protocol 'online'"),
    "headline": (record(lambda c: c.update(headline="accuracy")), "headline metric is 'accuracy'"),
    "kind": (record(lambda c: c.update(kind="binary")), "kind is 'binary'; expected multiclass"),
    "classes": (record(lambda c: c["data"]["classes"].pop()), "other classes than the 8"),
    "renamed_classes": (
        record(lambda c: c["data"].update(classes=list("abcdefgh"))),
        "The run has the classes a, b, c, d, e, and 3 more; .* has",
    ),
    "scored_split": (record(lambda c: c["data"].update(scored_split="val")), "split is 'val'"),
    "demo": (record(lambda c: c["data"].update(source="demo")), "run is of demo data"),
    "revision": (record(lambda c: c["data"].update(revision="x")), "data revision is not in"),
    "above_one": (metric(accuracy=1.5), "accuracy of test is 1.5; expected 0 to 1"),
    "no_headline": (record(lambda c: c["metrics"]["test"].pop("f1_weighted")), "no f1_weighted"),
    "invented": (metric(honesty=0.9), "does not give the metrics honesty"),
    "terminal": (record(lambda c: c.update(device="\x1b[2J")), r"control characters: \\x1b\[2J"),
    "overlap": (record(overlapping), "pre-training of the record has data 'HiRISE'"),
    "settings": (renamed(lambda r: r.identity["optim"].update(lr=1.0)), "2 different settings"),
    "another_task": (
        renamed(lambda r: object.__setattr__(r, "task", "x")),
        "'tasks' does not name",
    ),
}


# Predictions


def table(change: Callable[[Any], Any]) -> Spoil:
    def spoil(submission: Path) -> None:
        change_predictions(first(submission), change)
        seal(submission)

    return spoil


def cell(column: str, value: Any) -> Spoil:
    """Set a value of the fourth row."""

    def change(frame: Any) -> Any:
        values = list(frame[column])
        values[3] = value(values[3])
        return frame.assign(**{column: values})

    return table(change)


def arrow(write: Callable[[Path, pa.Table], object]) -> Spoil:
    """Write the table anew."""

    def spoil(submission: Path) -> None:
        path = first(submission) / PREDICTIONS
        write(path, pq.read_table(path))
        seal(submission)

    return spoil


def pickled_table(path: Path, _: pa.Table) -> None:
    path.write_bytes(pickle.dumps(Payload()))


def truncated_table(path: Path, _: pa.Table) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def many_values(path: Path, content: pa.Table) -> None:
    """Put 11 million equal numbers into a row, in a few kilobytes."""
    count = 11_000_000
    numbers = pa.ListArray.from_arrays(
        pa.array([*range(len(content)), count], pa.int32()), pa.array(np.zeros(count, np.float32))
    )
    at = content.column_names.index("scores")
    pq.write_table(content.set_column(at, "scores", numbers), path)
    assert path.stat().st_size < 20_000


def many_columns(path: Path, content: pa.Table) -> None:
    for i in range(20):
        content = content.append_column(f"c{i}", pa.nulls(len(content), pa.int8()))
    pq.write_table(content, path)


def of_train(frame: Any) -> Any:
    return frame.assign(sample_id=[i.replace("test", "train") for i in frame["sample_id"]])


def without_rows(frame: Any) -> Any:
    return frame.assign(split="train")


TABLES: dict[str, tuple[Spoil, str]] = {
    "pickle": (arrow(pickled_table), "is not a Parquet file"),
    "truncated": (arrow(truncated_table), "is not a Parquet file"),
    "many_values": (arrow(many_values), r"has 11,000,000 values in the column scores"),
    "many_columns": (arrow(many_columns), "has 24 columns; expected up to 20"),
    "empty": (table(lambda f: f.iloc[:0]), "has no rows of the split test"),
    "nan": (cell("scores", lambda v: v * np.nan), r"8 (score|empty value)\(s\)"),
    "infinite": (cell("scores", lambda v: v + np.inf), r"8 score\(s\) that are NaN or infinite"),
    "above_one": (cell("scores", lambda v: v * 9), r"score\(s\) outside of 0 to 1"),
    "sums": (cell("scores", lambda v: v / 2), r"1 row\(s\) whose scores do not sum to 1"),
    "short": (cell("scores", lambda v: v[:3]), r"1 row\(s\) of 3 numbers; expected 8"),
    "empty_scores": (cell("scores", lambda v: None), r"has 1 empty value"),
    "targets": (cell("target", lambda v: 99), "has the targets 99; expected 0 to 7"),
    "text": (table(lambda f: f.assign(scores="__import__('os')")), "column scores that is of type"),
    "nested": (table(lambda f: f.assign(scores=[[[0.5]]] * len(f))), "expected real numbers"),
    "no_ids": (table(lambda f: f.drop(columns="sample_id")), "has no column sample_id"),
    "number_ids": (table(lambda f: f.assign(sample_id=range(len(f)))), "expected text"),
    "null_ids": (cell("sample_id", lambda v: None), r"1 empty value\(s\) in the column sample_id"),
    "long_id": (cell("sample_id", lambda v: "a" * 2000), "of more than 1000 characters"),
    "id_with_line": (cell("sample_id", lambda v: "a\nb"), r"not in the test split .*: a\\nb"),
    "ids_twice": (cell("sample_id", lambda v: "test_0000.png"), r"1 sample id\(s\) twice"),
    "ids_of_train": (table(of_train), "24 sample.s. that are not in the test split"),
    "further_column": (table(lambda f: f.assign(code="x")), "columns of no meaning: code"),
    "no_test_rows": (table(without_rows), "has no rows of the split test; it has train"),
    "masks": (table(lambda f: f.drop(columns="target")), "has no column target"),
}


# Class maps


def class_map(change: Callable[[Path], object]) -> Spoil:
    def spoil(submission: Path) -> None:
        change(sorted((first(submission, MASKS) / "maps").iterdir())[2])
        seal(submission)

    return spoil


def saved(make: Callable[[Image.Image], Image.Image], form: str = "PNG") -> Spoil:
    def change(path: Path) -> None:
        with Image.open(path) as image:
            image.load()
        make(image).save(path, format=form)

    return class_map(change)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """PNG of 8-bit grey, with further chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(bytes(33 * 32))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in body
    )


def content(data: bytes) -> Spoil:
    return class_map(lambda path: path.write_bytes(data))


def swapped(path: Path) -> None:
    other = path.with_name(path.name.replace("0002", "0004"))
    held = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(held)


TEXT_BOMB = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n(%pipe%touch $MARKER) (w) file\n"

MAPS: dict[str, tuple[Spoil, str]] = {
    "size": (saved(lambda i: i.resize((16, 16))), "is 16 x 16 pixels; its mask is 32 x 32"),
    "bomb": (content(png(60_000, 60_000)), "60000 x 60000 pixels|is not a PNG file"),
    "text_bomb": (content(png(32, 32, TEXT_BOMB)), "is not a PNG file"),
    "colours": (saved(lambda i: i.convert("RGB")), "has pixels of mode RGB"),
    "sixteen_bits": (saved(lambda i: i.convert("I;16")), "has pixels of mode I;16"),
    "classes": (saved(lambda i: i.point(lambda v: 200)), "holds class 200; expected 0 to 6"),
    "gif": (saved(lambda i: i, "GIF"), "is not a PNG file"),
    "postscript": (content(EPS), "is not a PNG file"),
    "pickle": (content(pickle.dumps(Payload())), "is not a PNG file"),
    "truncated": (class_map(lambda p: p.write_bytes(p.read_bytes()[:60])), "is not a PNG file"),
    "missing": (class_map(Path.unlink), r"1 sample\(s\) without a class map: test_0002\.png"),
    "further": (class_map(lambda p: shutil.copy(p, p.with_name("x.png"))), "no sample for 1 class"),
    "swapped": (class_map(swapped), r"2 class map\(s\): test_0002.png gives other counts"),
}

EVERY = {
    f"{sort}-{key}": case
    for sort, cases in {
        "folder": FOLDERS,
        "document": DOCUMENTS,
        "record": RECORDS,
        "table": TABLES,
        "map": MAPS,
    }.items()
    for key, case in cases.items()
}


def reasons(check: Check) -> str:
    return "\n".join(f"{finding.where}: {finding.problem}" for finding in check.errors)


def refused(spoil: Spoil, reason: str, upload: Path, data: Path) -> None:
    path = spoil(upload) or upload
    check = check_submission(path, root=data)
    assert not check.is_valid
    assert re.search(reason, reasons(check)), reasons(check)
    for finding in check.findings:
        assert finding.problem.isprintable()
        assert len(finding.problem) <= 1000
        assert finding.remedy or not finding.is_error
    assert Check.from_json(check.to_json(), "check.json").findings == check.findings


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("spoil", "reason"), ARCHIVES.values(), ids=ARCHIVES)
@pytest.mark.usefixtures("here")
def test_archives(spoil: Spoil, reason: str, upload: Path, valid: Path) -> None:
    refused(spoil, reason, upload, valid / "data")


@pytest.mark.parametrize(("spoil", "reason"), EVERY.values(), ids=EVERY)
@pytest.mark.usefixtures("here")
def test_submissions(spoil: Spoil, reason: str, upload: Path, valid: Path) -> None:
    refused(spoil, reason, upload, valid / "data")


def test_the_submission_is_valid_before(upload: Path, valid: Path) -> None:
    check = check_submission(upload, root=valid / "data")
    assert reasons(check) == ""
    assert len(check.runs) == 4


def long_texts(path: Path, content: pa.Table) -> None:
    """Name 24 samples by one text of 100 MB, in a few kilobytes."""
    names = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(content), np.int32)), pa.array(["x" * 100_000_000])
    )
    at = content.column_names.index("sample_id")
    changed = content.set_column(at, "sample_id", names)
    pq.write_table(changed, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 100_000


def test_memory_is_limited(upload: Path, valid: Path) -> None:
    """A table of a few kilobytes that asks for 2.4 GB ends a process, but not this one."""
    reason = "The file needs more than 1 GiB of memory"
    refused(arrow(long_texts), reason, upload, valid / "data")


@pytest.mark.usefixtures("here")
def test_limits_of_numbers_and_sizes(
    upload: Path, valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, key, value, reason in (
        (files, "MOST_FILES", 20, "has more than 20 files"),
        (files, "MOST_BYTES", 5000, r"or 0\.0 GB"),
        (document, "MOST_JSON", 100, "is larger than 0.0001 MB"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, key, value)
            check = check_submission(upload, root=valid / "data")
        assert re.search(reason, reasons(check))
        assert check.runs == ()


def pandas_metadata(path: Path, content: pa.Table) -> None:
    """Metadata of pandas and of an extension type, which some readers unpickle."""
    code = base64.b64encode(pickle.dumps(Payload()))
    hostile = {b"pandas": b'{"index_columns": ["' + code + b'"], "columns": 1}', b"pickle": code}
    field = content.schema.field("target").with_metadata(
        {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": pickle.dumps(Payload()),
        }
    )
    at = content.column_names.index("target")
    changed = content.set_column(at, field, content.column("target"))
    pq.write_table(changed.replace_schema_metadata(hostile), path)


@pytest.mark.usefixtures("here")
def test_metadata_of_tables_are_not_used(upload: Path, valid: Path) -> None:
    arrow(pandas_metadata)(upload)
    check = check_submission(upload, root=valid / "data")
    assert reasons(check) == ""


@pytest.mark.usefixtures("here")
def test_configs_are_not_read(upload: Path, valid: Path) -> None:
    config = first(upload) / "config.yaml"
    config.write_text("!!python/object/apply:os.system ['touch $MARKER']\n")
    assert check_submission(seal(upload), root=valid / "data").is_valid


@pytest.mark.usefixtures("here")
def test_pre_training_of_the_record_may_be_completed(upload: Path, valid: Path) -> None:
    def change(known: Any) -> Any:
        object.__setattr__(known, "weights", {"name": "vit.pth"})
        object.__setattr__(known, "pretraining", Pretraining(data="ImageNet-1k", images=5))
        known.identity["weights"] = "vit.pth"
        return known

    for run in run_folders(upload):
        rename_run(upload, run, change)
    stated = {"data": "ImageNet-1k", "images": 5, "licence": "MIT", "overlaps": []}
    seal(upload, lambda content: content["model"].update(weights="vit.pth", pretraining=stated))
    check = check_submission(upload, root=valid / "data")
    assert reasons(check) == ""
    text = "Stated by the author, not by the records: pretraining.licence, pretraining.overlaps."
    assert text in [flag.problem for flag in check.findings]
    assert check.submission is not None
    assert check.submission.model.pretraining == Pretraining(
        data="ImageNet-1k", images=5, licence="MIT", overlaps=()
    )
