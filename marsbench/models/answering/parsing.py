"""Reading of answers: the classes that a text names, or the reason why it names none.

An answer is the JSON object of the instructions, which may stand in a code fence, or the names of
classes alone. Case and punctuation of names do not matter, and further keys of the object are
ignored. Every other text is invalid as a whole: a name that is no class, also that of a class in
another language; several classes where the image has a single one; text around the object.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marsbench.base.documents import parse_json
from marsbench.models.answering.instructions import ONE, Instructions
from marsbench.tasks.spec import normalise

EMPTY, NO_NAME, UNKNOWN, SEVERAL_NAMES, OTHER_FORM, AMBIGUOUS = (
    "empty",
    "text without the form of an answer",
    "unknown class",
    "several classes",
    "JSON of another form",
    "ambiguous JSON",
)
"""Reasons against an answer."""

NONE = "none"
"""Word for no class, of tasks of labels; the name of a class comes first."""

LONGEST = 20_000
"""Longest answer that is read, in characters."""

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)\s*```", re.DOTALL)


@dataclass(frozen=True)
class Reading:
    """Classes of an answer.

    Attributes:
        classes: Ids of the named classes, each once, ascending.
        problem: Reason why the answer is invalid; empty if it is valid.
    """

    classes: tuple[int, ...] = ()
    problem: str = ""


def read_answer(text: str, instructions: Instructions) -> Reading:
    """Read an answer.

    Args:
        text: The answer.
        instructions: Instructions that it answers.
    """
    said = text.strip()
    if match := _FENCE.fullmatch(said):
        said = match[1].strip()
    if not said:
        return Reading(problem=EMPTY)
    if len(said) > LONGEST:
        return Reading(problem=NO_NAME)
    if said[0] not in '{["':
        return _plain(said, instructions)
    try:
        content = parse_json(said, strict=True)
    except ValueError:
        return Reading(problem=AMBIGUOUS if _is_json(said) else NO_NAME)
    if isinstance(content, str):
        return _plain(content, instructions)
    if not isinstance(content, Mapping) or instructions.key not in content:
        return Reading(problem=OTHER_FORM)
    return _of_value(content[instructions.key], instructions)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _of_value(value: Any, instructions: Instructions) -> Reading:
    """Classes of the value of an answer's object."""
    if instructions.key == ONE:
        if isinstance(value, list) and len(value) > 1:
            return Reading(problem=SEVERAL_NAMES)
        return _named([value], instructions) if isinstance(value, str) else _other()
    is_list = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return _named(value, instructions) if is_list else _other()


def _other() -> Reading:
    return Reading(problem=OTHER_FORM)


def _plain(text: str, instructions: Instructions) -> Reading:
    """Classes of a text of names alone: a name, or names between commas."""
    reading = _named([text], instructions)
    if not reading.problem:
        return reading
    parts = [part for part in re.split(r"[,;\n]", text) if part.strip()]
    listed = _named(parts, instructions)
    if instructions.key == ONE:
        is_several = len(parts) > 1 and not listed.problem
        return Reading(problem=SEVERAL_NAMES if is_several else NO_NAME)
    if normalise(text) == NONE:
        return Reading()
    return Reading(problem=NO_NAME) if listed.problem else listed


def _named(names: Sequence[str], instructions: Instructions) -> Reading:
    """Classes of names; all must be names of classes."""
    known = {normalise(name): i for i, name in enumerate(instructions.names)}
    said = [normalise(name) for name in names]
    if any(name not in known for name in said):
        return Reading(problem=UNKNOWN)
    return Reading(tuple(sorted({known[name] for name in said})))
