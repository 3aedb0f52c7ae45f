import os
import signal
import subprocess
import time

import pytest

from marsbench.leaderboard import guard
from marsbench.leaderboard.guard import limited


def answer(text: str) -> str:
    """Answer, or misbehave as the text says."""
    if text == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if text == "memory":
        return str(len(bytearray(8 << 30)))
    if text == "noise":
        os.write(1, b"noise of a library\n")
    if text == "hang":
        time.sleep(600)
    if text == "time":
        os.kill(os.getpid(), signal.SIGXCPU)
        time.sleep(60)
    return text.upper()


def test_a_call_that_ends_the_process_ends_no_other() -> None:
    calls = [("a",), ("crash",), ("b\n",), ("memory",), ("noise",), ("c",)]
    first, crash, second, memory, noise, last = limited(f"{__name__}:answer", calls)
    assert (first, second, noise, last) == ("A", "B\n", "NOISE", "C")
    assert "needs more than 1 GiB of memory or 10 minutes, or is damaged" in crash
    assert memory == "needs more than 1 GiB of memory"


def test_no_calls() -> None:
    assert limited(f"{__name__}:answer", []) == []


def test_calls_after_the_time_is_out_are_not_made() -> None:
    first, late = limited(f"{__name__}:answer", [("a",), ("time",), ("b",)])
    assert first == "A"
    assert "10 minutes" in late


def test_a_call_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WAIT", 0.6)
    assert limited(f"{__name__}:answer", [("hang",), ("b",)]) == ["is not read within 0.01 minutes"]


def test_answers_before_a_call_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("", 1, output=b'"A"\n"B"\n"par')

    monkeypatch.setattr(subprocess, "run", late)
    results = limited(f"{__name__}:answer", [("a",), ("b",), ("hang",), ("c",)])
    assert results == ["A", "B", "is not read within 20 minutes"]


def test_ctrl_c_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        limited(f"{__name__}:answer", [("a",)])
