"""Whole runs on the second device: numbers of the CPU, and costs of their steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import marsbench
from marsbench.results.record import RunRecord
from marsbench.training.frozen import features
from tests.device.costs import COSTS, most
from tests.device.lightning import use_second_device
from tests.device.tensors import NAME, second
from tests.device.watching import watched
from tests.fakes import needs_ultralytics

pytestmark = pytest.mark.device

FROZEN = {"mode": "frozen", "augment": "none"}
CACHED = {"decoder": "linear", "protocol": "cached", **FROZEN}
RUNS: dict[str, dict[str, Any]] = {
    "resnet": {"task": "labels", "model": "timm:test_resnet", "imbalance": "loss_weight"},
    "mixed": {"task": "labels", "model": "timm:test_resnet", "trainer.precision": "bf16-mixed"},
    "vit": {
        "task": "many",
        "model": "timm:test_vit",
        "trainer.gradient_clip_val": 0.1,
        "scheduler.name": "plateau",
    },
    "mlp": {"task": "labels", "model": "timm:test_vit", "head": "mlp", **FROZEN},
    "attention": {"task": "labels", "model": "timm:test_vit", "head": "attention", **FROZEN},
    "fpn": {
        "task": "masks",
        "model": "smp:fpn/tu-test_resnet",
        "loss": "combined",
    },
    "unet": {"task": "masks", "model": "smp:unet/tu-test_resnet"},
    "deeplabv3plus": {"task": "masks", "model": "smp:deeplabv3plus/tu-test_resnet"},
    "segformer": {"task": "masks", "model": "smp:segformer/tu-test_resnet"},
    "linear": {"task": "masks", "model": "timm:test_vit", "decoder": "linear"},
    "cached": {"task": "masks", "model": "timm:test_vit", **CACHED},
    "ssdlite": {"task": "boxes", "model": "ssdlite", "side": 64, "augment": "scale_d4"},
    "retinanet": {"task": "boxes", "model": "retinanet", "side": 64},
    "faster_rcnn": {"task": "boxes", "model": "faster_rcnn_mobilenet", "side": 64},
    "encoder": {"task": "boxes", "model": "timm:test_resnet", "decoder": "faster_rcnn", "side": 64},
    "yolo": {"task": "boxes", "model": "yolo11n", "side": 64},
}

LOOSE = {"mixed": 0.02, "segformer": 1e-3, "ssdlite": 1e-3}
"""Relative tolerance of losses where the arithmetic differs: autocast halves other operators on the
CPU, maps are enlarged by a decomposition in deterministic mode, and zooming rounds once more."""


def run(write: Callable[[str], str], store: Path, **values: Any) -> RunRecord:
    base: dict[str, Any] = {
        "mode": "scratch",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 4,
        "trainer.max_epochs": 1,
        "trainer.accelerator": "cpu",
        "cache": False,
        "augment": "d4",
    }
    with pytest.MonkeyPatch.context() as patch:
        # The second run must not open the features of the first.
        patch.setenv("MARSBENCH_HOME", str(store / "home"))
        return marsbench.run(**(base | values | {"task": write(values["task"])}))


@pytest.mark.parametrize("name", RUNS)
def test_runs_end_as_on_the_cpu(
    name: str, task: Callable[[str], str], vit_weights: str, tmp_path: Path
) -> None:
    if name == "yolo":
        needs_ultralytics()
    values = dict(RUNS[name])
    if values.get("mode") == "frozen":
        values["weights"] = vit_weights
    expected = run(task, tmp_path / "cpu", **values)
    with pytest.MonkeyPatch.context() as patch, watched() as seen:
        meter = use_second_device(patch, seen)
        patch.setattr(features, "device_of", lambda config: second())
        # Autograd asks tensors of the device for their versions, which inference mode has not.
        patch.setattr(torch, "inference_mode", torch.no_grad)
        record = run(task, tmp_path / "device", **values)
    assert record.device.startswith(NAME)
    rel = LOOSE.get(name, 1e-4)
    assert record.checkpoint["value"] == pytest.approx(expected.checkpoint["value"], rel=rel)
    for split, metrics in expected.metrics.items() if name not in LOOSE else ():
        assert record.metrics[split] == pytest.approx(metrics, rel=10 * rel, abs=1e-6), split
    # The first step makes the state of the optimiser.
    costs = {"train": meter.steps["train"][1], "val": meter.steps["val"][0]}
    for phase, cost, limit in zip(costs, costs.values(), COSTS[name], strict=True):
        launches, waits = most(limit)
        assert cost.launches <= launches, (phase, seen.launches.most_common(20))
        assert cost.waits <= waits, (phase, seen.waits.most_common(20))
