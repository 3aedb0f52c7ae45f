"""Segmentation and detection through the whole loop, with the smallest of models."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import timm
import torch
from PIL import Image

import marsbench
from marsbench.base.errors import ConfigError, DataError
from marsbench.config.schema import LossName, Mode, RunConfig
from marsbench.data.dataset import MarsDataset
from marsbench.data.sources.local import LocalSource
from marsbench.metrics import scoring
from marsbench.metrics.masks import confusion as count_pixels
from marsbench.models.modes import build_for_mode
from marsbench.models.segmenters.smp import Segmenter
from marsbench.models.zoo.catalog import get_model
from marsbench.plan.resolve import resolve
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from marsbench.training import network
from marsbench.training.loop import checkpoints
from marsbench.training.loop.callbacks import ProgressBar
from marsbench.training.loop.objectives import masks as objectives
from marsbench.training.loop.objectives.boxes import BoxObjective
from marsbench.training.loop.objectives.masks import MaskObjective, confusion
from tests.fakes import make_spec, write_folder, write_spec

MASKS = "smp:unet/tu-test_resnet"
CLASSES = ("background", "crater", "dune")


def keys(task: str, store: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": task,
        "model": MASKS,
        "mode": "scratch",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 8,
        "trainer.max_epochs": 2,
        **more,
    }


def spec_of(kind: Kind) -> TaskSpec:
    if kind is Kind.DETECTION:
        return make_spec(kind, CLASSES[1:], decode=Decode.IMAGE_BOXES)
    return make_spec(kind, CLASSES, decode=Decode.IMAGE_MASK)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], str]:
    """Write the folder of a task; returns the path of its YAML."""

    def written(kind: Kind) -> str:
        folder = write_folder(spec_of(kind), tmp_path_factory.mktemp(kind), side=40)
        return str(write_spec(spec_of(kind), folder / "task.yaml"))

    return written


@pytest.fixture(scope="module")
def masks(make: Callable[[Kind], str]) -> str:
    return make(Kind.SEGMENTATION)


@pytest.fixture(scope="module")
def boxes(make: Callable[[Kind], str]) -> str:
    return make(Kind.DETECTION)


@pytest.fixture(scope="module")
def finished(masks: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    store = tmp_path_factory.mktemp("runs")
    return marsbench.run(**keys(masks, store)), store


def stored(record: RunRecord, store: Path) -> pd.DataFrame:
    return Store(store).predictions(record.run_id)


def test_stored_confusions_give_the_metrics(finished: tuple[RunRecord, Path]) -> None:
    record, store = finished
    names = record.data["classes"]
    for split, table in stored(record, store).groupby("split"):
        again = scoring.score(Kind.SEGMENTATION, table, names)
        assert again == {k: v for k, v in record.metrics[str(split)].items() if k != "loss"}
    assert record.metrics["test"]["miou"] == record.score
    assert all("iou_per_image" in record.metrics[split] for split in ("val", "test"))


def test_class_maps_are_kept_in_the_size_of_the_masks(
    finished: tuple[RunRecord, Path], masks: str
) -> None:
    record, store = finished
    spec = spec_of(Kind.SEGMENTATION)
    data = MarsDataset(spec, LocalSource(spec, Path(masks).parent), "test")
    table = stored(record, store)
    table = table[table["split"] == "test"]
    for i, (_, row) in enumerate(table.iterrows()):
        sample = data[i]
        assert sample["sample_id"] == row["sample_id"]
        with Image.open(store / record.run_id / "maps" / f"{row['sample_id']}.png") as opened:
            classes = np.array(opened)
        truth = sample["mask"].numpy()
        assert classes.shape == truth.shape == (40, 40)
        again = count_pixels(truth, classes, 3)
        np.testing.assert_array_equal(again.ravel(), row["confusion"])


def test_inputs_are_of_the_images_size(masks: str, tmp_path: Path) -> None:
    plan = resolve(RunConfig.from_dict(keys(masks, tmp_path)))
    assert plan.side == 64  # 40 pixels, in multiples of 32
    assert plan.train_counts == {}


def test_a_side_of_ones_own(masks: str, boxes: str, tmp_path: Path) -> None:
    for task, model in ((masks, MASKS), (boxes, "ssdlite")):
        plans = [
            resolve(RunConfig.from_dict(keys(task, tmp_path, model=model, side=side)))
            for side in (None, 96)
        ]
        assert plans[1].side == 96
        assert plans[0].run_id != plans[1].run_id
    values = keys("frost_cls", tmp_path, model="timm:test_resnet", source="demo", side=96)
    with pytest.raises(ConfigError, match="side=96 cannot be chosen: timm:test_resnet takes"):
        resolve(RunConfig.from_dict(values))


def test_confusion_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    truth, classes = rng.integers(0, 4, (9, 11)), rng.integers(0, 4, (9, 11))
    truth[:2] = 255
    ours = confusion(torch.from_numpy(truth), torch.from_numpy(classes), 4).numpy()
    np.testing.assert_array_equal(ours, count_pixels(truth, classes, 4))
    empty = confusion(torch.full((3, 3), 255), torch.zeros(3, 3, dtype=torch.int64), 2)
    assert empty.sum() == 0
    batch = [torch.from_numpy(np.stack([ids, ids[::-1]])) for ids in (truth, classes)]
    both = confusion(batch[0], batch[1], 4).numpy()
    np.testing.assert_array_equal(both, np.stack([ours, ours]))


@pytest.mark.parametrize("most", [1, 2**26])
def test_masks_of_several_sizes_are_scored_at_their_own(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "_MOST", most)
    rng = torch.Generator().manual_seed(0)
    sizes = ((9, 7), (16, 16), (9, 7), (5, 5), (16, 16))
    truths = [torch.randint(3, size, generator=rng, dtype=torch.uint8) for size in sizes]
    logits = torch.randn(len(sizes), 3, 16, 16, generator=rng)
    objective = MaskObjective(Kind.SEGMENTATION, LossName.CROSS_ENTROPY, 3, 3)
    maps: dict[str, np.ndarray] = {}
    objective.keep = maps.__setitem__
    batch = {
        "image": logits,
        "truth": truths,
        "mask": torch.zeros(len(sizes), 16, 16, dtype=torch.int64),
        "sample_id": list("abcde"),
    }
    observed = objective.observe(torch.nn.Identity(), batch)
    for i, (name, truth) in enumerate(zip("abcde", truths, strict=True)):
        scaled = torch.nn.functional.interpolate(logits[i : i + 1], truth.shape, mode="bilinear")
        expected = scaled[0].argmax(dim=0).numpy()
        np.testing.assert_array_equal(maps[name], expected)
        counts = count_pixels(truth.numpy(), expected, 3)
        np.testing.assert_array_equal(observed["confusion"][i], counts)
    measured = objective.measure(torch.nn.Identity(), batch)
    assert measured.keys() == {"loss"}
    np.testing.assert_array_equal(measured["loss"], observed["loss"])


@pytest.mark.parametrize(
    "loss", ["cross_entropy", "generalized_dice_simple", "generalized_dice_linear", "combined"]
)
def test_every_loss_trains(loss: str, masks: str, tmp_path: Path) -> None:
    record = marsbench.run(**keys(masks, tmp_path, loss=loss, **{"trainer.max_epochs": 1}))
    assert np.isfinite(record.metrics["val"]["loss"])
    assert record.identity["loss"] == loss


@pytest.mark.parametrize("kind", [Kind.SEGMENTATION, Kind.DETECTION])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"loss": "binary_cross_entropy"}, "loss=binary_cross_entropy is not for"),
        ({"imbalance": "oversample"}, "imbalance=oversample is for tasks of labels"),
        ({"outputs": 1}, "outputs=1 is for binary tasks"),
        ({"resize": "pretraining"}, "outside of the crop would stay without predictions"),
        ({"subset": "few_shot_1"}, "few_shot_1 needs a class for every image"),
    ],
)
def test_what_has_no_meaning_is_refused(
    kind: Kind,
    more: dict[str, Any],
    message: str,
    make: Callable[[Kind], str],
    tmp_path: Path,
) -> None:
    model = MASKS if kind is Kind.SEGMENTATION else "ssdlite"
    with pytest.raises((ConfigError, DataError), match=message):
        resolve(RunConfig.from_dict(keys(make(kind), tmp_path, model=model, **more)))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": "ssd", "side": 200}, "side=200 is too small: ssd takes .* 268 pixels"),
        ({"model": "ssdlite", "compile": True}, "compile=true has no effect on detectors"),
    ],
)
def test_what_a_detector_cannot_do_is_refused_before_it_is_built(
    more: dict[str, Any], message: str, boxes: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(RunConfig.from_dict(keys(boxes, tmp_path, **more)))


def test_a_split_without_boxes_is_refused(tmp_path: Path) -> None:
    spec = spec_of(Kind.DETECTION)
    folder = write_folder(spec, tmp_path, side=40)
    for path in (folder / "data" / "val" / "labels").iterdir():
        path.write_text("")
    for other in ("coco_annotations.json", "pascal_voc"):
        path = folder / "data" / "val" / other
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    task = str(write_spec(spec, folder / "task.yaml"))
    with pytest.raises(DataError, match=r"No val image of .* has a box"):
        marsbench.run(**keys(task, tmp_path / "runs", model="ssdlite"))


def test_a_bad_file_in_a_worker_process_is_told_as_elsewhere(tmp_path: Path) -> None:
    spec = spec_of(Kind.SEGMENTATION)
    folder = write_folder(spec, tmp_path, side=40)
    bad = sorted((folder / "data" / "train" / "masks").iterdir())[0]
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(bad)
    task = str(write_spec(spec, folder / "task.yaml"))
    values = keys(task, tmp_path / "runs", cache=False) | {"workers": 1}
    with pytest.raises(DataError, match=f"{bad.name} is 7 x 9 pixels") as caught:
        marsbench.run(**values)
    assert "Traceback" not in str(caught.value)
    assert caught.value.remedy == "Give the image a mask of its own size."


def test_the_loss_of_detectors_does_not_hang_on_the_batch() -> None:
    torch.manual_seed(0)
    model = build_for_mode(get_model("ssdlite"), Kind.DETECTION, 2, Mode.SCRATCH, side=64).eval()
    image = torch.rand(4, 3, 64, 64)
    boxes = [torch.tensor([[4.0, 4, 40, 40]] * n) for n in (1, 3, 0, 2)]
    labels = [torch.zeros(len(b), dtype=torch.int64) for b in boxes]
    size = torch.full((4, 2), 64)

    objective = BoxObjective(Kind.DETECTION, LossName.MODEL, 1, 1)

    def loss_of(*parts: slice) -> torch.Tensor:
        batches = (
            {"image": image[p], "boxes": boxes[p], "labels": labels[p], "size": size[p]}
            for p in parts
        )
        with torch.no_grad():
            found = [objective.observe(model, b)["loss"] for b in batches]
        return torch.cat([torch.as_tensor(one) for one in found])

    whole = loss_of(slice(0, 4))
    assert len(set(whole.tolist())) > 1
    torch.testing.assert_close(whole, loss_of(slice(0, 1), slice(1, 4)))


@pytest.mark.parametrize("task", ["masks", "boxes"])
def test_negatives_are_left_out_of_training_alone(
    task: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = MASKS if task == "masks" else "ssdlite"
    path = request.getfixturevalue(task)
    plans = [
        resolve(RunConfig.from_dict(keys(path, tmp_path, model=model, negatives=choice)))
        for choice in ("include", "exclude")
    ]
    assert plans[1].num_samples["train"] < plans[0].num_samples["train"]
    assert plans[1].num_samples["test"] == plans[0].num_samples["test"]
    assert plans[0].run_id != plans[1].run_id


@pytest.mark.parametrize("mode", ["scratch", "frozen"])
def test_a_cut_run_ends_as_the_whole_one(
    mode: str, masks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "COPY_SHARE", math.inf)  # copies every epoch
    checkpoint = tmp_path / "encoder.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), checkpoint)
    values = keys(masks, tmp_path / "cut", mode=mode, **{"trainer.max_epochs": 4})
    if mode == "frozen":
        values["weights"] = str(checkpoint)

    def cut(self: ProgressBar, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "on_train_epoch_start", cut, raising=False)
        with pytest.raises(KeyboardInterrupt):
            marsbench.run(**values)
    resumed = marsbench.run(**values)
    assert resumed.timing["resumed_from_epoch"] == 2
    whole = marsbench.run(**{**values, "store": str(tmp_path / "whole")})
    assert resumed.metrics == whole.metrics


def test_a_frozen_encoder_stays_as_it_was(
    masks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "encoder.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), checkpoint)
    built: list[tuple[Segmenter, dict[str, torch.Tensor]]] = []

    def remembered(*args: Any, **options: Any) -> Any:
        model = build_for_mode(*args, **options)
        assert isinstance(model, Segmenter)
        built.append((model, {k: v.clone() for k, v in model.state_dict().items()}))
        return model

    monkeypatch.setattr(network, "build_for_mode", remembered)
    record = marsbench.run(**keys(masks, tmp_path / "runs", mode="frozen", weights=str(checkpoint)))
    ((model, before),) = built
    for name, tensor in model.state_dict().items():
        if name.startswith(model.frozen_prefix):
            assert torch.equal(tensor, before[name]), name
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert record.parameters["trained"] < record.parameters["total"]


def test_a_detector_through_the_whole_loop(boxes: str, tmp_path: Path) -> None:
    values = keys(boxes, tmp_path, model="ssdlite", **{"trainer.max_epochs": 1})
    record = marsbench.run(**values, augment="scale_d4")
    table = stored(record, tmp_path)
    for split, part in table.groupby("split"):
        again = scoring.score(Kind.DETECTION, part, record.data["classes"])
        assert again == {k: v for k, v in record.metrics[str(split)].items() if k != "loss"}
    assert "map50" in record.metrics["test"]
