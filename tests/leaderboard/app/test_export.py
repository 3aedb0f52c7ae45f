"""The command: settings, the folder of a Space, and a start of the exported app."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from marsbench.base.errors import ConfigError
from marsbench.cli import app
from marsbench.leaderboard.app.export import export_space
from marsbench.leaderboard.app.launch import Settings, read_settings
from tests.leaderboard.fakes import put, some_scores

FILES = ["app.py", "requirements.txt", "README.md", "settings.yaml"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetched(address: str, process: subprocess.Popen[bytes]) -> str:
    """Content of a page, once its server answers."""
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(address)


def test_the_folder_of_a_space(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["leaderboard", "export", str(tmp_path / "space"), "--results", "hf://datasets/a/b"]
    )
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "space").iterdir()) == sorted(FILES)
    readme = (tmp_path / "space" / "README.md").read_text()
    header = yaml.safe_load(readme.split("---")[1])
    assert header["sdk"] == "gradio"
    assert header["app_file"] == "app.py"
    assert header["datasets"] == ["a/b"]
    assert header["sdk_version"].startswith("6.")
    assert isinstance(header["python_version"], str)
    assert len(header["short_description"]) <= 60
    assert {"title", "license", "colorFrom", "colorTo"} <= set(header)
    requirements = (tmp_path / "space" / "requirements.txt").read_text().splitlines()
    assert requirements[0].startswith("marsbench[leaderboard]~=")
    assert requirements[1] == f"gradio~={header['sdk_version']}"
    assert read_settings(tmp_path / "space" / "settings.yaml") == Settings("hf://datasets/a/b")
    assert len((tmp_path / "space" / "app.py").read_text().splitlines()) < 12


def test_existing_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"README\.md exists"):
        export_space(tmp_path, Settings())
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    export_space(tmp_path, Settings(), overwrite=True, package="marsbench @ git+https://x/y")
    assert (tmp_path / "requirements.txt").read_text().startswith("marsbench @ git+https://x/y\n")


def test_a_space_reads_results_of_the_hub_alone(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["leaderboard", "export", str(tmp_path / "s"), "--results", "folder"]
    )
    assert done.exit_code == 2
    assert "hf://datasets/ORG/NAME" in done.output


@pytest.mark.parametrize(
    ("text", "reason"), [("results: 3", "'results'"), ("[1]", "invalid"), ("odd: 1", "odd")]
)
def test_invalid_settings(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_settings(tmp_path / "settings.yaml")


def test_a_missing_store_is_a_message(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["leaderboard", "serve", str(tmp_path / "nothing")])
    assert done.exit_code == 2
    assert "nothing is missing" in done.output


def test_without_gradio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = CliRunner().invoke(app, ["leaderboard", "serve"])
    assert done.exit_code == 2
    assert "pip install 'marsbench[leaderboard]'" in done.output


def test_the_exported_app_starts(tmp_path: Path) -> None:
    scores = some_scores(np.random.default_rng(0), ("frost_cls",), (0, 1))
    put(tmp_path / "results", "one", scores)
    folder = tmp_path / "space"
    export_space(folder, Settings())
    (folder / "settings.yaml").write_text(f"results: {tmp_path / 'results'}\nlabels: false\n")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=folder,
        env={
            **os.environ,
            "GRADIO_SERVER_PORT": str(port),
            "MARSBENCH_HOME": str(tmp_path / "home"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        page = fetched(f"http://127.0.0.1:{port}/", process)
    finally:
        process.terminate()
        process.wait(timeout=60)
    assert "Mars-Bench leaderboard" in page
    assert "googleapis" not in page
    assert "swinv2_b" in page
