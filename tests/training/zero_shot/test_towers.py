"""Runs of CLIP and SigLIP without training, on tiny models."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError
from marsbench.config.schema import Mode, RunConfig
from marsbench.data.transforms import to_float
from marsbench.metrics import scoring
from marsbench.models.towers import building
from marsbench.models.zoo.catalog import MODELS
from marsbench.plan.resolve import resolve
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.prompts import prompts_of
from marsbench.training.trained import open_split
from marsbench.training.zero_shot import batches
from marsbench.training.zero_shot.models import Images
from tests.models.towers.tiny import serve
from tests.server import Server

NAMES = ("clip_b_16", "siglip_b_16")
DEMO = {
    "frost_cls": Kind.BINARY,
    "domars16k": Kind.MULTICLASS,
    "surface_multi_label_cls": Kind.MULTILABEL,
    "mars_seg_msl": Kind.MULTILABEL,
    "change_cls_hirise": Kind.BINARY,
    "mmls": Kind.MULTILABEL,
}


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    return serve(server, monkeypatch)


def keys(task: str, store: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": task,
        "model": "clip_b_16",
        "mode": "zero_shot",
        "source": "demo",
        "size": 0.2,
        "store": str(store),
        **more,
    }


def table(record: RunRecord, store: Path) -> pd.DataFrame:
    return Store(store).predictions(record.run_id)


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize(("task", "kind"), DEMO.items(), ids=DEMO.keys())
def test_a_run_of_every_kind(
    hub: Server, tmp_path: Path, model: str, task: str, kind: Kind
) -> None:
    record = marsbench.run(**keys(task, tmp_path, model=model))
    assert (record.kind, record.mode) == (kind, Mode.ZERO_SHOT)
    frame = table(record, tmp_path)
    again = scoring.score(kind, frame, record.data["classes"])
    assert again == record.metrics["test"]
    scores = np.stack(list(frame["scores"]))
    assert scores.dtype == np.float32
    assert scores.std(axis=0).max() > 0
    if kind is not Kind.MULTILABEL:
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    # The scores are those of the model, from the shipped sentences, on the run's images.
    plan = resolve(RunConfig.from_dict(record.config))
    assert plan.run_id == record.run_id
    network = building.build(MODELS[model].for_mode(Mode.ZERO_SHOT))
    words = prompts_of(TASKS[task], record.data["classes"])
    network.take(words, several=kind is Kind.MULTILABEL)
    test = open_split(plan, "test")
    images = torch.stack([to_float(test[i]["image"]) for i in range(len(test))])
    np.testing.assert_allclose(scores, network(images).numpy(), rtol=1e-4, atol=1e-6)
    assert record.data["zero_shot"]["phrases"] == {c.name: c.phrase for c in words.classes}


@pytest.mark.parametrize("model", NAMES)
def test_weights_of_a_record(hub: Server, tmp_path: Path, model: str) -> None:
    record = marsbench.run(**keys("frost_cls", tmp_path, model=model))
    towers = MODELS[model].towers
    assert towers is not None
    assert record.weights is not None
    assert record.weights["name"] == towers.name == record.identity["weights"]
    assert len(record.weights["file"].removeprefix("sha256:")) == 64
    assert (record.pretraining.data, record.pretraining.licence) == (towers.data, towers.licence)
    assert record.parameters["trained"] == 0 < record.parameters["total"]
    # The encoder of images alone, for the modes that train, stays as it is.
    frozen = RunConfig.from_dict({**record.config, "mode": "frozen"})
    assert resolve(frozen).weights == MODELS[model].weights.name  # type: ignore[union-attr]


def test_weights_of_the_users_own(hub: Server, tmp_path: Path) -> None:
    published = marsbench.run(**keys("frost_cls", tmp_path))
    path = tmp_path / "own.bin"
    path.write_bytes(hub.models["openai/clip-vit-base-patch16"].files["pytorch_model.bin"])
    own = marsbench.run(**keys("frost_cls", tmp_path, weights=str(path)))
    assert own.run_id != published.run_id
    assert own.metrics == published.metrics
    assert own.pretraining.data != published.pretraining.data


def test_prompts_are_in_the_id(hub: Server, tmp_path: Path) -> None:
    shipped = resolve(RunConfig.from_dict(keys("frost_cls", tmp_path)))
    file = tmp_path / "mine.yaml"

    def run_id(text: str) -> str:
        file.write_text(text)
        given = keys("frost_cls", tmp_path, prompts=str(file))
        return resolve(RunConfig.from_dict(given)).run_id

    assert run_id("like: frost_cls") == shipped.run_id
    assert run_id("like: frost_cls\nphrases: {Frost: ice}") != shipped.run_id
    assert run_id("like: frost_cls\ntemplates: ['{}']") != shipped.run_id
    # Sentences without a class, and descriptions, are not read for one class per image.
    assert run_id("like: frost_cls\nabsent: ['no {}']") == shipped.run_id
    assert run_id("like: frost_cls\ndescriptions: {Frost: Ice.}") == shipped.run_id
    labels = keys("mars_seg_msl", tmp_path)
    several = resolve(RunConfig.from_dict(labels)).run_id
    file.write_text("like: mars_seg_msl\nabsent: ['no {}']")
    assert resolve(RunConfig.from_dict({**labels, "prompts": str(file)})).run_id != several


def test_prompts_change_the_scores(hub: Server, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("templates: ['{}']\nphrases: {Frost: ice, Non Frost: rock}")
    shipped = marsbench.run(**keys("frost_cls", tmp_path))
    mine = marsbench.run(**keys("frost_cls", tmp_path, prompts=str(file)))
    assert list(table(shipped, tmp_path)["scores"][0]) != list(table(mine, tmp_path)["scores"][0])
    assert mine.data["zero_shot"]["templates"] == ["{}"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompts": "missing.yaml"}, "missing.yaml cannot be read"),
        ({"mode": "frozen", "prompts": "mine.yaml"}, "prompts=mine.yaml is for mode=zero_shot"),
        ({"normalisation": "data"}, "normalisation=data takes statistics of train samples"),
        ({"channels": "learned"}, "channels=learned is a trained layer"),
        ({"pooling": "mean"}, "pooling=mean has no effect with mode=zero_shot"),
        ({"side": 64}, "side=64"),
        ({"model": "dinov2_b"}, "clip_b_16"),
    ],
)
def test_invalid_choices(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError if "prompts" in given else MarsbenchError, match=message):
        _ = resolve(RunConfig.from_dict(keys("frost_cls", tmp_path, **given))).run_id


class Counted:
    """A model that counts images, and stops after some."""

    def __init__(self, stop: int = 10**6) -> None:
        self.seen: list[float] = []
        self.stop = stop

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        if len(self.seen) >= self.stop:
            raise KeyboardInterrupt
        values = batch.amax(dim=(1, 2, 3))
        self.seen += values.tolist()
        return torch.stack([values, 1 - values], dim=1)


class Pixels(Images):
    """Images whose values are their positions, in tenths."""

    def __init__(self, count: int) -> None:
        self.sample_ids = [str(i) for i in range(count)]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return torch.full((1, 2, 2), index / 10)


def label(model: Counted, folder: Path) -> batches.Scores:
    return batches.labelled(model, Pixels(10), 2, batch_size=3, folder=folder, title="")


def test_an_interrupted_run_labels_no_image_twice(tmp_path: Path) -> None:
    whole = label(Counted(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    first, second = Counted(stop=6), Counted()
    with pytest.raises(KeyboardInterrupt):
        label(first, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [batches.FILE]
    assert label(second, tmp_path).tolist() == whole.tolist()
    np.testing.assert_allclose(first.seen + second.seen, np.arange(10) / 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [np.zeros((11, 2), np.float32), np.zeros((3, 3), np.float32), np.zeros((3, 2)), None],
    ids=["too many", "other classes", "other numbers", "damaged"],
)
def test_other_scores_are_not_taken(tmp_path: Path, content: Any) -> None:
    file = tmp_path / batches.FILE
    if content is None:
        file.write_bytes(b"\x93NUMPY")
    else:
        np.save(file, content)
    model = Counted()
    label(model, tmp_path)
    assert len(model.seen) == 10


def test_scores_are_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_SECONDS", -1.0)
    lengths = []

    class Watching(Counted):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            file = tmp_path / batches.FILE
            lengths.append(len(np.load(file)) if file.exists() else 0)
            return super().__call__(batch)

    label(Watching(), tmp_path)
    assert lengths == [0, 3, 6, 9]
