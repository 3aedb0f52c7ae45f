"""Rows of the result files of the Mars-Bench code base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from marsbench.base.errors import ConfigError, DataError, some, unknown_name
from marsbench.base.values import Limit, Problem, build
from marsbench.config.identity import slug
from marsbench.config.schema import Mode, parse_subset
from marsbench.models.zoo.catalog import ALIASES, MODELS
from marsbench.results.upstream.names import (
    EARTH_MODELS,
    HEADLINE_COLUMN,
    METRIC_NAMES,
    MODEL_NAMES,
    MODES,
    POSITIVE,
    TASK_NAMES,
)
from marsbench.results.upstream.records import UpstreamRun
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec

_TASK, _MODEL, _SEED = ("dataset", "data_name"), ("model", "model_name"), ("random_seed", "seed")
_MODE, _SHARE, _SHOTS = ("training_type",), ("partition name", "partition"), ("few_shot",)
_SCORES = {HEADLINE_COLUMN, *METRIC_NAMES}
_IGNORED = {"", "run_id", "number_of_samples", "model_checkpoint"}
_PER_CLASS = "test_class/"


@dataclass(frozen=True)
class _Numbers:
    """Numbers of a row."""

    seed: Annotated[int, Limit(low=0)]
    scores: dict[str, Annotated[float, Limit(low=0, high=100)]]


@dataclass
class Rows:
    """Converts rows to runs with scores.

    Attributes:
        mode: Mode of files without a column training_type.
        subset: Subset of rows without a subset.
        rename: Names of tasks and models by lower-case names in the files.
        percent: Whether scores are in percent.
        above_one: Number of scores above 1 so far.
        fractions: Descriptions of scores of at most 1 so far.
    """

    mode: Mode | None
    subset: str
    rename: Mapping[str, str]
    percent: bool
    above_one: int = 0
    fractions: list[str] = field(default_factory=list)

    def ignored(self, file: object, header: Sequence[str]) -> set[str]:
        """Check the columns of a file.

        Returns:
            Columns without a matching metric.

        Raises:
            DataError: If a column is missing.
        """
        missing = [names[0] for names in (_TASK, _MODEL, _SEED) if not set(names) & set(header)]
        if not _SCORES & set(header):
            missing.append(
                f"{HEADLINE_COLUMN} (or test/F1Score_weighted, test/iou, mean_average_precision)"
            )
        if missing:
            raise DataError(
                f"{file} is missing the columns {', '.join(missing)}; "
                f"it has {some(header) or 'none'}.",
                "Name a benchmark_TASK_results.csv or a table of its figures, with seeds.",
            )
        if not set(_MODE) & set(header) and self.mode is None:
            raise DataError(
                f"{file} is missing the column training_type.",
                "Give the training of its models: --mode scratch, frozen or finetune.",
            )
        known = {*_TASK, *_MODEL, *_SEED, *_MODE, *_SHARE, *_SHOTS, *_SCORES, *_IGNORED}
        return {n for n in header if n not in known and not n.startswith(_PER_CLASS)}

    def read(
        self, row: Mapping[str, str], where: str
    ) -> tuple[UpstreamRun, dict[str, float]] | None:
        """Convert a row.

        Args:
            row: Cells by column.
            where: File and line, for messages.

        Returns:
            The run, with the seed of the file, and its metrics by our names; None for rows without
            any score.

        Raises:
            MarsbenchError: If a name or number is invalid.
        """
        if not any(row.get(column) for column in _SCORES):
            return None
        name = _cell(row, _MODEL)
        run = UpstreamRun(
            task=self._task(_cell(row, _TASK)),
            model=self._model(name),
            mode=self._mode(_cell(row, _MODE)),
            subset=self._subset(row),
            seed=0,
            is_earth=name.lower() in EARTH_MODELS,
        )
        seed, metrics = self._numbers(row, run, where)
        return replace(run, seed=seed), metrics

    def _task(self, name: str) -> TaskSpec:
        plain = self.rename.get(name.lower(), name).lower().removeprefix("mb-")
        plain = TASK_NAMES.get(plain, plain)
        if plain not in TASKS:
            hint = "Give our name with --rename NAME=TASK; `marsbench list tasks` shows all."
            raise unknown_name("task", name, [*TASKS, *TASK_NAMES], hint)
        return TASKS[plain]

    def _model(self, name: str) -> str:
        lower = name.lower()
        if given := self.rename.get(lower):
            if slug(given) != given.replace("/", "-").replace(":", "-"):
                raise ConfigError(
                    f"Model name '{given}' is invalid; expected letters, digits, - and _.",
                    "Give another name with --rename NAME=MODEL.",
                )
            return ALIASES.get(given, given)
        known = MODEL_NAMES.get(lower) or ALIASES.get(lower, lower)
        if known not in MODELS and lower not in EARTH_MODELS:
            hint = "Give our name, or any new name, with --rename NAME=MODEL."
            raise unknown_name("model", name, [*MODELS, *ALIASES, *MODEL_NAMES], hint)
        return known

    def _mode(self, name: str) -> Mode:
        mode = mode_of(name) if name else self.mode
        if mode is None:
            raise DataError("The training_type is empty.", "Fill it in, or give --mode.")
        return mode

    def _subset(self, row: Mapping[str, str]) -> str:
        """Parse the subset of a row: shots, or a share of the train split such as 1.00x train."""
        if shots := _cell(row, _SHOTS).removesuffix(".0"):
            return str(parse_subset(f"few_shot_{shots}"))
        share = _cell(row, _SHARE).partition("x")[0].strip()
        if share in ("", "default", "nan"):
            return self.subset
        try:
            number = float(share)
        except ValueError:
            raise DataError(
                f"The partition is '{share}'; expected a number from 0.01 to 1."
            ) from None
        return "full" if number == 1 else str(parse_subset(f"partition_{number:g}"))

    def _numbers(
        self, row: Mapping[str, str], run: UpstreamRun, where: str
    ) -> tuple[int, dict[str, float]]:
        """Parse the seed of a row, and its metrics by our names."""
        kind = run.task.kind
        names = {column: name for column, (kinds, name) in METRIC_NAMES.items() if kind in kinds}
        names = {HEADLINE_COLUMN: run.headline, **names}
        texts = {column: row[column] for column in names if row.get(column)}
        problems: list[Problem] = []
        numbers = build(_Numbers, {"seed": _cell(row, _SEED), "scores": texts}, problems)
        if numbers is None:
            raise DataError(" ".join(problem.message for problem in problems))
        values: dict[str, float] = {}
        for column, value in numbers.scores.items():
            self.above_one += value > 1
            if 0 < value <= 1:
                self.fractions.append(f"{where}: {column} is {value:g}.")
            # Both averages of a binary task are the same number.
            is_positive = (
                kind is Kind.BINARY and not run.is_earth and names[column].startswith("f1_")
            )
            name = POSITIVE if is_positive else names[column]
            values.setdefault(name, value / 100 if self.percent else value)
        if run.headline not in values:
            raise DataError(f"{run.headline} of {run.task.name}, a task of {kind}, is missing.")
        return numbers.seed, values

    def scale_problems(self) -> dict[str, str]:
        """Remedies by problem of scores above 1 without ``percent``, or of fractions with it."""
        if not self.percent:
            text = f"{self.above_one} scores are above 1."
            return {text: "If all scores are in percent, add --percent."} if self.above_one else {}
        if not self.above_one:
            return {"no score is above 1; expected scores in percent.": "Remove --percent."}
        # 0.9 beside 90 is nine tenths by mistake or nine thousandths in truth.
        remedy = "Write every score in percent; or every score as a fraction, without --percent."
        return {f"{text} Expected percent, above 1.": remedy for text in self.fractions}


def mode_of(name: str) -> Mode:
    """Find a mode by upstream name or ours.

    Raises:
        UnknownNameError: If the name is unknown.
    """
    if name not in MODES:
        raise unknown_name("training type", name, MODES)
    return MODES[name]


def _cell(row: Mapping[str, str], names: Sequence[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")
