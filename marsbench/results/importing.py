"""Results of the Mars-Bench code base (https://github.com/kerner-lab/Mars-Bench) as records.

Two kinds of CSV are read. Its test runs append to ``benchmarks/benchmark_TASK_results.csv``:
run_id, model, dataset, training_type, number_of_samples, random_seed, model_checkpoint, and a
column per metric (``test/F1Score_weighted``, ``test/iou``, ``mean_average_precision``, ...). The
tables its figures are made from (``classification_filtered.csv``,
``..._partition_filtered.csv``, ``..._few_shot_filtered.csv``, ``earth_data.csv``) have model,
dataset, seed and ``test metric``, and perhaps training_type, ``partition name`` and few_shot.

What such numbers mean is kept: its IoU is the mean over images, and so its records are judged by
``iou_per_image``; of binary tasks its F1 is that of class 1, whatever average the name says, and so
they are judged by ``f1_positive``.
"""

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from marsbench.base.errors import ConfigError, DataError, MarsbenchError, some, unknown_name
from marsbench.config.identity import run_id, slug
from marsbench.config.schema import Mode, parse_subset
from marsbench.models.zoo.catalog import ALIASES, MODELS
from marsbench.results.record import IMPORTED, RunRecord
from marsbench.results.store import Store, now
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec

PROTOCOL = "upstream"

MODES = {
    "scratch_training": Mode.SCRATCH,
    "feature_extraction": Mode.FROZEN,
    "transfer_learning": Mode.FINETUNE,
}

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
"""Its names of tasks, where they are not ours behind the prefix ``mb-``."""

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
"""Its names of models in small letters: those of its configurations and those of its figures."""

METRIC_NAMES: dict[str, tuple[Kind | None, str]] = {
    "test/F1Score_weighted": (None, "f1_weighted"),  # of a binary task `POSITIVE`
    "test/F1Score_macro": (None, "f1_macro"),  # likewise
    "test/Accuracy_weighted": (Kind.MULTICLASS, "accuracy"),  # weighted recall, which is accuracy
    "test/Accuracy_macro": (Kind.BINARY, "accuracy"),  # a binary task has no average
    "test/AUROC_macro": (None, "auroc"),
    "test/iou": (Kind.SEGMENTATION, "iou_per_image"),
    "test/dice": (Kind.SEGMENTATION, "dice"),
    "test/prec": (Kind.SEGMENTATION, "precision"),
    "test/rec": (Kind.SEGMENTATION, "recall"),
    "mean_average_precision": (Kind.DETECTION, "map"),
    "test/map": (Kind.DETECTION, "map"),
    "object_precision_mean": (Kind.DETECTION, "object_precision"),
    "object_recall_mean": (Kind.DETECTION, "object_recall"),
}
"""Its columns, the kind they are of if not any, and our name."""

POSITIVE = "f1_positive"
"""What its F1 of a binary task is: without an average, that of class 1."""

HEADLINES = {Kind.SEGMENTATION: "iou_per_image", Kind.BINARY: POSITIVE}
"""What its tasks are judged by, where that is not what ours are."""

HEADLINE = "test metric"
"""The column of its figures' tables."""

_TASK, _MODEL, _SEED = ("dataset", "data_name"), ("model", "model_name"), ("random_seed", "seed")
_MODE, _SHARE, _SHOTS = ("training_type",), ("partition name", "partition"), ("few_shot",)


class Imported(NamedTuple):
    """What an import did.

    Attributes:
        records: Records written.
        there: How many were in the store already, with the same scores.
        notes: What must be known of them.
    """

    records: list[RunRecord]
    there: int
    notes: list[str]


@dataclass
class _Reader:
    """Turns rows into records, and collects all that is wrong."""

    mode: str | None
    subset: str | None
    rename: Mapping[str, str]
    percent: bool
    problems: list[str] = field(default_factory=list)
    remedies: dict[str, None] = field(default_factory=dict)
    ignored: dict[str, None] = field(default_factory=dict)
    above_one: int = 0
    found: dict[str, tuple[RunRecord, str]] = field(default_factory=dict)

    def wrong(self, where: str, error: MarsbenchError | str) -> None:
        """Note a problem and its remedy."""
        if isinstance(error, str):
            self.problems.append(f"{where}: {error}")
            return
        self.problems.append(f"{where}: {error.problem}")
        if error.remedy:
            self.remedies[error.remedy] = None


def import_results(
    files: Sequence[Path],
    store: Path | str,
    *,
    mode: str | None = None,
    subset: str | None = None,
    rename: Mapping[str, str] | None = None,
    percent: bool = False,
) -> Imported:
    """Write a record for every row of some result files; all of them, or none.

    Args:
        files: CSV files, as the module says.
        store: Folder of records; made if it is not there.
        mode: Mode of the rows of files without a column training_type.
        subset: Subset of the rows whose file does not say it; full if None.
        rename: Names in the files to our names of tasks and models, or to any name of a model.
        percent: Whether scores are in percent.

    Raises:
        MarsbenchError: If a file or a row cannot be used, two rows are of one run, or the store has
            other scores of the same run; names all that is wrong.
    """
    reader = _Reader(
        mode=str(_mode(mode)) if mode else None,
        subset=str(parse_subset(subset)) if subset else None,
        rename={name.lower(): ours for name, ours in (rename or {}).items()},
        percent=percent,
    )
    for file in files:
        _read(Path(file), reader)
    _check_scale(reader)
    opened = Store(store)
    new, there = [], 0
    for record, where in reader.found.values():
        old = opened.find(record.run_id)
        if old is None:
            new.append(record)
        elif old.metrics == record.metrics:
            there += 1
        else:
            reader.wrong(where, f"the store has other scores of {record.run_id}.")
            reader.remedies["Import into another store, or remove the record's folder."] = None
    if reader.problems:
        raise DataError(
            f"Nothing was imported: {some(reader.problems, separator=chr(10))}",
            "\n".join(reader.remedies) or "Mend the file, or take these rows out.",
        )
    for record in new:
        with opened.claim(record.run_id):
            opened.finish(record)
    notes = dict.fromkeys(note for record in new for note in record.data["notes"])
    if reader.ignored:
        notes[f"Columns that are no scores of ours: {some(sorted(reader.ignored))}."] = None
    return Imported(new, there, list(notes))


def _read(file: Path, reader: _Reader) -> None:
    try:
        content = file.read_bytes()
        table = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        rows = [(table.line_num, cells) for cells in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{file} cannot be read: {reason}.", "Name a CSV file that Mars-Bench wrote."
        ) from error
    header = [name.strip() for name in rows[0][1]] if rows else []
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{file} has the column {some(twice)} twice.", "Take one of them out.")
    _check_columns(file, header, reader)
    sha256 = hashlib.sha256(content).hexdigest()
    for number, cells in rows[1:]:
        where = f"{file}, line {number}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            reader.wrong(where, f"{len(cells)} cells where the header has {len(header)}.")
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        origin = {"file": file.name, "sha256": sha256, "line": number}
        try:
            record = _record(row, origin, reader)
        except MarsbenchError as error:
            reader.wrong(where, error)
            continue
        if record.run_id in reader.found:
            other = reader.found[record.run_id][1]
            same = f"a second run of {record.task} {record.model} {record.mode} {record.subset}"
            reader.wrong(where, f"{same} seed {record.seed}; the first is {other}.")
            reader.remedies["Keep one row of each run."] = None
            continue
        reader.found[record.run_id] = record, where


def _check_columns(file: Path, header: Sequence[str], reader: _Reader) -> None:
    lacking = [names[0] for names in (_TASK, _MODEL, _SEED) if not set(names) & set(header)]
    if not {HEADLINE, *METRIC_NAMES} & set(header):
        lacking.append(f"{HEADLINE} (or test/F1Score_weighted, test/iou, mean_average_precision)")
    if lacking:
        raise DataError(
            f"{file} lacks the columns {', '.join(lacking)}; it has {some(header) or 'none'}.",
            "Name a benchmark_TASK_results.csv or a table of its figures, with seeds.",
        )
    if not set(_MODE) & set(header) and reader.mode is None:
        raise DataError(
            f"{file} lacks the column training_type.",
            "Say how its models were trained: --mode scratch, frozen or finetune.",
        )
    known = {*_TASK, *_MODEL, *_SEED, *_MODE, *_SHARE, *_SHOTS, HEADLINE, *METRIC_NAMES}
    known |= {"", "run_id", "number_of_samples", "model_checkpoint"}
    per_class = "test_class/"
    others = (name for name in header if name not in known and not name.startswith(per_class))
    reader.ignored.update(dict.fromkeys(others))


def _record(row: Mapping[str, str], origin: dict[str, Any], reader: _Reader) -> RunRecord:
    task = _task(_cell(row, _TASK), reader)
    model = _model(_cell(row, _MODEL), reader)
    mode = _mode(_cell(row, _MODE)) if _cell(row, _MODE) else Mode(reader.mode or "")
    subset = _subset(row, reader)
    headline = HEADLINES.get(task.kind, task.headline_metric)
    metrics = _metrics(row, task, headline, reader)
    seed_text = _cell(row, _SEED)
    try:
        seed = int(float(seed_text))
        if seed != float(seed_text) or seed < 0:
            raise ValueError
    except (ValueError, OverflowError):
        raise DataError(f"the seed '{seed_text}' is no whole number from 0.") from None
    notes = ["Imported records hold what another code base measured, under its own protocol."]
    if task.kind is Kind.BINARY:
        notes.append(
            "Of binary tasks, the F1 of imported records is that of class 1, which does not "
            "compare with the weighted F1 of other records."
        )
    if task.kind is Kind.SEGMENTATION:
        notes.append(
            "The IoU of imported records is the mean over images, which does not compare with that "
            "of all pixels."
        )
    # Of the row alone, not of its file: the same run imported twice is one record.
    identity = {"kind": str(task.kind), "protocol": PROTOCOL, "origin": "kerner-lab/Mars-Bench"}
    full = subset == "full"
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
            "num_train": task.sizes.get("train") if full else None,
            "imported": {**origin, "row": {k: v for k, v in row.items() if v}},
            "notes": notes,
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
        hint = "Say which it is with --rename NAME=TASK; `marsbench list tasks` shows all."
        raise unknown_name("task", name, [*TASKS, *TASK_NAMES], hint)
    return TASKS[plain]


def _model(name: str, reader: _Reader) -> str:
    if given := reader.rename.get(name.lower()):
        if slug(given) != given.replace("/", "-").replace(":", "-"):
            raise ConfigError(f"'{given}' cannot name a model.", "Use letters, digits, - and _.")
        return ALIASES.get(given, given)
    lower = name.lower()
    found = MODEL_NAMES.get(lower) or ALIASES.get(lower, lower)
    if found not in MODELS:
        hint = "Say which it is, or name it as you like, with --rename NAME=MODEL."
        raise unknown_name("model", name, [*MODELS, *ALIASES, *MODEL_NAMES], hint)
    return found


def _mode(name: str) -> Mode:
    if name in MODES:
        return MODES[name]
    if name in list(Mode):
        return Mode(name)
    raise unknown_name("training type", name, [*MODES, *(str(mode) for mode in Mode)])


def _subset(row: Mapping[str, str], reader: _Reader) -> str:
    """Read a row's subset: shots, or a share of the train split such as 0.10 or 1.00x train."""
    shots = _cell(row, _SHOTS).removesuffix(".0")
    share = _cell(row, _SHARE).partition("x")[0].strip()
    if shots:
        return str(parse_subset(f"few_shot_{shots}"))
    if share in ("", "default", "nan"):
        return reader.subset or "full"
    try:
        number = float(share)
    except ValueError:
        raise DataError(f"the partition '{share}' is no number from 0.01 to 1.") from None
    return "full" if number == 1 else str(parse_subset(f"partition_{number:g}"))


def _metrics(
    row: Mapping[str, str], task: TaskSpec, headline: str, reader: _Reader
) -> dict[str, float]:
    values: dict[str, float] = {}
    for column, (kind, name) in {HEADLINE: (None, headline), **METRIC_NAMES}.items():
        text = row.get(column, "")
        is_mine = kind is None or kind is task.kind
        if not text or not is_mine or (kind is None and not _fits(column, task.kind)):
            continue
        try:
            value = float(text)
        except ValueError:
            raise DataError(f"{column} is '{text}', which is no number.") from None
        if not math.isfinite(value) or not 0 <= value <= 100:
            raise DataError(f"{column} is {text}, which is no score.")
        reader.above_one += value > 1
        # Both averages of a binary task are the same number.
        is_positive = task.kind is Kind.BINARY and name.startswith("f1_")
        share = value / 100 if reader.percent else value
        values.setdefault(POSITIVE if is_positive else name, share)
    if headline not in values:
        raise DataError(f"there is no {headline} of {task.name}, a task of {task.kind}.")
    return values


def _fits(column: str, kind: Kind) -> bool:
    """Whether a column of labels is of this kind; the headline is of all."""
    return column == HEADLINE or kind.is_classification


def _check_scale(reader: _Reader) -> None:
    """Refuse to guess: scores of at most 1 are shares, above that somebody must say percent."""
    if reader.above_one and not reader.percent:
        reader.problems.insert(0, f"{reader.above_one} scores are above 1.")
        reader.remedies["If all scores are in percent, say --percent."] = None
    if reader.percent and reader.found and not reader.above_one:
        reader.problems.insert(0, "no score is above 1, so they are hardly in percent.")
        reader.remedies["Leave --percent out."] = None
