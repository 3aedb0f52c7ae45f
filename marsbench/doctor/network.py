"""Whether the sources of data and weights answer."""

import threading
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from marsbench import __version__

ZENODO = "https://zenodo.org/api"
TORCH_WEIGHTS = "https://download.pytorch.org"

TIMEOUT = 3.0
"""Seconds a source has to answer."""


def sources(*, offline: bool) -> dict[str, dict[str, Any]]:
    """Try all sources at once.

    Args:
        offline: Whether to try none.

    Returns:
        For each source its ``url``, whether it is ``reachable`` (None if it was not tried) and
        what it ``said``.
    """
    from huggingface_hub import constants

    urls = {
        "Hugging Face hub": constants.ENDPOINT,
        "Zenodo": ZENODO,
        "torch weights": TORCH_WEIGHTS,
    }
    found: dict[str, dict[str, Any]] = {}
    tried: dict[str, threading.Thread] = {}
    for name, url in urls.items():
        found[name] = {"url": without_password(url), "reachable": None, "said": "not tried"}
        if offline:
            found[name]["said"] = "not tried: --offline"
        elif name == "Hugging Face hub" and constants.HF_HUB_OFFLINE:
            found[name]["said"] = "not tried: HF_HUB_OFFLINE is set"
        else:
            # A daemon: the look-up of a name knows no timeout, and must not hold up the end.
            tried[name] = threading.Thread(target=_try, args=(url, found[name]), daemon=True)
            found[name] |= {"reachable": False, "said": f"no answer within {TIMEOUT:g} s"}
    for thread in tried.values():
        thread.start()
    end = time.monotonic() + TIMEOUT + 0.5
    for thread in tried.values():
        thread.join(max(0.0, end - time.monotonic()))
    # Copied, since a thread that is late still writes.
    return {name: dict(facts) for name, facts in found.items()}


def _try(url: str, found: dict[str, Any]) -> None:
    start = time.monotonic()
    try:
        request = Request(url, method="HEAD", headers={"User-Agent": f"marsbench/{__version__}"})  # noqa: S310
        with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            status = int(answer.status)
    except HTTPError as error:
        # Forbidden or not found is an answer too; a proxy that wants a password is none.
        status = error.code
    except (URLError, OSError, ValueError) as error:
        said = str(getattr(error, "reason", None) or error) or type(error).__name__
        found.update(reachable=False, said=said.splitlines()[0][:160])
        return
    except Exception as error:  # a reply that is no HTTP
        found.update(reachable=False, said=f"{type(error).__name__}: {error}"[:160])
        return
    seconds = time.monotonic() - start
    found.update(reachable=status < 500 and status != 407, said=f"HTTP {status} in {seconds:.1f} s")


def without_password(url: str) -> str:
    """The address without the name and password it may carry."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
