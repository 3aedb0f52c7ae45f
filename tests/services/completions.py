"""A server that answers about images as OpenAI-compatible services do, and as they fail.

Every request is logged, and every image counted whose answer left completely.
"""

import base64
import contextlib
import hashlib
import json
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-toy-0123456789abcdefghijkl"


@dataclass
class Trouble:
    """What goes wrong with a request.

    Attributes:
        status: Status of the answer.
        body: Its body; None for an error as services word it.
        headers: Its headers.
        cut: Whether the connection ends within the body.
        delay: Seconds before the answer.
        drip: Seconds before each byte of the body, up to a client that leaves.
    """

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    delay: float = 0.0
    drip: float = 0.0


@dataclass
class Said:
    """An answer of the model."""

    text: str | None
    refusal: str | None = None
    finish: str = "stop"
    model: str = "toy-2026-11-30"


class Completions:
    """A service on a free port; a context manager.

    Args:
        say: From the number of the request's image, in the order of arrival, to the answer.
        key: Key that it wants; None for none.
        models: Names of its models.
        has_schemas: Whether it takes ``response_format``.
    """

    def __init__(
        self,
        say: Callable[[int], Said | str],
        *,
        key: str | None = KEY,
        models: Sequence[str] = ("toy",),
        has_schemas: bool = True,
    ) -> None:
        self.say, self.key, self.models, self.has_schemas = say, key, models, has_schemas
        self.troubles: list[Trouble] = []
        self.log: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.answered: Counter[str] = Counter()
        self.images: dict[str, int] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.closes_after: int | None = None
        self.waiting = 0
        self.lock = threading.Lock()
        handler = type("BoundHandler", (_Handler,), {"app": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> "Completions":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Address of the endpoint."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def num_answered(self) -> int:
        """Number of answers that left."""
        with self.lock:
            return self.answered.total()

    def take(self) -> Trouble | None:
        """Take the next trouble, if any."""
        with self.lock:
            return self.troubles.pop(0) if self.troubles else None

    def number(self, image: str) -> int:
        """Number of an image in the order of arrival."""
        with self.lock:
            return self.images.setdefault(image, len(self.images))

    def pass_gate(self, connection: socket.socket) -> bool:
        """Wait at the closed gate; returns whether the client waited as well."""
        with self.lock:
            if self.closes_after is not None and self.answered.total() >= self.closes_after:
                self.gate.clear()
            self.waiting += 1
        try:
            while not self.gate.wait(0.05):
                readable, _, _ = select.select([connection], [], [], 0)
                if readable and not connection.recv(1, socket.MSG_PEEK):
                    return False
            return True
        finally:
            with self.lock:
                self.waiting -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    app: Completions

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep standard error clean."""

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.app.lock:
            self.app.log.append(content)
            self.app.times.append(time.monotonic())
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.app.key is not None and given != self.app.key:
            # As some services do: the key is in the message.
            return self._fail(401, f"Incorrect API key provided: {given}.", "invalid_api_key")
        if self.path != "/v1/chat/completions":
            return self._fail(404, "Not Found", None)
        if content["model"] not in self.app.models:
            text = f"The model `{content['model']}` does not exist"
            return self._fail(404, text, "model_not_found")
        if "response_format" in content and not self.app.has_schemas:
            return self._fail(400, "Unknown parameter: 'response_format'.", "unknown_parameter")
        trouble = self.app.take()
        if trouble is not None and trouble.delay:
            time.sleep(trouble.delay)
        if trouble is not None and trouble.body is not None:
            return self._send(trouble.status, trouble.body, trouble.headers, drip=trouble.drip)
        if trouble is not None and trouble.status != 200:
            return self._fail(trouble.status, "trouble", "trouble", trouble.headers)
        _, picture = content["messages"][1]["content"]
        png = base64.b64decode(picture["image_url"]["url"].partition(",")[2])
        image = hashlib.sha256(png).hexdigest()
        if not self.app.pass_gate(self.connection):
            self.close_connection = True
            return None
        said = self.app.say(self.app.number(image))
        body = completion(said if isinstance(said, Said) else Said(said))
        if trouble is not None and trouble.cut:
            self._send(200, body, cut=True)
        else:
            # Counted first, so that a client that has the answer finds it counted.
            with self.app.lock:
                self.app.answered[image] += 1
            self._send(200, body)
        return None

    def _fail(
        self, status: int, text: str, code: str | None, headers: dict[str, str] | None = None
    ) -> None:
        error = {"message": text, "type": "error", "param": None, "code": code}
        self._send(status, json.dumps({"error": error}).encode(), headers or {})

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        cut: bool = False,
        drip: float = 0.0,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if drip:
            with contextlib.suppress(OSError):
                for byte in body:
                    time.sleep(drip)
                    self.wfile.write(bytes([byte]))
            cut = True
        else:
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut


def completion(said: Said) -> bytes:
    """A completion as services write it."""
    message = {"role": "assistant", "content": said.text, "refusal": said.refusal}
    choice = {"index": 0, "message": message, "finish_reason": said.finish, "logprobs": None}
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    content = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": said.model,
        "choices": [choice],
        "usage": usage,
    }
    return json.dumps(content).encode()
