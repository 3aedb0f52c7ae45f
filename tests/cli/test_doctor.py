import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from huggingface_hub import constants

from marsbench.cli import doctor
from marsbench.data.catalog import TASKS
from marsbench.doctor import machine, network, places
from tests.cli.test_commands import marsbench, place
from tests.fakes import write_folder

__all__ = ["place"]

FACTS: dict[str, dict[str, Any]] = {
    "torch": {"version": "2.9.0", "cuda": None, "threads": 1, "mps": False, "hub": "torch/hub"},
    "torchvision": {"version": "0.24.0"},
    "timm": {"version": "1.0.20"},
    "pytorch-lightning": {"version": "2.6.0"},
    "cuda": {"devices": []},
}
DEVICE = {
    "index": 0,
    "name": "H200",
    "memory": 150_000_000_000,
    "free": 140_000_000_000,
    "capability": "9.0",
    "bf16": True,
    "works": True,
}


class FakeLibraries:
    """Libraries that answer at once."""

    answer: ClassVar[dict[str, dict[str, Any]]] = FACTS

    def facts(self) -> dict[str, dict[str, Any]]:
        return self.answer


@pytest.fixture
def quick(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, libraries that answer at once, and plenty of shared memory."""
    monkeypatch.setattr(machine, "Libraries", FakeLibraries)
    monkeypatch.setattr(machine, "nvidia_device_present", lambda: False)
    monkeypatch.setattr(places, "shared_memory", lambda: None)
    return place


def answer(monkeypatch: pytest.MonkeyPatch, **changed: dict[str, Any]) -> None:
    names = {name.replace("_", "-"): facts for name, facts in changed.items()}
    monkeypatch.setattr(FakeLibraries, "answer", {**FACTS, **names})


def examined(*words: str, code: int = 0) -> dict[str, Any]:
    done = marsbench("doctor", *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    report: dict[str, Any] = json.loads(line)
    return report


def table(*words: str, code: int = 0) -> str:
    done = marsbench("doctor", "--format", "table", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_real_libraries(place: Path) -> None:
    report = examined("--offline")
    assert report["libraries"]["torch"]["threads"] == 1
    for name in ("torch", "torchvision", "timm", "pytorch-lightning"):
        version = report["libraries"][name]["version"].partition("+")[0]
        assert version == report["versions"][name].partition("+")[0]
    assert report["missing"] == []
    assert report["processor"]["cores usable"] >= 1
    assert [p for p in report["problems"] if p["stops_runs"]] == []


def test_the_table_has_every_section(quick: Path) -> None:
    text = table("--offline")
    for title in ("Versions", "Extras", "Devices", "Folders", "Sources", "Data"):
        assert f"{title}\n" in text
    for word in ("python", "MARSBENCH_HOME", "not there yet", "not tried: --offline"):
        assert word in text
    assert f"0 of {len(TASKS)} tasks" in text
    assert text.rstrip().endswith("No problems.")


def test_extras_say_how_to_install_them(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "installed", lambda name: "1.0" if name == "wandb" else None)
    text = table("--offline", code=2)
    assert "wandb 1.0" in text
    assert "pip install 'marsbench[yolo]'" in text
    assert "pip install filelock" in text
    extras = {row["extra"]: row["installed"] for row in examined("--offline", code=2)["extras"]}
    assert not {"dev", "all"} & set(extras)
    assert [extra for extra, there in extras.items() if there] == ["wandb"]


def test_data_that_are_found(quick: Path) -> None:
    spec = TASKS["frost_cls"]
    write_folder(spec, quick / "home" / "data")
    data = examined("--offline")["data"]
    assert data["found"] == {"frost_cls": str(quick / "home" / "data" / spec.folder)}
    text = table("--offline")
    assert str(quick / "home" / "data" / spec.folder) in text
    assert f"1 of {len(TASKS)} tasks" in text


def test_sizes_of_caches(quick: Path) -> None:
    folder = quick / "home" / "decoded" / "frost_cls"
    folder.mkdir(parents=True)
    (folder / "pixels").write_bytes(b"0" * 5000)
    (folder / "again").symlink_to(folder / "pixels")
    decoded = examined("--offline")["caches"]["decoded images"]
    assert 5000 < decoded["size"] < 6000
    assert decoded["measured"] is True


def test_size_of_a_vast_folder_is_a_lower_bound(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (quick / "home" / "decoded").mkdir(parents=True)
    monkeypatch.setattr(places, "SEARCH", -1.0)
    assert "over 0 kB" in table("--offline")


def test_a_home_that_cannot_be_written(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (quick / "file").write_text("")
    monkeypatch.setenv("MARSBENCH_HOME", str(quick / "file" / "home"))
    (problem,) = examined("--offline", code=2)["problems"]
    assert problem["stops_runs"]
    assert "file is no folder" in problem["problem"]
    assert "MARSBENCH_HOME" in problem["remedy"]
    text = table("--offline", code=2)
    assert "NOT WRITABLE" in text
    assert "No run can work." in text


def test_a_hub_cache_that_cannot_be_written(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (quick / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(quick / "file" / "hub"))
    (problem,) = examined("--offline")["problems"]
    assert not problem["stops_runs"]
    assert "HF_HOME" in problem["remedy"]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_little_room(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**12, 0, 25_000_000))
    problems = examined("--offline")["problems"]
    assert "Only 25 MB" in problems[0]["problem"]
    assert "store=FOLDER" in problems[0]["remedy"]


def test_little_shared_memory(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"path": "/dev/shm", "size": 64_000_000, "free": 64_000_000}
    monkeypatch.setattr(places, "shared_memory", lambda: small)
    (problem,) = examined("--offline")["problems"]
    assert "workers=0" in problem["remedy"]


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"torch": {"failed": "OSError: libcudart"}}, 2, ["torch does not load", "libcudart"]),
        (
            {"torchvision": {"failed": "RuntimeError: operator torchvision::nms does not exist"}},
            2,
            ["another torch", "together", "nms"],
        ),
        ({"timm": {"failed": "ImportError: no"}}, 0, ["timm does not load"]),
        ({"cuda": {"failed": "Python crashed with SIGSEGV"}}, 0, ["SIGSEGV", "accelerator=cpu"]),
        (
            {"cuda": {"devices": [{"index": 1, "works": False, "failed": "no kernel image"}]}},
            0,
            ["device 1", "no kernel image", "CUDA_VISIBLE_DEVICES"],
        ),
    ],
)
def test_libraries_that_do_not_work(
    changed: dict[str, dict[str, Any]],
    code: int,
    words: list[str],
    quick: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer(monkeypatch, **changed)
    (problem,) = examined("--offline", code=code)["problems"]
    text = table("--offline", code=code)
    for word in words:
        assert word in problem["problem"] + problem["remedy"]
        assert word in text


def test_torch_is_not_installed(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"failed": "ModuleNotFoundError: No module named 'torch'"}
    answer(monkeypatch, torch=nothing, torchvision=nothing, cuda=nothing)
    monkeypatch.setattr(machine, "missing", lambda: ["torch"])
    (problem,) = examined("--offline", code=2)["problems"]
    assert "pip install torch" in problem["remedy"]


def test_cuda_devices(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, cuda={"devices": [DEVICE, {**DEVICE, "index": 1, "bf16": False}]})
    text = table("--offline")
    assert "H200, 150.0 GB, 140.0 GB free, capability 9.0, bf16\n" in text
    assert "no bf16" in text
    answer(monkeypatch)
    monkeypatch.setattr(machine, "nvidia_device_present", lambda: True)
    (problem,) = examined("--offline")["problems"]
    assert "torch is built without CUDA" in problem["problem"]


PROBES = [
    (machine, "Libraries"),
    (machine, "versions"),
    (machine, "missing"),
    (machine, "extras"),
    (machine, "processor"),
    (machine, "nvidia_device_present"),
    (network, "sources"),
    (places, "local_data"),
    (places, "shared_memory"),
    (places, "torch_cache"),
    (places, "describe"),
]


@pytest.mark.parametrize(("module", "probe"), PROBES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_broken_probe_is_reported_and_hides_nothing(
    module: Any, probe: str, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(module, probe, broken)
    report = examined("--offline")
    assert any("ZeroDivisionError: on purpose" in p["problem"] for p in report["problems"])
    assert "on purpose" in table("--offline")


def test_findings_of_an_unforeseen_form(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marsbench.doctor.problems._folders", lambda report: report["folders"])
    (problem,) = examined("--offline")["problems"]
    assert "cannot be judged" in problem["problem"]


TORCH = """
class Namespace: pass
__version__ = "9.0"
def get_num_threads(): return 1
version, backends, hub, cuda = Namespace(), Namespace(), Namespace(), Namespace()
backends.mps = Namespace()
version.cuda, version.hip = "99.0", None
backends.mps.is_available = lambda: False
hub.get_dir = lambda: "hub"
cuda.is_available = lambda: False
def tensor(values): return values
"""


def libraries(folder: Path, **modules: str) -> dict[str, dict[str, Any]]:
    """What is found out about libraries of this content."""
    plain = "print('noise')\n__version__ = '1.0'"
    contents = {"torch": TORCH, "torchvision": plain, "timm": plain, "pytorch_lightning": plain}
    for name, content in (contents | modules).items():
        (folder / f"{name}.py").write_text(content)
    return machine.Libraries().facts()


@pytest.fixture
def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules are found before the installed ones."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_libraries_are_asked_elsewhere(shadow: Path) -> None:
    found = libraries(shadow)
    assert found["torch"] == {"version": "9.0", "cuda": "99.0", "threads": 1, "mps": False} | {
        "hub": "hub"
    }
    assert "has no attribute 'ops'" in found["torchvision"]["failed"]
    assert found["timm"] == {"version": "1.0"}


def test_a_torch_that_raises(shadow: Path) -> None:
    found = libraries(shadow, torch="raise OSError('libtorch.so: no such file')")
    assert found["torch"] == {"failed": "OSError: libtorch.so: no such file"}
    assert found["timm"] == {"version": "1.0"}


def test_a_torch_that_crashes(shadow: Path) -> None:
    found = libraries(shadow, torch="import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    assert found["torch"] == {"failed": "Python crashed with SIGILL"}
    assert "not tried" in found["timm"]["failed"]


def test_a_library_that_hangs(shadow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PATIENCE", 3)
    found = libraries(shadow, timm="import time\ntime.sleep(60)")
    assert found["torch"]["version"] == "9.0"
    assert "no answer within 3 seconds" in found["timm"]["failed"]


def test_limits_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "cpu.max").write_text("max 100000")
    (inner / "cpu.max").write_text("50000 100000")
    (tmp_path / "memory.max").write_text("1000000")
    (inner / "memory.max").write_text("max")
    monkeypatch.setattr(machine, "_groups", lambda: [inner, tmp_path])
    assert machine.usable_cores() == 0.5
    assert machine.usable_memory() == 1_000_000


class Handler(BaseHTTPRequestHandler):
    """Answers by path: /403, /500 and the like; /hang waits."""

    def do_HEAD(self) -> None:
        if self.path == "/hang":
            time.sleep(2)
        status = int(self.path[1:]) if self.path[1:].isdigit() else 200
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server of this test's own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        running.block_on_close = False
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def nobody() -> str:
    """Address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def point(monkeypatch: pytest.MonkeyPatch, hub: str, zenodo: str, torch: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(network, "ZENODO", zenodo)
    monkeypatch.setattr(network, "TORCH_WEIGHTS", torch)


def test_reachable_sources(quick: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, server, f"{server}/api", f"{server}/403")
    report = examined()
    assert [found["reachable"] for found in report["sources"].values()] == [True] * 3
    assert report["sources"]["torch weights"]["said"].startswith("HTTP 403 in ")
    assert report["problems"] == []


def test_sources_that_cannot_be_reached(
    quick: Path, server: str, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point(monkeypatch, nobody, f"{server}/503", f"{server}/407")
    report = examined()
    assert [found["reachable"] for found in report["sources"].values()] == [False] * 3
    (problem,) = report["problems"]
    for word in ("Hugging Face hub", "Zenodo", "torch weights", "refused", "HTTP 503"):
        assert word in problem["problem"]
    assert "HF_ENDPOINT" in problem["remedy"]
    assert "NOT REACHED" in table()


def test_sources_are_tried_at_once_and_not_for_long(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point(monkeypatch, *[f"{server}/hang"] * 3)
    monkeypatch.setattr(network, "TIMEOUT", 0.5)
    start = time.monotonic()
    found = network.sources(offline=False)
    assert time.monotonic() - start < 1.5
    assert [facts["reachable"] for facts in found.values()] == [False] * 3


def test_offline_tries_nothing(quick: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, server, server, server)
    monkeypatch.setattr(network, "urlopen", None)
    assert {f["reachable"] for f in examined("--offline")["sources"].values()} == {None}


def test_the_hub_is_left_alone_if_it_is_to_be(
    server: str, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point(monkeypatch, nobody, server, server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = network.sources(offline=False)
    assert found["Hugging Face hub"]["reachable"] is None
    assert "HF_HUB_OFFLINE" in found["Hugging Face hub"]["said"]
    assert found["Zenodo"]["reachable"] is True


def test_the_hub_that_hf_endpoint_names(server: str) -> None:
    code = (
        "from marsbench.doctor import network\n"
        f"network.ZENODO = network.TORCH_WEIGHTS = '{server}'\n"
        "print(network.sources(offline=False)['Hugging Face hub'])"
    )
    environment = {**os.environ, "HF_ENDPOINT": server, "HF_HUB_OFFLINE": "0", "no_proxy": "*"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert server in done.stdout
    assert "HTTP 200" in done.stdout


@pytest.mark.parametrize(
    "url",
    ["not an address", "ftp://127.0.0.1:1", "http://127.0.0.1:port", "http://"],
)
def test_odd_addresses(quick: Path, server: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, url, server, server)
    assert examined()["sources"]["Hugging Face hub"]["reachable"] is False


def test_passwords_are_not_shown() -> None:
    assert network.without_password("https://me:secret@mirror:80/x") == "https://mirror:80/x"
    assert network.without_password("https://huggingface.co") == "https://huggingface.co"


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "unknown"), (0, "0 kB"), (2_500_000, "2.5 MB"), (3 * 10**12, "3.0 TB")],
)
def test_sizes_are_readable(count: int | None, text: str) -> None:
    assert doctor._size(count) == text
