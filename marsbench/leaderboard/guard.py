"""Calls in a child process with little memory, for libraries that open untrusted files.

A few hundred bytes of Parquet, or a header of a zip, may ask for more memory than a machine has.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence

from marsbench.base.lazy import load

MEMORY = 1 << 30
"""Bytes of data of the child process (Linux)."""

SECONDS = 600
"""Processor time of the child process, for all calls."""

WAIT = 1200.0
"""Time until a child process that does not answer is ended, in seconds, for all calls."""

_ENDED = f"needs more than {MEMORY >> 30} GiB of memory or {SECONDS / 60:g} minutes, or is damaged"


def limited(function: str, calls: Sequence[Sequence[str]]) -> list[str]:
    """Call a function in a child process, once for each list of arguments.

    Args:
        function: ``module:name`` of a function of texts that returns a text. Out of memory, it may
            raise `MemoryError`.
        calls: Its arguments.

    Returns:
        Results in the order of the calls. A call that ends the process, or does not answer, has a
        text that says so. There are fewer results than calls if time ran out: the last result is
        of the call that was ended, and later calls were not made.
    """
    results: list[str] = []
    while len(results) < len(calls):
        answers, reason, is_late = _answers(function, calls[len(results) :])
        results += answers
        if len(results) < len(calls):
            results.append(reason)
        if is_late:
            break
    return results


def _answers(function: str, calls: Sequence[Sequence[str]]) -> tuple[list[str], str, bool]:
    """Results of a child process until it ended, the reason, and whether its time ran out."""
    # The child imports from the same folders.
    folders = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-m", "marsbench.leaderboard.guard", function]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            input=json.dumps(calls).encode(),
            stdout=subprocess.PIPE,
            env=folders,
            check=False,
            timeout=WAIT,
        )
    except subprocess.TimeoutExpired as error:  # the process was killed
        reason = f"is not read within {WAIT / 60:g} minutes"
        return _lines(error.stdout or b""), reason, True
    return _lines(done.stdout), _ENDED, done.returncode == -signal.SIGXCPU


def _lines(output: bytes) -> list[str]:
    """Answers of complete lines."""
    return [json.loads(line) for line in output.split(b"\n")[:-1]]


def _child(function: str) -> None:
    """Answer the calls on standard input, a line of JSON each."""
    _limit(resource.RLIMIT_DATA, MEMORY)
    _limit(resource.RLIMIT_CPU, SECONDS)
    _limit(resource.RLIMIT_CORE, 0)
    calls = json.load(sys.stdin)
    call = load(function)
    # Output of the libraries goes to standard error.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        for arguments in calls:
            try:
                answer = call(*arguments)
            except MemoryError:
                answer = f"needs more than {MEMORY >> 30} GiB of memory"
            out.write(json.dumps(answer) + "\n")
            out.flush()


def _limit(kind: int, value: int) -> None:
    _, most = resource.getrlimit(kind)
    within = value if most == resource.RLIM_INFINITY else min(value, most)
    with contextlib.suppress(OSError, ValueError):  # a system without this limit
        resource.setrlimit(kind, (within, most))


if __name__ == "__main__":
    _child(sys.argv[1])
