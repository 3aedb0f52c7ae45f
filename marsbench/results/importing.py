"""Import of results of the Mars-Bench code base (https://github.com/kerner-lab/Mars-Bench).

Two sorts of CSV files are read. Upstream test runs append to
``benchmarks/benchmark_TASK_results.csv``: run_id, model, dataset, training_type, number_of_samples,
random_seed, model_checkpoint, and a column per metric (``test/F1Score_weighted``, ``test/iou``,
``mean_average_precision``, ...). The tables of its figures (``classification_filtered.csv``,
``..._partition_filtered.csv``, ``..._few_shot_filtered.csv``, ``earth_data.csv``) have model,
dataset, seed and ``test metric``, and optionally training_type, ``partition name`` and few_shot.

Metrics keep their upstream definition: IoU is the mean over images, imported as ``iou_per_image``;
F1 of binary tasks is the F1 of class 1 for any average, imported as ``f1_positive``.
"""

import csv
import hashlib
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from marsbench.base.errors import ConfigError, DataError, MarsbenchError, some, unknown_name
from marsbench.base.reading import read_bytes
from marsbench.base.values import Limit, Problem, build
from marsbench.config.identity import run_id, slug
from marsbench.config.schema import Mode, parse_subset
from marsbench.models.zoo.catalog import ALIASES, MODELS
from marsbench.results.record import IMPORTED, RunRecord
from marsbench.results.store import Store, now
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind
from marsbench.tasks.spec import TaskSpec

PROTOCOL = "upstream"

MODES = {str(mode): mode for mode in Mode} | {
    "scratch_training": Mode.SCRATCH,
    "feature_extraction": Mode.FROZEN,
    "transfer_learning": Mode.FINETUNE,
}
"""Modes by upstream name and by our name."""

TASK_NAMES = {
    "atmospheric_dust_classification_edr": "atmospheric_dust_cls_edr",
    "atmospheric_dust_classification_rdr": "atmospheric_dust_cls_rdr",
    "change_classification_ctx": "change_cls_ctx",
    "change_classification_hirise": "change_cls_hirise",
    "frost_classification": "frost_cls",
    "landmark_classification": "landmark_cls",
    "surface_classification": "surface_cls",
    "multi_label_mer": "surface_multi_label_cls",
    "boulder_segmentation": "boulder_seg",
    "conequest_segmentation": "conequest_seg",
    "crater_binary_segmentation": "crater_binary_seg",
    "crater_multi_segmentation": "crater_multi_seg",
    "boulder_detection": "boulder_det",
    "conequest_detection": "conequest_det",
    "dust_devil_detection": "dust_devil_det",
}
"""Our tasks by upstream name, except for names that equal ours after the prefix ``mb-``."""

MODEL_NAMES = {
    "resnet101": "resnet101",
    "squeezenet": "squeezenet1_1",
    "squeezenet1.1": "squeezenet1_1",
    "inceptionv3": "inception_v3",
    "swin_transformer": "swinv2_b",
    "swintransformer": "swinv2_b",
    "swinv2-b": "swinv2_b",
    "vit": "vit_l_16",
    "vit-l/16": "vit_l_16",
    "unet": "unet",
    "deeplab": "deeplabv3plus",
    "deeplabv3+": "deeplabv3plus",
    "segformer": "segformer",
    "dpt": "dpt",
    "fasterrcnn": "faster_rcnn",
    "retinanet": "retinanet",
    "ssd": "ssd",
}
"""Our models by lower-case upstream name, from its configurations and figures."""

METRIC_NAMES: dict[str, tuple[Collection[Kind], str]] = {
    "test/F1Score_weighted": (LABELS, "f1_weighted"),  # of a binary task `POSITIVE`
    "test/F1Score_macro": (LABELS, "f1_macro"),  # likewise
    "test/Accuracy_weighted": ((Kind.MULTICLASS,), "accuracy"),  # weighted recall is accuracy
    "test/Accuracy_macro": ((Kind.BINARY,), "accuracy"),  # a binary task has no average
    "test/AUROC_macro": (LABELS, "auroc"),
    "test/iou": (MASKS, "iou_per_image"),
    "test/dice": (MASKS, "dice"),
    "test/prec": (MASKS, "precision"),
    "test/rec": (MASKS, "recall"),
    "mean_average_precision": (BOXES, "map"),
    "test/map": (BOXES, "map"),
    "object_precision_mean": (BOXES, "object_precision"),
    "object_recall_mean": (BOXES, "object_recall"),
}
"""Kinds of task and our metric for each upstream column."""

POSITIVE = "f1_positive"
"""Upstream F1 of binary tasks, which is the F1 of class 1."""

HEADLINES = {Kind.SEGMENTATION: "iou_per_image", Kind.BINARY: POSITIVE}
"""Upstream headline metrics that differ from ours."""

HEADLINE = "test metric"
"""Column of the headline metric in the tables of upstream figures."""

NOTE = "Imported records hold scores of another code base, with its own protocol."
NOTES = {
    Kind.BINARY: "For binary tasks, the F1 of imported records is the F1 of class 1, not "
    "comparable with the weighted F1 of other records.",
    Kind.SEGMENTATION: "The IoU of imported records is the mean over images, not comparable "
    "with the IoU over all pixels.",
}

_TASK, _MODEL, _SEED = ("dataset", "data_name"), ("model", "model_name"), ("random_seed", "seed")
_MODE, _SHARE, _SHOTS = ("training_type",), ("partition name", "partition"), ("few_shot",)
_IGNORED = {"", "run_id", "number_of_samples", "model_checkpoint"}


class Imported(NamedTuple):
    """Result of an import.

    Attributes:
        records: Records written.
        existing: Number of records already in the store, with the same scores.
        notes: Remarks on the imported records.
    """

    records: list[RunRecord]
    existing: int
    notes: list[str]


@dataclass(frozen=True)
class _Numbers:
    """Numbers of a row."""

    seed: Annotated[int, Limit(low=0)]
    scores: dict[str, Annotated[float, Limit(low=0, high=100)]]


@dataclass
class _Reader:
    """Converts rows to records, and collects all problems."""

    mode: Mode | None
    subset: str
    rename: Mapping[str, str]
    percent: bool
    problems: list[str] = field(default_factory=list)
    remedies: dict[str, None] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    above_one: int = 0
    fractions: list[str] = field(default_factory=list)
    records: dict[str, tuple[RunRecord, str]] = field(default_factory=dict)

    def wrong(self, problem: str, remedy: str = "") -> None:
        """Add a problem and its remedy."""
        self.problems.append(problem)
        self.remedies |= dict.fromkeys([remedy] if remedy else [])


def import_results(
    files: Sequence[Path],
    store: Path | str,
    *,
    mode: str | None = None,
    subset: str | None = None,
    rename: Mapping[str, str] | None = None,
    percent: bool = False,
) -> Imported:
    """Write a record for every row of some result files, or none if any row is invalid.

    Args:
        files: CSV files as described above.
        store: Folder of records; made if it is missing.
        mode: Mode for files without a column training_type.
        subset: Subset for rows without a subset; full if None.
        rename: Our names of tasks and models, or new names of models, by names in the files.
        percent: Whether scores are in percent.

    Raises:
        MarsbenchError: If a file or row is invalid, two rows are of the same run, or the store has
            other scores of the same run; lists all problems.
    """
    reader = _Reader(
        mode=_mode(mode) if mode else None,
        subset=str(parse_subset(subset or "full")),
        rename={name.lower(): ours for name, ours in (rename or {}).items()},
        percent=percent,
    )
    for file in files:
        _read(Path(file), reader)
    _check_scale(reader)
    opened = Store(store)
    new = []
    for record, where in reader.records.values():
        old = opened.find(record.run_id)
        if old is None:
            new.append(record)
        elif old.metrics != record.metrics:
            reader.wrong(
                f"{where}: the store has other scores of {record.run_id}.",
                "Import into another store, or remove the record's folder.",
            )
    if reader.problems:
        raise DataError(
            f"Nothing was imported: {some(reader.problems, separator=chr(10))}",
            "\n".join(reader.remedies) or "Correct the file, or remove these rows.",
        )
    for record in new:
        with opened.claim(record.run_id):
            opened.finish(record)
    notes = list(dict.fromkeys(note for record in new for note in record.data["notes"]))
    if reader.ignored:
        notes.append(f"Ignored columns without a matching metric: {some(sorted(reader.ignored))}.")
    return Imported(new, len(reader.records) - len(new), notes)


def _read(file: Path, reader: _Reader) -> None:
    try:
        content = read_bytes(file)
        table = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        rows = [(table.line_num, [cell.strip() for cell in cells]) for cells in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{file} cannot be read: {reason}.", "Name a CSV file that Mars-Bench wrote."
        ) from error
    header = rows[0][1] if rows else []
    _check_columns(file, header, reader)
    sha256 = hashlib.sha256(content).hexdigest()
    for number, cells in rows[1:]:
        where = f"{file}, line {number}"
        if not any(cells):
            continue
        if len(cells) != len(header):
            reader.wrong(f"{where}: {len(cells)} cells where the header has {len(header)}.")
            continue
        origin = {"file": file.name, "sha256": sha256, "line": number}
        try:
            record = _record(dict(zip(header, cells, strict=True)), origin, reader)
        except MarsbenchError as error:
            reader.wrong(f"{where}: {error.problem}", error.remedy)
            continue
        if record.run_id in reader.records:
            run = f"{record.task} {record.model} {record.mode} {record.subset} seed {record.seed}"
            first = reader.records[record.run_id][1]
            reader.wrong(
                f"{where}: a second run of {run}; the first is {first}.",
                "Keep one row of each run.",
            )
            continue
        reader.records[record.run_id] = record, where


def _check_columns(file: Path, header: Sequence[str], reader: _Reader) -> None:
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise DataError(
            f"{file} has the column {some(twice)} twice; expected unique columns.",
            "Remove one of them.",
        )
    missing = [names[0] for names in (_TASK, _MODEL, _SEED) if not set(names) & set(header)]
    if not {HEADLINE, *METRIC_NAMES} & set(header):
        missing.append(f"{HEADLINE} (or test/F1Score_weighted, test/iou, mean_average_precision)")
    if missing:
        raise DataError(
            f"{file} is missing the columns {', '.join(missing)}; it has {some(header) or 'none'}.",
            "Name a benchmark_TASK_results.csv or a table of its figures, with seeds.",
        )
    if not set(_MODE) & set(header) and reader.mode is None:
        raise DataError(
            f"{file} is missing the column training_type.",
            "Give the training of its models: --mode scratch, frozen or finetune.",
        )
    known = {*_TASK, *_MODEL, *_SEED, *_MODE, *_SHARE, *_SHOTS, HEADLINE, *METRIC_NAMES, *_IGNORED}
    per_class = "test_class/"
    reader.ignored |= {n for n in header if n not in known and not n.startswith(per_class)}


def _record(row: Mapping[str, str], origin: dict[str, Any], reader: _Reader) -> RunRecord:
    task = _task(_cell(row, _TASK), reader)
    model = _model(_cell(row, _MODEL), reader)
    mode = reader.mode
    if text := _cell(row, _MODE):
        mode = _mode(text)
    if mode is None:
        raise DataError("The training_type is empty.", "Fill it in, or give --mode.")
    subset = _subset(row, reader)
    headline = HEADLINES.get(task.kind, task.headline_metric)
    where = f"{origin['file']}, line {origin['line']}"
    seed, metrics = _numbers(row, task, headline, reader, where)
    # Without the file, so that importing a run twice gives the same record.
    identity = {"kind": str(task.kind), "protocol": PROTOCOL, "origin": "kerner-lab/Mars-Bench"}
    return RunRecord(
        run_id=run_id(task.name, model, mode, subset, seed, identity),
        task=task.name,
        kind=str(task.kind),
        model=model,
        mode=str(mode),
        subset=subset,
        seed=seed,
        protocol=PROTOCOL,
        headline=headline,
        metrics={"test": metrics},
        config={"task": task.name, "model": model, "mode": str(mode), "subset": subset},
        identity=identity,
        data={
            "source": PROTOCOL,
            "num_train": task.sizes.get("train") if subset == "full" else None,
            "imported": {**origin, "row": {k: v for k, v in row.items() if v}},
            "notes": [NOTE, *([NOTES[task.kind]] if task.kind in NOTES else [])],
        },
        weights=None,
        checkpoint={"chosen_by": "unknown"},
        timing={},
        peak_memory={},
        parameters={},
        device="unknown",
        environment={},
        git=None,
        created=now(),
        record_type=IMPORTED,
    )


def _cell(row: Mapping[str, str], names: Sequence[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _task(name: str, reader: _Reader) -> TaskSpec:
    plain = reader.rename.get(name.lower(), name).lower().removeprefix("mb-")
    plain = TASK_NAMES.get(plain, plain)
    if plain not in TASKS:
        hint = "Give our name with --rename NAME=TASK; `marsbench list tasks` shows all."
        raise unknown_name("task", name, [*TASKS, *TASK_NAMES], hint)
    return TASKS[plain]


def _model(name: str, reader: _Reader) -> str:
    lower = name.lower()
    if given := reader.rename.get(lower):
        if slug(given) != given.replace("/", "-").replace(":", "-"):
            raise ConfigError(
                f"Model name '{given}' is invalid; expected letters, digits, - and _.",
                "Give another name with --rename NAME=MODEL.",
            )
        return ALIASES.get(given, given)
    known = MODEL_NAMES.get(lower) or ALIASES.get(lower, lower)
    if known not in MODELS:
        hint = "Give our name, or any new name, with --rename NAME=MODEL."
        raise unknown_name("model", name, [*MODELS, *ALIASES, *MODEL_NAMES], hint)
    return known


def _mode(name: str) -> Mode:
    if name not in MODES:
        raise unknown_name("training type", name, MODES)
    return MODES[name]


def _subset(row: Mapping[str, str], reader: _Reader) -> str:
    """Parse the subset of a row: shots, or a share of the train split such as 1.00x train."""
    if shots := _cell(row, _SHOTS).removesuffix(".0"):
        return str(parse_subset(f"few_shot_{shots}"))
    share = _cell(row, _SHARE).partition("x")[0].strip()
    if share in ("", "default", "nan"):
        return reader.subset
    try:
        number = float(share)
    except ValueError:
        raise DataError(f"The partition is '{share}'; expected a number from 0.01 to 1.") from None
    return "full" if number == 1 else str(parse_subset(f"partition_{number:g}"))


def _numbers(
    row: Mapping[str, str], task: TaskSpec, headline: str, reader: _Reader, where: str
) -> tuple[int, dict[str, float]]:
    """Parse the seed of a row, and its metrics by our names."""
    names = {column: name for column, (kinds, name) in METRIC_NAMES.items() if task.kind in kinds}
    names = {HEADLINE: headline, **names}
    texts = {column: row[column] for column in names if row.get(column)}
    problems: list[Problem] = []
    numbers = build(_Numbers, {"seed": _cell(row, _SEED), "scores": texts}, problems)
    if numbers is None:
        raise DataError(" ".join(problem.message for problem in problems))
    values: dict[str, float] = {}
    for column, value in numbers.scores.items():
        reader.above_one += value > 1
        if 0 < value <= 1:
            reader.fractions.append(f"{where}: {column} is {value:g}.")
        # Both averages of a binary task are the same number.
        is_positive = task.kind is Kind.BINARY and names[column].startswith("f1_")
        name = POSITIVE if is_positive else names[column]
        values.setdefault(name, value / 100 if reader.percent else value)
    if headline not in values:
        raise DataError(f"{headline} of {task.name}, a task of {task.kind}, is missing.")
    return numbers.seed, values


def _check_scale(reader: _Reader) -> None:
    """Refuse scores above 1 without ``percent``, and fractions among scores in percent."""
    if reader.above_one and not reader.percent:
        reader.problems.insert(0, f"{reader.above_one} scores are above 1.")
        reader.remedies["If all scores are in percent, add --percent."] = None
    if not reader.percent or not reader.records:
        return
    if not reader.above_one:
        reader.problems.insert(0, "no score is above 1; expected scores in percent.")
        reader.remedies["Remove --percent."] = None
    elif reader.fractions:
        # 0.9 beside 90 is nine tenths by mistake or nine thousandths in truth.
        reader.problems[:0] = [f"{text} Expected percent, above 1." for text in reader.fractions]
        remedy = "Write every score in percent; or every score as a fraction, without --percent."
        reader.remedies[remedy] = None
