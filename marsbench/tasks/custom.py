"""Custom tasks: a YAML file with the fields of a `TaskSpec`, and no code.

All problems of a file are reported in one message, each with its field, its line, the invalid
value and the expected one.
"""

import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, unknown_name
from marsbench.base.files import is_name
from marsbench.base.paths import expanded
from marsbench.base.reading import is_missing
from marsbench.base.values import Problem, check, shown
from marsbench.tasks.kinds import KINDS, Decode, Kind, Technique, metrics_of
from marsbench.tasks.spec import SPLITS, TASK_FILE, ClassInfo, TaskSpec, normalise

REQUIRED = ("name", "kind", "classes")

RGB = ("red", "green", "blue")
"""Names of bands that give ``rgb_bands``."""

_EXAMPLE = (
    f"Required are {', '.join(REQUIRED)}; configs/tasks/hirise_landmark_v1.yaml is an example."
)


def load_task(path: Path, taken: Container[str] = ()) -> TaskSpec:
    """Read a custom task.

    ``name``, ``kind`` and ``classes`` are required. The title and folder default to the name,
    ``decode`` to the usual one of the kind, ``channels`` and ``rgb_bands`` to those of ``bands``,
    ``few_shot`` to whether the kind is classification, the rest to the defaults of `TaskSpec`.
    ``classes`` is a list of names, a list of mappings with
    ``name``, ``description``, ``aliases`` and ``acronym``, or a mapping of name to description.
    ``bands`` is a list of names, or of mappings with ``name`` and ``wavelength``.

    Args:
        path: The YAML file, or a folder that holds it as ``task.yaml``.
        taken: Names that the task may not have.

    Raises:
        ConfigError: If the file is missing, is not YAML or has invalid fields; the message lists
            all problems.
    """
    file = expanded(path).resolve()
    if file.is_dir():
        file = file / TASK_FILE
    raw, lines, problems = _read(file)
    values = _prepared(raw)
    valid = check(TaskSpec, values, problems, strict=True, omit=("path",))
    _check_name(valid.get("name", ""), taken, problems)
    if (folder := valid.get("folder")) is not None and not is_name(folder):
        text = f"'folder' is '{folder}'; expected the name of a folder below the data's place."
        problems.append(Problem("folder", text))
    _check_splits(values.get("sizes"), problems)
    _check_bands(valid, problems)
    _check_classes(valid.get("classes", ()), problems)
    if "kind" in valid:
        _check_kind(valid["kind"], valid, problems)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        listed = "\n".join(f"  - {_where(problem, lines)}" for problem in problems)
        raise ConfigError(f"{file}: {count} in this task.\n{listed}", _EXAMPLE)
    return _spec(valid, file)


def _spec(valid: Mapping[str, Any], file: Path) -> TaskSpec:
    """Build the spec from valid fields and the defaults derived from them."""
    kind, name = valid["kind"], valid["name"]
    decode = valid.get("decode") or KINDS[kind].decoders[0]
    names = [band.name for band in valid.get("bands", ())]
    colors = [names.index(name) for name in RGB if name in names]
    defaults = {
        "channels": len(names) or 1,
        "rgb_bands": tuple(colors) if len(names) > 3 and len(colors) == len(RGB) else None,
        "title": name,
        "folder": name,
        "decode": decode,
        "technique": Technique.EGA if decode is Decode.SPECTRUM else None,
        "few_shot": kind.is_classification,
    }
    return TaskSpec(**{**defaults, **valid, "path": file})


def _where(problem: Problem, lines: Mapping[str, int]) -> str:
    line = lines.get(problem.path.partition(".")[0])
    return f"line {line}: {problem.message}" if line else problem.message


def _read(file: Path) -> tuple[dict[Any, Any], dict[str, int], list[Problem]]:
    """Parse a file into its fields, their line numbers, and problems of repeated fields."""
    if is_missing(file):
        raise ConfigError(
            f"{file}: no such file.",
            f"A custom task is a YAML file, or a folder that holds one named {TASK_FILE}; "
            f"`marsbench data init {file.parent}` makes it of a folder of images.",
        )
    raw, root = read_yaml(file)
    if not isinstance(raw, dict) or not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"{file}: the file is {shown(raw)}; expected lines of 'field: value'.", _EXAMPLE
        )
    lines: dict[str, int] = {}
    problems: list[Problem] = []
    for key, value in root.value:
        if key.value in lines:
            problems.append(Problem(key.value, f"'{key.value}' is given twice. Keep one."))
        lines.setdefault(key.value, key.start_mark.line + 1)
        # YAML keeps the last of two equal keys, which would silently drop a class.
        if key.value == "classes" and isinstance(value, yaml.MappingNode):
            names = [node.value for node, _ in value.value]
            problems += [
                Problem("classes", f"'classes.{name}' is given twice. Keep one.")
                for name in sorted(set(names))
                if names.count(name) > 1
            ]
    return raw, lines, problems


def _prepared(raw: Mapping[Any, Any]) -> dict[Any, Any]:
    """Expand the short spellings of a file, and drop empty fields."""
    values = {key: _stripped(value) for key, value in raw.items()}
    values = {key: value for key, value in values.items() if value not in (None, "")}
    if isinstance(values.get("notes"), str):
        values["notes"] = [values["notes"]]
    bands = values.get("bands")
    if isinstance(bands, list):
        values["bands"] = [b if isinstance(b, Mapping) else {"name": _stripped(b)} for b in bands]
    classes = values.get("classes")
    if isinstance(classes, Mapping):
        classes = [{"name": name, "description": text} for name, text in classes.items()]
    if isinstance(classes, list):
        values["classes"] = [_class(entry) for entry in classes]
    return values


def _class(entry: Any) -> dict[Any, Any]:
    fields = entry if isinstance(entry, Mapping) else {"name": entry}
    fields = {key: _stripped(value) for key, value in fields.items() if value is not None}
    acronym, aliases = fields.pop("acronym", None), fields.pop("aliases", [])
    spellings = aliases if isinstance(aliases, list) else [aliases]
    return fields | {"aliases": spellings if acronym is None else [acronym, *spellings]}


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _check_name(name: str, taken: Container[str], problems: list[Problem]) -> None:
    if name and not re.fullmatch(r"[a-z0-9_]+", name):
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        better = f", such as '{slug}'" if slug else ""
        problems.append(
            Problem("name", f"'name' is '{name}'; expected only a-z, 0-9 and _{better}.")
        )
    elif name in taken:
        text = f"'name' is '{name}', a task of the catalogue; expected another, such as"
        problems.append(Problem("name", f"{text} '{name}_custom'."))


def _check_splits(sizes: Any, problems: list[Problem]) -> None:
    for split in sizes if isinstance(sizes, Mapping) else ():
        if split not in SPLITS:
            remedy = unknown_name("split", str(split), SPLITS).remedy
            problems.append(Problem("sizes", f"Unknown key 'sizes.{split}'. {remedy}"))


def _check_bands(valid: Mapping[str, Any], problems: list[Problem]) -> None:
    names = [band.name for band in valid.get("bands", ())]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem("bands", f"'bands' names '{twice[0]}' twice."))
    channels = valid.get("channels", len(names))
    if names and channels != len(names):
        text = f"'channels' is {channels}, and 'bands' names {len(names)}. Leave 'channels' out."
        problems.append(Problem("bands", text))


def _check_kind(kind: Kind, valid: Mapping[str, Any], problems: list[Problem]) -> None:
    """Check the fields whose valid values depend on the kind."""
    decoders = KINDS[kind].decoders
    decode = valid.get("decode", decoders[0])
    if decode not in decoders:
        text = f"'decode' is {decode}; expected {' or '.join(decoders)} for kind {kind}."
        problems.append(Problem("decode", text))
    if "technique" in valid and decode is not Decode.SPECTRUM:
        text = "'technique' is for spectra. Leave it out, or set decode: spectrum."
        problems.append(Problem("technique", text))
    low, high = KINDS[kind].num_classes
    count = len(valid.get("classes", range(low)))
    if count < low or (high is not None and count > high):
        wanted = f"at least {low}" if high is None else f"exactly {low}"
        text = f"'classes' holds {count}; expected {wanted} for kind {kind}."
        if high is not None and count > high:
            text += " Use multiclass or multilabel for more."
        problems.append(Problem("classes", text))
    headline = valid.get("headline")
    if headline is not None and headline not in metrics_of(kind):
        error = unknown_name("headline", headline, metrics_of(kind))
        problems.append(Problem("headline", f"{error.problem} {error.remedy}"))


def _check_classes(classes: Sequence[ClassInfo], problems: list[Problem]) -> None:
    """Refuse classes with a common spelling."""
    # Names in the data are matched regardless of case and punctuation, so spellings must differ in
    # more.
    owner: dict[str, ClassInfo] = {}
    for number, info in enumerate(classes, start=1):
        if not normalise(info.name):
            text = f"'classes.{number}.name' is '{info.name}'; expected a letter or digit."
            problems.append(Problem("classes", text))
        for spelling in (info.name, *info.aliases):
            other = owner.setdefault(normalise(spelling), info)
            if other is not info:
                text = (
                    f"'classes': '{spelling}' names both '{other.name}' and '{info.name}'. Rename "
                    "one; case and punctuation make no difference."
                )
                problems.append(Problem("classes", text))
