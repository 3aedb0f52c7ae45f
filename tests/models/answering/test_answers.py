"""Vision-language models: questions, answers, losses and runs, on a tiny random model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import marsbench
from marsbench.base.errors import MarsbenchError
from marsbench.config.schema import Augment, Mode, RunConfig
from marsbench.data.transforms import finish_batch
from marsbench.metrics import labels
from marsbench.models.answering.prompt import NO_ANSWER, parse
from marsbench.models.modes import build_for_mode
from marsbench.models.zoo.catalog import MODELS
from marsbench.plan.resolve import resolve
from marsbench.predict.load import load
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind
from marsbench.training.trained import open_split
from tests.models.answering.tiny import SIDE, repository
from tests.server import Server
from tests.services.hub import Repo

CLASSES = ("dune", "bright_dune", "crater")
MODEL = "HuggingFaceTB/SmolVLM-256M-Instruct"


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A hub with the tiny model; its input is smaller, too."""
    import dataclasses

    server.models[MODEL] = Repo(
        repository("".join(sorted(set("abcdefghijklmnopqrstuvwxyz012_ ,."))))
    )
    small = dataclasses.replace(MODELS["smolvlm_256m"], input_size=SIDE)
    monkeypatch.setitem(MODELS, "smolvlm_256m", small)
    return server


def built() -> Any:
    model: Any = build_for_mode(
        MODELS["smolvlm_256m"], Kind.MULTICLASS, 3, Mode.FINETUNE, side=SIDE
    )
    model.name_classes(CLASSES)
    return model.eval()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dune", 0),
        (" Bright  dune. ", 1),
        ("bright_dune", 1),
        ("dune, crater", NO_ANSWER),
        ("a dune", NO_ANSWER),
        ("", NO_ANSWER),
        ("dun", NO_ANSWER),
        ("1", NO_ANSWER),
    ],
)
def test_answers_are_parsed_strictly(text: str, expected: int) -> None:
    assert parse(text, CLASSES) == expected


def test_unanswered_samples_count_as_wrong() -> None:
    targets = np.array([0, 1, 2, 2])
    scores = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    values = labels.score_single(targets, scores, CLASSES)
    assert values["unanswered"] == 0.25
    assert values["accuracy"] == 0.75
    assert values["f1/crater"] == pytest.approx(2 / 3)
    assert "unanswered" not in labels.score_single(targets[:3], scores[:3], CLASSES)


def test_the_loss_is_the_cross_entropy_of_the_answer(hub: Server) -> None:
    model = built()
    image, label = torch.rand(3, 1, SIDE, SIDE), torch.tensor([0, 1, 2])
    together = model.losses(image, label)
    for i, name in enumerate(("dune", "bright dune", "crater")):
        # One sample alone, token by token, without padding.
        told = model._ids(f" {name}<end_of_utterance>")
        ids = torch.tensor([model._prompt + told])
        logits = model.network(
            input_ids=ids,
            pixel_values=(image[i : i + 1, None] - 0.5).expand(-1, -1, 3, -1, -1) / 0.5,
        ).logits[0]
        expected = functional.cross_entropy(logits[len(model._prompt) - 1 : -1], torch.tensor(told))
        torch.testing.assert_close(together[i], expected)


def test_an_answer_is_read_off_the_likeliest_tokens(
    hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built()
    image = torch.rand(2, 3, SIDE, SIDE)
    assert model(image).shape == (2, 3)
    monkeypatch.setattr(model, "answers", lambda _: ["crater", "I see a crater"])
    assert model(image).tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_training_teaches_the_answers(hub: Server) -> None:
    torch.manual_seed(0)
    model = built()
    image = torch.stack([torch.full((1, SIDE, SIDE), v) for v in (0.0, 0.45, 1.0)])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        model.losses(image, torch.arange(3)).mean().backward()
        optimizer.step()
    assert model.answers(image) == [" dune", " bright dune", " crater"]
    assert model(image).argmax(dim=1).tolist() == [0, 1, 2]


def test_a_run_its_record_and_its_predictions(hub: Server, toy: str, tmp_path: Path) -> None:
    small: dict[str, Any] = {"workers": 0, "trainer.max_epochs": 1, "optim.batch_size": 8}
    record = marsbench.run(task=toy, model="smolvlm", mode="finetune", store=str(tmp_path), **small)
    assert record.identity["prompt"]
    assert record.weights is not None
    assert record.pretraining.licence == "Apache-2.0"
    table = Store(tmp_path).predictions(record.run_id)
    scores = np.stack(list(table.loc[table["split"] == "test", "scores"]))
    unanswered = float((scores.sum(axis=1) == 0).mean())
    assert record.metrics["test"].get("unanswered", 0.0) == unanswered
    hub.models.clear()  # the small files are cached, and the weights are those of the run
    predictor = load(record.run_id, tmp_path)
    plan = resolve(RunConfig.from_dict(record.config))
    test = open_split(plan, "test")
    images = torch.stack([test[i]["image"] for i in range(len(test))])
    again = predictor.label(finish_batch({"image": images}, Augment.NONE)["image"])
    assert again.tolist() == scores.tolist()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "frozen"}, "does not support mode=frozen.\nChoose mode=finetune"),
        ({"mode": "finetune", "head": "mlp"}, "head=mlp has no effect on smolvlm_256m"),
        ({"mode": "finetune", "task": "ega_ms", "source": "demo"}, "smolvlm_256m"),
    ],
)
def test_invalid_choices(
    hub: Server, toy: str, tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(MarsbenchError, match=message):
        marsbench.run(**({"task": toy, "model": "smolvlm", "store": str(tmp_path)} | keys))


def test_files_of_another_model_are_refused(hub: Server) -> None:
    hub.models[MODEL].files = hub.models[MODEL].files | {"config.json": b'{"model_type": "llava"}'}
    with pytest.raises(MarsbenchError, match="model_type is llava; expected idefics3"):
        built()
