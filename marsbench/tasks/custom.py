"""Custom tasks: a YAML file with the fields of a `TaskSpec`, and no code.

A user has one chance to be told everything: all problems of a file are collected and reported
in one message, each with its field, its line, the bad value and what would be right.
"""

import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from marsbench.base.errors import ConfigError, unknown_name
from marsbench.tasks.kinds import Kind, Technique, metrics_of
from marsbench.tasks.spec import SPLITS, TASK_FILE, ClassInfo, Decode, Platform, TaskSpec, normalise

REQUIRED = ("name", "kind", "classes")
FIELDS = tuple(f.name for f in fields(TaskSpec) if f.name != "path")
"""The fields a file may have, in the order of `TaskSpec`."""

_CLASS_FIELDS = ("name", "description", "aliases", "acronym")

_DECODERS: dict[Kind, tuple[Decode, ...]] = {
    Kind.BINARY: (Decode.IMAGE_LABEL, Decode.PAIR_LABEL, Decode.SPECTRUM),
    Kind.MULTICLASS: (Decode.IMAGE_LABEL, Decode.PAIR_LABEL, Decode.SPECTRUM),
    Kind.MULTILABEL: (Decode.IMAGE_LABEL, Decode.PAIR_LABEL, Decode.SPECTRUM),
    Kind.SEGMENTATION: (Decode.IMAGE_MASK,),
    Kind.DETECTION: (Decode.IMAGE_BOXES,),
}
"""How the samples of each kind may be decoded; the first is the default."""

_EXAMPLE = (
    f"Required are {', '.join(REQUIRED)}; configs/tasks/hirise_landmark_v1.yaml is an example."
)

_Name = TypeVar("_Name", bound=StrEnum)


def load_task(path: Path, taken: Container[str] = ()) -> TaskSpec:
    """Read a custom task.

    ``name``, ``kind`` and ``classes`` are required. The title and folder default to the name,
    ``decode`` to what the kind needs, ``few_shot`` to whether the kind is classification, the
    rest to the defaults of `TaskSpec`. ``classes`` is a list of names, a list of mappings with
    ``name``, ``description``, ``aliases`` and ``acronym``, or a mapping of name to description.

    Args:
        path: The YAML file, or a folder that holds it as ``task.yaml``.
        taken: Names the task may not have.

    Raises:
        ConfigError: If the file is missing, is not YAML or has wrong fields; the message lists
            every problem found.
    """
    file = path.expanduser().resolve()
    if file.is_dir():
        file = file / TASK_FILE
    raw, lines, repeated = _read(file)
    reader = _Reader(raw, lines)
    for key in repeated:
        reader.problem(key, "is given twice. Keep one of the two")
    spec = _spec(reader, file, taken)
    if reader.problems:
        count = len(reader.problems)
        raise ConfigError(
            f"{file}: {count} problem{'s' if count > 1 else ''} in this task.\n"
            + "\n".join(f"  - {problem}" for problem in reader.problems),
            _EXAMPLE,
        )
    return spec


def _spec(reader: "_Reader", file: Path, taken: Container[str]) -> TaskSpec:
    """Build the spec from whatever is usable; only valid if the reader met no problem."""
    reader.unknown_and_missing()
    kind = reader.choice("kind", Kind, Kind.MULTICLASS)
    decode = reader.choice("decode", Decode, _DECODERS[kind][0])
    if reader.usable("kind", "decode") and decode not in _DECODERS[kind]:
        fitting = " or ".join(_DECODERS[kind])
        reader.problem("decode", f"'{decode}' does not fit kind '{kind}'. Use {fitting}")
    name = _name(reader, taken)
    return TaskSpec(
        name=name,
        title=reader.text("title", name),
        kind=kind,
        classes=_classes(reader, kind),
        decode=decode,
        sizes=_sizes(reader),
        channels=reader.get("channels", _whole, "a whole number of at least 1", 1),
        rgb_bands=reader.get("rgb_bands", _bands, "three numbers of bands, from 0", None),
        technique=_technique(reader, decode),
        image_size=reader.get("image_size", _size, "[height, width], two whole numbers", None),
        platform=reader.choice("platform", Platform, Platform.ORBITER),
        mission=reader.text("mission"),
        sensor=reader.text("sensor"),
        folder=reader.text("folder", name) or name,
        hub_id=reader.text("hub_id") or None,
        zenodo_title=reader.text("zenodo_title") or None,
        headline=_headline(reader, kind),
        min_partition=reader.get("min_partition", _share, "a number above 0 and up to 1", 0.01),
        few_shot=reader.get("few_shot", _flag, "true or false", kind.is_classification),
        citation=reader.text("citation"),
        licence=reader.text("licence"),
        notes=reader.get("notes", _texts, "a text or a list of texts", ()),
        path=file,
    )


def _technique(reader: "_Reader", decode: Decode) -> Technique | None:
    """How spectra were measured, which only tasks of spectra say."""
    if decode is Decode.SPECTRUM:
        return reader.choice("technique", Technique, Technique.EGA)
    if "technique" in reader.raw:
        reader.problem("technique", "is for spectra. Leave it out, or set decode: spectrum")
    return None


def _read(file: Path) -> tuple[dict[Any, Any], dict[str, int], list[str]]:
    """Parse a file into its fields, the line each begins on, and the fields given twice."""
    if not file.is_file():
        raise ConfigError(
            f"{file}: there is no such file.",
            f"A custom task is a YAML file, or a folder that holds one named {TASK_FILE}.",
        )
    try:
        text = file.read_text(encoding="utf-8")
        raw = yaml.safe_load(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(
            f"{file}: this is not valid YAML: {where}{error.problem or error.context}.",
            "Check indentation, and put text that holds ': ' or '#' in quotes.",
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{file}: this file cannot be read as YAML: {error}", "It has to be a UTF-8 text file."
        ) from error
    if not isinstance(raw, dict) or not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"{file}: this is {_shown(raw)}, not a list of 'field: value' lines.", _EXAMPLE
        )
    lines: dict[str, int] = {}
    repeated: list[str] = []
    for key, value in root.value:
        if key.value in lines:
            repeated.append(key.value)
        lines.setdefault(key.value, key.start_mark.line + 1)
        # A parser keeps the last of two equal keys; for classes that would lose one silently.
        if key.value == "classes" and isinstance(value, yaml.MappingNode):
            names = [node.value for node, _ in value.value]
            if len(set(names)) < len(names):
                repeated.extend(f"classes/{n}" for n in sorted(set(names)) if names.count(n) > 1)
    return raw, lines, repeated


@dataclass
class _Reader:
    """Reads fields with the right types and gathers what is wrong with them.

    Attributes:
        raw: The parsed file.
        lines: Line on which each field begins.
        problems: One sentence or two for each problem.
        bad: Fields that have a problem.
    """

    raw: Mapping[Any, Any]
    lines: Mapping[str, int]
    problems: list[str] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)

    def problem(self, name: str, text: str) -> None:
        """Note a problem of a field."""
        line = self.lines.get(name.partition("/")[0])
        where = f"{name} (line {line})" if line else name
        self.bad.add(name)
        self.problems.append(f"{where}: {text if text.endswith(('.', '?')) else text + '.'}")

    def usable(self, *names: str) -> bool:
        """Whether fields have had no problem so far."""
        return self.bad.isdisjoint(names)

    def unknown_and_missing(self) -> None:
        """Compare the fields given with those that exist and those required."""
        for key in self.raw:
            if key not in FIELDS:
                hint = f"Fields are: {', '.join(FIELDS)}."
                self.problem(str(key), _suggest("field", str(key), FIELDS, hint))
        for name in REQUIRED:
            value = self.raw.get(name)
            if value is None or (isinstance(value, str) and not value.strip()):
                self.problem(name, "is required but missing or empty")

    def get(
        self, name: str, convert: Callable[[Any], Any], wanted: str, default: Any = None
    ) -> Any:
        """Read a field.

        Args:
            name: The field.
            convert: Turns the raw value into the field's; raises TypeError on a wrong one.
            wanted: What a right value is, for the message.
            default: The value if the field is absent, empty or wrong.
        """
        value = self.raw.get(name)
        if value is None:
            return default
        try:
            return convert(value)
        except TypeError as error:
            self.problem(name, f"should be {wanted}, but is {_shown(value)}{error}")
            return default

    def text(self, name: str, default: str = "") -> str:
        """Read a field of text."""
        return str(self.get(name, _text, "text", default))

    def choice(self, name: str, choices: type[_Name], default: _Name) -> _Name:
        """Read a field that is one of several names."""
        value = self.text(name)
        if not value:
            return default
        try:
            return choices(value)
        except ValueError:
            hint = f"Choose one of: {', '.join(choices)}."
            self.problem(name, _suggest(name, value, choices, hint))
            return default


def _name(reader: _Reader, taken: Container[str]) -> str:
    name = reader.text("name")
    if name and not re.fullmatch(r"[a-z0-9_]+", name):
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        better = f", such as '{slug}'" if slug else ""
        reader.problem("name", f"'{name}' should hold only a-z, 0-9 and _{better}")
    elif name in taken:
        reader.problem(
            "name", f"'{name}' is a task of the catalogue. Choose another, such as '{name}_custom'"
        )
    return name


def _headline(reader: _Reader, kind: Kind) -> str | None:
    headline = reader.text("headline")
    known = metrics_of(kind)
    if headline and headline not in known:
        hint = f"Metrics of {kind} tasks are: {', '.join(known)}."
        reader.problem("headline", _suggest("metric", headline, known, hint))
    return headline or None


def _sizes(reader: _Reader) -> dict[str, int]:
    sizes = reader.get("sizes", _mapping, "a mapping of split to number of samples", {})
    for split, count in sizes.items():
        if split not in SPLITS:
            hint = f"Splits are: {', '.join(SPLITS)}."
            reader.problem(f"sizes/{split}", _suggest("split", str(split), SPLITS, hint))
        elif isinstance(count, bool) or not isinstance(count, int) or count < 0:
            reader.problem(
                f"sizes/{split}", f"should be a whole number of at least 0, but is {_shown(count)}"
            )
    return dict(sizes)


def _classes(reader: _Reader, kind: Kind) -> tuple[ClassInfo, ...]:
    """Read the classes, and compare their spellings and number."""
    raw = reader.raw.get("classes")
    if raw is None:
        return ()
    if isinstance(raw, dict):
        entries: list[Any] = [{"name": n, "description": d} for n, d in raw.items()]
    elif isinstance(raw, list):
        entries = raw
    else:
        reader.problem(
            "classes",
            "should be a list of names, a list of mappings with name and description, or a "
            f"mapping of name to description, but is {_shown(raw)}",
        )
        return ()
    found = [_class(reader, f"classes/{i}", entry) for i, entry in enumerate(entries, start=1)]
    classes = tuple(c for c in found if c is not None)

    # Names are matched with the data's own without regard to case and punctuation, so two that
    # differ only in those would be one class.
    owner: dict[str, ClassInfo] = {}
    for info in classes:
        for spelling in (info.name, *info.aliases):
            other = owner.setdefault(normalise(spelling), info)
            if other is not info:
                reader.problem(
                    "classes",
                    f"'{spelling}' names two classes, '{other.name}' and '{info.name}'. Rename "
                    "one; case and punctuation make no difference",
                )
    least = 1 if kind is Kind.DETECTION else 2
    if reader.usable("kind"):
        if len(entries) < least:
            number = "class" if least == 1 else "classes"
            reader.problem(
                "classes", f"{len(entries)} given, but {kind} needs at least {least} {number}"
            )
        elif kind is Kind.BINARY and len(entries) > 2:
            reader.problem(
                "classes",
                f"{len(entries)} given, but binary has exactly 2. Use multiclass or multilabel",
            )
    return classes


def _class(reader: _Reader, where: str, entry: Any) -> ClassInfo | None:
    """Read one class, or None if it has no usable name."""
    mapping = entry if isinstance(entry, dict) else {"name": entry}
    before = len(reader.problems)
    inner = _Reader(mapping, {})
    name = inner.text("name")
    aliases = inner.get("aliases", _texts, "a text or a list of texts", ())
    acronym = inner.text("acronym")
    description = inner.text("description")
    for key in mapping:
        if key not in _CLASS_FIELDS:
            hint = f"A class has: {', '.join(_CLASS_FIELDS)}."
            inner.problem(str(key), _suggest("field", str(key), _CLASS_FIELDS, hint))
    if not normalise(name) and "name" not in inner.bad:
        inner.problem("name", "is missing or holds no letter or digit")
    for text in inner.problems:
        reader.problem(where, text)
    if len(reader.problems) > before and not normalise(name):
        return None
    spellings = (*([acronym] if acronym else []), *aliases)
    return ClassInfo(name=name, description=description, aliases=spellings)


def _suggest(what: str, value: str, choices: Iterable[str], hint: str) -> str:
    error = unknown_name(what, value, choices)
    return f"{error.problem} {error.remedy if 'Did you mean' in error.remedy else hint}"


def _shown(value: Any) -> str:
    """Name a value and its type as a YAML author knows them."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, bool):
        return f"{str(value).lower()} (true or false)"
    kinds = {int: "a number", float: "a number", str: "text", list: "a list"}
    text = repr(value)
    short = text if len(text) <= 60 else text[:57] + "..."
    return f"{short} ({kinds.get(type(value), type(value).__name__)})"


# Converters: raise TypeError, whose text continues the sentence about the value.


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    quotes = "" if isinstance(value, (dict, list)) else ". Put it in quotes"
    raise TypeError(quotes)


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_text(v) for v in values)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TypeError
    return value


def _size(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError
    return _whole(value[0]), _whole(value[1])


def _bands(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise TypeError
    if any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in value):
        raise TypeError
    return value[0], value[1], value[2]


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise TypeError
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value
