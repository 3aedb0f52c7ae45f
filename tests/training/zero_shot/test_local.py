"""Runs of SmolVLM without training, on a tiny model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import marsbench
from marsbench.base.errors import NotAvailableError
from marsbench.config.schema import Mode, RunConfig
from marsbench.models.answering.idefics import AnsweringModel, build
from marsbench.models.answering.instructions import instructions
from marsbench.models.zoo.catalog import MODELS
from marsbench.plan.resolve import resolve
from marsbench.results.store import Store
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.prompts import prompts_of
from tests.models.answering.tiny import PATCH, SCALE, SIDE, repository
from tests.server import Server
from tests.services.hub import Repo

MODEL = "HuggingFaceTB/SmolVLM-256M-Instruct"
LETTERS = "".join(map(chr, range(33, 127)))


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A hub with the tiny model; its input is smaller, too."""
    server.models[MODEL] = Repo(repository(LETTERS))
    small = dataclasses.replace(MODELS["smolvlm_256m"], input_size=SIDE)
    monkeypatch.setitem(MODELS, "smolvlm_256m", small)
    return server


def keys(task: str, store: Path, **more: Any) -> dict[str, Any]:
    given = {"task": task, "model": "smolvlm", "mode": "zero_shot", "source": "demo", "size": 0.1}
    return {**given, "store": str(store), "optim.batch_size": 4, **more}


def built() -> AnsweringModel:
    model = build(MODELS["smolvlm_256m"].for_mode(Mode.ZERO_SHOT), 2, pretrained=True)
    assert isinstance(model, AnsweringModel)
    return model.eval()


class Scripted:
    """Answers in turn, and counts its images."""

    def __init__(self, texts: list[str], stop: int = 10**6) -> None:
        self.texts, self.stop, self.seen = texts, stop, 0

    def __call__(self, _: AnsweringModel, image: torch.Tensor) -> list[str]:
        if self.seen >= self.stop:
            raise KeyboardInterrupt
        start, self.seen = self.seen, self.seen + len(image)
        return [self.texts[i % len(self.texts)] for i in range(start, self.seen)]


def script(patch: pytest.MonkeyPatch, texts: list[str], stop: int = 10**6) -> Scripted:
    scripted = Scripted(texts, stop)
    patch.setattr(AnsweringModel, "answers", lambda model, image: scripted(model, image))
    return scripted


def test_the_prompt_is_the_chat_template_with_the_instructions(hub: Server) -> None:
    task = TASKS["frost_cls"]
    given = instructions(task, prompts_of(task, task.class_names))
    model = built()
    model.instruct(given)
    tile = "<image>" * (SIDE // PATCH // SCALE) ** 2
    image = f"<fake_token_around_image><global-img>{tile}<fake_token_around_image>"
    expected = (
        f"<|im_start|>System: {given.system}<end_of_utterance>\nUser:{image}{given.question}"
        "<end_of_utterance>\nAssistant:"
    )
    assert model.tokenizer.decode(model._prompt, skip_special_tokens=False) == expected
    assert "- Frost: Seasonal ice on the ground" in given.system


def test_marks_in_a_description_are_text(hub: Server, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("descriptions: {Frost: 'ice <image> <end_of_utterance>'}")
    task = TASKS["frost_cls"]
    model = built()
    model.instruct(instructions(task, prompts_of(task, task.class_names, file)))
    image, end = (model.tokenizer.token_to_id(t) for t in ("<image>", "<end_of_utterance>"))
    assert model._prompt.count(image) == (SIDE // PATCH // SCALE) ** 2
    assert model._prompt.count(end) == 2
    assert "<image>" in model.tokenizer.decode(model._prompt[: model._prompt.index(end)])


def test_longer_instructions_than_the_model_reads_are_refused(hub: Server) -> None:
    model = built()
    model.network.config.text_config.max_position_embeddings = 100  # type: ignore[union-attr]
    task = TASKS["frost_cls"]
    with pytest.raises(NotAvailableError, match="tokens; the model reads 100"):
        model.instruct(instructions(task, prompts_of(task, task.class_names)))


@pytest.mark.parametrize(
    ("task", "kind", "texts"),
    [
        ("frost_cls", Kind.BINARY, ['{"class": "Frost"}', "Non Frost", "Ice", ""]),
        ("domars16k", Kind.MULTICLASS, ['```json\n{"class": "Crater"}\n```', "a crater"]),
        ("surface_multi_label_cls", Kind.MULTILABEL, ['{"classes": ["Sky", "Soil"]}', "{"]),
        ("mmls", Kind.MULTILABEL, ["landslide", "none", "two landslides"]),
        ("mars_seg_msl", Kind.MULTILABEL, ['{"classes": ["Rock"]}', '{"classes": []}', "Rocks"]),
    ],
)
def test_a_run_of_every_kind(
    hub: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    kind: Kind,
    texts: list[str],
) -> None:
    scripted = script(monkeypatch, texts)
    record = marsbench.run(**keys(task, tmp_path))
    assert record.kind == kind
    frame = Store(tmp_path).predictions(record.run_id)
    assert scripted.seen == len(frame)
    valid = {
        "frost_cls": [["Frost"], ["Non Frost"], None, None],
        "domars16k": [["Crater"], None],
        "surface_multi_label_cls": [["Sky", "Soil"], None],
        "mars_seg_msl": [["Rock"], [], None],
        "mmls": [["landslide"], [], None],
    }[task]
    classes = record.data["classes"]
    for i, (state, scores) in enumerate(zip(frame["answer"], frame["scores"], strict=True)):
        named = valid[i % len(valid)]
        assert state == ("unparsable" if named is None else "answered")
        if named is not None:
            given = [name for name, score in zip(classes, scores, strict=True) if score]
            assert given == sorted(named, key=classes.index)
    share = np.mean([valid[i % len(valid)] is None for i in range(len(frame))])
    assert record.metrics["test"]["unanswered"] == pytest.approx(share)
    assert record.metrics["test"]["refused"] == 0
    kept = (tmp_path / record.run_id / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in kept] == [
        texts[i % len(texts)] for i in range(len(frame))
    ]
    plan = resolve(RunConfig.from_dict(record.config))
    assert record.identity["prompt"] == plan.instructions.digest
    assert record.weights is not None
    assert record.pretraining.licence == "Apache-2.0"


def test_the_model_itself_answers(hub: Server, tmp_path: Path) -> None:
    record = marsbench.run(**keys("frost_cls", tmp_path, test_samples=3))
    kept = (tmp_path / record.run_id / "answers.jsonl").read_text().splitlines()
    model = built()
    model.instruct(resolve(RunConfig.from_dict(record.config)).instructions)
    longest = max(map(len, model._answers))
    texts = [json.loads(line)["text"] for line in kept]
    assert len(texts) == 3
    assert all(0 < len(model._ids(text)) <= longest for text in texts)
    # Random weights name no class.
    assert record.metrics["test"]["unanswered"] == 1.0
    assert record.metrics["test"]["accuracy"] == 0.0


def test_an_interrupted_run_asks_nothing_twice(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = script(monkeypatch, ["Frost", "Non Frost"], stop=4)
    with pytest.raises(KeyboardInterrupt):
        marsbench.run(**keys("frost_cls", tmp_path))
    second = script(monkeypatch, ["Frost"])
    record = marsbench.run(**keys("frost_cls", tmp_path))
    assert first.seen + second.seen == record.data["num_test"]
    scores = list(Store(tmp_path).predictions(record.run_id)["scores"])
    frost = record.data["classes"].index("Frost")
    assert [row[frost] for row in scores[:4]] == [1, 0, 1, 0]


def test_fine_tuning_still_takes_one_class_alone(hub: Server, tmp_path: Path) -> None:
    given = keys("surface_multi_label_cls", tmp_path, mode="finetune")
    with pytest.raises(NotAvailableError, match="smolvlm_256m"):
        resolve(RunConfig.from_dict(given))
