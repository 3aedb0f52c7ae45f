"""Batches of a plain DataLoader, transforms and short texts of datasets."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import marsbench
from marsbench.base.errors import DataError
from marsbench.data.batches import batch_of
from marsbench.data.dataset import MarsDataset, Sample
from marsbench.data.sources.local import LocalSource
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, write_folder


def loaded(data: MarsDataset, **options: Any) -> list[dict[str, Any]]:
    return list(DataLoader(data, collate_fn=data.collate, **options))


def folder(spec: TaskSpec, tmp_path: Path) -> LocalSource:
    return LocalSource(spec, write_folder(spec, tmp_path))


def test_labels(tmp_path: Path) -> None:
    data = MarsDataset(make_spec(), folder(make_spec(), tmp_path), "val")
    first, *_, last = loaded(data, batch_size=4)
    assert first["image"].shape == (4, 1, 32, 32)
    assert first["label"].tolist() == data.targets[:4].tolist()
    assert first["sample_id"] == data.sample_ids[:4]
    assert len(last["label"]) == 9 % 4


def test_boxes_of_any_number(tmp_path: Path) -> None:
    spec = make_spec(Kind.DETECTION, ("dune",), decode=Decode.IMAGE_BOXES)
    data = MarsDataset(spec, folder(spec, tmp_path), "train")
    (batch,) = loaded(data, batch_size=24)
    assert {len(boxes) for boxes in batch["boxes"]} >= {0, 1, 2}
    assert [len(labels) for labels in batch["labels"]] == [len(boxes) for boxes in batch["boxes"]]
    assert isinstance(batch["image"], list)
    assert [image.shape for image in batch["image"]] == [(1, 32, 32)] * 24  # as torchvision's take
    assert torch.equal(batch["boxes"][5], data[5]["boxes"])


def test_spectra_of_any_length() -> None:
    data = marsbench.load_dataset("ega_ms", "val", source="demo", size=0.05)
    batch = loaded(data, batch_size=3)[0]
    assert batch["image"].shape[0] == batch["label"].shape[0] == 3
    assert len({len(points) for points in batch["spectrum"]}) > 1
    assert batch["meta"][0]["instrument"]


def crop(sample: Sample) -> Sample:
    sample["image"] = sample["image"][:, :16, :16]
    sample["mask"] = sample["mask"][:16, :16]
    return sample


def test_masks_of_different_sizes_need_a_transform(tmp_path: Path) -> None:
    spec = make_spec(Kind.SEGMENTATION, ("background", "dune"), decode=Decode.IMAGE_MASK)
    source = folder(spec, tmp_path)
    for name in ("images", "masks"):
        place = tmp_path / spec.folder / "data" / "val" / name
        Image.fromarray(np.zeros((33, 33), np.uint8)).save(place / "val_0001.png")
    data = MarsDataset(spec, source, "val", cache=False)
    with pytest.raises(
        DataError, match=r"val_0000.*\(1, 32, 32\).*val_0001.*\(1, 33, 33\)"
    ) as error:
        loaded(data, batch_size=2)
    assert "transform=" in error.value.remedy
    assert [len(batch["mask"]) for batch in loaded(data)] == [1] * 9
    cropped = MarsDataset(spec, source, "val", cache=False, transform=crop)
    # Worker processes that start anew receive the dataset as a pickle.
    for batch in loaded(pickle.loads(pickle.dumps(cropped)), batch_size=3, num_workers=2):
        assert batch["image"].shape == (3, 1, 16, 16)
        assert batch["mask"].shape == (3, 16, 16)


def test_transforms_come_last_and_may_add_fields() -> None:
    def tell(sample: Sample) -> dict[str, Any]:
        return {"x": sample["image"].mean(), "y": int(sample["label"]), "index": sample["index"]}

    data = marsbench.load_dataset("frost_cls", "val", source="demo", size=0.1, transform=tell)
    plain = marsbench.load_dataset("frost_cls", "val", source="demo", size=0.1)
    (batch,) = loaded(data, batch_size=len(data))
    assert batch["y"] == plain.targets.tolist()
    assert batch["index"].tolist() == list(range(len(data)))
    assert torch.equal(torch.stack(batch["x"])[3], plain[3]["image"].mean())


def test_short_texts(tmp_path: Path) -> None:
    data = marsbench.load_dataset("frost_cls", source="demo", size=0.1, subset="few_shot_2")
    lines = repr(data).splitlines()
    assert lines[0] == f"MarsDataset frost_cls train: 4 of {len(data.samples)} samples"
    assert lines[1:2] == ["  binary, 2 classes: " + ", ".join(data.class_names)]
    assert "demo" in lines[2]
    assert len(lines) == 3
    spec = make_spec(classes=("crater", "du\x1b[2Jne"))
    # Names of folders and classes are of others.
    assert "\x1b" not in repr(spec)
    text = repr(marsbench.get_task("frost_cls")).splitlines()
    assert text[0] == "TaskSpec frost_cls: binary, f1_weighted"
    assert "train" in text[2]


def test_samples_of_other_fields_are_named() -> None:
    samples: list[dict[str, Any]] = [{"sample_id": "a", "label": 0}, {"sample_id": "b"}]
    with pytest.raises(DataError, match=r"b and the first sample .* differ in the fields label"):
        batch_of(samples)
