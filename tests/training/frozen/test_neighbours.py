"""Nearest neighbours on cached features, against scikit-learn and the definition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.neighbors import KNeighborsClassifier

from marsbench.base.errors import ConfigError
from marsbench.config.schema import Augment
from marsbench.data.transforms import finish_batch
from marsbench.models.encoders.neighbours import TEMPERATURE
from marsbench.plan.resolve import resolve
from marsbench.results.store import Store
from marsbench.training.frozen.neighbours import NUMBERS, fit_neighbours
from marsbench.training.trained import open_split, rebuild
from tests.training.frozen.banks import config, run_all
from tests.training.frozen.test_block import OBJECTIVES, head_of, objective_of, samples_of

KNN = {"optim.name": "knn"}


def votes(distances: np.ndarray) -> np.ndarray:
    """Weights of neighbours by their cosine distance."""
    weights: np.ndarray = np.exp(-distances / TEMPERATURE)
    return weights


def test_votes_are_those_of_scikit_learn() -> None:
    samples = samples_of("multiclass")
    x, labels = samples["train"].features[0].numpy(), samples["train"].labels.numpy()
    asked = samples["val"].features[0]
    fitted = fit_neighbours(head_of(objective_of("multiclass")), samples, torch.float64)
    oracle = KNeighborsClassifier(
        fitted.neighbours, metric="cosine", algorithm="brute", weights=votes
    ).fit(x.astype(np.float64), labels)
    share = np.zeros((len(asked), fitted.head.targets.shape[1]))
    share[:, oracle.classes_] = oracle.predict_proba(asked.double().numpy())
    k, counts = fitted.neighbours, np.bincount(labels, minlength=share.shape[1])
    expected = (k * share + (counts + 1 / len(counts)) / (len(labels) + 1)) / (k + 1)
    np.testing.assert_allclose(fitted.logits(asked).softmax(dim=1), expected, atol=1e-9)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_number_has_the_smallest_validation_loss(name: str) -> None:
    samples, objective = samples_of(name), objective_of(name)
    fitted = fit_neighbours(head_of(objective), samples, torch.float64)
    labels = samples["val"].labels
    wanted = labels.double() if labels.is_floating_point() else labels
    numbers = [k for k in NUMBERS if k <= len(samples["train"].labels)]
    losses = {
        k: float(objective.plain(logits, wanted).mean())
        for k, logits in zip(
            numbers, fitted.head.logits(samples["val"].features[0], numbers), strict=True
        )
    }
    assert fitted.neighbours == min(losses, key=lambda k: losses[k])
    assert fitted.loss == losses[fitted.neighbours]
    assert np.isfinite(list(losses.values())).all()


def test_a_run_and_its_predictions(toy: str, weights: str, tmp_path: Path) -> None:
    keys = [
        config(toy, tmp_path, weights, subset=subset, **KNN) for subset in ("full", "few_shot_1")
    ]
    full, few = run_all(keys)
    assert full.checkpoint["chosen_by"] == "val/loss"
    assert full.checkpoint["neighbours"] in NUMBERS
    assert full.parameters["trained"] == 0
    head = load_file(tmp_path / few.run_id / "model.safetensors")
    assert len(head["head.features"]) == few.data["num_train"] < 24
    # Another seed, learning rate and number of epochs change nothing.
    other = config(toy, tmp_path, weights, **KNN, **{"trainer.max_epochs": 3, "optim.momentum": 0})
    assert resolve(other).run_id == full.run_id
    plan = resolve(keys[0])
    model = rebuild(full, tmp_path / full.run_id, plan.task)
    test = open_split(plan, "test")
    images = torch.stack([test[i]["image"] for i in range(len(test))])
    with torch.inference_mode():
        again = model(finish_batch({"image": images}, Augment.NONE)["image"]).softmax(dim=1).numpy()
    table = Store(tmp_path).predictions(full.run_id)
    scores = np.stack(list(table.loc[table["split"] == "test", "scores"]))
    np.testing.assert_allclose(again, scores, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optim.lr": 0.1}, "optim.lr has no effect with optim.name=knn"),
        ({"optim.weight_decay": 0.1}, "optim.weight_decay has no effect with optim.name=knn"),
        ({"imbalance": "loss_weight"}, "minimises no loss"),
        ({"trainer.checkpoint": "last"}, "chooses the number of neighbours on validation"),
        ({"augment": "d4", "protocol": "cached"}, "augment=d4 has no effect with optim.name=knn"),
        ({"scheduler.name": "cosine"}, "scheduler.name=cosine has no effect with optim.name=knn"),
        ({"protocol": "online"}, "optim.name=knn is for heads on cached features"),
    ],
)
def test_other_choices_are_refused(
    toy: str, weights: str, tmp_path: Path, keys: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(config(toy, tmp_path, weights, **KNN, **keys))
