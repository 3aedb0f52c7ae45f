import socket
from pathlib import Path

import pytest
from huggingface_hub.errors import HfUriError
from huggingface_hub.utils._hf_uris import parse_hf_uri

from marsbench.base import network
from marsbench.base.errors import ConfigError, WeightsError
from marsbench.base.hub import HubAddress, fetch, local_file, parse_address, pinned
from tests.conftest import go_offline
from tests.server import COMMIT, Repo, Server

FILE = HubAddress("org/name", path="a/b.txt")


@pytest.mark.parametrize(
    "text",
    [
        "hf://a/b",
        "hf://a/b/",
        "hf://a/b/c/d.pt",
        "hf://a/b/f@1.txt",
        "hf://datasets/a/b",
        "hf://spaces/a/b",
        "hf://datasets/a/b@main/x.csv",
        "hf://a/b@v1.0",
        "hf://a/b@refs/pr/3/train.json",
        "hf://a/b@refs%2Fpr%2F3",
        "hf://a/b@topic%2Fx/y",
    ],
)
def test_addresses_are_those_of_the_client(text: str) -> None:
    address, theirs = parse_address(text), parse_hf_uri(text)
    assert address == HubAddress(theirs.id, theirs.type, theirs.revision, theirs.path_in_repo)
    assert parse_address(str(address)) == address
    assert parse_hf_uri(str(address)).path_in_repo == address.path


@pytest.mark.parametrize("text", ["hf://", "hf://a", "hf://datasets/a", "hf://a/b@", "a/b"])
def test_texts_that_the_client_refuses_too(text: str) -> None:
    with pytest.raises(HfUriError):
        parse_hf_uri(text)
    with pytest.raises(ConfigError, match="is not an address of the hub"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        *("hf://a/b@..", "hf://a/b@..%2Fx", "hf://a/b@%2Fetc", "hf://a/b/../c", "hf://a/../b"),
        *("hf://a//b", "hf://.a/b", "hf://a/b--c", "hf://a/b.git", "hf://a b/c", "hf://\u00e4/b"),
        *("hf://a/b\n", "hf://a/b/c\x1b[31m", "hf://a/b/\u202ex", "hf://a/b/C:\\x", "hf://a/b@a@b"),
        f"hf://{'a' * 50}/{'b' * 50}",
    ],
)
def test_addresses_stay_in_their_folder(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an address of the hub") as caught:
        parse_address(text)
    assert "\x1b" not in str(caught.value)


def test_a_file_is_requested_once(server: Server) -> None:
    server.models["org/name"] = Repo({"a/b.txt": b"first"})
    path = local_file("hf://org/name/a/b.txt")
    assert path.read_bytes() == b"first"
    assert str(pinned(FILE, path)) == f"hf://org/name@{COMMIT}/a/b.txt"
    server.forget()
    server.models["org/name"] = Repo({"a/b.txt": b"second"}, commit="f" * 40)
    assert fetch(FILE) == path
    assert not server.seen()
    # Another revision is another file.
    assert local_file(f"hf://org/name@{'f' * 40}/a/b.txt").read_bytes() == b"second"


def test_paths_are_local_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/there")
    assert local_file("~/a//b.pt") == Path("/there/a/b.pt")
    assert local_file("a/b") == Path("a/b")
    with pytest.raises(ConfigError, match="is a repository"):
        local_file("hf://a/b")


def test_every_refusal_is_a_message(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.models["org/name"] = Repo({"a/b.txt": b"first"})
    server.models["org/private"] = Repo({"a/b.txt": b"first"}, private=True)

    def refused(text: str, *words: str) -> None:
        with pytest.raises(WeightsError) as caught:
            fetch(parse_address(text))
        for word in words:
            assert word in str(caught.value)
        assert len(str(caught.value)) < 500

    refused("hf://org/name/c.txt", "c.txt was not found in hf://org/name", "/org/name/tree/main")
    refused("hf://org/name@v2/a/b.txt", "Revision 'v2' of hf://org/name was not found")
    refused("hf://org/missing/c.txt", "not found", "Check the name")
    refused("hf://org/private/a/b.txt", "needs a valid token", "HF_TOKEN")
    server.fail("a/b.txt", times=9, method="HEAD", status=403)
    refused("hf://org/name/a/b.txt", "refuses access", "HTTP 403")
    server.forget()

    def no_network(*_: object) -> None:
        raise socket.gaierror("Name or service not known")

    with monkeypatch.context() as patch:
        patch.setattr(network, "check_reachable", no_network)
        refused("hf://org/name/a/b.txt", "does not answer", "gaierror")
    go_offline(monkeypatch)
    refused("hf://org/name/a/b.txt", "HF_HUB_OFFLINE forbids", "with a network")
