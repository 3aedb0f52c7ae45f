"""The real segmentation and detection sets: masks, boxes and their conversion."""

from pathlib import Path

import numpy as np
import pytest

from marsbench.data import decode
from marsbench.data.boxes.forms import BoxFormat
from marsbench.data.sources.local import LocalSource
from marsbench.data.tools.convert import convert
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import SPLITS, TaskSpec
from tests.fakes import make_spec

pytestmark = pytest.mark.realdata


def folder(real_data: Path, name: str) -> Path:
    if not (real_data / name).is_dir():
        pytest.skip(f"{real_data} has no {name}")
    return real_data / name


@pytest.fixture
def landslides(real_data: Path) -> LocalSource:
    return LocalSource(get_task("mmls"), folder(real_data, "mb-mmls"))


@pytest.fixture
def crater_task() -> TaskSpec:
    return make_spec(
        Kind.DETECTION, ("crater",), decode=Decode.IMAGE_BOXES, channels=3, folder="mb-crater_det"
    )


@pytest.fixture
def craters(real_data: Path, crater_task: TaskSpec) -> LocalSource:
    return LocalSource(crater_task, folder(real_data, "mb-crater_det"))


def all_boxes(source: LocalSource) -> list[Boxes]:
    read = (source.read(s, i).boxes for s in SPLITS for i in range(len(source.rows(s))))
    return [boxes for boxes in read if boxes is not None]


def test_landslide_masks(landslides: LocalSource) -> None:
    assert landslides.class_names == ("background", "landslide")
    assert [len(landslides.rows(s)) for s in SPLITS] == [275, 31, 256]
    for split, share in (("train", 0.478), ("val", 0.404), ("test", 0.423)):
        samples = [landslides.read(split, i) for i in range(len(landslides.rows(split)))]
        masks = np.stack([decode.mask(raw, 2) for raw in samples])
        assert masks.shape[1:] == (128, 128)
        assert masks.mean() == pytest.approx(share, abs=0.0005)
        assert all(m.min() < m.max() for m in masks)
        assert not decode.is_negative(landslides.spec, samples[0])
        assert {decode.image_size(raw.image, raw.where) for raw in samples} == {(128, 128)}


def test_landslides_survive_a_conversion(landslides: LocalSource, tmp_path: Path) -> None:
    again = LocalSource(landslides.spec, convert(landslides.spec, landslides, tmp_path))
    for split in SPLITS:
        assert again.rows(split).sample_ids == landslides.rows(split).sample_ids
        for i in range(0, len(again.rows(split)), 10):
            before, after = landslides.read(split, i), again.read(split, i)
            assert before.image == after.image
            assert before.mask is not None
            assert after.mask is not None
            assert before.mask.image == after.mask.image


def test_craters_agree_in_all_forms(craters: LocalSource) -> None:
    """Reading compares the three forms of every image."""
    counts = {
        split: [len(craters.read(split, i).boxes or ()) for i in range(len(craters.rows(split)))]
        for split in SPLITS
    }
    assert {split: sum(found) for split, found in counts.items()} == {
        "train": 532,
        "val": 175,
        "test": 171,
    }
    assert (min(counts["train"]), max(counts["train"])) == (1, 39)


def test_craters_survive_a_round_of_forms(
    craters: LocalSource, crater_task: TaskSpec, tmp_path: Path
) -> None:
    expected = all_boxes(craters)
    source = craters
    for step, form in enumerate((BoxFormat.VOC, BoxFormat.YOLO, BoxFormat.COCO, BoxFormat.YOLO)):
        place = convert(crater_task, source, tmp_path / str(step), [form])
        source = LocalSource(crater_task, place)
        for found, wanted in zip(all_boxes(source), expected, strict=True):
            assert np.array_equal(found.xyxy, wanted.xyxy)
            assert np.array_equal(found.labels, wanted.labels)
    # The last texts are the published ones, digit by digit.
    for text in (place / "data").rglob("*.txt"):
        published = craters.folder / text.relative_to(place)
        assert text.read_text().split() == published.read_text().split()
