"""Whole samples: image and mask or boxes, from the files to the cache and the dataset."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.data.cache import CachedSamples, DirectSamples, cached_samples
from marsbench.data.datamodule import collate
from marsbench.data.dataset import Draw, MarsDataset
from marsbench.data.rows import Raw
from marsbench.data.samples import Decoded, decode_sample
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.local import LocalSource
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, write_folder


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))


def mask_spec(**fields: Any) -> TaskSpec:
    classes = ("background", "crater", "dune")
    return make_spec(Kind.SEGMENTATION, classes, decode=Decode.IMAGE_MASK, **fields)


def box_spec(**fields: Any) -> TaskSpec:
    return make_spec(Kind.DETECTION, ("cone", "dune"), decode=Decode.IMAGE_BOXES, **fields)


def same(a: Decoded, b: Decoded) -> None:
    np.testing.assert_array_equal(a.pixels, b.pixels)
    assert a.pixels.dtype == b.pixels.dtype
    assert (a.mask is None) == (b.mask is None)
    if a.mask is not None and b.mask is not None:
        np.testing.assert_array_equal(a.mask, b.mask)
    assert (a.boxes is None) == (b.boxes is None)
    if a.boxes is not None and b.boxes is not None:
        np.testing.assert_array_equal(a.boxes.xyxy, b.boxes.xyxy)
        np.testing.assert_array_equal(a.boxes.labels, b.boxes.labels)


@pytest.mark.parametrize("spec", [mask_spec(), box_spec()], ids=["masks", "boxes"])
def test_the_cache_holds_masks_and_boxes(spec: TaskSpec, tmp_path: Path) -> None:
    source = LocalSource(spec, write_folder(spec, tmp_path))
    rows = source.rows("train")
    cached, direct = cached_samples(spec, source, rows), DirectSamples(spec, source, rows)
    for i in range(len(rows)):
        same(cached[i], direct[i])
    assert any(direct[i].is_negative for i in range(len(rows)))
    again = CachedSamples(cached.folder)
    same(again[3], direct[3])
    assert again.is_whole


@pytest.mark.parametrize("bands", Bands)
def test_images_of_seven_bands(bands: Bands, tmp_path: Path) -> None:
    spec, source = TASKS["mmls"], DemoSource(TASKS["mmls"], 0.02)
    rows = source.rows("val")
    cached = cached_samples(spec, source, rows, bands)
    drawn = source.read("val", 1).image
    assert isinstance(drawn, np.ndarray)
    expected = drawn if bands is Bands.ALL else drawn[:, :, [2, 1, 0]]
    np.testing.assert_array_equal(cached[1].pixels, expected)
    data = MarsDataset(spec, source, "val", side=64, bands=bands)
    assert data[1]["image"].shape == (expected.shape[2], 64, 64)
    assert data[1]["image"].dtype == torch.float32
    assert 0 <= data[1]["image"].min() <= data[1]["image"].max() <= 1


@pytest.mark.parametrize("name", [t.name for t in TASKS.values() if not t.kind.is_classification])
def test_every_scene_is_a_sample(name: str) -> None:
    spec, source = TASKS[name], DemoSource(TASKS[name], 0.02)
    for i in range(2):
        sample = decode_sample(spec, source.read("test", i))
        assert (sample.mask is None) == (spec.kind is Kind.DETECTION)
        if sample.mask is not None:
            assert sample.mask.max() < len(spec.classes)
        again = decode_sample(spec, source.read("test", i))
        same(sample, again)


def test_samples_of_masks_keep_the_contract(tmp_path: Path) -> None:
    spec = mask_spec()
    source = LocalSource(spec, write_folder(spec, tmp_path))
    whole, resized = MarsDataset(spec, source, "val"), MarsDataset(spec, source, "val", side=16)
    sample = whole[2]
    assert sample["mask"].shape == (32, 32)
    assert sample["mask"].dtype == torch.int64
    assert sample["size"].tolist() == [32, 32]
    assert "label" not in sample
    assert resized[2]["mask"].shape == (16, 16)
    assert torch.equal(resized[2]["truth"].long(), sample["mask"])
    drawn = resized[Draw(2, 5)]
    assert "truth" not in drawn  # training does not need it
    batch = collate([resized[0], resized[1]])
    assert batch["mask"].shape == (2, 16, 16)
    assert len(batch["truth"]) == 2


def test_samples_of_boxes_keep_the_contract(tmp_path: Path) -> None:
    spec = box_spec()
    source = LocalSource(spec, write_folder(spec, tmp_path))
    whole, resized = MarsDataset(spec, source, "train"), MarsDataset(spec, source, "train", side=16)
    for i in range(len(whole)):
        a, b = whole[i], resized[i]
        assert a["boxes"].dtype == torch.float32
        assert a["labels"].dtype == torch.int64
        torch.testing.assert_close(b["boxes"], a["boxes"] / 2)
    assert any(len(whole[i]["boxes"]) == 0 for i in range(len(whole)))
    batch = collate([resized[i] for i in range(4)])
    assert [len(b) for b in batch["boxes"]] == [len(v) for v in batch["labels"]]


def test_boxes_are_clipped_to_the_image_and_what_is_left_of_none_counted() -> None:
    pixels = np.zeros((10, 10, 1), np.uint8)
    rows = [[-0.8, 2.0, 11.0, 9.9], [-0.5, 1, 1e-6, 3], [3, 3, 3.005, 9], [0, 0, 10, 10]]
    raw = Raw(pixels, "here", boxes=Boxes(np.array(rows), np.array([1, 0, 0, 0])))
    decoded = decode_sample(box_spec(), raw)
    assert decoded.boxes is not None
    assert decoded.boxes.xyxy.tolist() == [[0, 2, 10, 9.9], [0, 0, 10, 10]]
    assert decoded.boxes.labels.tolist() == [1, 0]
    assert decoded.num_dropped == 2
    alone = Raw(pixels, "here", boxes=Boxes(np.array(rows[1:2]), np.array([0])))
    assert decode_sample(box_spec(), alone).is_negative


def test_what_else_the_data_say_goes_through_the_cache(tmp_path: Path) -> None:
    class Telling:
        """A folder whose samples have a region, and one box that stands out wholly."""

        def __init__(self) -> None:
            folder = write_folder(box_spec(), tmp_path)
            self.inner = LocalSource(box_spec(), folder)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def read(self, split: str, index: int) -> Raw:
            raw = self.inner.read(split, index)
            assert raw.boxes is not None
            xyxy = np.append(raw.boxes.xyxy, [[-0.5, 1, 1e-6, 3]], axis=0)
            boxes = Boxes(xyxy, np.append(raw.boxes.labels, 0))
            return replace(raw, meta={"region": f"Tharsis {index}"}, boxes=boxes)

    source: Any = Telling()
    for cache in (False, True, True):
        data = MarsDataset(box_spec(), source, "train", cache=cache, side=64)
        assert data.has_meta
        assert data[1]["meta"] == {"region": "Tharsis 1"}
        assert data.num_dropped == len(data)
        assert "meta" not in collate([data[0], data[1]])


def tiff(values: Any) -> bytes:
    import io

    out = io.BytesIO()
    tifffile.imwrite(out, values, photometric="minisblack", planarconfig="contig")
    return out.getvalue()


def png(pixels: Any) -> bytes:
    import io

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


SEVEN = make_spec(
    Kind.SEGMENTATION,
    ("background", "slide"),
    decode=Decode.IMAGE_MASK,
    channels=7,
    rgb_bands=(2, 1, 0),
)
GREY, ZEROS = np.zeros((8, 8), np.uint8), np.zeros((8, 8, 7), np.float32)


@pytest.mark.parametrize(
    ("spec", "image", "mask", "message"),
    [
        (mask_spec(), png(GREY), png(np.zeros((8, 9), np.uint8)), "is 8 x 9 pixels; its image"),
        (mask_spec(), png(GREY), png(GREY + 7), r"mask.* 7"),
        (mask_spec(), png(GREY[:1, :1]), png(GREY[:1, :1]), "1 x 1 pixels, too small"),
        (
            mask_spec(image_size=(9, 9)),
            png(GREY),
            png(GREY),
            "expected 9 x 9 as for all images of toy",
        ),
        (mask_spec(), png(GREY), None, "has no mask"),
        (SEVEN, tiff(ZEROS[:, :, :5]), png(GREY), "has 5 band.s.; expected 7 as in the task"),
        (SEVEN, tiff(ZEROS + 3), png(GREY), "expected 0 to 1"),
        (SEVEN, tiff(ZEROS * np.nan), png(GREY), "from nan to nan; expected 0 to 1"),
        (SEVEN, b"", png(GREY), "image"),
    ],
    ids=["size", "id", "one pixel", "task size", "none", "bands", "range", "nan", "empty"],
)
def test_bad_samples_are_named(
    spec: TaskSpec, image: bytes, mask: bytes | None, message: str
) -> None:
    truth = None if mask is None else Raw(mask, "the mask")
    with pytest.raises(DataError, match=message):
        decode_sample(spec, Raw(image, "the image", mask=truth))
