"""Runs without training, by models whose answers the tests decide."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import marsbench
from marsbench.api import run_config
from marsbench.base.errors import ConfigError, MarsbenchError, NotAvailableError
from marsbench.config.schema import RunConfig
from marsbench.metrics import scoring
from marsbench.plan.resolve import resolve
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.kinds import Decode, Kind
from marsbench.training.trained import rebuild
from marsbench.training.zero_shot.asking import as_wrong
from tests.fakes import make_spec, write_folder, write_spec

pytestmark = pytest.mark.usefixtures("fake")


def keys(task: str, store: Path, **more: Any) -> dict[str, Any]:
    return {"task": task, "model": "api:toy", "mode": "zero_shot", "store": str(store), **more}


def masks(folder: Path) -> str:
    names = ("background", "crater", "dune")
    facts: dict[str, Any] = {"name": "toy_seg", "folder": "mb-toy_seg"}
    spec = make_spec(Kind.SEGMENTATION, names, decode=Decode.IMAGE_MASK, **facts)
    place = write_folder(spec, folder)
    return str(write_spec(spec, place / "task.yaml"))


def rows(record: RunRecord, store: Path) -> pd.DataFrame:
    return Store(store).predictions(record.run_id)


def test_a_record_without_training(toy: str, tmp_path: Path) -> None:
    record = marsbench.run(**keys(toy, tmp_path))
    left = {p.name for p in (tmp_path / record.run_id).iterdir()} - {".lock"}
    assert left == {"record.json", "predictions.parquet", "config.yaml"}
    assert set(record.metrics) == {"test"}
    assert record.run_id.startswith("toy/api-toy/zero_shot/full/0-")
    assert record.weights is None
    assert record.parameters["trained"] == 0
    assert record.pretraining.overlaps is None
    assert record.data["zero_shot"] == {"of": "a test"}
    assert not {"optim", "scheduler", "trainer", "subset_digest"} & set(record.identity)
    assert resolve(RunConfig.from_dict(record.config)).run_id == record.run_id


def test_metrics_follow_from_the_predictions(toy: str, tmp_path: Path) -> None:
    record = marsbench.run(**keys(toy, tmp_path))
    frame = rows(record, tmp_path)
    assert len(frame) == 12
    assert list(frame["answer"][:4]) == ["refused", "unparsable", "unparsable", "answered"]
    named = np.stack(list(frame["scores"]))
    right = [bool(s.any()) and s.argmax() == t for s, t in zip(named, frame["target"], strict=True)]
    scores = record.metrics["test"]
    assert scores["accuracy"] == pytest.approx(np.mean(right))
    assert not any(right[:3])
    assert scores["unanswered"] == 3 / 12
    assert scores["refused"] == 1 / 12
    again = scoring.score(Kind(record.kind), frame, record.data["classes"])
    assert again == {k: v for k, v in scores.items() if k != "refused"}


def test_masks_become_labels_of_the_image(tmp_path: Path) -> None:
    task = masks(tmp_path)
    record = marsbench.run(**keys(task, tmp_path / "runs"))
    assert (record.kind, record.headline) == ("multilabel", "f1_weighted")
    classes = record.data["classes"]
    assert sorted(classes) == ["crater", "dune"]
    mapping = json.loads((tmp_path / "mb-toy_seg" / "mapping.json").read_text())
    ids = {name: int(i) for i, (_, name) in mapping.items()}
    frame = rows(record, tmp_path / "runs")
    for sample_id, target in zip(frame["sample_id"], frame["target"], strict=True):
        path = tmp_path / "mb-toy_seg" / "data" / "test" / "masks" / sample_id
        mask = np.asarray(Image.open(path))
        assert list(target) == [int((mask == ids[name]).any()) for name in classes]
    # Every fourth image shows no object.
    empty = [not any(target) for target in frame["target"]]
    assert any(empty)
    assert not all(empty)


def test_unanswered_labels_are_wrong_whatever_is_true(tmp_path: Path) -> None:
    unanswered = np.array([True, True, False])
    targets = np.array([[0, 0], [1, 0], [0, 0]])
    scores = np.array([[0, 1], [1, 0], [0, 0]], np.float32)
    counted = as_wrong(scores, unanswered, targets, Kind.MULTILABEL)
    assert counted.tolist() == [[1, 1], [0, 0], [0, 0]]
    single = as_wrong(scores, unanswered, np.array([0, 1, 0]), Kind.MULTICLASS)
    assert single.tolist() == [[0, 0], [0, 0], [0, 0]]
    assert scores[1, 0] == 1  # the argument stays


def test_samples_of_the_test_split_are_in_the_id(tmp_path: Path) -> None:
    spec = make_spec(name="many", folder="mb-many")
    folder = write_folder(spec, tmp_path, {"train": 3, "val": 3, "test": 60})
    task = str(write_spec(spec, folder / "task.yaml"))
    store = tmp_path / "runs"
    whole = resolve(RunConfig.from_dict(keys(task, store)))
    more = resolve(RunConfig.from_dict(keys(task, store, test_samples=60)))
    assert whole.run_id == more.run_id
    found: dict[int, set[str]] = {}
    for count in (6, 30):
        record = marsbench.run(**keys(task, store, test_samples=count))
        frame = rows(record, store)
        assert record.run_id != whole.run_id
        assert record.identity["test_samples"] == record.data["num_test"] == count
        # Classes go round, so shares are equal.
        assert frame["target"].value_counts().tolist() == [count // 3] * 3
        found[count] = set(frame["sample_id"])
    assert found[6] < found[30]
    other = marsbench.run(**keys(task, store, test_samples=6, seed=1))
    assert set(rows(other, store)["sample_id"]) == found[6]


def test_only_the_test_split_is_needed(tmp_path: Path) -> None:
    spec = make_spec(name="bare", folder="mb-bare")
    folder = write_folder(spec, tmp_path, {"test": 6})
    task = str(write_spec(spec, folder / "task.yaml"))
    record = marsbench.run(**keys(task, tmp_path / "runs"))
    assert record.data["num_test"] == 6
    assert "num_train" not in record.data


def test_the_optimiser_is_not_in_the_id(toy: str, tmp_path: Path) -> None:
    first, second = (
        resolve(RunConfig.from_dict(keys(toy, tmp_path, **more)))
        for more in ({}, {"optim.lr": 0.5, "trainer.max_epochs": 3, "scheduler.name": "cosine"})
    )
    assert first.run_id == second.run_id


def test_the_prompt_is_in_the_id(toy: str, tmp_path: Path) -> None:
    plan = resolve(RunConfig.from_dict(keys(toy, tmp_path)))
    renamed = replace(plan.task, title="Other images")
    other = replace(plan, task=renamed)
    assert plan.identity["prompt"] != other.identity["prompt"]
    assert plan.run_id != other.run_id


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"subset": "few_shot_1"}, "subset=few_shot_1 has no effect"),
        ({"folds": 3}, "folds=3 has no effect"),
        ({"protocol": "cached"}, "protocol=cached has no effect"),
        ({"imbalance": "loss_weight"}, "imbalance=loss_weight has no effect"),
        ({"pictures": True}, "pictures=True has no effect"),
        ({"trainer.devices": 2}, "single device"),
        ({"weights": "some.pth"}, "weights=some.pth has no effect on api:toy"),
        ({"mode": "frozen"}, "api:toy does not support mode=frozen"),
        ({"mode": "scratch"}, "api:toy does not support mode=scratch"),
        ({"model": "resnet101"}, "resnet101 has no words to name a class by"),
        ({"model": "api:"}, "not the name of a model"),
        ({"model": "api:a b"}, "not the name of a model"),
        ({"model": "resnet101", "mode": "frozen", "test_samples": 5}, "test_samples=5 is for"),
        ({"task": "ega_ms"}, "are spectra"),
        ({"task": "boulder_det"}, "does not support detection tasks"),
    ],
)
def test_keys_without_meaning_are_refused(
    toy: str, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(MarsbenchError, match=words) as refused:
        run_config(RunConfig.from_dict(keys(toy, tmp_path) | more))
    assert isinstance(refused.value, ConfigError | NotAvailableError)
    assert refused.value.remedy


def test_a_run_without_training_has_no_model(toy: str, tmp_path: Path) -> None:
    record = marsbench.run(**keys(toy, tmp_path))
    task = resolve(RunConfig.from_dict(record.config)).task
    with pytest.raises(NotAvailableError, match="trained nothing"):
        rebuild(record, tmp_path / record.run_id, task)
