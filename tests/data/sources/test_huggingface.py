"""Fetching from the hub: the right files, once, whatever happens; against a server of our own."""

import io
import multiprocessing
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub import hf_hub_download, snapshot_download

from marsbench.base.errors import ConfigError, DataError, DataNotFoundError
from marsbench.config.schema import SourceName, Subset, parse_subset
from marsbench.data.download.web import UnreachableError
from marsbench.data.sources import hub_files, open_source
from marsbench.data.sources.hub_files import fetch
from marsbench.data.subsets import select
from marsbench.tasks.kinds import Kind
from tests.conftest import go_offline, use_endpoint
from tests.hub import (
    NEWER,
    PARQUET,
    REPO,
    fetched,
    hub_spec,
    known,
    opened,
    plain,
    publish,
    rewritten,
    same,
)
from tests.hub_data import published
from tests.server import COMMIT, Server


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
    # In that order the samples come as they stand in the files.
    files = [c for p, c in sorted(server.repos[REPO].files.items()) if "/train-" in p]
    stored = [
        image["path"] for c in files for image in pq.read_table(io.BytesIO(c))["image"].to_pylist()
    ]
    assert [rows.sample_ids[i] for i in rows.reading_order] == stored
    assert stored != sorted(stored)


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


def test_a_source_serves_the_subset_it_was_opened_for(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path, None, "few_shot_2", "partition_0.50")
    few = opened(spec, "few_shot_2")
    for other in ("full", "partition_0.50"):
        with pytest.raises(DataError, match="opened for few_shot_2; expected"):
            select(few, parse_subset(other))
    full, subset = opened(spec), parse_subset("partition_0.50")
    with pytest.raises(DataNotFoundError, match=r"0.50x_partition' .* not downloaded"):
        select(full, subset)  # what is published is never generated instead
    opened(spec, "partition_0.50")
    assert select(full, subset).origin == "published"
    assert select(full, subset).digest == select(local, subset).digest


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
    monkeypatch.setattr(hub_files, "once", lambda *_: pytest.fail("a lock was taken"))
    monkeypatch.setattr(hub_files, "write_text", lambda *_: pytest.fail("a file was written"))
    opened(spec)


def test_the_cache_of_other_tools_is_used(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    for path in server.repos[REPO].files:
        hf_hub_download(REPO, path, repo_type="dataset")
    server.forget()
    source = opened(spec)
    assert [seen.path for seen in server.seen("dataset")] == [
        f"/api/datasets/{REPO}/revision/{COMMIT}"
    ]
    same(source, local, "train")


@pytest.mark.parametrize("tool", ["snapshot", "files"])
def test_the_cache_of_other_tools_serves_offline(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    spec, local = publish(server, tmp_path, None, "few_shot_1", shards=2)
    if tool == "snapshot":
        snapshot_download(REPO, repo_type="dataset")
    else:
        for path in server.repos[REPO].files:
            if "few_shot" not in path and "test-00001" not in path:
                hf_hub_download(REPO, path, repo_type="dataset")
    go_offline(monkeypatch)
    server.forget()
    if tool == "files":
        with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE"):
            opened(spec)  # a file of the test split is missing
        source = opened(spec, splits=["train", "val"])
        with pytest.raises(UnreachableError):
            opened(spec, "few_shot_1", splits=["train"])  # it may be published
    else:
        source = opened(spec)
        assert len(opened(spec, "few_shot_1").rows("train")) == 3
        with pytest.raises(DataNotFoundError, match="few_shot_2"):
            select(source, parse_subset("few_shot_2"))
    assert source.revision == f"hub:{COMMIT}"
    for split in source.splits:
        same(source, local, split)
    assert server.seen() == []
    fingerprint = source.rows("val").fingerprint
    go_offline(monkeypatch, False)
    assert opened(spec).rows("val").fingerprint == fingerprint


def test_a_partial_cache_without_class_names(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, local = publish(server, tmp_path)
    for split in local.splits:
        rewritten(server.repos[REPO], split, plain)
        hf_hub_download(REPO, f"data/{split}-00000-of-00001.parquet", repo_type="dataset")
    go_offline(monkeypatch)
    with pytest.raises(DataNotFoundError, match=r"class names of .* are not in the cache"):
        opened(spec)


def test_another_tool_does_not_move_the_pin(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    snapshot_download(REPO, repo_type="dataset")
    opened(spec)
    server.repos[REPO].commit = NEWER
    snapshot_download(REPO, repo_type="dataset")
    assert opened(spec).revision == f"hub:{COMMIT}"


def test_the_revision_stays_until_an_update(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)
    server.repos[REPO].commit = NEWER
    assert opened(spec).revision == f"hub:{COMMIT}"
    assert fetch(REPO, None, [Subset()], update=True).revision == NEWER
    assert opened(spec).revision == f"hub:{NEWER}"
    # What an older study used is still there under its commit.
    assert opened(spec, revision=COMMIT).revision == f"hub:{COMMIT}"


def test_a_commit_that_changes_no_image_keeps_the_decoded_ones(
    server: Server, tmp_path: Path
) -> None:
    spec, _ = publish(server, tmp_path)
    first = opened(spec).rows("val").fingerprint
    assert first != opened(spec).rows("test").fingerprint
    server.repos[REPO].commit = NEWER
    fetch(REPO, None, [Subset()], update=True)
    assert opened(spec).rows("val").fingerprint == first
    rewritten(server.repos[REPO], "val", lambda table: table.slice(1))
    server.repos[REPO].commit = "e" * 40
    fetch(REPO, None, [Subset()], update=True)
    assert opened(spec).rows("val").fingerprint != first


def test_an_unknown_revision(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    with pytest.raises(DataNotFoundError, match=r"Revision 'v9' of .* was not found"):
        opened(spec, revision="v9")


def test_an_unknown_repository(server: Server) -> None:
    with pytest.raises(DataNotFoundError, match=r"Mirali33/mb-toy not found on") as caught:
        opened(hub_spec())
    assert "HF_TOKEN" in caught.value.remedy


def test_tokens(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)
    assert {s.token for s in server.seen()} == {None}
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "other"))
    server.repos[REPO].private = True
    with pytest.raises(DataNotFoundError, match=r"private or gated \(HTTP 401\)") as caught:
        opened(spec, revision=COMMIT)
    assert "HF_TOKEN" in caught.value.remedy
    monkeypatch.setenv("HF_TOKEN", "good")
    server.forget()
    opened(spec, revision=COMMIT)
    assert {s.token for s in server.seen()} == {"good"}


def test_gated_data(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    server.fail(PARQUET, 9, method="HEAD", status=403, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(DataNotFoundError, match="gated") as caught:
        opened(spec)
    assert f"{server.url}/datasets/{REPO}" in caught.value.remedy


def test_a_busy_hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = publish(server, tmp_path)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    server.fail("/api/datasets", status=429)
    with pytest.raises(UnreachableError, match="HTTP 429"):
        opened(spec)
    # Files are asked for again by the client.
    server.fail(PARQUET, status=429, headers={"Retry-After": "7"})
    server.fail("val.*parquet", 1, method="HEAD", status=503)
    opened(spec)
    assert any(wait >= 7 for wait in waited)
    server.fail("val.*parquet", 99, method="HEAD", status=503)
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "other"))
    server.repos[REPO].commit = NEWER
    with pytest.raises(UnreachableError, match="HTTP 503"):
        opened(spec, revision=NEWER)


def test_no_hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = publish(server, tmp_path)
    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match=r"127.0.0.1:9 does not answer"):
        opened(spec)


@pytest.mark.parametrize("how", ["page", "garbage"])
def test_a_listing_that_is_none(server: Server, tmp_path: Path, how: str) -> None:
    spec, _ = publish(server, tmp_path)
    if how == "page":
        server.html("/api/datasets")
    else:
        server.fail("/api/datasets", status=200, body=b"[1, 2]")
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        opened(spec)
    assert "HF_ENDPOINT" in caught.value.remedy


@pytest.mark.parametrize("repo", ["a--b/c", "a/b/c", "../x"])
def test_a_bad_name_of_a_repository(server: Server, repo: str) -> None:
    with pytest.raises(ConfigError, match=r"hub_id .* is invalid"):
        opened(hub_spec(hub_id=repo))
    assert server.seen() == []


@pytest.mark.parametrize("name", ["../../out/train-00000-of-00001.parquet", "/tmp/train.parquet"])
def test_files_that_would_be_written_elsewhere(server: Server, tmp_path: Path, name: str) -> None:
    spec, _ = publish(server, tmp_path)
    server.repos[REPO].files[name] = b"x"
    with pytest.raises(DataError, match="outside its folder"):
        opened(spec)
    assert not server.seen(PARQUET)


def test_a_password_in_an_address_is_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_endpoint(monkeypatch, server.url.replace("//", "//user:SECRET@"))
    with pytest.raises(DataNotFoundError) as caught:
        opened(hub_spec())
    assert "SECRET" not in str(caught.value)


def test_a_file_cut_short_here_is_fetched_again(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    path = known(opened(spec)).folder / "data" / "val-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:100])
    same(opened(spec), local, "val")


@pytest.mark.parametrize("name", ["data/val-00000-of-00001.parquet", "mapping.json"])
def test_a_file_changed_in_place_is_no_data_of_the_commit(
    server: Server, tmp_path: Path, name: str
) -> None:
    spec, local = publish(server, tmp_path)
    server.repos[REPO].files["mapping.json"] = (local.folder / "mapping.json").read_bytes()
    path = known(opened(spec)).folder / name
    info, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.resolve().write_bytes(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    with pytest.raises(DataError, match=rf"1 file.s. of .* changed on this machine: {name}"):
        opened(spec)


def test_a_file_that_may_not_be_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)

    def refuse(path: Path, algorithm: str) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(hub_files, "digest_of", refuse)
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "other"))
    with pytest.raises(DataError, match=r"\.parquet cannot be read: Permission denied"):
        opened(spec)


def test_a_listing_changed_by_something_else_is_made_anew(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    opened(spec)
    path = hub_files.pin_folder(REPO) / f"{COMMIT}.json"
    for content in ("", "[]", '{"splits": [], "files": null}', '{"splits": {"a": [1]}}'):
        path.write_text(content)
        assert opened(spec).splits == ("train", "val", "test")


def test_files_without_stated_sizes(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    server.repos[REPO].states_sizes = False
    same(opened(spec), local, "val")


def test_an_update_that_fails_leaves_what_there_was(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = publish(server, tmp_path, None, "few_shot_1")
    opened(spec)
    opened(spec, "few_shot_1")
    server.repos[REPO].commit = NEWER
    monkeypatch.setattr(time, "sleep", lambda _: None)
    # Another file, as the client takes one that it has of another commit.
    rewritten(server.repos[REPO], "few_shot_train_1_shot", lambda table: table.slice(1))
    server.fail("few_shot.*parquet", 9, status=503)
    with pytest.raises(UnreachableError):
        fetch(REPO, None, [Subset()], update=True)
    assert opened(spec).revision == f"hub:{COMMIT}"
    server.forget()
    fetch(REPO, None, [Subset()], update=True)
    go_offline(monkeypatch)
    for subset in ("full", "few_shot_1"):  # all that there was of the old commit
        assert opened(spec, subset).revision == f"hub:{NEWER}"


def test_a_branch_with_odd_characters(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    server.repos[REPO].branches = ("refs/pr/1", "refs--pr--1")
    for revision in server.repos[REPO].branches:
        assert opened(spec, revision=revision).revision == f"hub:{COMMIT}"
    refs = hub_files.pin_folder(REPO) / "refs"
    assert {p.name for p in refs.iterdir()} >= {"refs%2Fpr%2F1", "refs--pr--1"}


def test_only_the_split_that_is_asked_for(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    source = open_source(spec, SourceName.HUGGINGFACE, splits=["val"])
    assert fetched(server) == ["val"]
    same(source, local, "val")
    with pytest.raises(DataNotFoundError, match=r"The split 'train' .* is not downloaded"):
        source.rows("train")


DOWNLOAD = """
import sys
from marsbench.config.schema import Subset
from marsbench.data.sources.hub_files import fetch
fetch(sys.argv[1], None, [Subset()])
"""


def test_a_killed_download_leaves_nothing_in_the_way(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    (path,) = [p for p in server.repos[REPO].files if "train" in p]
    size = len(server.repos[REPO].files[path])
    server.fail("train.*parquet", bytes_per_second=size / 4)
    child = subprocess.Popen([sys.executable, "-c", DOWNLOAD, REPO])
    while not any(0 < seen.sent < size for seen in server.seen("train.*parquet", "GET")):
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    same(opened(spec), local, "train")


def test_a_bar_on_a_terminal_alone(server: Server, tmp_path: Path) -> None:
    publish(server, tmp_path)
    command = [sys.executable, "-c", DOWNLOAD, REPO]
    home = {**os.environ, "HF_HOME": str(tmp_path / "quiet"), "MARSBENCH_HOME": str(tmp_path / "q")}
    quiet = subprocess.run(command, env=home, capture_output=True, text=True, check=True)
    assert "%" not in quiet.stdout + quiet.stderr
    ours, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    subprocess.run(command, stderr=terminal, check=True)
    os.close(terminal)
    assert b"train-00000" in os.read(ours, 1 << 16)
    os.close(ours)


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
        ({"corrupt": True}, "has the checksum sha256:"),
        ({"status": 200, "body": b"short"}, "should be of size"),
        ({"status": 200, "body": b"<!DOCTYPE html><html>"}, "should be of size"),
    ],
    ids=["checksum", "length", "page"],
)
def test_a_wrong_file_is_not_kept(
    server: Server, tmp_path: Path, how: dict[str, Any], message: str
) -> None:
    spec, _ = publish(server, tmp_path)
    server.fail("train.*parquet", 99, **how)
    with pytest.raises(DataError, match=message):
        opened(spec)
    assert not list(hub_files.cache_folder(REPO).rglob("*train*"))
    server.forget()
    opened(spec)


def test_without_network(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = publish(server, tmp_path, None, "few_shot_1")
    go_offline(monkeypatch)
    with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE") as caught:
        opened(spec)
    assert "marsbench data download" in caught.value.remedy
    go_offline(monkeypatch, False)
    opened(spec, "few_shot_1")
    go_offline(monkeypatch)
    server.forget()
    opened(spec, "few_shot_1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE forbids"):
        opened(spec)  # the full train split was not downloaded
    assert server.seen() == []
