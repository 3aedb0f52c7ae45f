"""Prediction of images on the second device: files of the CPU."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import marsbench
from marsbench.predict import load
from marsbench.predict.options import Options
from marsbench.predict.run import predict
from marsbench.predict.walk import Item
from marsbench.results.store import Store
from tests.device.tensors import NAME
from tests.device.watching import watched

pytestmark = pytest.mark.device

MODELS: dict[str, dict[str, Any]] = {
    "labels": {"model": "timm:test_resnet"},
    "many": {"model": "timm:test_vit"},
    "masks": {"model": "smp:fpn/tu-test_resnet"},
    "boxes": {"model": "ssdlite", "side": 64},
}


def split(text: str) -> tuple[list[str], list[float]]:
    """Words and numbers of a text."""
    number = r"-?[0-9]+\.[0-9]+(?:e-?[0-9]+)?"
    return re.split(number, text), [float(digits) for digits in re.findall(number, text)]


@pytest.mark.parametrize("kind", MODELS)
def test_predictions_equal_those_of_the_cpu(
    kind: str, task: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {
        "task": task(kind),
        "mode": "scratch",
        "store": str(tmp_path / "store"),
        "workers": 0,
        "optim.batch_size": 8,
        "trainer.max_epochs": 1,
        "save_model": True,
        **MODELS[kind],
    }
    record = marsbench.run(**values)
    folder = Store(tmp_path / "store").folder(record.run_id)
    images = sorted(Path(task(kind)).parent.glob("data/test/**/*.png"))
    items = [Item(path, path.name) for path in images if path.parent.name != "masks"]
    assert items

    model = load.load(str(folder), tmp_path)

    def predicted(device: str) -> dict[str, bytes]:
        out = tmp_path / device
        summary = predict(model, items, out, Options(device=device, batch_size=4))
        assert summary.done == len(items)
        files = [path for path in out.rglob("*") if path.is_file()]
        return {str(path.relative_to(out)): path.read_bytes() for path in files}

    expected = predicted("cpu")
    # Autograd asks such tensors for their versions, which inference mode has not.
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    with watched() as seen:
        files = predicted(NAME)
    assert seen.launches.total() > 30
    # Images go to the device in 8 bits, and fewer floats than one image has beside the model.
    image = len(Image.open(images[0]).getbands()) * model.side**2
    assert seen.copied[torch.uint8] == len(items) * image
    tensors = (*model.model.parameters(), *model.model.buffers())
    assert seen.copied[torch.float32] < 4 * image + sum(tensor.nbytes for tensor in tensors)
    assert files.keys() == expected.keys()
    for name, content in files.items():
        if Path(name).suffix in (".csv", ".json", ".jsonl"):
            words, numbers = split(content.decode())
            expected_words, expected_numbers = split(expected[name].decode())
            assert words == expected_words, name
            assert numbers == pytest.approx(expected_numbers, abs=1e-4), name
        else:
            assert content == expected[name], name
