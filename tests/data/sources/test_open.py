"""Every task of Mars-Bench from every source: the same rows, the same numbers."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marsbench
from marsbench.base.errors import ConfigError, DataError, DataNotFoundError
from marsbench.config.schema import SourceName, parse_subset
from marsbench.data import decode
from marsbench.data.download.web import UnreachableError
from marsbench.data.rows import Raw, Source
from marsbench.data.sources import hub_files, open_source, zenodo
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.local import LocalSource
from marsbench.data.tools.convert import convert
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec
from tests.conftest import go_offline, use_endpoint
from tests.fakes import write_folder
from tests.hub_data import repo_of, zip_of
from tests.server import Record, Server

PUBLISHED = [name for name, spec in TASKS.items() if spec.hub_id is not None]

SUBSETS = ("partition_0.50",)


def folder_of(spec: TaskSpec, root: Path) -> Path:
    """A small folder of a task: demo samples, or generated ones of the size all have."""
    if spec.image_size is not None and spec.channels == 1:
        return write_folder(spec, root, {"train": 8, "val": 2, "test": 2}, side=spec.image_size[0])
    return convert(spec, DemoSource(spec, 0.03), root)


def publish(server: Server, spec: TaskSpec, folder: Path, record: int = 1) -> LocalSource:
    """Put a folder on the hub and on Zenodo."""
    assert spec.hub_id is not None
    local = LocalSource(spec, folder)
    subsets = [*SUBSETS, *(["few_shot_1"] if spec.kind.is_classification else [])]
    server.repos[spec.hub_id] = repo_of(spec, local, subsets)
    server.records[record] = Record(spec.folder, {f"{spec.folder}.zip": zip_of(folder)})
    return local


def pixels(spec: TaskSpec, raw: Raw) -> Any:
    if spec.is_pairs:
        return decode.pair(raw, spec.channels)
    return decode.image(raw, spec.channels) if spec.channels in (1, 3) else raw.image


def same(spec: TaskSpec, one: Source, other: Source) -> None:
    """Compare two sources sample by sample."""
    assert one.splits == other.splits == ("train", "val", "test")
    assert one.class_names == other.class_names
    for split in one.splits:
        ours, theirs = one.rows(split), other.rows(split)
        assert list(ours.sample_ids) == list(theirs.sample_ids)
        np.testing.assert_array_equal(ours.targets, theirs.targets)
        for i in range(len(ours)):
            a, b = one.read(split, i), other.read(split, i)
            np.testing.assert_array_equal(pixels(spec, a), pixels(spec, b))
            assert (a.mask is None) == (b.mask is None)
            if a.mask is not None and b.mask is not None:
                assert a.mask.image == b.mask.image
            assert (a.boxes is None) == (b.boxes is None)
            if a.boxes is not None and b.boxes is not None:
                np.testing.assert_array_equal(a.boxes.xyxy, b.boxes.xyxy)
                np.testing.assert_array_equal(a.boxes.labels, b.boxes.labels)
            if not spec.kind.is_classification:
                assert decode.is_negative(spec, a) == decode.is_negative(spec, b)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_task_from_every_source(server: Server, tmp_path: Path, name: str) -> None:
    spec = TASKS[name]
    local = publish(server, spec, folder_of(spec, tmp_path / "made"))
    same(spec, open_source(spec, SourceName.HUGGINGFACE), local)
    same(spec, open_source(spec, SourceName.ZENODO), local)
    server.forget()
    same(spec, open_source(spec, SourceName.HUGGINGFACE), local)
    same(spec, open_source(spec, SourceName.ZENODO), local)
    assert server.seen() == []
    assert open_source(spec, SourceName.ZENODO).revision == local.revision


RUN: dict[str, Any] = {
    "model": "timm:test_resnet",
    "mode": "scratch",
    "trainer": {"max_epochs": 1},
    "optim": {"batch_size": 16},
    "workers": 0,
    "logger": {"csv": False},
}


def run(name: str, **more: Any) -> Any:
    kind = TASKS[name].kind
    small = {Kind.SEGMENTATION: "smp:unet/tu-test_resnet", Kind.DETECTION: "ssdlite"}
    return marsbench.run(task=name, **{**RUN, "model": small.get(kind, RUN["model"]), **more})


# Their bytes are compared above, with those of every task.
HEAVY = ("boulder_det", "surface_multi_label_cls")
ONE_OF_EACH = {(TASKS[name].kind, TASKS[name].decode): name for name in reversed(PUBLISHED)}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name
        for name in ONE_OF_EACH.values()
    ],
)
def test_the_same_rows_give_the_same_numbers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spec = TASKS[name]
    folder = folder_of(spec, tmp_path / "made")
    publish(server, spec, folder)
    records = {
        source: run(name, source=source, root=root, store=tmp_path / source)
        for source, root in (("local", folder), ("huggingface", None), ("zenodo", None))
    }
    metrics = {source: record.metrics for source, record in records.items()}
    assert metrics["local"] == metrics["huggingface"] == metrics["zenodo"]
    assert records["local"].run_id == records["zenodo"].run_id  # one folder, one revision
    assert records["huggingface"].data["revision"].startswith("hub:")
    server.forget()
    go_offline(monkeypatch)
    again = marsbench.load_dataset(name, "test", source="huggingface")
    assert len(again) == records["huggingface"].data["num_test"]
    assert server.seen() == []


def test_auto_looks_here_then_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TASKS["frost_cls"]
    folder = folder_of(spec, tmp_path / "made")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataNotFoundError, match=r"No data of frost_cls found") as caught:
        open_source(spec)
    assert "not found on" in str(caught.value)  # says what each of them answered
    assert "mars-bench" in str(caught.value)

    publish(server, spec, folder)
    del server.repos[str(spec.hub_id)]
    assert open_source(spec).name is SourceName.ZENODO
    publish(server, spec, folder)
    # What is downloaded comes before the hub, and is called what it is.
    server.forget()
    assert open_source(spec).name is SourceName.ZENODO
    assert server.seen() == []
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "other"))
    assert open_source(spec).name is SourceName.HUGGINGFACE
    server.forget()
    assert open_source(spec).name is SourceName.HUGGINGFACE
    assert server.seen() == []
    # And a local folder before all.
    (tmp_path / "data").symlink_to(tmp_path / "made")
    assert open_source(spec).where.startswith("data")


def test_auto_stays_with_the_hub_once_it_is_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad minute must not move the runs of a study to data of another revision."""
    spec = TASKS["frost_cls"]
    publish(server, spec, folder_of(spec, tmp_path / "made"))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    open_source(spec, subset=parse_subset("few_shot_1"))
    server.fail("/datasets/", 99, method="HEAD", status=503)
    with pytest.raises(UnreachableError):
        open_source(spec)
    assert not server.seen("/api/records")
    assert open_source(spec, subset=parse_subset("few_shot_1")).name is SourceName.HUGGINGFACE


def test_auto_goes_on_where_the_hub_cannot_be_reached(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = TASKS["frost_cls"]
    publish(server, spec, folder_of(spec, tmp_path / "made"))
    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    assert open_source(spec).name is SourceName.ZENODO
    assert "127.0.0.1:9" in capsys.readouterr().err  # not silently


@pytest.mark.parametrize("how", [{"corrupt": True}, {"status": 400}], ids=["checksum", "refused"])
def test_auto_hides_no_fault_of_the_hub(
    server: Server, tmp_path: Path, how: dict[str, Any]
) -> None:
    spec = TASKS["frost_cls"]
    publish(server, spec, folder_of(spec, tmp_path / "made"))
    server.fail("/datasets/" if "status" in how else "parquet", 99, **how)
    with pytest.raises(DataError):
        open_source(spec)
    assert not server.seen("/api/records")


def test_auto_without_leave_to_download(server: Server, tmp_path: Path) -> None:
    spec = TASKS["frost_cls"]
    publish(server, spec, folder_of(spec, tmp_path / "made"))
    with pytest.raises(DataNotFoundError):
        open_source(spec, download=False)
    assert server.seen() == []


@pytest.mark.parametrize(
    ("source", "how", "message"),
    [
        (SourceName.HUGGINGFACE, {"root": "x"}, "root=x has no effect"),
        (SourceName.ZENODO, {"root": "x"}, "root=x has no effect"),
        (SourceName.DEMO, {"root": "x"}, "root=x has no effect"),
        (SourceName.ZENODO, {"revision": "v1"}, "revision=v1 applies to the Hugging Face hub"),
        (SourceName.LOCAL, {"revision": "v1"}, "revision=v1 applies to the Hugging Face hub"),
        (SourceName.AUTO, {"revision": "v1", "root": "x"}, "revision=v1 applies to the Hugging"),
    ],
)
def test_keys_a_source_has_no_use_for(
    source: SourceName, how: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(TASKS["frost_cls"], source, **how)


def test_a_task_that_is_published_nowhere(server: Server) -> None:
    spec = replace(TASKS["frost_cls"], hub_id=None, zenodo_title=None)
    with pytest.raises(DataNotFoundError, match="is not on the hub"):
        open_source(spec, SourceName.HUGGINGFACE)
    with pytest.raises(DataNotFoundError):
        open_source(spec, SourceName.ZENODO)
    assert server.seen() == []


def test_a_root_may_be_an_archive_or_a_url(server: Server, tmp_path: Path) -> None:
    spec = TASKS["frost_cls"]
    folder = folder_of(spec, tmp_path / "made")
    local = LocalSource(spec, folder)
    (tmp_path / "frost.zip").write_bytes(zip_of(folder))
    server.files["/frost.zip"] = zip_of(folder)
    for root in (tmp_path / "frost.zip", f"{server.url}/frost.zip", f"file://{folder}"):
        opened = open_source(spec, root=root)
        assert opened.revision == local.revision
    server.forget()
    assert open_source(spec, root=f"{server.url}/frost.zip").revision == local.revision
    assert server.seen() == []


def test_what_is_secret_in_a_root_is_in_no_record(server: Server, tmp_path: Path) -> None:
    spec = TASKS["frost_cls"]
    server.files["/frost.zip"] = zip_of(folder_of(spec, tmp_path / "made"))
    root = f"{server.url}/frost.zip?token=SECRET"
    record = marsbench.run(task="frost_cls", root=root, store=tmp_path / "runs", **RUN)
    assert record.config["root"] == f"{server.url}/frost.zip"
    for path in (tmp_path / "runs").rglob("*"):
        assert path.is_dir() or b"SECRET" not in path.read_bytes()


def test_a_run_without_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a prefetch, a run makes no request; nothing but its splits came."""
    spec = TASKS["frost_cls"]
    publish(server, spec, folder_of(spec, tmp_path / "made"))
    hub_files.fetch(str(spec.hub_id), None, [parse_subset("few_shot_1")])
    assert not server.seen("/train-")
    server.forget()
    go_offline(monkeypatch)
    monkeypatch.chdir(tmp_path)
    record = marsbench.run(task="frost_cls", subset="few_shot_1", store="runs", **RUN)
    assert 0 <= record.metrics["test"]["f1_weighted"] <= 1
    assert server.seen() == []


WORKER = """
import json, marsbench
from tests.data.sources.test_open import RUN
record = marsbench.run(task="frost_cls", subset="few_shot_1", store="runs", **RUN)
print(json.dumps(record.metrics["test"]))
"""


@pytest.mark.slow
def test_a_worker_without_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """Prefetched on one node, a run elsewhere makes no request; nothing but its splits came."""
    spec = TASKS["frost_cls"]
    publish(server, spec, folder_of(spec, tmp_path / "made"))
    hub_files.fetch(str(spec.hub_id), None, [parse_subset("few_shot_1")])
    assert not server.seen("/train-")
    server.forget()
    go_offline(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    done = subprocess.run(
        [python, "-c", WORKER], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert 0 <= json.loads(done.stdout.splitlines()[-1])["f1_weighted"] <= 1
    assert server.seen() == []


def test_what_zenodo_left_is_a_folder_like_any_other(server: Server, tmp_path: Path) -> None:
    spec = TASKS["landmark_cls"]
    folder = folder_of(spec, tmp_path / "made")
    publish(server, spec, folder)
    open_source(spec, SourceName.ZENODO)
    manifest = zenodo.read_manifest(zenodo.folder(spec))
    assert manifest is not None
    assert manifest["record"] == "1"
    again = open_source(spec, root=zenodo.folder(spec))
    assert again.revision == LocalSource(spec, folder).revision
