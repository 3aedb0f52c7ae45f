"""Findings of a check as they are collected."""

from marsbench.base.text import inline
from marsbench.leaderboard.schema import Finding

MOST_FINDINGS = 100
"""Largest number of findings of a sort; further ones are counted."""

_LONGEST = 1000
"""Longest text of a finding, in characters."""


class Findings:
    """Problems of a submission, with control characters escaped and without repetition."""

    def __init__(self) -> None:
        self._sorts: dict[bool, dict[Finding, None]] = {True: {}, False: {}}
        self._more = {True: 0, False: 0}

    def error(self, where: str, problem: str, remedy: str = "") -> None:
        """Add a problem that refuses the submission; arguments as in `Finding`."""
        self._add(where, problem, remedy, is_error=True)

    def flag(self, where: str, problem: str, remedy: str = "") -> None:
        """Add a remark for readers; arguments as in `Finding`."""
        self._add(where, problem, remedy, is_error=False)

    def _add(self, where: str, problem: str, remedy: str, *, is_error: bool) -> None:
        where, problem, remedy = (_short(text) for text in (where, problem, remedy))
        finding = Finding(where=where, problem=problem, remedy=remedy, is_error=is_error)
        if finding not in self._sorts[is_error] and len(self._sorts[is_error]) >= MOST_FINDINGS:
            self._more[is_error] += 1
        else:
            self._sorts[is_error][finding] = None

    @property
    def num_errors(self) -> int:
        """Number of errors so far."""
        return len(self._sorts[True]) + self._more[True]

    @property
    def all(self) -> tuple[Finding, ...]:
        """All findings, errors first."""
        return tuple(
            finding
            for is_error, findings in self._sorts.items()
            for finding in (*findings, *_others(self._more[is_error], is_error))
        )


def _others(count: int, is_error: bool) -> tuple[Finding, ...]:
    if not count:
        return ()
    text = f"There are {count} more {'problems' if is_error else 'remarks'}."
    return (Finding(where="", problem=text, is_error=is_error),)


def _short(text: str) -> str:
    text = inline(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
