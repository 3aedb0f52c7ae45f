"""Files that a shared folder keeps: who may read them is decided by the umask alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from marsbench.cli import app


@pytest.fixture(params=[pytest.param(0o002, marks=pytest.mark.slow), 0o027], ids=["002", "027"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def call(*words: str | Path) -> None:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


def wrong_modes(folder: Path, umask: int) -> dict[str, str]:
    """Modes of files and folders below a folder that the umask did not decide."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    return {
        str(path.relative_to(folder)): f"{mode:03o}"
        for path, mode in modes.items()
        if mode != (0o777 if path.is_dir() else 0o666) & ~umask
    }


def test_every_file(
    toy: str,
    weights: str,
    umask: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: None,
) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path.parent / "matplotlib"))
    store = tmp_path / "runs"
    common = [f"store={store}", "trainer.max_epochs=1", "optim.batch_size=8", "workers=0"]
    network = [f"task={toy}", "model=timm:test_resnet", "mode=scratch"]
    call("run", *network, *common, "logger.tensorboard=true", "pictures=true")
    grid = {"task": [toy], "model": ["timm:test_resnet"], "seed": [1, 2]}
    grids = [{**grid, "name": mode, "mode": mode} for mode in ("frozen", "scratch")]
    grids[0]["weights"] = [weights]
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"description": "x", "grids": grids}))
    call("sweep", f"suite={tmp_path}/suite.yaml", *common, "launcher.jobs=1")
    (run,) = store.glob("toy/*/scratch/full/0-*")
    call("report", store, "--out", tmp_path / "report")
    call("results", "export", store, "--out", tmp_path / "table.parquet")
    call("predict", run, Path(toy).parent / "data" / "test", "--out", tmp_path / "predictions")
    ids = [str(path.relative_to(store)) for path in run.parent.iterdir()]
    call("ensemble", *ids, "--store", store)
    call("data", "convert", toy, "--out", tmp_path / "converted")
    names = {path.name for path in tmp_path.rglob("*")}
    made = {"model.safetensors", "record.json", "00000.json", "index.html", "features.f32"}
    assert made | {"pixels.u8", ".lock", "00000.log", "predictions.csv", "table.parquet"} < names
    assert wrong_modes(tmp_path, umask) == {}
