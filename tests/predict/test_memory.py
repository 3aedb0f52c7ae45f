"""Prediction in batches, and in smaller batches if memory is too small."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from marsbench.base.errors import ConfigError
from marsbench.predict.options import Options
from marsbench.predict.predictor import Predictor
from marsbench.predict.run import predict
from marsbench.predict.walk import Item
from marsbench.tasks.kinds import Kind
from tests.predict.stubs import predictor

SIZES = [(20, 30), (40, 40), (20, 30), (33, 21), (150, 120), (40, 40), (64, 50)]


class Small(nn.Module):
    """A model on a device that holds few images."""

    def __init__(self, model: nn.Module, holds: int) -> None:
        super().__init__()
        self.model, self.holds = model, holds
        self.seen: list[int] = []
        self.failed: list[weakref.ref[Tensor]] = []

    def forward(self, images: Tensor) -> Any:
        """Results of the model, or the error of a full memory."""
        assert not any(reference() is not None for reference in self.failed)
        self.seen.append(len(images))
        if len(images) > self.holds:
            activations = images * 2
            self.failed.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return self.model(images)


def small(kind: Kind, holds: int) -> tuple[Predictor, Small]:
    model = Small(predictor(kind).model, holds)
    return predictor(kind, model=model), model


def items_in(folder: Path) -> list[Item]:
    rng = np.random.default_rng(0)
    for i, size in enumerate(SIZES):
        pixels = rng.integers(0, 256, size).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return [Item(folder / f"{i}.png", f"{i}.png") for i in range(len(SIZES))]


def files_of(model: Predictor, items: list[Item], out: Path, batch_size: int) -> dict[str, bytes]:
    summary = predict(model, items, out, Options(device="cpu", batch_size=batch_size))
    assert (summary.done, summary.failed) == (len(items), [])
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", list(Kind))
def test_smaller_batches_give_the_same_files(
    kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = items_in(tmp_path)
    expected = files_of(predictor(kind), items, tmp_path / "out", 1)
    model, seen = small(kind, 2)
    files = files_of(model, items, tmp_path / "small", 5)
    journal = ".journal.jsonl"
    assert sorted(files.pop(journal).splitlines()) == sorted(expected.pop(journal).splitlines())
    assert files == expected
    assert max(seen.seen) == 5
    assert len(seen.failed) == 2
    messages = capsys.readouterr().err
    assert "--batch-size 3.\n" in messages
    assert "--batch-size 2.\n" in messages


def test_masks_are_predicted_in_batches_whatever_their_sizes(tmp_path: Path) -> None:
    model, seen = small(Kind.SEGMENTATION, 100)
    sizes = [item for i, item in enumerate(items_in(tmp_path)) if i != 4]
    files_of(model, sizes, tmp_path / "out", 4)
    assert seen.seen == [4, 2]


def test_memory_too_small_for_a_single_image(tmp_path: Path) -> None:
    model, _ = small(Kind.MULTICLASS, 0)
    with pytest.raises(ConfigError, match=r"too small for a single image\.\n.*--device cpu"):
        predict(model, items_in(tmp_path), tmp_path / "out", Options(device="cpu"))


def test_other_errors_of_a_model_pass_through(tmp_path: Path) -> None:
    model, seen = small(Kind.MULTICLASS, 100)

    def fail(*_: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    seen.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes"):
        predict(model, items_in(tmp_path), tmp_path / "out", Options(device="cpu"))
    assert seen.seen == [7]
