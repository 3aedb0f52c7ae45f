"""Short forms of run ids, for people: printed by listings, accepted by every command."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable

_DIGITS = 4
"""Least number of digits that tell runs of equal ends apart."""

_SHORT = re.compile(r"(?:\d+-)?[0-9a-f]{6,10}|(?P<end>\d+-[0-9a-f]{10})\.(?P<digits>[0-9a-f]{4,})")


def short_ids(run_ids: Iterable[str]) -> dict[str, str]:
    """Shorten run ids so that each still names a single run.

    The short form is the last part, ``SEED-HASH``. Runs of equal last parts have the first digits
    of the digest of their ids after it, ``SEED-HASH.DIGITS``.

    Args:
        run_ids: Ids of all runs of a store.

    Returns:
        Short form by id.
    """
    by_end: defaultdict[str, list[str]] = defaultdict(list)
    for run_id in set(run_ids):
        by_end[_end(run_id)].append(run_id)
    short: dict[str, str] = {}
    for end, members in by_end.items():
        if len(members) == 1:
            short[members[0]] = end
            continue
        digests = {run_id: _digest(run_id) for run_id in members}
        digits = _DIGITS
        while len({text[:digits] for text in digests.values()}) < len(members):
            digits += 1
        short |= {run_id: f"{end}.{text[:digits]}" for run_id, text in digests.items()}
    return short


def matching(word: str, run_ids: Iterable[str]) -> list[str]:
    """Run ids named by a word, sorted.

    Args:
        word: Form of `short_ids`; or the hash or its first 6 or more digits, with or without the
            seed before it.
        run_ids: Ids of all runs of a store.
    """
    form = _SHORT.fullmatch(word)
    if form is None:
        return sorted(run_id for run_id in run_ids if _end(run_id) == word)
    if form["end"]:
        alike = matching(form["end"], run_ids)
        return [run_id for run_id in alike if _digest(run_id).startswith(form["digits"])]
    after = 0 if "-" in word else 1
    return sorted(i for i in run_ids if "-".join(_end(i).split("-", 1)[after:]).startswith(word))


def _end(run_id: str) -> str:
    return run_id.rpartition("/")[2]


def _digest(run_id: str) -> str:
    return hashlib.sha256(run_id.encode()).hexdigest()
