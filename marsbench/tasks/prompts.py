"""Words for models that know classes by words alone: templates, phrases and descriptions.

Descriptions of classes are facts of the task (`marsbench.tasks.spec.ClassInfo`). The files of
``configs/prompt`` add a phrase per class, those of ``configs/prompt/views`` templates by the
place of the instrument. Texts are joined by replacement alone: no file holds a format to evaluate.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import yaml

from marsbench.base import paths
from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, unknown_name
from marsbench.base.values import Problem, Text, build, shown
from marsbench.tasks.spec import TaskSpec, normalise

HOLE = "{}"
"""Place of a phrase in a template."""

_LINE = r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*"
_PHRASE = Text(200, _LINE, "text in one line")
_TEMPLATE = Text(200, r"[^{}\x00-\x1f\x7f]*\{\}[^{}\x00-\x1f\x7f]*", "text in one line with one {}")
_DESCRIPTION = Text(1000, _LINE, "text in one line")


@dataclass(frozen=True, kw_only=True)
class _Words:
    """Content of a file of prompts; empty fields keep the default."""

    like: str = ""
    """Shipped task whose phrases and templates this file completes."""
    templates: tuple[Annotated[str, _TEMPLATE], ...] = ()
    """Sentences about an image with a class."""
    absent: tuple[Annotated[str, _TEMPLATE], ...] = ()
    """Sentences about an image without it."""
    phrases: Mapping[str, Annotated[str, _PHRASE]] = field(default_factory=dict)
    """Phrase by class."""
    descriptions: Mapping[str, Annotated[str, _DESCRIPTION]] = field(default_factory=dict)
    """Description by class, instead of the task's."""


@dataclass(frozen=True)
class ClassWords:
    """Words of a class.

    Attributes:
        name: Name of the class.
        phrase: Noun phrase for templates, such as "a round impact crater".
        description: Visible features in a sentence, for instructions; may be empty.
    """

    name: str
    phrase: str
    description: str


@dataclass(frozen=True)
class Prompts:
    """Words of a task.

    Attributes:
        templates: Sentences about an image with a class, each with `HOLE`.
        absent: Sentences about an image without it.
        classes: Words of each class, in the order given to `prompts_of`.
    """

    templates: tuple[str, ...]
    absent: tuple[str, ...]
    classes: tuple[ClassWords, ...]

    def texts(self) -> list[list[str]]:
        """Sentences about images with each class: K lists of a text per template."""
        return [[t.replace(HOLE, c.phrase) for t in self.templates] for c in self.classes]

    def absent_texts(self) -> list[list[str]]:
        """Sentences about images without each class, as `texts`."""
        return [[t.replace(HOLE, c.phrase) for t in self.absent] for c in self.classes]


def digest_of(texts: Any) -> str:
    """Digest of texts, plain lists and mappings of them, for run ids."""
    content = json.dumps(texts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def prompts_of(task: TaskSpec, names: Sequence[str], path: Path | None = None) -> Prompts:
    """Find the words of a task's classes.

    A class without a phrase has its name and description in the place of one.

    Args:
        task: The task.
        names: Names of the classes to choose from, in the order of their ids.
        path: File of the user's own, instead of the shipped one.

    Raises:
        ConfigError: If a file is missing, is not YAML, or has invalid fields, with all problems; or
            if the data name a class by a code without words.
    """
    owners = {normalise(name): name for name in names}
    owners |= {normalise(s): c.name for c in task.classes for s in (c.name, *c.aliases)}
    file = _shipped(task) if path is None else path
    words = _Words() if file is None else _read(file, owners)
    view = _read(_folder() / "views" / f"{'pair' if task.is_pairs else task.platform}.yaml", {})
    described = {**{c.name: c.description for c in task.classes}, **words.descriptions}
    classes = []
    for name in (owners[normalise(name)] for name in names):
        if name not in described and name not in words.phrases:
            raise ConfigError(
                f"The data of {task.name} name a class by its code alone, '{name}', which says "
                "nothing to a model.",
                f"Give its phrase in a file: prompts=./my.yaml with phrases: {{{name}: PHRASE}}.",
            )
        description = described.get(name, "")
        phrase = words.phrases.get(name) or _phrase(name, description)
        classes.append(ClassWords(name, phrase, description))
    return Prompts(words.templates or view.templates, words.absent or view.absent, tuple(classes))


def _phrase(name: str, description: str) -> str:
    """Phrase of a class without one in a file: its name, and its description in brackets."""
    plain = " ".join(name.replace("_", " ").split())
    return (
        f"{plain} ({description[0].lower()}{description[1:].rstrip('.')})" if description else plain
    )


def _folder() -> Path:
    return paths.configs() / "prompt"


def _shipped(task: TaskSpec) -> Path | None:
    """File that ships with the package; None for tasks of users."""
    is_ours = task.path in (None, (paths.configs() / "tasks" / f"{task.name}.yaml").resolve())
    file = _folder() / f"{task.name}.yaml"
    return file if is_ours and file.is_file() else None


def _read(path: Path, owners: Mapping[str, str]) -> _Words:
    """Read a file, completed by the task that it is like.

    Args:
        path: The file.
        owners: Name of the class by normalised spelling.
    """
    values, root = read_yaml(path)
    problems = _repeated(root)
    words = None
    if not isinstance(values, Mapping):
        text = f"The file is {shown(values)}; expected lines of 'key: value'."
        problems.append(Problem("", text))
    else:
        words = build(_Words, values, problems, strict=True)
    if words is not None:
        for key in ("phrases", "descriptions"):
            _check_classes(key, getattr(words, key), owners, problems)
        words = _completed(words, owners, problems)
    if words is None or problems:
        listed = "\n".join(f"- {problem.message}" for problem in problems)
        keys = ", ".join(item.name for item in fields(_Words))
        raise ConfigError(f"The prompts {path} are invalid:\n{listed}", f"Valid keys are {keys}.")
    return words


def _completed(words: _Words, owners: Mapping[str, str], problems: list[Problem]) -> _Words:
    """Fill empty fields from the shipped task that a file is like, and name classes as the task."""
    other = _Words()
    files = {file.stem: file for file in _folder().glob("*.yaml")}
    if words.like in files:
        content = read_yaml(files[words.like]).values
        other = build(_Words, content, problems, strict=True) or other
    elif words.like:
        error = unknown_name("task", words.like, files)
        problems.append(Problem("like", f"'like': {error.problem} {error.remedy}"))

    def merged(key: str) -> dict[str, str]:
        given = {**getattr(other, key), **getattr(words, key)}
        return {owners[n]: text for name, text in given.items() if (n := normalise(name)) in owners}

    return _Words(
        templates=words.templates or other.templates,
        absent=words.absent or other.absent,
        phrases=merged("phrases"),
        descriptions=merged("descriptions"),
    )


def _check_classes(
    key: str, names: Iterable[str], owners: Mapping[str, str], problems: list[Problem]
) -> None:
    """Check that names are of classes of the task, each class once."""
    spelt: dict[str, str] = {}
    for name in map(str, names):
        owner = owners.get(normalise(name))
        if owner is None:
            error = unknown_name("class", name, owners.values())
            problems.append(Problem(key, f"'{key}': {error.problem} {error.remedy}".strip()))
        elif owner in spelt:
            text = f"'{key}': '{spelt[owner]}' and '{name}' are the same class. Keep one."
            problems.append(Problem(key, text))
        else:
            spelt[owner] = name


def _repeated(root: yaml.Node | None) -> list[Problem]:
    """Repeated keys of a file, of which YAML keeps the last."""
    if not isinstance(root, yaml.MappingNode):
        return []
    inner = [(f"{key.value}.", value) for key, value in root.value]
    return [
        Problem(name, f"'{prefix}{name}' is given twice. Keep one.")
        for prefix, mapping in [("", root), *inner]
        if isinstance(mapping, yaml.MappingNode)
        for name, count in Counter(str(key.value) for key, _ in mapping.value).items()
        if count > 1
    ]
