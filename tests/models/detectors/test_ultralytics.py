import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from marsbench.base.errors import NotAvailableError, WeightsError
from marsbench.models.detectors.ultralytics import build as build_yolo
from tests.fakes import needs_ultralytics
from tests.models.detectors.test_detectors import CLASSES, SIDE, SPECS, build


def test_the_body_of_yolo_ends_before_the_neck() -> None:
    model = build("yolo11n")
    layers = model.model.get_submodule("model")
    assert len(model.frozen_prefix) == 11
    assert type(layers[10]).__name__ == "C2PSA"  # type: ignore[index]
    assert isinstance(layers[11], nn.Upsample)  # type: ignore[index]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_ultralytics_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m.partition(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(NotAvailableError) as caught:
        build_yolo(SPECS["yolo11n"], CLASSES, pretrained=False, side=SIDE)
    assert "pip install 'marsbench[yolo]'" in str(caught.value)
    assert "AGPL-3.0" in str(caught.value)


def test_ultralytics_leaves_the_process_as_it_was() -> None:
    needs_ultralytics()
    code = (
        "import os, pathlib, torch\n"
        "from marsbench.models.detectors.ultralytics import build\n"
        "from marsbench.models.zoo.detection import ENTRIES\n"
        "before = dict(os.environ), torch.load, torch.save\n"
        "spec = {e.name: e for e in ENTRIES}['yolo11n']\n"
        "build(spec, 2, pretrained=False, side=64)\n"
        "build(spec, 2, pretrained=False, side=64)\n"
        "assert before == (dict(os.environ), torch.load, torch.save)\n"
        "from ultralytics.utils import ONLINE, SETTINGS\n"
        "assert not ONLINE and not SETTINGS['sync']\n"
        "assert not pathlib.Path(SETTINGS.file).exists()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "AGPL-3.0" in lines[0]


def test_yolo_checkpoints(cache: Path) -> None:
    """As ultralytics writes them, a pickled module of 80 classes, and as plain tensors."""
    needs_ultralytics()
    torch.manual_seed(1)
    donor = build_yolo(SPECS["yolo11n"], 80, pretrained=False, side=SIDE).model
    donor.args = {"imgsz": 640}  # type: ignore[assignment]
    whole = {"epoch": -1, "ema": None, "model": donor.half(), "train_args": {"lr0": 0.01}}
    torch.save(whole, cache / "yolo11n.pt")
    save_file({k: v.contiguous() for k, v in donor.state_dict().items()}, cache / "x.safetensors")
    given = {name: tensor.float() for name, tensor in donor.state_dict().items()}
    for checkpoint in (None, cache / "yolo11n.pt", cache / "x.safetensors"):
        ours = build("yolo11n", pretrained=True, checkpoint=checkpoint).model.state_dict()
        fresh = {n for n, t in ours.items() if not torch.equal(t.float(), given[n])}
        assert fresh
        assert all(".cv3." in n for n in fresh)
        # Layers of the classifier that fit are taken: those before the width of 80.
        assert "model.23.cv3.0.0.0.conv.weight" not in fresh


class Malicious:
    """A pickle that writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.target), "w"))


def test_a_yolo_checkpoint_that_executes_code_is_refused(cache: Path) -> None:
    needs_ultralytics()
    donor = build_yolo(SPECS["yolo11n"], 2, pretrained=False, side=SIDE).model
    torch.save({"model": donor, "extra": Malicious(cache / "executed")}, cache / "bad.pt")
    with pytest.raises(WeightsError, match="refused"):
        build("yolo11n", pretrained=True, checkpoint=cache / "bad.pt")
    assert not (cache / "executed").exists()
    with pytest.raises(WeightsError, match="not found"):
        build("yolo11n", pretrained=True, checkpoint=cache / "missing.pt")
