from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.data.dataset import MarsDataset
from marsbench.data.sources.local import LocalSource
from marsbench.metrics.boxes import PredictedBoxes
from marsbench.metrics.masks import confusion, score
from marsbench.results.store import MAPS
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from marsbench.training import gallery as module
from marsbench.training.gallery import GalleryItem, draw_gallery, gallery, image_iou
from marsbench.training.loop.evaluation import Predictions
from tests.fakes import make_spec, write_folder

NAMES = ("background", "crater", "dune")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[GalleryItem]:
    """The items of the pictures that are drawn."""
    items: list[GalleryItem] = []

    def keep(path: Path, title: str, found: list[GalleryItem]) -> None:
        items.extend(found)
        draw_gallery(path, title, found)

    monkeypatch.setattr(module, "draw_gallery", keep)
    return items


def open_test(spec: TaskSpec, tmp_path: Path, **choices: Any) -> MarsDataset:
    source = LocalSource(spec, write_folder(spec, tmp_path))
    return MarsDataset(spec, source, "test", side=20, **choices)


def predict_masks(data: MarsDataset, folder: Path) -> Predictions:
    """Predictions that are the worse the later in the split, from the truth on."""
    confusions = []
    for i, sample_id in enumerate(data.sample_ids):
        truth = data.samples[i].mask
        assert truth is not None
        found = np.where(truth == 255, 0, truth).astype(np.uint8)
        found[: 2 * i] = 0
        path = folder / MAPS / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(found).save(path)
        confusions.append(confusion(truth, found, len(data.class_names)).ravel())
    return Predictions(list(data.sample_ids), {"confusion": confusions}, {})


def is_png(path: Path) -> bool:
    with Image.open(path) as opened:
        return opened.format == "PNG" and opened.width > 300 and opened.height > 200


@pytest.mark.parametrize("bands", [None, Bands.RGB, Bands.ALL])
def test_masks(bands: Bands | None, tmp_path: Path, drawn: list[GalleryItem]) -> None:
    seven: dict[str, Any] = {"channels": 7, "rgb_bands": (2, 1, 0)} if bands else {}
    spec = make_spec(Kind.SEGMENTATION, NAMES, decode=Decode.IMAGE_MASK, **seven)
    data = open_test(spec, tmp_path, bands=bands or Bands.RGB)
    predictions = predict_masks(data, tmp_path / "run")
    path = gallery(data, predictions, tmp_path / "run")
    assert path == tmp_path / "run" / "samples.png"
    assert is_png(path)
    assert len({item.sample_id for item in drawn}) == module.SHOWN
    confusions = np.stack(predictions.columns["confusion"]).reshape(-1, 3, 3)
    iou = image_iou(confusions)
    remarks = [item.remark.split(" ")[0] for item in drawn]
    assert remarks == ["best", "median", "worst", "IoU", "IoU", "IoU"]
    shown = [iou[list(data.sample_ids).index(item.sample_id)] for item in drawn]
    assert (shown[0], shown[2]) == (iou.max(), iou.min())
    assert shown[1] == pytest.approx(np.median(iou), abs=0.1)
    # Images without an object are as good; the one shown has one.
    assert iou.max() == 1
    assert isinstance(drawn[0].truth, np.ndarray)
    assert np.isin((1, 2), drawn[0].truth).any()
    for item in drawn:
        index = list(data.sample_ids).index(item.sample_id)
        truth = data.samples[index].mask
        assert isinstance(item.predicted, np.ndarray)
        assert isinstance(item.truth, np.ndarray)
        assert truth is not None
        assert np.array_equal(item.truth, truth)
        assert np.array_equal(confusion(truth, item.predicted, 3), confusions[index])
        assert item.image.shape == (32, 32, 3)
    before = path.read_bytes()
    assert gallery(data, predictions, tmp_path / "run").read_bytes() == before


def test_iou_is_that_of_the_metrics(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    confusions = rng.integers(0, 3, (20, 3, 3)) * (rng.random((20, 3, 3)) < 0.4)
    iou = image_iou(confusions)
    for one, found in zip(confusions, iou, strict=True):
        if one.any():
            assert found == pytest.approx(score(one[None], NAMES)["miou"])
        else:
            assert np.isnan(found)
    assert np.isfinite(iou).any()
    assert not np.isfinite(iou).all()


def test_masks_of_nothing_but_ignored_pixels(tmp_path: Path, drawn: list[GalleryItem]) -> None:
    spec = make_spec(Kind.SEGMENTATION, NAMES, decode=Decode.IMAGE_MASK)
    folder = write_folder(spec, tmp_path, {"train": 2, "val": 2, "test": 2})
    for path in (folder / "data" / "test" / "masks").iterdir():
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(path)
    data = MarsDataset(spec, LocalSource(spec, folder), "test", side=20)
    assert is_png(gallery(data, predict_masks(data, tmp_path / "run"), tmp_path / "run"))
    assert [item.remark for item in drawn] == ["", ""]


def test_boxes(tmp_path: Path, drawn: list[GalleryItem]) -> None:
    spec = make_spec(Kind.DETECTION, ("cone", "boulder"), decode=Decode.IMAGE_BOXES)
    data = open_test(spec, tmp_path)
    nothing: list[Any] = []
    columns: dict[str, list[Any]] = {
        # As lists, as they come from a file; one image without any.
        "boxes": [nothing, *([[[1, 2, 9, 8.5], [3, 3, 8, 9], [0, 0, 5, 5]]] * 11)],
        "scores": [nothing, *([[0.9, 0.5, 0.49]] * 11)],
        "labels": [nothing, *([[0, 1, 1]] * 11)],
    }
    path = gallery(data, Predictions(list(data.sample_ids), columns, {}), tmp_path)
    assert is_png(path)
    ids = [f"test_{i:04d}.png" for i in (0, 2, 4, 6, 8, 11)]
    assert [item.sample_id for item in drawn] == ids
    first, second = drawn[:2]
    assert isinstance(first.predicted, PredictedBoxes)
    assert isinstance(second.predicted, PredictedBoxes)
    assert first.predicted.xyxy.shape == (0, 4)
    assert second.predicted.scores.tolist() == [0.9, 0.5]
    assert second.predicted.labels.tolist() == [0, 1]
    assert (first.remark, second.remark) == ("1 true, 0 predicted", "1 true, 2 predicted")


def scores_of(targets: NDArray[Any], right: int) -> list[NDArray[np.float32]]:
    """Scores that are right up to a position."""
    return [
        np.array([0.7 if (k == t) == (i < right) else 0.1 for k in range(3)], np.float32)
        for i, t in enumerate(targets)
    ]


def test_labels(tmp_path: Path, drawn: list[GalleryItem]) -> None:
    data = open_test(make_spec(), tmp_path)
    columns = {"target": list(data.targets), "scores": scores_of(data.targets, 6)}
    path = gallery(data, Predictions(list(data.sample_ids), columns, {}), tmp_path)
    assert is_png(path)
    assert [item.is_right for item in drawn] == [True] * 3 + [False] * 3
    for item in drawn:
        target = data.targets[list(data.sample_ids).index(item.sample_id)]
        assert item.truth == data.class_names[target]
        assert str(item.predicted).endswith(" 0.70")
        assert str(item.predicted).startswith(str(item.truth)) == item.is_right


def test_several_labels(tmp_path: Path, drawn: list[GalleryItem]) -> None:
    names = [f"a class of a long name {i}" for i in range(6)]
    data = open_test(make_spec(Kind.MULTILABEL, names, channels=3), tmp_path)
    scores = [np.where(t, 0.8, 0.2).astype(np.float32) for t in data.targets]
    scores[0], scores[-1] = np.zeros(6, np.float32), np.ones(6, np.float32)
    columns = {"target": list(data.targets), "scores": scores}
    assert is_png(gallery(data, Predictions(list(data.sample_ids), columns, {}), tmp_path))
    assert drawn[0].predicted == "none"
    assert str(drawn[-1].predicted).count(" 1.00") == 6
    assert [item.is_right for item in drawn] == [False, *([True] * 4), False]
    found = str(drawn[1].predicted).replace(" 0.80", "")
    assert found == drawn[1].truth


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    item = GalleryItem(
        np.zeros((4, 4, 1), np.float32), "dune", "dune 1.00", NAMES, "a", is_right=True
    )
    draw_gallery(tmp_path / "x.png", "toy", [item])
    assert (tmp_path / "x.png").is_file()
    with pytest.raises(DataError, match="cannot be written"):
        draw_gallery(tmp_path / "nowhere" / "x.png", "toy", [item])
