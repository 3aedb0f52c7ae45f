import io
import sys

import pytest

from marsbench.base.progress import bar, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show() -> None:
    assert list(track([1, 2], "Counting", 2)) == [1, 2]
    with bar("Fetching", 3_000_000) as advance:
        for amount in (2_000_000, -1_000_000, 2_000_000):
            advance(amount)
    with bar("Unknown", 0) as advance:
        advance(5)


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    show()
    for part in ("Counting", "2/2", "Fetching", "3.0/3.0 MB", "ETA", "Unknown"):
        assert part in terminal.getvalue()


def test_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    show()
    assert capsys.readouterr() == ("", "")
