import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

from marsbench import doctor
from marsbench.base import environment
from marsbench.cli.doctor import words
from marsbench.tasks.catalog import TASKS
from tests.cli.test_commands import marsbench, place
from tests.fakes import write_folder

__all__ = ["place"]

LOADED: dict[str, dict[str, Any]] = {name: {"loads": True} for name in doctor.MODULES}
FACTS = {**LOADED, "cuda": {"devices": 0, "built": "built without CUDA"}}
DEVICE = {"name": "H200", "capability": "sm_90", "memory": 15 * 10**10, "free": 10**9, "bf16": True}


@pytest.fixture
def quick(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, libraries that answer at once, and plenty of room."""
    answer(monkeypatch)
    monkeypatch.setattr(doctor, "nvidia_is_present", lambda: False)
    room(monkeypatch, 10**12)
    return place


def answer(monkeypatch: pytest.MonkeyPatch, **changed: dict[str, Any]) -> None:
    monkeypatch.setattr(doctor, "ask_libraries", lambda: {**FACTS, **changed})


def room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))


def examined(*options: str, code: int = 0) -> dict[str, Any]:
    done = marsbench("doctor", *options)
    assert done.returncode == code, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def table(code: int = 0) -> str:
    done = marsbench("doctor", "--format", "table", "--offline")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_real_libraries(place: Path) -> None:
    report = examined("--offline")
    assert all(report["libraries"][name]["loads"] for name in doctor.MODULES)
    assert report["libraries"]["torch"]["version"].startswith(report["versions"]["torch"])
    assert report["machine"]["CPU"]["usable cores"] >= 1


def test_the_table(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TASKS["frost_cls"]
    write_folder(spec, quick / "home" / "data")
    answer(monkeypatch, cuda={"devices": 1}, **{"cuda:0": DEVICE})
    text = table()
    for title in ("Versions", "Extras", "Machine", "Libraries", "Folders", "Sources", "Data"):
        assert f"{title}\n" in text
    assert "H200, sm_90, memory 150.0 GB, free 1.0 GB, bf16\n" in text
    assert f"{quick / 'home' / 'data'}, frost_cls\n" in text
    assert "https://huggingface.co, not tried: --offline\n" in text
    assert text.rstrip().endswith("No problems.")


def test_packages(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"wandb": "1.0", "torch": "2.9"}
    monkeypatch.setattr(environment, "installed", found.get)
    report = examined("--offline")
    assert report["extras"]["wandb"] == {"wandb": "1.0"}
    assert report["extras"]["yolo"]["install"] == "pip install 'marsbench[yolo]'"
    assert not {"", "all", "dev"} & set(report["extras"])
    (problem,) = report["problems"]
    assert problem["remedy"].startswith("pip install ")
    assert " fsspec " in problem["remedy"]
    assert " torch " not in problem["remedy"]


def test_folders(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = quick / "home" / "decoded"
    folder.mkdir(parents=True)
    (folder / "pixels").write_bytes(b"0" * 5000)
    (folder / "again").symlink_to(folder / "pixels")
    home = examined("--offline")["folders"]["MARSBENCH_HOME"]
    assert home["path"] == str(quick / "home")
    assert 5000 < home["decoded images"] == home["size"] < 6000
    monkeypatch.setenv("MARSBENCH_HOME", str(folder / "pixels" / "home"))
    (problem,) = examined("--offline")["problems"]
    assert "NotADirectoryError" in problem["problem"]
    assert "cache=false" in problem["remedy"]
    assert "not writable" in table()


def test_little_room(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, 25_000_000)
    problems = examined("--offline")["problems"]
    assert all(problem["problem"].startswith("Only 25 MB") for problem in problems)
    for word in ("MARSBENCH_HOME", "store=FOLDER", "HF_HOME", "TORCH_HOME"):
        assert word in str(problems)


@pytest.mark.parametrize(
    ("changed", "code", "part"),
    [
        (
            {n: {"failed": "no file"} for n in doctor.MODULES},
            2,
            "torch cannot be imported: no",
        ),
        ({"timm": {"failed": "ImportError: no"}}, 0, "timm cannot be imported"),
        ({doctor.RUNNER: {"failed": "ImportError: no"}}, 2, "runner cannot be imported"),
        ({"cuda": {"failed": "RuntimeError: no driver"}}, 0, "no driver"),
        ({"cuda": {"devices": 2}, "cuda:0": DEVICE}, 0, "cuda:1 does not work: the child"),
    ],
)
def test_libraries_that_do_not_work(
    changed: dict[str, Any], code: int, part: str, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, **changed)
    (problem,) = examined("--offline", code=code)["problems"]
    assert part in problem["problem"]
    assert ("No run can work." in table(code=code)) == (code == 2)


def test_a_device_that_torch_does_not_see(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nvidia_is_present", lambda: True)
    (problem,) = examined("--offline")["problems"]
    assert "built without CUDA" in problem["problem"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("raise OSError('no file')", {"failed": "OSError: no file"}),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", None),
        ("import time\ntime.sleep(60)", None),
        ("print('noise')\n__version__ = '1.0'", {"loads": True, "version": "1.0"}),
    ],
)
def test_libraries_are_asked_elsewhere(
    content: str, found: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "LOADING", 4)
    for name in ("torch", "torchvision", "pytorch_lightning"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "timm.py").write_text(content)
    answered = doctor.ask_libraries()
    assert answered["torch"] == {"loads": True}
    assert answered.get("timm") == found


@pytest.mark.parametrize("probe", ["extras", "libraries", "folders", "sources", "local_data"])
def test_a_broken_probe_hides_nothing(
    probe: str, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, probe, lambda **_: 1 / 0)
    (problem,) = examined("--offline")["problems"]
    assert "ZeroDivisionError: division by zero" in problem["problem"]
    assert "failed: ZeroDivisionError" in table()


def test_limits_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "memory.max").write_text("1000000")
    (inner / "memory.max").write_text("max")
    monkeypatch.setattr(environment, "_groups", lambda: [inner, tmp_path])
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert environment.usable_memory() == 1_000_000
    for quota, cores in (("max", 8), ("250000", 2), ("50000", 1)):
        (inner / "cpu.max").write_text(f"{quota} 100000")
        assert environment.usable_cores() == cores


class Handler(BaseHTTPRequestHandler):
    """Answers by path: /403, /500 and the like; /hang waits."""

    def do_HEAD(self) -> None:
        if self.path == "/hang":
            time.sleep(2)
        self.send_response(int(self.path[1:]) if self.path[1:].isdigit() else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server of this test's own, to be asked without a proxy."""
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        running.block_on_close = False
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()


def point(monkeypatch: pytest.MonkeyPatch, hub: str, zenodo: str, weights: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setenv("MARSBENCH_ZENODO_API", zenodo)
    monkeypatch.setattr(doctor, "WEIGHTS", weights)


def test_sources_that_answer(quick: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point(
        monkeypatch, f"http://me:secret@{server}/hub", f"http://{server}/", f"http://{server}/403"
    )
    report = examined()
    assert "secret" not in str(report)
    assert [found["reachable"] for found in report["sources"].values()] == [True] * 3
    assert report["sources"]["torch weights"]["said"].startswith("HTTP 403 in ")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = examined()["sources"]["Hugging Face hub"]
    assert hub == {"url": f"http://{server}/hub", "said": "not tried: HF_HUB_OFFLINE is set"}


def test_sources_that_do_not(quick: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ANSWERING", 0.5)
    point(monkeypatch, "no address", f"http://{server}/503", "http://127.0.0.1:1")
    (problem,) = examined()["problems"]
    for part in ("no address", "HTTP 503", "refused"):
        assert part in problem["problem"]
    assert "HF_ENDPOINT" in problem["remedy"]
    point(monkeypatch, *[f"http://{server}/hang"] * 3)
    start = time.monotonic()
    facts = doctor.sources(offline=False).facts
    assert time.monotonic() - start < 1.4  # at once
    assert [found["reachable"] for found in facts.values()] == [False] * 3


def test_words() -> None:
    fact = {"path": "/x", "size": 2_500_000, "there": False, "tasks": [], "failed": "no", "a": None}
    assert words("name", fact) == "/x, size 2.5 MB, not there, no tasks, failed: no, no a"
    assert words("free", 3 * 10**12) == "free 3.0 TB"
