"""All pairs of tasks of the shipped suite on demo data, against a computation of our own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

import marsbench
from marsbench.base import paths
from marsbench.base.errors import ConfigError
from marsbench.data.transforms import resize, to_float
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import MASKS, Kind
from marsbench.training.trained import rebuild
from tests.evaluate.test_classes import BOTH

Train = Callable[[str], RunRecord]

DEMO: dict[str, Any] = {"source": "demo", "size": 0.02, "workers": 0}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def train(store: Path) -> Train:
    """Trains a tiny model of a task, once."""

    def run(task: str) -> RunRecord:
        keys: dict[str, Any] = {"model": "timm:test_resnet"}
        if TASKS[task].kind in MASKS:
            keys = {"model": "smp:unet/tu-test_resnet", "side": 32}
        keys |= {"trainer.max_epochs": 1, "mode": "scratch", "store": str(store)}
        return marsbench.run(task=task, **keys, **DEMO)

    return run


def evaluated(run: RunRecord, store: Path, task: str, **keys: Any) -> RunRecord:
    (record,) = marsbench.run_evaluate(run.run_id, task=task, store=str(store), **DEMO, **keys)
    return record


@pytest.mark.parametrize(("trained_on", "task"), BOTH, ids=[" to ".join(pair) for pair in BOTH])
def test_pairs(trained_on: str, task: str, train: Train, store: Path) -> None:
    run = train(trained_on)
    record = evaluated(run, store, task)
    facts = record.data["evaluation"]
    assert (record.task, facts["trained_on"]) == (task, trained_on)
    assert record.run_id.startswith(f"{task}/{run.model.replace(':', '-').replace('/', '-')}")
    assert record.score is not None
    assert facts["gap"] == pytest.approx(facts["in_domain"] - record.score)
    assert facts["in_domain"] == run.scores[record.headline]
    assert set(facts["ignored"]) == {
        name for name, mine in facts["classes"].items() if mine is None
    }
    is_same = TASKS[trained_on].class_names == TASKS[task].class_names
    assert ("classes" in record.identity) != is_same
    counted = len(Store(store).predictions(record.run_id))
    assert counted == record.data["num_test"] > 0
    dataset = marsbench.load_dataset(task, "test", source="demo", size=DEMO["size"])
    if TASKS[task].kind in (Kind.BINARY, Kind.MULTICLASS):
        assert counted + sum(facts["ignored"].values()) == len(dataset)
    else:
        assert counted == len(dataset)
    ceiling = train(task)
    assert facts["ceiling"] in (None, {"run_id": ceiling.run_id, "score": ceiling.score})


def outputs_of(run: RunRecord, store: Path, image: torch.Tensor) -> torch.Tensor:
    """Logits of a run for an image (C, H, W), whose bands are those of the run."""
    model = rebuild(run, store / run.run_id, TASKS[run.task])
    side = run.input_size
    assert side is not None
    with torch.inference_mode():
        logits: torch.Tensor = model(to_float(resize(image, side))[None])
    return logits


def bytes_of(sample: Any) -> torch.Tensor:
    pixels: torch.Tensor = (sample["image"] * 255).round().to(torch.uint8)
    return pixels


@pytest.mark.parametrize(
    ("trained_on", "task", "groups"),
    [
        ("mars_seg_msl", "mars_seg_mer", None),
        ("mars_seg_mer", "mars_seg_msl", None),
        (
            "mars_seg_msl",
            "s5mars",
            {
                "Bedrock": ("Bedrock",),
                "Rock": ("Rock",),
                "Sand/Soil": ("Gravel/Sand/Soil",),
                "Sky": ("Sky/Distant Mountains",),
                "Ridge": ("Sky/Distant Mountains",),
                "Track": ("Track",),
            },
        ),
        (
            "crater_multi_seg",
            "crater_binary_seg",
            {"background": ("background",), "crater": ("Other", "Layered", "Buried", "Secondary")},
        ),
    ],
)
def test_masks_against_probabilities_added_by_hand(
    trained_on: str,
    task: str,
    groups: dict[str, tuple[str, ...]] | None,
    train: Train,
    store: Path,
) -> None:
    run = train(trained_on)
    record = evaluated(run, store, task)
    groups = groups or {name: (name,) for name in TASKS[task].class_names}
    meanings = list(dict.fromkeys(groups.values()))
    dataset = marsbench.load_dataset(task, "test", source="demo", size=DEMO["size"])
    hits, unions = np.zeros(len(meanings)), np.zeros(len(meanings))
    ignored = dict.fromkeys(dataset.class_names, 0)
    for sample in (dataset[i] for i in range(len(dataset))):
        image, mask = bytes_of(sample), sample["mask"].numpy()
        if TASKS[trained_on].channels == 1 and len(image) == 3:
            image = luminance(image)
        elif TASKS[trained_on].channels == 3 and len(image) == 1:
            image = image.repeat(3, 1, 1)
        logits = outputs_of(run, store, image)
        large = functional.interpolate(logits, mask.shape, mode="bilinear")[0]
        names = run.data["classes"]
        competing = [n for n in names if n not in ("Shadow",) or task != "s5mars"]
        chances = torch.softmax(large, dim=0).double().numpy()
        by_name = {name: chances[names.index(name)] for name in competing}
        taken = {name for meaning in meanings for name in meaning}
        scores = [sum(by_name[name] for name in meaning) for meaning in meanings]
        scores += [by_name[name] for name in competing if name not in taken]
        predicted = np.argmax(scores, axis=0)
        truth = np.full(mask.shape, -1)
        for k, name in enumerate(dataset.class_names):
            if name in groups:
                truth[mask == k] = meanings.index(groups[name])
            else:
                ignored[name] += int((mask == k).sum())
        for k in range(len(meanings)):
            mine, theirs = (predicted == k) & (truth >= 0), truth == k
            hits[k] += (mine & theirs).sum()
            unions[k] += (mine | theirs).sum()
    occurs = unions > 0
    assert record.score == pytest.approx((hits[occurs] / unions[occurs]).mean(), abs=1e-3)
    wanted = {name: count for name, count in ignored.items() if name not in groups}
    assert record.data["evaluation"]["ignored"] == wanted


def luminance(image: torch.Tensor) -> torch.Tensor:
    """Grey of colour by Pillow, whose grey is the luma of ITU-R 601."""
    from PIL import Image

    grey = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
    return torch.from_numpy(np.array(grey))[None]


def test_bands_are_those_of_the_run(train: Train, store: Path) -> None:
    bands = {
        ("mars_seg_msl", "mars_seg_mer"): "replication",
        ("mars_seg_mer", "s5mars"): "luminance",
        ("mars_seg_msl", "s5mars"): "none",
    }
    for (trained_on, task), change in bands.items():
        record = evaluated(train(trained_on), store, task)
        assert record.data["evaluation"]["bands"] == change


def test_labels_against_probabilities_by_name(train: Train, store: Path) -> None:
    run = train("landmark_cls")
    record = evaluated(run, store, "domars16k")
    assert record.data["classes"][:2] == ["Slope Streaks", "Crater"]
    dataset = marsbench.load_dataset("domars16k", "test", source="demo", size=DEMO["size"])
    frame = Store(store).predictions(record.run_id).set_index("sample_id")
    seen = 0
    for sample in (dataset[i] for i in range(len(dataset))):
        name = dataset.class_names[int(sample["label"])]
        if name not in ("Crater", "Slope Streaks"):
            assert sample["sample_id"] not in frame.index
            continue
        row = frame.loc[sample["sample_id"]]
        seen += 1
        assert record.data["classes"][row["target"]] == name
        chances = torch.softmax(outputs_of(run, store, bytes_of(sample))[0], dim=0).numpy()
        mine = dict(zip(run.data["classes"], chances, strict=True))
        scores: NDArray[np.float32] = np.array(row["scores"])
        own = {"Slope Streaks": "Slope Streak"}
        for k, of_score in enumerate(record.data["classes"]):
            assert scores[k] == pytest.approx(mine[own.get(of_score, of_score)], abs=1e-4)
    assert seen == len(frame) > 0


def test_a_map_of_ones_own_is_another_evaluation(train: Train, store: Path, tmp_path: Path) -> None:
    run = train("landmark_cls")
    shipped = evaluated(run, store, "domars16k")
    path = tmp_path / "map.yaml"
    text = (paths.configs() / "transfer" / "landmark_cls_domars16k.yaml").read_text()
    path.write_text(text)
    assert evaluated(run, store, "domars16k", class_map=str(path)) == shipped
    path.write_text(
        text.replace(
            "unmatched:\n  first: [", "ignore:\n  first: [Other]\nunmatched:\n  first: ["
        ).replace(", Other]", "]")
    )
    other = evaluated(run, store, "domars16k", class_map=str(path))
    assert other.run_id != shipped.run_id
    assert "Other" not in other.data["classes"]
    scores = np.stack(list(Store(store).predictions(other.run_id)["scores"]))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("trained_on", "task", "message"),
    [
        ("landmark_cls", "conequest_seg", "are images with masks; the run .* expects images with"),
        ("landmark_cls", "ega_ms", "are spectra; the run"),
        ("landmark_cls", "change_cls_ctx", "are pairs of images"),
        ("landmark_cls", "frost_cls", "No class of frost_cls has a counterpart"),
        ("landmark_cls", "landmark", "Unknown task 'landmark'.\nDid you mean landmark_cls"),
    ],
)
def test_other_tasks_are_refused(
    trained_on: str, task: str, message: str, train: Train, store: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluated(train(trained_on), store, task)
