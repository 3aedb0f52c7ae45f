"""Pipes and files without permission, wherever a path is read: one message, never a wait."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from marsbench.base.errors import ConfigError, MarsbenchError
from marsbench.base.files import file_digest
from marsbench.config.schema import RunConfig, parse_subset
from marsbench.data.download.unpacking import unpack
from marsbench.data.sources import open_source
from marsbench.data.sources.local import LocalSource
from marsbench.data.tools.verify.folder import verify_folder
from marsbench.models.tensors import read_checkpoint
from marsbench.plan.tuned import filled
from marsbench.predict.submissions import score_submission
from marsbench.results.store import Store, read_record
from marsbench.results.upstream.importing import import_results
from marsbench.sweep.launchers.settings import load_settings
from marsbench.sweep.suites import load_suite
from marsbench.sweep.tune import load_space
from marsbench.sweep.units import read_unit
from marsbench.tasks.custom import load_task
from marsbench.tasks.kinds import Decode, Kind
from tests.challenges import TASK, write_challenge
from tests.fakes import as_nobody, make_spec, visible, write_folder

LABELS = make_spec()
MASKS = make_spec(
    Kind.SEGMENTATION, ("background", "crater"), name="masks", decode=Decode.IMAGE_MASK
)
BOXES = make_spec(Kind.DETECTION, ("crater", "rock"), name="boxes", decode=Decode.IMAGE_BOXES)


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """End a read that waits."""

    def end(*_: object) -> None:
        raise AssertionError("the read waits for a pipe")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)


SPOILT = {"pipe": "named pipe", "permission": "Permission denied"}


def spoil(path: Path, how: str) -> None:
    """Put a pipe in the place of a file, or take all permissions."""
    if how == "pipe":
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    else:
        path.touch()
        path.chmod(0)


Read = Callable[[Path], Any]
READERS: dict[str, tuple[str, Read]] = {
    "record": ("record.json", read_record),
    "predictions": ("predictions.parquet", lambda path: Store(path.parent).predictions(".")),
    "task": ("task.yaml", load_task),
    "task in a folder": ("task.yaml", lambda path: load_task(path.parent)),
    "suite": ("suite.yaml", lambda path: load_suite(str(path))),
    "launcher": ("launcher.yaml", lambda path: load_settings(str(path), {})),
    "space": ("space.yaml", lambda path: load_space(str(path), {})),
    "unit": ("unit.json", read_unit),
    "import": ("results.csv", lambda path: import_results([path], path.parent)),
    "submission": ("a.csv", lambda path: score_submission(path, path)),
    "torch": ("model.pt", read_checkpoint),
    "safetensors": ("model.safetensors", read_checkpoint),
    "digest": ("model.pt", file_digest),
    "archive": ("data.zip", lambda path: unpack(path, path.parent / "unpacked")),
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_cannot_be_read_is_named(reader: str, how: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    visible(tmp_path).chmod(0o777)
    spoil(tmp_path / name, how)
    with as_nobody(), pytest.raises(MarsbenchError, match=SPOILT[how]) as caught:
        read(tmp_path / name)
    assert name in caught.value.problem


@pytest.mark.parametrize("how", SPOILT)
def test_tuned_hyperparameters(how: str, tmp_path: Path) -> None:
    path = visible(tmp_path) / "frost_cls" / "resnet18-frozen.yaml"
    path.parent.mkdir()
    spoil(path, how)
    values = {"hparams": str(tmp_path), "task": "frost_cls", "model": "resnet18"}
    with as_nobody(), pytest.raises(MarsbenchError, match=SPOILT[how]):
        filled(values)


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (LABELS, "annotation.csv"),
        (LABELS, "mapping.json"),
        (LABELS, "val_0003.png"),
        (LABELS, "few_shot/1_shot.csv"),
        (MASKS, "data/val/images/val_0003.png"),
        (MASKS, "data/val/masks/val_0003.png"),
        (BOXES, "labels/val_0003.txt"),
        (BOXES, "pascal_voc/val_0003.xml"),
        (BOXES, "data/val/coco_annotations.json"),
    ],
)
def test_data_of_a_task(spec: Any, name: str, how: str, tmp_path: Path) -> None:
    folder = write_folder(spec, visible(tmp_path), {"train": 6, "val": 6, "test": 6})
    if name.startswith("few_shot"):
        (folder / "few_shot").mkdir()
        shutil.copy(folder / "annotation.csv", folder / name)
    path = next(p for p in folder.rglob(Path(name).name) if p.as_posix().endswith(name))
    spoil(path, how)

    def read() -> None:
        source = LocalSource(spec, folder)
        source.subset_ids(parse_subset("few_shot_1"))
        for i in range(6):
            source.read("val", i)

    with as_nobody():
        with pytest.raises(MarsbenchError, match=SPOILT[how]) as caught:
            read()
        assert path.name in caught.value.problem
        told = [text for text in verify_folder(spec, tmp_path).problems if SPOILT[how] in text]
        assert len([text for text in told if path.name in text]) == 1


@pytest.mark.parametrize(
    ("spec", "name", "count"),
    [
        (LABELS, "", 0),
        (LABELS, "data/val", 6),
        (MASKS, "data/val/masks", 6),
        (BOXES, "data/val/labels", 6),
        (LABELS, "few_shot", 0),
    ],
)
def test_a_folder_without_permission_is_not_reported_as_missing(
    spec: Any, name: str, count: int, tmp_path: Path
) -> None:
    folder = write_folder(spec, visible(tmp_path), {"train": 6, "val": 6, "test": 6})
    (folder / "few_shot").mkdir()
    (folder / name).chmod(0)
    subset = parse_subset("few_shot_1")
    with as_nobody():
        with pytest.raises(MarsbenchError, match="Permission denied") as caught:
            open_source(spec, root=tmp_path).subset_ids(subset)
        assert str(folder / name) in caught.value.problem
        assert "not found" not in caught.value.problem
        if count:
            assert f"{count} file(s)" in caught.value.problem
            problems = verify_folder(spec, tmp_path).problems
            assert len([text for text in problems if "Permission denied" in text]) == 1
            assert not [text for text in problems if "not found" in text]


@pytest.mark.parametrize("how", SPOILT)
def test_measurements_of_a_challenge(how: str, tmp_path: Path) -> None:
    folder = write_challenge(visible(tmp_path) / "ega", {"train": 6, "val": 3}, ("train", "val"))
    path = next(folder.rglob("S0001.csv"))
    spoil(path, how)

    def read() -> None:
        source = open_source(TASK, root=folder)
        for i in range(6):
            source.read("train", i)

    with as_nobody(), pytest.raises(MarsbenchError, match=SPOILT[how]) as caught:
        read()
    assert "S0001.csv" in caught.value.problem


@pytest.mark.parametrize("how", SPOILT)
def test_the_data_file_of_a_label(how: str, tmp_path: Path) -> None:
    from marsbench.data.raster import open_raster
    from tests.data.test_raster import label

    (visible(tmp_path) / "b.lbl").write_text(label('"b.img"'))
    spoil(tmp_path / "b.img", how)
    with as_nobody(), pytest.raises(MarsbenchError, match=SPOILT[how]):
        open_raster(tmp_path / "b.lbl")


def test_names_of_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    spec = make_spec()
    folder = write_folder(spec, tmp_path / "data")
    Image.new("L", (4, 4)).save(folder / "data" / "train" / os.fsdecode(b"\xd6l.png"))
    (tmp_path / "data").rename(tmp_path / os.fsdecode(b"\xd6d"))
    report = verify_folder(spec, tmp_path / os.fsdecode(b"\xd6d"))
    assert not report.problems
    assert any(r"\xd6l.png" in note for note in report.notes)


@pytest.mark.parametrize("depth", [0, 3, 5])
def test_records_in_a_closed_folder_are_not_missing(depth: int, tmp_path: Path) -> None:
    run = visible(tmp_path) / "runs" / "task" / "model" / "mode" / "full" / "0-abc"
    run.mkdir(parents=True)
    (run / "record.json").touch()
    closed = (tmp_path / "runs", *list(run.parents)[::-1][-4:], run)[depth]
    closed.chmod(0)
    store = Store(tmp_path / "runs")
    with as_nobody():
        if depth == 5:
            assert "Permission denied" in store.records()[1][0].problem
        else:
            with pytest.raises(MarsbenchError, match=f"{closed} cannot be searched: Permission"):
                store.records()


def test_an_error_of_the_system_is_one_message() -> None:
    from typer.testing import CliRunner

    from marsbench.cli import app

    done = CliRunner().invoke(app, ["predict", "x", "a" * 300, "--out", "b"])
    assert done.exit_code == 2
    assert "File name too long" in done.stderr
    done = CliRunner().invoke(app, ["predict", "c" * 300, ".", "--out", "b"])
    assert done.exit_code == 2
    assert "File name too long" in done.stderr


@pytest.mark.parametrize("key", ["task", "root", "store", "weights"])
def test_a_run_refuses_paths_that_records_cannot_hold(key: str) -> None:
    values = {"task": "frost_cls", "model": "resnet18", key: os.fsdecode(b"\xd6d")}
    with pytest.raises(ConfigError, match=rf"{key} is \\xd6d, which is not UTF-8"):
        RunConfig.from_dict(values)
