"""Uploads of the real client to a hub of our own."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from marsbench.base.errors import ConfigError, MarsbenchError, NotAvailableError
from marsbench.base.hub import HubAddress, fetch, parse_address
from marsbench.leaderboard.pushing import push
from tests.conftest import go_offline
from tests.server import Repo, Server

FILES = ("a.csv", "runs/[x].safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "runs").mkdir(parents=True)
    (folder / "a.csv").write_text("a\n1\n")
    (folder / "runs" / "[x].safetensors").write_bytes(b"tensors")
    (folder / "runs" / "x.safetensors").write_bytes(b"others")
    (folder / "secret.txt").write_text("not to be uploaded")
    return folder


def test_named_files_alone_are_uploaded(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "good")
    address = HubAddress("me/model")
    done = push(address, folder, FILES, "First")
    assert done == (f"{server.url}/me/model", address)
    repo = server.models["me/model"]
    assert repo.private
    assert {*repo.files} == {".gitattributes", *FILES}
    assert fetch(parse_address("hf://me/model/a.csv")).read_text() == "a\n1\n"
    # A repository that exists keeps its other files and who may see it.
    server.models["me/open"] = Repo({"b.txt": b"b"})
    push(HubAddress("me/open", path="sub"), folder, ["a.csv"], "Second")
    assert {*server.models["me/open"].files} == {"b.txt", "sub/a.csv"}
    assert not server.models["me/open"].private
    push(HubAddress("me/public", "dataset"), folder, FILES, "Third", private=False)
    assert not server.repos["me/public"].private


def test_metadata_of_macos_stay_here(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing checks these files, and links among them may lead anywhere."""
    monkeypatch.setenv("HF_TOKEN", "good")
    (tmp_path / "key").write_text("secret")
    for name in (".DS_Store", "runs/.DS_Store", "runs/._a.csv", "__MACOSX/a.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(tmp_path / "key")
    (folder / ".eval_results").mkdir()
    (folder / ".eval_results" / "marsbench.yaml").write_text("[]")
    push(HubAddress("me/model"), folder, None, "All")
    files = {*FILES, "runs/x.safetensors", "secret.txt", ".eval_results/marsbench.yaml"}
    assert {*server.models["me/model"].files} - {".gitattributes"} == files


def test_a_pull_request_of_a_reader(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "reader")
    address = HubAddress("org/results", "dataset", path="entry")
    with pytest.raises(NotAvailableError, match=r"hf://datasets/org/results/entry was not found"):
        push(address, folder, FILES, "Entry", pull_request=True)
    assert not server.repos
    server.repos["org/results"] = Repo({"README.md": b"Results"})
    done = push(address, folder, FILES, "Entry", pull_request=True)
    assert done.page == f"{server.url}/datasets/org/results/discussions/1"
    assert str(done.address) == "hf://datasets/org/results@refs/pr/1/entry"
    assert {*server.repos["org/results"].files} == {"README.md"}
    file = fetch(HubAddress("org/results", "dataset", "refs/pr/1", "entry/a.csv"))
    assert file.read_text() == "a\n1\n"


def test_uploads_that_fail_are_messages(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(failure: type[MarsbenchError], address: HubAddress, *words: str) -> None:
        with pytest.raises(failure) as caught:
            push(address, folder, FILES, "First")
        for word in words:
            assert word in str(caught.value)
        assert not server.models

    refused(ConfigError, HubAddress("me/a", revision="v1"), "names a revision")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    refused(NotAvailableError, HubAddress("me/a"), "no login", "HF_TOKEN", "hf auth login")
    monkeypatch.setenv("HF_TOKEN", "expired")
    refused(NotAvailableError, HubAddress("me/a"), "needs a valid token", "HTTP 401")
    monkeypatch.setenv("HF_TOKEN", "reader")
    refused(NotAvailableError, HubAddress("me/a"), "refuses access to hf://me/a", "HTTP 403")
    monkeypatch.setenv("HF_TOKEN", "good")
    refused(NotAvailableError, HubAddress("others/a"), "refuses access", "rights")
    server.fail("/api/repos/create", method="POST", status=504)
    refused(NotAvailableError, HubAddress("me/a"), "does not answer", "HTTP 504")
    go_offline(monkeypatch)
    refused(NotAvailableError, HubAddress("me/a"), "HF_HUB_OFFLINE forbids requests")
