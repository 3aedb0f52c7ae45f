"""Instructions to generative models, and the reading of their answers."""

import dataclasses
import json

import pytest

from marsbench.base.errors import NotAvailableError
from marsbench.models.answering import parsing
from marsbench.models.answering.instructions import Instructions, instructions
from marsbench.models.answering.parsing import read_answer
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.prompts import prompts_of
from marsbench.tasks.spec import BACKGROUND, TaskSpec, normalise, recast
from tests.fakes import make_spec

IMAGES = [t for t in TASKS.values() if not t.is_spectra and t.kind is not Kind.DETECTION]


def words_of(task: TaskSpec) -> Instructions:
    asked = recast(task)
    return instructions(asked, prompts_of(task, asked.class_names))


ONE = words_of(make_spec(classes=("Crater", "Dark Dune", "Gravel/Sand/Soil")))
MANY = words_of(make_spec(Kind.MULTILABEL, ("Crater", "Dark Dune", "Gravel/Sand/Soil")))

SINGLE = [
    ('{"class": "Crater"}', 0),
    ('{"class": "Dark Dune"}', 1),
    ('{"class": "dark_dune"}', 1),
    ('{"class": " gravel sand soil. "}', 2),
    ('{"reason": "a rim", "class": "Crater", "confidence": 0.5}', 0),
    ('```json\n{"class": "Crater"}\n```', 0),
    ('```\n{"class":\n"Crater"}```', 0),
    ('  {"class": "Crater"}\n', 0),
    ("Crater", 0),
    ("Crater.", 0),
    ('"Dark dune"', 1),
    ("```Crater```", None),  # reads as the language of an empty fence
    ("```\nCrater\n```", 0),
    ("", parsing.EMPTY),
    (" \n", parsing.EMPTY),
    ("``````", parsing.EMPTY),
    ('{"class": "Volcano"}', parsing.UNKNOWN),
    ('{"class": "Cratère"}', parsing.UNKNOWN),
    ('{"class": "Krater"}', parsing.UNKNOWN),
    ('{"class": "陨石坑"}', parsing.UNKNOWN),
    ('{"class": ""}', parsing.UNKNOWN),
    ('{"class": "Crater or Dark Dune"}', parsing.UNKNOWN),
    ('{"class": ["Crater", "Dark Dune"]}', parsing.SEVERAL_NAMES),
    ("Crater, Dark Dune", parsing.SEVERAL_NAMES),
    ('{"class": ["Crater"]}', parsing.OTHER_FORM),
    ('{"class": 0}', parsing.OTHER_FORM),
    ('{"class": null}', parsing.OTHER_FORM),
    ('{"classes": ["Crater"]}', parsing.OTHER_FORM),
    ('["Crater"]', parsing.OTHER_FORM),
    ("{}", parsing.OTHER_FORM),
    ('{"class": "Crater", "class": "Dark Dune"}', parsing.AMBIGUOUS),
    ('Here you are: {"class": "Crater"}', parsing.NO_NAME),
    ('{"class": "Crater"} It has a rim.', parsing.NO_NAME),
    ('```json\n{"class": "Crater"}\n``` It has a rim.', parsing.NO_NAME),
    ('{"class": "Crat', parsing.NO_NAME),
    ("The image shows a crater.", parsing.NO_NAME),
    ("0", parsing.NO_NAME),
    ("none", parsing.NO_NAME),
    ("{" * 10_000, parsing.NO_NAME),
    ('{"class": ' * 1000 + "1" + "}" * 1000, None),
    ("Crater " * 10_000, parsing.NO_NAME),
]


@pytest.mark.parametrize(("text", "expected"), SINGLE, ids=lambda value: str(value)[:40])
def test_answers_of_a_single_class(text: str, expected: int | str | None) -> None:
    reading = read_answer(text, ONE)
    if isinstance(expected, int):
        assert (reading.classes, reading.problem) == ((expected,), "")
    else:
        assert reading.classes == ()
        assert reading.problem
        assert expected in (None, reading.problem)


LABELS: list[tuple[str, tuple[int, ...] | str]] = [
    ('{"classes": []}', ()),
    ('{"classes": ["Dark Dune", "Crater"]}', (0, 1)),
    ('{"classes": ["Crater", "crater"]}', (0,)),
    ("Crater, dark dune", (0, 1)),
    ("Gravel/Sand/Soil", (2,)),
    ("Crater\nGravel/Sand/Soil", (0, 2)),
    ("none", ()),
    ("None.", ()),
    ('{"classes": ["Crater", "Sea"]}', parsing.UNKNOWN),
    ('{"classes": "Crater"}', parsing.OTHER_FORM),
    ('{"classes": [1]}', parsing.OTHER_FORM),
    ('{"classes": null}', parsing.OTHER_FORM),
    ('{"class": "Crater"}', parsing.OTHER_FORM),
    ("Crater and others", parsing.NO_NAME),
    ("", parsing.EMPTY),
]


@pytest.mark.parametrize(("text", "expected"), LABELS, ids=lambda value: str(value)[:40])
def test_answers_of_several_classes(text: str, expected: tuple[int, ...] | str) -> None:
    reading = read_answer(text, MANY)
    if isinstance(expected, tuple):
        assert (reading.classes, reading.problem) == (expected, "")
    else:
        assert (reading.classes, reading.problem) == ((), expected)


@pytest.mark.parametrize("task", IMAGES, ids=lambda task: task.name)
def test_instructions_define_every_class_and_can_be_answered(task: TaskSpec) -> None:
    words = words_of(task)
    names = [c.name for c in task.classes if normalise(c.name) != BACKGROUND]
    assert list(words.names) == names
    for info in task.classes:
        if info.name in names:
            assert f"- {info.name}: {info.description}" in words.system.splitlines()
    is_several = task.kind in (Kind.MULTILABEL, Kind.SEGMENTATION)
    assert ("earlier" in words.system) == task.is_pairs
    for i, name in enumerate(names):
        value = {"classes": [name]} if is_several else {"class": name}
        assert read_answer(json.dumps(value), words).classes == (i,)
        assert read_answer(name, words).classes == (i,)


def test_the_schema_has_the_names_and_nothing_else() -> None:
    """Strict structured output wants every key required and no further ones."""
    name = {"type": "string", "enum": list(ONE.names)}
    for words, key, value in ((ONE, "class", name), (MANY, "classes", {"items": name})):
        schema = words.schema
        assert schema["type"] == "object"
        assert schema["required"] == [key] == list(schema["properties"])
        assert schema["additionalProperties"] is False
        assert schema["properties"][key] == value | {"type": schema["properties"][key]["type"]}
    assert MANY.schema["properties"]["classes"]["type"] == "array"


def test_the_digest_covers_all_texts() -> None:
    changed = [
        ONE,
        dataclasses.replace(ONE, system="x"),
        dataclasses.replace(ONE, question="x"),
        dataclasses.replace(ONE, names=("Crater",)),
        MANY,
    ]
    assert len({words.digest for words in changed}) == len(changed)


def test_classes_that_answers_cannot_tell_apart_are_refused() -> None:
    task = make_spec(classes=("Dune", "dune!"))
    with pytest.raises(NotAvailableError, match="same name in an answer"):
        instructions(task, prompts_of(make_spec(classes=("Dune", "dune!")), ("Dune", "dune!")))
