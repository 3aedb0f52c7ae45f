"""Checkpoints of the web, by address and checksum, from a local server with the real client."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import marsbench
from marsbench.base import links
from marsbench.base.errors import ConfigError, MarsbenchError, WeightsError
from marsbench.base.files import file_digest
from marsbench.base.hub import local_file
from marsbench.cli.compose import compose
from marsbench.results.store import Store
from marsbench.tasks.catalog import get_task
from marsbench.training.trained import rebuild
from tests.conftest import go_offline
from tests.models.foundation.checkpoints import saved
from tests.server import Failure, Server

DIGITS = "ab" * 32


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("https://host/a.pth", "no checksum"),
        ("https://host/a.pth#sha256=ab12", "no checksum"),
        ("https://host/a.pth#md5=" + "ab" * 16, "no checksum"),
        (f"https:///a.pth#sha256={DIGITS}", "not the address of a file"),
        (f"https://host/#sha256={DIGITS}", "not the address of a file"),
        (f"https://[host/a#sha256={DIGITS}", "not the address of a file"),
    ],
)
def test_addresses_that_are_refused(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        links.parse_link(text)


def test_secrets_are_not_shown() -> None:
    link = links.parse_link(f"https://me:secret@host/x/a.pth?token=1#sha256={DIGITS.upper()}")
    assert link.url == "https://me:secret@host/x/a.pth?token=1"
    assert str(link) == f"https://host/x/a.pth#sha256={DIGITS}"
    assert link.file.parts[-2:] == (DIGITS, "a.pth")
    with pytest.raises(ConfigError) as caught:
        links.parse_link("https://me:secret@host/a.pth?token=1")
    assert "secret" not in str(caught.value)
    assert "token" not in str(caught.value)


@pytest.fixture
def published(server: Server) -> tuple[str, bytes]:
    """Link to a file of the server, and its content."""
    torch.manual_seed(0)
    content = saved(timm.create_model("test_vit").state_dict())
    server.files["/w/model.pth"] = content
    return f"{server.url}/w/model.pth#sha256={hashlib.sha256(content).hexdigest()}", content


def test_a_file_is_downloaded_once(published: tuple[str, bytes], server: Server) -> None:
    text, content = published
    path = local_file(text)
    assert path.read_bytes() == content
    assert local_file(text) == path
    assert len(server.seen("/w/model.pth", "GET")) == 1


def test_failures_are_one_message(
    published: tuple[str, bytes], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = published
    monkeypatch.setattr(links, "_RETRIES", 1)  # each waits longer
    with pytest.raises(WeightsError, match="another checksum"):
        local_file(text[:-64] + DIGITS)
    with pytest.raises(WeightsError, match=r"none\.pth#sha256=.* cannot be downloaded: HTTP 404"):
        local_file(text.replace("model.pth", "none.pth"))
    server.failures.append(Failure("/w/model.pth", times=1, cut_after=100))
    assert local_file(text).is_file()  # tried again
    local_file(text).unlink()
    go_offline(monkeypatch)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids downloads"):
        local_file(text)


def test_a_run_names_the_link_and_predicts_again(
    published: tuple[str, bytes], server: Server, toy: str, tmp_path: Path
) -> None:
    text, content = published
    words = [f"task={toy}", "model=timm:test_vit", f"weights={text}", "workers=0"]
    assert compose(words).weights == text
    secret = text.replace("http://", "http://me:secret@").replace("#", "?token=1#")
    keys: dict[str, Any] = {"task": toy, "model": "timm:test_vit", "workers": 0}
    record = marsbench.run(**keys, weights=secret, store=str(tmp_path / "runs"))
    (tmp_path / "same.pth").write_bytes(content)
    assert record.identity["weights"] == file_digest(tmp_path / "same.pth")
    assert record.weights is not None
    assert record.weights["path"] == record.config["weights"] == text
    folder = Store(tmp_path / "runs").folder(record.run_id)
    assert "secret" not in "".join(p.read_text() for p in folder.glob("*.[jy][sa]*"))
    asked = len(server.log)
    rebuild(record, folder, get_task(toy))
    local_file(text).rename(folder / "model.pth")
    rebuild(record, folder, get_task(toy))  # beside the record
    (folder / "model.pth").unlink()
    with pytest.raises(MarsbenchError, match="initial weights of run"):
        rebuild(record, folder, get_task(toy))
    assert len(server.log) == asked  # a record makes no request
