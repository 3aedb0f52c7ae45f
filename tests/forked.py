"""Processes that start at once: forks of a server that has imported the libraries.

Importing torch, torchvision and Lightning takes seconds in every new Python. A test that needs a
process (for signals, exit codes or a full disk) starts ``[python, "-m", "marsbench", ...]``, where
``python`` is the fixture of that name, in place of ``sys.executable``; so do the processes that
this process starts. This file is then a client: it hands its arguments, environment, folder and
streams to the server, whose fork goes on as that process. Signals to the client reach the fork, and
the client ends as the fork ends; a killed client kills its fork.

The fork has a process id of its own, and has imported already: tests of process ids, SIGSTOP,
terminals, imports and hash seeds need ``sys.executable``. The client becomes a plain Python when
the environment differs in variables that are read at start, or when it is given options other
than -m and -c.
"""

import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PRELOADED = (
    "torch",
    "torchvision.transforms.v2",
    "timm",
    "segmentation_models_pytorch",
    "pytorch_lightning",
    "hydra",
    "pyarrow.parquet",
    "rasterio",
    "sklearn.linear_model",
    "scipy.optimize",
    "marsbench.cli",
    "marsbench.api",
    "marsbench.training.runner",
    "marsbench.sweep.worker",
)
"""Modules that the server imports."""

READ_AT_START = (
    *("PYTHON", "LD_", "OMP_", "MKL_", "XDG_"),
    *("HF_", "HUGGINGFACE_", "RANK", "LOCAL_RANK", "SLURM_"),
)
"""Beginnings of names of variables that the interpreter and libraries read once."""

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that the client passes on."""


def read_at_start() -> dict[str, str]:
    """Variables that a fork would receive too late."""
    early = {name for name in os.environ if name.startswith(READ_AT_START)} - {"PYTHONPATH"}
    return {name: os.environ[name] for name in sorted(early)}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run a server; yields the path of its client, in place of ``sys.executable``.

    Args:
        folder: Existing folder of the client and the socket; a short path, as sockets need.
    """
    address, program = folder / "socket", folder / "python"
    # Neither site-packages nor this package: the client starts within milliseconds.
    words = [sys.executable, "-I", "-S", __file__, "client", str(address)]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    # Tests run offline; the fixture that says so belongs to each test.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, __file__, "server", str(listener.fileno()), str(program)],
            env=environment,
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        yield str(program)
    finally:
        process.terminate()
        process.wait()


# --- client ---------------------------------------------------------------------------------------


def client(address: str, words: list[str]) -> None:
    """Be the process of a Python command.

    Args:
        address: Path of the server's socket.
        words: Arguments of the interpreter.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    replies = connection.makefile("rb")
    plain = not words or (words[0].startswith("-") and words[0] not in ("-m", "-c"))
    if plain or json.loads(replies.readline()) != read_at_start():
        os.execv(sys.executable, [sys.executable, *words])
    umask = os.umask(0)
    request = {
        "words": words,
        "folder": str(Path.cwd()),
        "umask": umask,
        "variables": dict(os.environ),
        "ignored": [n for n in FORWARDED if signal.getsignal(n) is signal.SIG_IGN],
        "leads": os.getpgrp() == os.getpid(),
    }
    for forwarded in FORWARDED:
        signal.signal(forwarded, lambda number, _: connection.sendall(bytes([number])))
    # A signal that arrives earlier waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    socket.send_fds(connection, [b"."], [0, 1, 2])
    connection.sendall(json.dumps(request).encode() + b"\n")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    status = int(replies.readline())
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


# --- server ---------------------------------------------------------------------------------------


def server(descriptor: int, program: str) -> Callable[[], object]:
    """Answer clients; ends with the process of the tests, and so with standard input.

    Args:
        descriptor: Of the listening socket.
        program: Path of the client.

    Returns:
        In a fork: what it carries out; in the end, nothing to do.
    """
    for name in PRELOADED:
        importlib.import_module(name)
    multiprocessing.set_executable(sys.executable)
    sys.executable = program
    # The forks' collector leaves these objects, and so their memory pages, alone.
    gc.collect()
    gc.freeze()
    known = json.dumps(read_at_start()).encode() + b"\n"
    listener = socket.socket(fileno=descriptor)
    while 0 not in select.select([0, descriptor], [], [])[0]:
        connection, _ = listener.accept()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            listener.close()
            return keeper(connection, known)
        connection.close()
    return list


def keeper(connection: socket.socket, known: bytes) -> Callable[[], object]:
    """Fork the process of one client, and stand between the two until it ends."""
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(known)
    data, streams, _, _ = socket.recv_fds(connection, 1, 3)
    if not data:  # The client became a plain Python.
        os._exit(0)
    with connection.makefile("rb") as lines:
        request = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        connection.close()
        return lambda: end_after(lambda: become(request, streams))
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(pid)
    while ended not in select.select([ended, connection.fileno()], [], [])[0]:
        if number := connection.recv(1):
            os.kill(pid, number[0])
        else:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if request["leads"] else os.kill)(pid, signal.SIGKILL)
            break
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(OSError):
        connection.sendall(f"{status}\n".encode())
    os._exit(0)


def become(request: dict[str, Any], streams: list[int]) -> None:
    """Take over a client's surroundings, and carry out its command."""
    if request["leads"]:
        os.setsid()
    for number in FORWARDED:
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else signal.SIG_DFL)
    if signal.SIGINT not in request["ignored"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, passed in enumerate(streams):
        os.dup2(passed, target)
        os.close(passed)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        lines = name == "stderr" or "PYTHONUNBUFFERED" in os.environ or os.isatty(descriptor)
        stream = open(  # noqa: SIM115
            descriptor,
            "w" if descriptor else "r",
            buffering=1 if lines else -1,
            encoding=old.encoding,
            errors=old.errors,
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["variables"])
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [place for place in places if place and place not in sys.path]
    import numpy as np

    np.random.seed()  # noqa: NPY002  # Else every fork draws the same.
    kind, *words = request["words"]
    if kind == "-m":
        sys.argv, sys.path[0] = words, request["folder"]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *words[1:]], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[0] = [kind, *words], str(Path(kind).parent)
        runpy.run_path(kind, run_name="__main__")


def end_after(action: Callable[[], object]) -> None:
    """Carry out a command and end as Python does, but for the second of taking modules apart."""
    status = 0
    try:
        action()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)  # noqa: T201
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError):
            stream.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    if sys.argv[1] == "client":
        client(sys.argv[2], sys.argv[3:])
    else:
        server(int(sys.argv[2]), sys.argv[3])()
