import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from marsbench.sweep.launchers import local
from tests import forked
from tests.fakes import make_spec, write_folder, write_spec
from tests.server import Server

# Tensors here are tiny: one thread is as fast, and does not fight with other processes over cores.
# Processes that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# readline, which pytest imports, leaves the terminal's width to the processes it starts.
os.environ.pop("COLUMNS", None)
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep caches out of the user's home, shared by the tests of one process."""
    folder = tmp_path_factory.mktemp("home")
    os.environ["MARSBENCH_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def python(home: Path) -> Iterator[str]:
    """Path of a Python that starts at once; see ``tests.forked``."""
    with tempfile.TemporaryDirectory() as folder, forked.serving(Path(folder)) as path:
        yield path


@pytest.fixture
def workers(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of launcher=local that start at once."""
    assert local.WORKER[0] == sys.executable
    monkeypatch.setattr(local, "WORKER", (python, *local.WORKER[1:]))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a custom task beside its data: 24 train, 9 val and 12 test samples."""
    folder = write_folder(make_spec(), tmp_path_factory.mktemp("toy"))
    return str(write_spec(make_spec(), folder / "task.yaml"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of weights for timm:test_resnet, of no use but to have some."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return str(path)


@pytest.fixture
def real_data() -> Path:
    """Folder of real data, from MARSBENCH_REAL_DATA."""
    folder = os.environ.get("MARSBENCH_REAL_DATA")
    if not folder:
        pytest.skip("MARSBENCH_REAL_DATA is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"MARSBENCH_REAL_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def paper_runs() -> Path:
    """Folder of the paper's runs, from MARSBENCH_PAPER_RUNS; or in or beside the real data."""
    if named := os.environ.get("MARSBENCH_PAPER_RUNS"):
        if not Path(named).is_dir():
            pytest.fail(f"MARSBENCH_PAPER_RUNS={named} is not a folder")
        return Path(named)
    real = Path(os.environ.get("MARSBENCH_REAL_DATA") or "/nowhere")
    for folder in (real / "paper_runs", real.parent / "paper_runs"):
        if folder.is_dir():
            return folder
    pytest.skip("neither MARSBENCH_PAPER_RUNS nor MARSBENCH_REAL_DATA leads to paper_runs")


@pytest.fixture(autouse=True)
def variables() -> Iterator[None]:
    """Take back the variables that a test sets, or a library in it: Lightning sets threads."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def offline(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off the internet, and the processes they start."""
    if request.node.get_closest_marker("network") is None:
        go_offline(monkeypatch)


def go_offline(monkeypatch: pytest.MonkeyPatch, offline: bool = True) -> None:
    """Forbid downloads, here and in child processes: the client reads the variable once."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if offline else "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)


@pytest.fixture
def server(offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A hub and a Zenodo of our own, which this process and its children ask; an empty home."""
    for name in ("HF_TOKEN", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    go_offline(monkeypatch, False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    # The server has no storage of its own for large files.
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    with Server() as running:
        use_endpoint(monkeypatch, running.url)
        monkeypatch.setenv("MARSBENCH_ZENODO_API", f"{running.url}/api")
        yield running


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let the hub's client ask another address, here and in child processes."""
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = "{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{url}/{template}")
