"""Limits on the answers of an endpoint, as a client of HTTP; needs the package openai."""

import time
from collections.abc import Iterator

import httpx
import openai

MOST_BYTES = 8_000_000
"""Longest body of an answer, in bytes; answers have a few hundred."""


class LongAnswerError(httpx.ReadError):
    """Body that is longer than `MOST_BYTES`, or whose length is not known before it is unpacked."""


class _Limited(httpx.SyncByteStream):
    """Body of an answer that ends with an error at a number of bytes or a time."""

    def __init__(self, body: httpx.SyncByteStream, seconds: float) -> None:
        self._body, self._seconds = body, seconds

    def __iter__(self) -> Iterator[bytes]:
        end, count = time.monotonic() + self._seconds, 0
        for part in self._body:
            count += len(part)
            if count > MOST_BYTES:
                raise LongAnswerError(f"more than {MOST_BYTES:,} bytes")
            if time.monotonic() > end:
                raise httpx.ReadTimeout(f"no end within {self._seconds:g} s")
            yield part

    def close(self) -> None:
        self._body.close()


def http_client(seconds: float) -> httpx.Client:
    """Client that reads bodies up to `MOST_BYTES`, and stays at the address that it is given.

    Args:
        seconds: Longest time between the head of an answer and its end: the client's own timeout
            counts from byte to byte, so that a body of single bytes would never end.
    """

    def limit(response: httpx.Response) -> None:
        # A packed body of a few bytes may unpack to any length.
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise LongAnswerError(
                "a packed body, which was not asked for", request=response.request
            )
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Limited(response.stream, seconds)

    return openai.DefaultHttpxClient(
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [limit]},
        # Images would go to a host that the record does not name.
        follow_redirects=False,
    )
