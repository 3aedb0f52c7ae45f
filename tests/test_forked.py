"""Forks of the server are processes as others are, to those who start them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


def call(*command: str, **options: Any) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr.splitlines()[-1] if done.stderr else ""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sys; print(sys.argv[1:], sys.stdin.read())", (0, "['a b', ''] in\n", "")),
        ("import sys; sys.exit(7)", (7, "", "")),
        ("import sys; sys.exit('bad')", (1, "", "bad")),
        ("1 / 0", (1, "", "ZeroDivisionError: division by zero")),
        ("raise KeyboardInterrupt", (-signal.SIGINT, "", "KeyboardInterrupt")),
        ("import os; os.abort()", (-signal.SIGABRT, "", "")),
        ("import atexit; atexit.register(print, 'end')", (0, "end\n", "")),
        ("import os; print(os.getcwd(), os.environ['PLACE'])", (0, "/ here\n", "")),
    ],
)
def test_a_fork_does_as_python_does(python: str, code: str, expected: tuple[int, str, str]) -> None:
    surroundings = {"cwd": "/", "env": {**os.environ, "PLACE": "here"}, "input": "in"}
    for program in (python, sys.executable):
        assert call(program, "-c", code, "a b", "", **surroundings) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_signals_reach_the_fork(python: str, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [python, "-c", SLEEP],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell's background jobs, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert pid != process.pid
    process.send_signal(number)
    # The pipe ends when the last process that writes into it has ended.
    assert process.stdout.read() == ""
    assert process.wait(10) == -number
    process.stdout.close()


def test_a_fork_starts_forks_and_scripts(python: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys; print(__name__, 'torch' in sys.modules, sys.path[0])")
    nested = f"import subprocess, sys; subprocess.run([sys.executable, {str(script)!r}])"
    assert call(python, "-c", nested) == (0, f"__main__ True {tmp_path}\n", "")


@pytest.mark.parametrize(
    ("words", "variables"),
    [(["-I", "-c"], {}), (["-c"], {"HF_ENDPOINT": "x"}), (["-c"], {"OMP_NUM_THREADS": "2"})],
)
def test_what_a_fork_learns_too_late_needs_a_python_of_its_own(
    python: str, words: list[str], variables: dict[str, str]
) -> None:
    code = "import sys; print('torch' in sys.modules)"
    assert call(python, *words, code, env={**os.environ, **variables})[1] == "False\n"
    assert call(python, "-c", code)[1] == "True\n"
