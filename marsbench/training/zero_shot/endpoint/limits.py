"""Limits on the answers of an endpoint, as a client of HTTP; needs the package openai.

Versions of openai bring different packages of HTTP, so nothing here imports one.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import openai

MOST_BYTES = 8_000_000
"""Longest body of an answer, in bytes; answers have a few hundred."""


def http_client(seconds: float, failure: Callable[[str], Exception]) -> Any:
    """Client that reads bodies up to `MOST_BYTES`, and stays at the address that it is given.

    Args:
        seconds: Longest time between the head of an answer and its end: the client's own timeout
            counts from byte to byte, so that a body of single bytes would never end.
        failure: From a reason to the error that is raised at a limit.
    """

    def limit(response: Any) -> None:
        # A packed body of a few bytes may unpack to any length.
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise failure("a packed answer, which was not asked for")
        read = response.iter_raw

        def limited(chunk_size: int | None = None) -> Iterator[bytes]:
            end, count = time.monotonic() + seconds, 0
            for part in read(chunk_size):
                count += len(part)
                if count > MOST_BYTES:
                    raise failure(f"an answer of more than {MOST_BYTES:,} bytes")
                if time.monotonic() > end:
                    raise failure(f"no answer within {seconds:g} s")
                yield part

        response.iter_raw = limited

    return openai.DefaultHttpxClient(
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [limit]},
        # Images would go to a host that the record does not name.
        follow_redirects=False,
    )
