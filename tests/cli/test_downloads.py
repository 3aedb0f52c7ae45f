"""The commands that bring data and manage them, against a server of our own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.config.schema import parse_subset
from marsbench.data.sources import hub_files
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import select
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Decode, Kind
from tests.cli.test_commands import lines, marsbench
from tests.data.sources.test_open import folder_of, publish
from tests.fakes import make_spec, read_rows, write_folder, write_spec
from tests.hub_data import repo_of, zip_of
from tests.server import COMMIT, Server

DECODES = {Kind.SEGMENTATION: Decode.IMAGE_MASK, Kind.DETECTION: Decode.IMAGE_BOXES}


@pytest.fixture
def frost(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSource:
    """frost_cls, published; an empty working folder."""
    local = publish(server, TASKS["frost_cls"], folder_of(TASKS["frost_cls"], tmp_path / "made"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return local


def test_download_says_what_came(server: Server, frost: LocalSource) -> None:
    (row,) = lines(marsbench("data", "download", "frost_cls"))
    assert row["source"] == "huggingface"
    assert row["revision"] == COMMIT
    assert row["splits"] == ["test", "train", "val"]
    assert row["size"] > 1000
    assert Path(row["path"]).is_dir()
    server.forget()
    assert lines(marsbench("data", "download", "frost_cls")) == [row]
    assert server.seen() == []


def test_download_of_subsets(server: Server, frost: LocalSource) -> None:
    (row,) = lines(
        marsbench("data", "download", "frost_cls", "--subset=few_shot_1", "--subset=partition_0.50")
    )
    few, part = "few_shot_train_1_shot", "partition_train_0.50x_partition"
    assert sorted(row["splits"]) == sorted([few, part, "test", "val"])
    (row,) = lines(marsbench("data", "download", "frost_cls", "--all-subsets"))
    assert sorted(row["splits"]) == sorted([few, part, "test", "train", "val"])


def test_download_from_zenodo(server: Server, frost: LocalSource) -> None:
    (row,) = lines(marsbench("data", "download", "frost_cls", "--source", "zenodo"))
    assert (row["source"], row["revision"]) == ("zenodo", "record 1")
    assert not server.seen("datasets")
    server.forget()
    assert lines(marsbench("data", "download", "frost_cls", "--source", "zenodo")) == [row]
    assert server.seen() == []
    table = marsbench("data", "download", "frost_cls", "--source", "zenodo", "--format", "table")
    assert "record 1" in table.stdout


def test_one_failure_does_not_stop_the_others(server: Server, frost: LocalSource) -> None:
    done = marsbench("data", "download", "domars16k", "frost_cls")
    assert done.returncode == 2
    assert "Error: domars16k" in done.stderr
    assert "1 of 2 not downloaded" in done.stderr
    assert json.loads(done.stdout)["task"] == "frost_cls"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["frostcls"], ["Did you mean frost_cls"]),
        (["frost_cls", "--subset", "half"], ["Unknown subset 'half'"]),
        (["frost_cls", "--source", "zenod"], ["Did you mean zenodo"]),
        (["frost_cls", "--source=zenodo", "--update"], ["--update", "data clean"]),
        (["frost_cls", "--revision", "v7"], ["Revision 'v7'"]),
        (["ega_ms"], ["ega_ms", "not on the hub"]),
        (["ega_ms", "--source=zenodo"], ["ega_ms", "Zenodo"]),
    ],
)
def test_bad_words(frost: LocalSource, words: list[str], says: list[str]) -> None:
    done = marsbench("data", "download", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for text in says:
        assert text in done.stderr


def test_status_and_clean(server: Server, frost: LocalSource, tmp_path: Path) -> None:
    assert lines(marsbench("data", "status")) == []
    lines(marsbench("data", "download", "frost_cls", "--subset", "few_shot_1"))
    lines(marsbench("data", "download", "frost_cls", "--source", "zenodo"))
    assert lines(marsbench("data", "info", "frost_cls"))[0]["sizes"]["train"] > 0
    rows = {row["what"]: row for row in lines(marsbench("data", "status", "--check"))}
    assert set(rows) == {"huggingface", "zenodo"}
    assert rows["huggingface"]["revision"] == COMMIT
    assert rows["huggingface"]["splits"] == ["few_shot_train_1_shot", "test", "val"]
    assert {row["state"] for row in rows.values()} == {"whole"}
    assert "frost_cls" in marsbench("data", "status", "--format", "table").stdout

    own = tmp_path / "home" / "data" / "mb-domars16k"
    own.mkdir(parents=True)
    (own / "annotation.csv").write_text("file_id,split,feature_name,label\n")
    would = lines(marsbench("data", "clean", "frost_cls", "--dry-run"))
    assert len(would) == 2
    assert lines(marsbench("data", "clean", "frost_cls")) == would
    assert lines(marsbench("data", "clean", "domars16k")) == []
    (row,) = lines(marsbench("data", "status"))
    assert (row["task"], row["what"]) == ("domars16k", "own folder")
    old = hub_files.pin_folder(str(frost.spec.hub_id)) / COMMIT
    old.mkdir(parents=True)  # as older versions left it
    (old / "a.parquet").write_bytes(b"12345")
    (row,) = lines(marsbench("data", "clean", "frost_cls"))
    assert (row["what"], row["size"], row["path"]) == ("unused hub files", 5, str(old))
    assert not old.parent.exists()
    server.forget()
    lines(marsbench("data", "download", "frost_cls"))
    assert server.seen("/api/datasets")  # after cleaning, the commit is asked for anew


def test_status_finds_damage(server: Server, frost: LocalSource) -> None:
    (row,) = lines(marsbench("data", "download", "frost_cls"))
    lines(marsbench("data", "download", "frost_cls", "--source", "zenodo"))
    path = next(Path(row["path"]).rglob("val*.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    assert marsbench("data", "status").returncode == 0  # sizes are right
    done = marsbench("data", "status", "--check")
    assert done.returncode == 2
    assert f"{path} is damaged" in done.stdout
    path.write_bytes(content)

    image = next(Path(os.environ["MARSBENCH_HOME"]).rglob("*.png"))
    image.unlink()
    done = marsbench("data", "status", "--format", "table")
    assert done.returncode == 2
    assert "files of" in done.stdout
    assert "data clean" in done.stderr


def test_lists_written_into_a_download_are_no_damage(server: Server, frost: LocalSource) -> None:
    lines(marsbench("data", "download", "frost_cls", "--source", "zenodo"))
    lines(marsbench("data", "subsets", "frost_cls"))
    assert marsbench("data", "status").returncode == 0
    done = marsbench("data", "subsets", "frost_cls", "--overwrite")
    assert done.returncode == 2  # the published lists stay


def test_other_folders_among_the_downloads(server: Server, frost: LocalSource) -> None:
    home = Path(os.environ["MARSBENCH_HOME"])
    for name, marker in (("copied", '{"source": "s3://x"}'), ("mb-frost_cls.part", None)):
        (home / "data" / name).mkdir(parents=True)
        if marker:
            (home / "data" / name / ".marsbench.json").write_text(marker)
    rows = {row["task"]: row["what"] for row in lines(marsbench("data", "status"))}
    assert rows == {"copied": "own folder", "frost_cls": "partial download"}
    lines(marsbench("data", "clean", "frost_cls"))
    assert not (home / "data" / "mb-frost_cls.part").exists()


def test_clean_of_roots(server: Server, frost: LocalSource) -> None:
    server.files["/frost.zip"] = zip_of(frost.folder)
    Path("frost.zip").write_bytes(zip_of(frost.folder))
    for root in ("frost.zip", f"{server.url}/frost.zip"):
        lines(marsbench("data", "info", "frost_cls", f"root={root}"))
    rows = lines(marsbench("data", "status"))
    assert {row["what"] for row in rows} == {"unpacked root", "copy of a root"}
    lines(marsbench("data", "clean", "roots"))
    assert lines(marsbench("data", "status")) == []


def test_a_download_that_lacks_a_split_says_so(server: Server, frost: LocalSource) -> None:
    repo = server.repos["Mirali33/mb-frost_cls"]
    repo.files = {path: content for path, content in repo.files.items() if "/val-" not in path}
    done = marsbench("data", "download", "frost_cls")
    assert done.returncode == 2
    assert "has no split 'val'" in done.stderr


def test_only_one_split_of_a_data_set(server: Server, frost: LocalSource) -> None:
    import marsbench as package

    assert len(package.load_dataset("frost_cls", "val", source="huggingface")) > 0
    assert not server.seen("/(train|test)-")


def test_negatives_are_counted(tmp_path: Path) -> None:
    spec = make_spec(Kind.DETECTION, ("cone",), decode=Decode.IMAGE_BOXES)
    folder = write_folder(spec, tmp_path)
    source = LocalSource(spec, folder)
    raws = [source.read("train", i) for i in range(24)]
    empty = sum(raw.boxes is not None and not len(raw.boxes) for raw in raws)
    task = str(write_spec(spec, tmp_path / "task.yaml"))
    (facts,) = lines(marsbench("data", "info", task, f"root={folder}", "--negatives"))
    assert facts["negative samples"]["train"] == empty > 0
    assert marsbench("data", "info", "frost_cls", "source=demo", "--negatives").returncode == 2


def test_interrupted_download(server: Server, frost: LocalSource) -> None:
    """Ctrl-C is answered without a traceback, and the next command downloads."""
    server.fail("/train-.*parquet", bytes_per_second=20_000)
    command = [sys.executable, "-m", "marsbench", "data", "download", "frost_cls"]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not any(seen.sent for seen in server.seen("/train-.*parquet", "GET")):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate()
    assert child.returncode == 130, err
    assert "Traceback" not in err
    (row,) = lines(marsbench("data", "download", "frost_cls"))
    assert "train" in row["splits"]


def test_run_from_the_hub(server: Server, frost: LocalSource) -> None:
    words = ["model=timm:test_resnet", "mode=scratch", "trainer.max_epochs=1", "workers=0"]
    (row,) = lines(marsbench("run", "task=frost_cls", *words, "subset=few_shot_1"))
    assert not server.seen("/train-")
    assert "/few_shot_1/" in row["run_id"]
    (record,) = Path("runs").rglob("record.json")
    data = json.loads(record.read_text())["data"]
    assert (data["source"], data["revision"]) == ("huggingface", f"hub:{COMMIT}")


def test_info_downloads_only_if_asked(server: Server, frost: LocalSource) -> None:
    done = marsbench("data", "info", "frost_cls")
    assert server.seen() == []
    assert "sizes" not in json.loads(done.stdout)
    assert "data download" in done.stderr
    (facts,) = lines(marsbench("data", "info", "frost_cls", "source=huggingface"))
    assert facts["sizes"]["test"] == len(frost.rows("test"))


def test_convert_writes_what_is_read_back(server: Server, frost: LocalSource) -> None:
    (row,) = lines(marsbench("data", "convert", "frost_cls", "source=huggingface", "--out", "out"))
    again = LocalSource(TASKS["frost_cls"], Path(row["folder"]))
    assert again.revision == frost.revision
    # The published subsets become lists of the folder.
    for name in ("few_shot_1", "partition_0.50"):
        selection = select(again, parse_subset(name))
        assert selection.origin == "published"
        assert selection.digest == select(frost, parse_subset(name)).digest
    done = marsbench("data", "convert", "frost_cls", "source=huggingface", "--out", "out")
    assert done.returncode == 2
    assert row["folder"] in done.stderr


@pytest.mark.parametrize("kind", [Kind.SEGMENTATION, Kind.DETECTION])
def test_convert_of_masks_and_boxes(tmp_path: Path, kind: Kind) -> None:
    classes = ("background", "cone", "dune") if kind is Kind.SEGMENTATION else ("cone", "dune")
    spec = make_spec(kind, classes, decode=DECODES[kind])
    folder = write_folder(spec, tmp_path)
    task = str(write_spec(spec, tmp_path / "task.yaml"))
    words = ["data", "convert", task, f"root={folder}", "--boxes", "yolo"]
    (row,) = lines(marsbench(*words, "--out", str(tmp_path / "out")))
    written = Path(row["folder"])
    assert (written / "data" / "train" / "labels").is_dir() == (kind is Kind.DETECTION)
    assert not (written / "data" / "train" / "coco_annotations.json").exists()
    one, other = LocalSource(spec, folder), LocalSource(spec, written)
    for i in range(len(one.rows("train"))):
        a, b = one.read("train", i), other.read("train", i)
        assert a.image == b.image
        if a.boxes is not None and b.boxes is not None:
            np.testing.assert_array_equal(a.boxes.xyxy, b.boxes.xyxy)


def test_convert_to_an_unknown_form(frost: LocalSource) -> None:
    done = marsbench("data", "convert", "frost_cls", "--boxes", "coko")
    assert done.returncode == 2
    assert "Did you mean coco" in done.stderr


@pytest.mark.parametrize("kind", [Kind.MULTICLASS, Kind.MULTILABEL, Kind.SEGMENTATION])
def test_subsets_written_are_those_generated(tmp_path: Path, kind: Kind) -> None:
    spec = make_spec(
        kind, ("background", "dune", "plain"), decode=DECODES.get(kind, Decode.IMAGE_LABEL)
    )
    folder = write_folder(spec, tmp_path, {"train": 60, "val": 9, "test": 9})
    task = str(write_spec(spec, tmp_path / "task.yaml"))
    before = LocalSource(spec, folder)
    names = ["partition_0.10", "partition_0.50"]
    names += ["few_shot_2"] if kind.is_classification else []
    drawn = {name: select(before, parse_subset(name)) for name in names}
    (done,) = lines(marsbench("data", "subsets", task, f"root={folder}"))
    assert "partition_0.01" in done["skipped"]  # of 60 samples it holds none
    source = LocalSource(spec, folder)
    for name, selection in drawn.items():
        again = select(source, parse_subset(name))
        assert again.origin == "published"
        assert again.digest == selection.digest
    rows = read_rows(folder / "partitions" / "0.50x_partition.csv")
    assert sum(row[1] == "train" for row in rows) == 30
    assert sum(row[1] != "train" for row in rows) == 18
    (done,) = lines(marsbench("data", "subsets", task, f"root={folder}"))
    assert done["written"] == {}
    assert len(done["kept"]) >= 2
    (done,) = lines(marsbench("data", "subsets", task, f"root={folder}", "--overwrite"))
    assert len(done["written"]) >= 2


def test_a_subset_that_cannot_be_made(tmp_path: Path) -> None:
    spec = make_spec()
    folder = write_folder(spec, tmp_path)
    task = str(write_spec(spec, tmp_path / "task.yaml"))
    done = marsbench("data", "subsets", task, f"root={folder}", "--subset", "few_shot_100")
    assert done.returncode == 2
    assert "few_shot_100 needs 100 train samples" in done.stdout
    done = marsbench("data", "subsets", task, f"root={folder}", "--subset", "full")
    assert done.returncode == 2


def test_a_custom_task_on_the_hub(server: Server, tmp_path: Path) -> None:
    """Five minutes: a YAML with a hub_id, and a repository as `datasets` pushes it."""
    spec: Any = make_spec(hub_id="my-org/toy")
    local = LocalSource(spec, write_folder(spec, tmp_path / "made"))
    server.repos["my-org/toy"] = repo_of(spec, local)
    task = tmp_path / "task.yaml"
    write_spec(spec, task)
    task.write_text(task.read_text() + "hub_id: my-org/toy\n")
    (row,) = lines(marsbench("data", "download", str(task)))
    assert row["source"] == "huggingface"
    (facts,) = lines(marsbench("data", "info", str(task)))
    assert facts["data"].startswith("my-org/toy@")
    (found,) = lines(marsbench("data", "status"))
    assert found["task"] == "my-org--toy"
    lines(marsbench("data", "clean", str(task)))
    assert lines(marsbench("data", "status")) == []
