import io
import re
import sys
from types import SimpleNamespace

import pytest

from marsbench.base import progress
from marsbench.base.progress import bar, steps, track


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


def test_elsewhere_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with steps("Encoding", 2_000, done=1_000) as advance:
        for _ in range(3):
            advance(100)
        advance.describe("Encoding more")
        for _ in range(3):
            advance(100)
        advance(400)
    assert capsys.readouterr().err.splitlines() == [
        "Encoding: 1,300 of 2,000, ETA 0:01:10",  # 300 steps in 30 s
        "Encoding more: 1,600 of 2,000, ETA 0:00:40",
    ]
    with bar("Fetching", 0) as advance:
        for _ in range(3):
            advance(1_500_000)
    assert list(track("abc", "Counting", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == "Fetching: 4.5 MB\n"


def test_resumed_steps_are_not_part_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with steps("Encoding", 100, done=40) as advance:
        advance.describe("Encoding frost")
    assert "40/100" in terminal.getvalue()
    assert "ETA -:--:--" in re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())
    assert "Encoding frost" in terminal.getvalue()


@pytest.mark.parametrize("has_widgets", [True, False])
def test_notebooks_with_widgets_have_bars(
    has_widgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(progress, "find_spec", lambda _: object() if has_widgets else None)
    assert progress.has_bars() is has_widgets
