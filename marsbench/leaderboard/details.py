"""Author and model of a submission: from the records, a file of the author, and options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, some
from marsbench.base.values import Problem, build, shown, to_plain
from marsbench.config.schema import Mode
from marsbench.leaderboard.runs import OWN_WEIGHTS, UNKNOWN_FACTS
from marsbench.leaderboard.schema import Author, SubmittedModel, Words
from marsbench.models.pretraining import RANDOM, UNKNOWN
from marsbench.results.record import RunRecord

_EXAMPLE = "Add --author NAME, or author: {name: NAME} in the file of --about."


@dataclass(frozen=True, kw_only=True)
class Details:
    """Details of a submission that its author states.

    Attributes:
        author: Author.
        model: Model.
        note: Remark in a sentence or two.
    """

    author: Author
    model: SubmittedModel
    note: Words = ""


def model_of(records: Sequence[RunRecord]) -> SubmittedModel:
    """Describe the model of records, all of the same name and weights.

    The number of parameters is the largest, since heads differ by the number of classes. Records of
    earlier versions do not name the data behind their weights.
    """
    weights = next((record.weights for record in records if record.weights), {})
    is_unknown = records[0].mode == Mode.ZERO_SHOT
    known = [record.pretraining for record in records if record.pretraining != UNKNOWN]
    return SubmittedModel(
        name=records[0].model,
        weights=str(weights.get("name", "")),
        parameters=max(record.parameters.get("total", 0) for record in records) or None,
        pretraining=known[0] if known else UNKNOWN if weights or is_unknown else RANDOM,
    )


def read_about(path: Path) -> dict[str, Any]:
    """Read the author's file: YAML with the fields of `Details`, of which any may be missing.

    Raises:
        ConfigError: If it is not such a file.
    """
    values = read_yaml(path).values
    if isinstance(values, Mapping):
        values = {**values, **{key: values.get(key) or {} for key in ("author", "model")}}
        if isinstance(values["author"], Mapping) and isinstance(values["model"], Mapping):
            return values
    raise ConfigError(f"{path} has no fields in the groups author and model.", _EXAMPLE)


def complete(
    model: SubmittedModel, about: Mapping[str, Any], author: Mapping[str, str], **given: str
) -> Details:
    """Complete the details of a submission.

    Args:
        model: Description of the model from its records.
        about: Values of the author's file.
        author: Values of options for the author; they override the file, empty ones do not.
        **given: Further values, ``licence`` of the model and ``note``, likewise.

    Raises:
        ConfigError: If a value is invalid or contradicts the records, or the author is missing.
    """
    options: dict[str, Any] = {"author": author, "model": {"licence": given.pop("licence", "")}}
    for key, group in options.items():
        stated = {name: value for name, value in group.items() if value}
        options[key] = {**about.get(key, {}), **stated}
    options |= {key: value for key, value in given.items() if value}
    recorded = to_plain(model)
    del recorded["links"]
    values = _completed({"author": {}, "model": recorded}, {**about, **options})
    if not values["author"].get("name"):
        raise ConfigError("The author of the submission is missing.", _EXAMPLE)
    problems: list[Problem] = []
    details = build(Details, values, problems, strict=True)
    if details is None:
        raise ConfigError(some((p.message for p in problems), "\n", 10), _EXAMPLE)
    return details


def _completed(
    recorded: Mapping[str, Any], stated: Mapping[str, Any], at: str = ""
) -> dict[str, Any]:
    """Add the stated values to the recorded ones.

    Raises:
        ConfigError: If they contradict each other.
    """
    values = dict(recorded)
    for name, value in stated.items():
        known, key = recorded.get(name), f"{at}{name}"
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            values[name] = _completed(known, value, f"{key}.")
        elif known in UNKNOWN_FACTS or str(known).startswith(OWN_WEIGHTS):
            values[name] = value
        elif known != (tuple(value) if isinstance(value, list) else value):
            text = f"'{key}' is {shown(value)}, but the records have {shown(known)}."
            raise ConfigError(text, "Leave it out.")
    return values
