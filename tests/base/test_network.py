import socket
import threading
import time
from collections.abc import Iterator

import pytest

from marsbench.base import network
from tests.server import Server


@pytest.fixture
def silent() -> Iterator[str]:
    """Address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/org/name"


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_asked", {})
    monkeypatch.setattr(network, "PATIENCE", 0.3)


def test_a_server_that_never_answers(silent: str) -> None:
    assert network.PATIENCE == 0.3
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        network.check_reachable(silent)
    first = time.monotonic() - started
    assert 0.2 < first < 1.5
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        network.check_reachable(f"{silent}/other")
    assert time.monotonic() - started < 0.1, "a silent server is asked once a minute"


def test_a_lookup_of_a_name_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait(30))
    with pytest.raises(TimeoutError, match="no answer within"):
        network.check_reachable("http://hub.example/")
    ended.set()


def test_refused_connections_and_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        network.check_reachable(f"http://127.0.0.1:{port}")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror):
        network.check_reachable("http://hub.example/")


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"],
    ids=["closed", "redirected"],
)
def test_a_server_that_dislikes_the_request_answers(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        network.check_reachable(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()


def test_any_answer_will_do(server: Server) -> None:
    for status in (403, 407, 500):
        server.fail("^/$", method="HEAD", status=status)
        network._asked.clear()
        network.check_reachable(f"{server.url}/org/name")
    assert [seen.path for seen in server.seen()] == ["/", "/", "/"]
    network.check_reachable("s3://bucket/name")
