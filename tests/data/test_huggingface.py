"""The hub as a source, against a server of our own; the hub's own client speaks to it."""

import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from marsbench.config import SourceName, Subset, parse_subset
from marsbench.data.rows import Source
from marsbench.data.sources import hub_files, open_source, web
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.hub_files import fetch, known_listing
from marsbench.data.sources.huggingface import HubSource
from marsbench.data.sources.local import LocalSource
from marsbench.data.spec import Decode, TaskSpec
from marsbench.data.subsets import select
from marsbench.errors import DataError, DataNotFoundError
from marsbench.kinds import Kind
from tests.fakes import make_spec, write_folder
from tests.hub_data import published, repo_of
from tests.server import COMMIT, Repo, Server

REPO = "Mirali33/mb-toy"
NEWER = "f" * 40
CHANGE = ("Change", "No change")

PARQUET = r"\.parquet$"


def hub_spec(kind: Kind = Kind.MULTICLASS, **fields: Any) -> TaskSpec:
    return make_spec(kind, **{"hub_id": REPO, **fields})


def publish(
    server: Server, tmp_path: Path, spec: TaskSpec | None = None, *subsets: str, **how: Any
) -> tuple[TaskSpec, LocalSource]:
    """Put a generated task on the server; returns it as a folder too."""
    spec = hub_spec() if spec is None else spec
    local = LocalSource(spec, write_folder(spec, tmp_path / "local"))
    server.repos[REPO] = repo_of(spec, local, subsets, **how)
    return spec, local


def opened(spec: TaskSpec, subset: str = "full", **how: Any) -> Source:
    return open_source(spec, SourceName.HUGGINGFACE, subset=parse_subset(subset), **how)


def fetched(server: Server) -> list[str]:
    """Splits whose files were asked for."""
    return sorted(
        {re.sub(r".*/|-\d+-of-\d+\.parquet", "", s.path) for s in server.seen(PARQUET, "GET")}
    )


def same(a: Source, b: Source, split: str) -> None:
    ours, theirs = a.rows(split), b.rows(split)
    assert list(ours.sample_ids) == list(theirs.sample_ids)
    np.testing.assert_array_equal(ours.targets, theirs.targets)
    for i in range(len(ours)):
        assert a.read(split, i).image == b.read(split, i).image


def test_rows_are_those_of_the_folder(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path, shards=3)
    hub = opened(spec)
    assert hub.splits == ("train", "val", "test")
    assert hub.class_names == local.class_names  # the data's order, not the task's
    assert hub.class_names != spec.class_names
    assert hub.revision == f"hub:{COMMIT}"
    for split in hub.splits:
        same(hub, local, split)


def test_reading_in_the_order_of_the_files_is_offered(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path, shards=2)
    rows = opened(spec).rows("train")
    assert rows.reading_order is not None
    assert sorted(rows.reading_order.tolist()) == list(range(len(rows)))
    assert rows.reading_order.tolist() != list(range(len(rows)))


def test_only_wanted_splits_are_fetched(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path, None, "few_shot_2", "partition_0.50")
    few = opened(spec, "few_shot_2")
    assert fetched(server) == ["few_shot_train_2_shot", "test", "val"]
    subset = parse_subset("few_shot_2")
    selection = select(few, subset)
    assert selection.origin == "published"
    assert len(few.rows("train")) == 6
    # The same samples as the folder's, so that a run has the same digest.
    assert selection.digest == select(local, subset).digest

    opened(spec, "partition_0.50")
    assert fetched(server)[1] == "partition_train_0.50x_partition"
    assert "train" not in fetched(server)
    opened(spec)
    assert "train" in fetched(server)


def test_an_unpublished_subset_is_generated_from_the_whole_split(
    server: Server, tmp_path: Path
) -> None:
    spec, local = publish(server, tmp_path)
    hub = opened(spec, "few_shot_2")
    assert fetched(server) == ["test", "train", "val"]
    subset = parse_subset("few_shot_2")
    assert select(hub, subset).origin == "generated"
    assert select(hub, subset).digest == select(local, subset).digest


def test_detection_calls_its_partitions_otherwise() -> None:
    splits = ["train", "0.10x_partition"]
    assert hub_files.split_name(parse_subset("partition_0.10"), splits) == "0.10x_partition"
    assert published(parse_subset("partition_0.10"), Kind.DETECTION) == "0.10x_partition"
    assert hub_files.split_name(parse_subset("partition_0.20"), splits) is None


def test_a_second_time_no_request_is_made(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)
    server.forget()
    source = opened(spec)
    for split in source.splits:
        source.read(split, 0)
    open_source(spec)
    assert server.seen() == []


def test_a_cache_that_cannot_be_written_serves(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)
    monkeypatch.setattr(hub_files, "locked", lambda _: pytest.fail("a lock was taken"))
    opened(spec)


def test_the_revision_stays_until_an_update(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)
    server.repos[REPO].commit = NEWER
    assert opened(spec).revision == f"hub:{COMMIT}"
    assert fetch(REPO, None, [Subset()], update=True).revision == NEWER
    assert opened(spec).revision == f"hub:{NEWER}"
    # What an older study used is still there under its commit.
    assert opened(spec, revision=COMMIT).revision == f"hub:{COMMIT}"


def test_an_unknown_revision(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    with pytest.raises(DataNotFoundError, match="has no revision 'v9'"):
        opened(spec, revision="v9")


def test_an_unknown_repository(server: Server) -> None:
    with pytest.raises(DataNotFoundError, match=r"shows no dataset Mirali33/mb-toy") as caught:
        opened(hub_spec())
    assert "HF_TOKEN" in caught.value.remedy


def test_public_data_need_no_login(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)
    assert {s.token for s in server.seen()} == {None}

    # An old token that the hub refuses does not stand in the way.
    monkeypatch.setenv("HF_TOKEN", "stale")
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "other"))
    server.forget()
    server.fail("/api/datasets", status=401, body=b"bad token")
    server.fail(PARQUET, status=401, body=b"bad token")
    opened(spec)
    assert {s.token for s in server.seen()} == {"stale", None}


def test_private_data_want_a_token(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = publish(server, tmp_path)
    server.repos[REPO].private = True
    with pytest.raises(DataNotFoundError, match=r"HTTP 401") as caught:
        opened(spec)
    assert "HF_TOKEN" in caught.value.remedy
    monkeypatch.setenv("HF_TOKEN", "good")
    opened(spec)
    assert server.seen(PARQUET)[-1].token == "good"


def test_a_busy_hub_is_asked_again(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    server.fail("/api/datasets", 2, status=429, headers={"Retry-After": "0"})
    server.fail(PARQUET, 2, status=429, headers={"Retry-After": "0"})
    server.fail("val.*parquet", 1, status=500)
    opened(spec)
    assert len(server.seen("/api/datasets")) == 3
    assert [s.status for s in server.seen("val-.*parquet")] == [429, 429, 500, 200] or [
        s.status for s in server.seen("val-.*parquet")
    ][-2:] == [500, 200]


def test_a_hub_that_stays_broken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = publish(server, tmp_path)
    monkeypatch.setattr(web, "WAITS", (0.0, 0.0))
    server.fail("/api/datasets", 99, status=503)
    with pytest.raises(web.TransferError, match="HTTP 503") as caught:
        opened(spec)
    assert caught.value.status == 503
    assert len(server.seen("/api/datasets")) == 3


def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    (path,) = [p for p in server.repos[REPO].files if "train" in p]
    size = len(server.repos[REPO].files[path])
    server.fail("train.*parquet", cut_after=size // 3)
    opened(spec)
    first, second = server.seen("train.*parquet", "GET")
    assert (first.start, first.sent) == (0, size // 3)
    assert (second.start, second.sent) == (size // 3, size - size // 3)


DOWNLOAD = """
import sys
from marsbench.config import Subset
from marsbench.data.sources.hub_files import fetch
fetch(sys.argv[1], None, [Subset()])
"""


def test_a_killed_download_goes_on_in_another_process(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    (path,) = [p for p in server.repos[REPO].files if "train" in p]
    size = len(server.repos[REPO].files[path])
    server.fail("train.*parquet", bytes_per_second=size / 4)
    child = subprocess.Popen([sys.executable, "-c", DOWNLOAD, REPO])
    part = hub_files.repo_folder(REPO) / COMMIT / f"{path}.part"
    for _ in range(600):
        if part.exists() and part.stat().st_size > size // 8:
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    held = part.stat().st_size
    assert 0 < held < size
    opened(spec)
    *_, last = server.seen("train.*parquet", "GET")
    assert (last.start, last.sent) == (held, size - held)
    same(opened(spec), local, "train")


def _fetch(repo: str) -> None:
    fetch(repo, None, [Subset()])


def test_eight_processes_fetch_each_file_once(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path, shards=2)
    server.fail("train.*parquet", 1, bytes_per_second=1e5)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_fetch, args=(REPO,)) for _ in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    paths = [s.path for s in server.seen(PARQUET, "GET")]
    assert len(paths) == len(set(paths)) == 6
    assert len(server.seen("/api/datasets")) == 1
    for split in ("train", "val", "test"):
        same(opened(spec), local, split)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"corrupt": True}, "is not what its source states: expected sha256:"),
        ({"status": 200, "body": b"short"}, "expected .* bytes, found 5"),
    ],
    ids=["checksum", "length"],
)
def test_what_is_not_as_promised_is_not_kept(
    server: Server, tmp_path: Path, how: dict[str, Any], message: str
) -> None:
    spec, _ = publish(server, tmp_path)
    server.fail("train.*parquet", 99, **how)
    with pytest.raises(DataError, match=message):
        opened(spec)
    left = [p.name for p in hub_files.repo_folder(REPO).rglob("*train*")]
    assert left == []
    server.forget()
    opened(spec)


def test_a_web_page_is_not_saved(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    server.html("train.*parquet", 9)
    with pytest.raises(DataError, match="A web page came in place of the file"):
        opened(spec)
    assert not list(hub_files.repo_folder(REPO).rglob("*train*"))


def test_without_network(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = publish(server, tmp_path, None, "few_shot_1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataNotFoundError, match="HF_HUB_OFFLINE") as caught:
        opened(spec)
    assert "marsbench data download" in caught.value.remedy
    monkeypatch.delenv("HF_HUB_OFFLINE")
    opened(spec, "few_shot_1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server.forget()
    opened(spec, "few_shot_1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE"):
        opened(spec)  # the full train split was not downloaded
    assert server.seen() == []


def rewritten(repo: Repo, split: str, change: Any) -> None:
    """Replace the table of a split."""
    (path,) = [p for p in repo.files if f"/{split}-" in p]
    out = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(repo.files[path]))), out)
    repo.files[path] = out.getvalue()


def test_a_renamed_column(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    rewritten(server.repos[REPO], "val", lambda t: t.rename_columns(["image", "target"]))
    with pytest.raises(DataError, match=r"val has no column label .*: image, target"):
        opened(spec).rows("val")


def test_a_missing_split(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    server.repos[REPO].files = {
        path: content for path, content in server.repos[REPO].files.items() if "val" not in path
    }
    source = opened(spec)
    assert source.splits == ("train", "test")
    with pytest.raises(DataError, match=r"has no split 'val' \(only test, train\)"):
        source.rows("val")


def test_a_repository_without_data(server: Server) -> None:
    server.repos[REPO] = Repo({"README.md": b"# nothing\n"})
    with pytest.raises(DataNotFoundError, match="holds no parquet files"):
        opened(hub_spec())


def test_other_names_of_splits_and_files_named_by_the_card(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    repo = server.repos[REPO]
    repo.files = {p.replace("/val-", "/validation-"): c for p, c in repo.files.items()}
    same(opened(spec), local, "val")

    repo.files = {
        p.replace("data/train-00000-of-00001", "a").replace("data/", ""): c
        for p, c in repo.files.items()
    }
    patterns = {"train": "a.parquet", "val": ["validation-*"], "test": "test-*"}
    files = [{"split": s, "path": p} for s, p in patterns.items()]
    repo.card = {"configs": [{"config_name": "default", "data_files": files}]}
    repo.commit = NEWER
    fetch(REPO, None, [Subset()], update=True)
    for split in ("train", "val", "test"):
        same(opened(spec), local, split)


def test_a_damaged_file_is_named(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)
    listing = known_listing(REPO, None)
    assert listing is not None
    path = listing.folder / listing.splits["train"][0].path
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DataError, match=r"train-00000.* cannot be read") as caught:
        opened(spec).rows("train")
    assert "data clean" in caught.value.remedy


# Labels and class names, in whatever form.


def test_codes_of_classes_are_kept(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path, None, names=["pla", "dun", "cra"])
    hub = opened(spec)
    assert hub.class_names == ("pla", "dun", "cra")
    assert "pla, dun, cra" in hub.notes[0]
    np.testing.assert_array_equal(hub.rows("test").targets, local.rows("test").targets)


def test_class_names_of_another_task(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path, None, names=["frost", "ice cap", "dune"])
    with pytest.raises(DataError, match=r"Only in the data: .*frost.*Only in the task: crater"):
        opened(spec)


def plain(table: Any, label: Any = None) -> Any:
    """A table without what `datasets` noted of it, and other labels if given."""
    import pyarrow as pa

    if label is not None:
        table = table.set_column(table.column_names.index("label"), "label", pa.array(label))
    return table.replace_schema_metadata(None)


def test_numbers_without_names(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    for split in ("train", "val", "test"):
        rewritten(server.repos[REPO], split, plain)
    hub = opened(spec)
    assert hub.class_names == ("0", "1", "2")
    assert "called by their ids" in hub.notes[0]
    np.testing.assert_array_equal(hub.rows("val").targets, local.rows("val").targets)
    # A user's own task says which class each id is.
    assert opened(replace(spec, path=Path("task.yaml"))).class_names == spec.class_names
    # And so may a file of the repository.
    names = {str(i): ["c", name] for i, name in enumerate(local.class_names)}
    server.repos[REPO].files["mapping.json"] = json.dumps(names).encode()
    fetch(REPO, None, [Subset()], update=True)
    assert opened(spec).class_names == local.class_names


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, 1, 9] * 3, "has label 9, outside 0..2 "),
        ([0, None, 1] * 3, "holds no class ids: some are missing"),
        (["0", "1", "2"] * 3, None),
        (["a", "b", "c"] * 3, "holds no class ids"),
        ([0.0, 1.5, 1.0] * 3, "not whole numbers"),
    ],
    ids=["outside", "missing", "text", "words", "fractions"],
)
def test_labels_of_other_types(
    server: Server, tmp_path: Path, label: list[Any], message: str | None
) -> None:
    spec, _ = publish(server, tmp_path)
    for split in ("train", "test"):
        rewritten(server.repos[REPO], split, plain)
    rewritten(server.repos[REPO], "val", lambda table: plain(table, label))
    if message is None:
        assert len(opened(spec).rows("val")) == 9
        return
    with pytest.raises(DataError, match=message):
        opened(spec).rows("val")


@pytest.mark.parametrize("form", ["ids", "one_hot", "text"])
def test_multilabel(server: Server, tmp_path: Path, form: str) -> None:
    spec, local = publish(server, tmp_path, hub_spec(Kind.MULTILABEL))

    def change(table: Any) -> Any:
        ids = table.column("label").to_pylist()
        hot = [[int(k in row) for k in range(3)] for row in ids]
        return table.set_column(1, "label", [hot if form == "one_hot" else [str(i) for i in ids]])

    if form != "ids":
        for split in ("train", "val", "test"):
            metadata = pq.read_schema(
                io.BytesIO(
                    next(c for p, c in server.repos[REPO].files.items() if f"/{split}-" in p)
                )
            ).metadata
            rewritten(
                server.repos[REPO],
                split,
                lambda t, m=metadata: change(t).replace_schema_metadata(m),
            )
    hub = opened(spec)
    assert hub.class_names == local.class_names
    for split in hub.splits:
        np.testing.assert_array_equal(hub.rows(split).targets, local.rows(split).targets)


def test_images_without_names_are_numbered(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)

    def unnamed(table: Any) -> Any:
        rows = [{"bytes": cell["bytes"], "path": None} for cell in table["image"].to_pylist()]
        import pyarrow as pa

        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        changed = table.set_column(0, "image", pa.array(rows, kind))
        return changed.replace_schema_metadata(table.schema.metadata)

    rewritten(server.repos[REPO], "val", unnamed)
    assert opened(spec).rows("val").sample_ids[0] == "val_000000"


def test_the_composite_of_a_pair_is_taken_apart(server: Server, tmp_path: Path) -> None:
    from marsbench.data import decode

    spec, local = publish(
        server, tmp_path, hub_spec(Kind.BINARY, classes=CHANGE, decode=Decode.PAIR_LABEL)
    )
    hub = opened(spec)
    for i in range(len(hub.rows("val"))):
        np.testing.assert_array_equal(
            decode.decode(spec, hub.read("val", i)), decode.decode(spec, local.read("val", i))
        )


def test_an_image_that_is_no_composite(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path, hub_spec(Kind.BINARY, classes=CHANGE, channels=3))
    pair = replace(spec, decode=Decode.PAIR_LABEL, channels=1)
    with pytest.raises(DataError, match="not a composite"):
        opened(pair).read("val", 0)


# That the server is like the hub: the libraries' own loaders use it too.


LOAD = """
import sys
import datasets
from huggingface_hub import hf_hub_download
path = hf_hub_download(sys.argv[1], "README.md", repo_type="dataset")
table = datasets.load_dataset(sys.argv[1], split="val")
print(len(table), table.features["label"].names)
"""


def test_the_libraries_load_from_the_server(server: Server, tmp_path: Path) -> None:
    _, local = publish(server, tmp_path)
    env = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, REPO], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split(" ", 1)[0] == str(len(local.rows("val")))


def test_demo_rows_published(server: Server, tmp_path: Path) -> None:
    from marsbench.data.catalog import TASKS

    spec = replace(TASKS["surface_multi_label_cls"], hub_id=REPO)
    demo = DemoSource(spec, 0.02)
    server.repos[REPO] = repo_of(spec, demo)
    hub = HubSource(spec, fetch(REPO, None, [Subset()]), Subset())
    np.testing.assert_array_equal(hub.rows("test").targets, demo.rows("test").targets)
