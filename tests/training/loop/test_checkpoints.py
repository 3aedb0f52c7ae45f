"""Checkpoints held in memory: when they are written, and that no score depends on it."""

import errno
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

import marsbench
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.training.loop import checkpoints
from marsbench.training.loop.callbacks import ProgressBar
from marsbench.training.loop.checkpoints import Checkpoints, HeldCheckpoints

EPOCHS = 6


def keys(toy: str, store: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": toy,
        "model": "timm:test_resnet",
        "mode": "scratch",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 12,
        "optim.lr": 0.01,
        "scheduler.name": "cosine",
        "trainer.max_epochs": EPOCHS,
        "trainer.patience": "null",
        **more,
    }


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of written checkpoints, each with its epoch."""
    names: list[str] = []
    write = HeldCheckpoints.write

    def noted(self: HeldCheckpoints, path: Path, **more: Any) -> None:
        if path in self.held:
            names.append(f"{path.stem} {self.held[path]['epoch']}")
        write(self, path, **more)

    monkeypatch.setattr(HeldCheckpoints, "write", noted)
    return names


def clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let every epoch take so many seconds; copies and writings take none."""
    now = [0.0]

    def tick(self: ProgressBar, *_: Any) -> None:
        now[0] += seconds

    monkeypatch.setattr(ProgressBar, "on_train_epoch_end", tick)
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now[0]))


def cut_at(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    def cut(self: ProgressBar, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "on_train_epoch_start", cut, raising=False)


@pytest.fixture(scope="module")
def whole(toy: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    store = tmp_path_factory.mktemp("whole")
    return marsbench.run(**keys(toy, store)), store


def check_equal(record: RunRecord, store: Path, whole: tuple[RunRecord, Path]) -> None:
    expected, place = whole
    assert record.metrics == expected.metrics
    assert record.checkpoint == expected.checkpoint
    pd.testing.assert_frame_equal(
        Store(store).predictions(record.run_id), Store(place).predictions(record.run_id)
    )


def test_a_run_of_less_than_a_minute_writes_the_tested_epoch_alone(
    toy: str, whole: tuple[RunRecord, Path], written: list[str], tmp_path: Path
) -> None:
    record = marsbench.run(**keys(toy, tmp_path))
    assert written == [f"best {record.checkpoint['epoch']}"]
    check_equal(record, tmp_path, whole)


def test_the_last_epoch_is_written_where_it_is_tested(
    toy: str, written: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "COPY_SHARE", 1e-9)  # copies the first and the last epoch
    record = marsbench.run(**keys(toy, tmp_path, **{"trainer.checkpoint": "last"}))
    assert written == [f"last {EPOCHS - 1}"]
    assert record.checkpoint["epoch"] == EPOCHS - 1


def test_a_killed_run_repeats_no_more_than_a_minute(
    toy: str,
    whole: tuple[RunRecord, Path],
    written: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        clock(patch, seconds=25.0)
        cut_at(patch, epoch=5)
        patch.setattr(Checkpoints, "on_exception", lambda *_: None)  # as after kill -9
        with pytest.raises(KeyboardInterrupt):
            marsbench.run(**keys(toy, tmp_path))
    assert [name for name in written if name.startswith("last")] == ["last 2"]
    record = marsbench.run(**keys(toy, tmp_path))
    assert record.timing["resumed_from_epoch"] == 3
    check_equal(record, tmp_path, whole)


def test_an_interrupted_run_resumes_where_it_stopped(
    toy: str,
    whole: tuple[RunRecord, Path],
    written: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        clock(patch, seconds=1.0)
        cut_at(patch, epoch=5)
        with pytest.raises(KeyboardInterrupt):
            marsbench.run(**keys(toy, tmp_path))
    assert written[-1] == "last 4"
    assert len(written) == 2
    record = marsbench.run(**keys(toy, tmp_path))
    assert record.timing["resumed_from_epoch"] == 5
    check_equal(record, tmp_path, whole)


def test_copies_take_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs of a second and copies of 0.09 s, of which every second epoch may have one."""
    now, copied = [0.0], list[int]()
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def save(path: Path, *, weights_only: bool) -> None:
        copied.append(trainer.current_epoch)
        now[0] += 0.09

    strategy = SimpleNamespace(broadcast=lambda decisions: decisions)
    trainer: Any = SimpleNamespace(
        callback_metrics={},
        should_stop=False,
        max_epochs=9,
        strategy=strategy,
        save_checkpoint=save,
    )
    callback = Checkpoints(tmp_path, HeldCheckpoints(), chooses=False)
    module = pl.LightningModule()
    callback.on_train_start(trainer, module)
    for trainer.current_epoch in range(7):
        now[0] += 1.0
        callback.on_train_epoch_end(trainer, module)
    assert copied == [0, 2, 4, 6]


def test_a_folder_that_cannot_be_written_does_not_hide_the_interruption(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    cut_at(monkeypatch, epoch=1)
    monkeypatch.setattr(HeldCheckpoints, "write", full)
    with pytest.raises(KeyboardInterrupt):
        marsbench.run(**keys(toy, tmp_path))
    said = capsys.readouterr().err
    assert "The last epochs are not saved" in said
    assert "Permission denied" in said


def test_the_lowest_loss_of_checkpoints_by_lightning(tmp_path: Path) -> None:
    """Runs interrupted before checkpoints were held."""
    theirs = {"monitor": "val/loss", "best_model_score": torch.tensor(0.25), "best_model_path": "x"}
    last = {"monitor": None, "best_model_score": None}
    stopping = {"wait_count": 0, "stopped_epoch": 0, "best_score": torch.tensor(0.25)}
    ours = Checkpoints(tmp_path, HeldCheckpoints(), chooses=True)
    states: dict[str, Any] = {"callbacks": {"a": stopping, "b": last, "c": theirs}}
    trainer: Any = None
    ours.on_load_checkpoint(trainer, pl.LightningModule(), states)
    assert ours.state_dict() == {"monitor": "val/loss", "best_model_score": 0.25}


def test_held_copies_do_not_follow_the_training(tmp_path: Path) -> None:
    layer = torch.nn.BatchNorm1d(2)
    state: Any = layer.state_dict()
    rates = [0.1]
    held, path = HeldCheckpoints(), tmp_path / "checkpoints" / "last.ckpt"
    held.save_checkpoint({"state_dict": state, "rates": rates, "epoch": 3}, path)
    with torch.no_grad():
        layer.weight.fill_(math.pi)
    rates[0] = 0.2
    assert not path.exists()
    held.write(path, more=1)
    assert held.held == {}
    content = torch.load(path, weights_only=True)
    assert content["state_dict"]["weight"].tolist() == [1.0, 1.0]
    assert content["state_dict"]._metadata == state._metadata
    assert (content["rates"], content["epoch"], content["more"]) == ([0.1], 3, 1)
    held.write(path)  # holds nothing
