import io
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from marsbench.training.loop import callbacks
from marsbench.training.loop.callbacks import ProgressBar
from marsbench.training.loop.module import MONITOR


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def train(first: int, epochs: int, *, rank: int = 0) -> None:
    """Two epochs of two batches of a run resumed at an epoch."""
    bar, module = ProgressBar(), None
    trainer: Any = SimpleNamespace(
        is_global_zero=rank == 0,
        num_training_batches=2,
        max_epochs=epochs,
        current_epoch=first,
        callback_metrics={MONITOR: torch.tensor(0.25)},
    )
    bar.on_train_start(trainer, module)  # type: ignore[arg-type]
    for trainer.current_epoch in (first, first + 1):
        for batch in range(2):
            bar.on_train_batch_end(trainer, module, None, None, batch)  # type: ignore[arg-type]
        bar.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    bar.on_train_end(trainer, module)  # type: ignore[arg-type]


def test_a_line_per_epoch_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter((100.0, 110.0, 120.0))
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    train(first=6, epochs=9)
    assert capsys.readouterr().err.splitlines() == [
        f"epoch 7/9  {MONITOR} 0.2500, ETA at most 0:00:20",
        f"epoch 8/9  {MONITOR} 0.2500, ETA at most 0:00:10",
    ]
    clock = iter((100.0,))
    train(first=0, epochs=2, rank=1)
    assert capsys.readouterr().err == ""


def test_a_resumed_bar_starts_at_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    train(first=6, epochs=8)
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "epoch 1/" not in shown
    assert re.search(r"^epoch 7/8 .* 75% ", shown.replace("\r", "\n"), re.MULTILINE)
    assert "100%" in shown
