"""Check of a submission's records against its ``submission.json`` and the catalogue of tasks."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marsbench.base.documents import parse_json
from marsbench.base.errors import StoreError, some
from marsbench.base.progress import steps
from marsbench.base.text import visible
from marsbench.base.values import shown, to_plain
from marsbench.config.identity import run_id
from marsbench.config.schema import Mode, SourceName
from marsbench.data.folds import OUT_OF_FOLD
from marsbench.leaderboard.document import is_time
from marsbench.leaderboard.files import Files
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.numbers import number_problems
from marsbench.leaderboard.rows import EVAL_FILE, SHEETS
from marsbench.leaderboard.schema import (
    EVAL_RESULTS,
    ROWS,
    RUNS,
    SUBMISSION,
    Data,
    Submission,
    SubmittedModel,
    SubmittedRun,
)
from marsbench.models.pretraining import RANDOM, UNKNOWN
from marsbench.results.record import RunRecord
from marsbench.results.store import CONFIG, RECORD
from marsbench.tasks.catalog import known_task
from marsbench.tasks.kinds import METRICS, MetricInfo
from marsbench.tasks.spec import TaskSpec

MOST_RECORD = 1_000_000
"""Largest size of a record or a config in bytes."""

MOST_FILE = 256_000_000
"""Largest size of predictions or a class map in bytes."""

_COLLECT = "Collect the submission again with `marsbench submit`."

UNKNOWN_FACTS = (None, "", UNKNOWN.data)
"""Values of unknown facts about weights."""

_SOURCES = tuple(str(name) for name in SourceName if name is not SourceName.AUTO)

OWN_WEIGHTS = "sha256:"
"""Start of the name of a user's own weights, for which an author may give an address."""

_RUN_AGAIN = "Run it again with `marsbench run --force`, and collect the submission again."
DERIVED = {f"{EVAL_RESULTS}/{EVAL_FILE}", *(f"{ROWS}/{sheet.name}" for sheet in SHEETS.values())}
"""Files written from the check of a submission."""


@dataclass(frozen=True)
class Run:
    """Run with a valid record.

    Attributes:
        place: Its folder within the submission.
        record: Its record.
        spec: Its task.
        files: Paths of its files within the folder.
    """

    place: str
    record: RunRecord
    spec: TaskSpec
    files: Sequence[str]


def check_files(files: Files, submission: Submission, findings: Findings) -> None:
    """Compare the files with the list and the digests of the submission."""
    listed = {
        f"{RUNS}/{run.run_id}/{name}": digest
        for run in submission.runs
        for name, digest in run.files.items()
    }
    if missing := [name for name in listed if name not in files.sizes]:
        text = f"{len(missing)} listed file(s) are missing: {some(missing)}."
        findings.error(missing[0], text, "Restore them, or collect the submission again.")
    other = [
        name
        for name in files.sizes
        if name not in listed and name != SUBMISSION and name not in DERIVED
    ]
    if other:
        text = f"{len(other)} file(s) do not belong to the submission: {some(other)}."
        findings.error(other[0], text, "Remove them.")
    changed = []
    present = [name for name in listed if name in files.sizes]
    with steps("Comparing digests", len(present)) as advance:
        for name in present:
            try:
                content = files.read(name, _most(name))
            except ValueError as error:
                findings.error(name, f"The file {error}.", "Submit smaller files.")
            else:
                if hashlib.sha256(content).hexdigest() != listed[name]:
                    changed.append(name)
            advance(1)
    if changed:
        text = f"{len(changed)} file(s) differ from their SHA-256 in {SUBMISSION}: {some(changed)}."
        findings.error(changed[0], text, "Restore them, or collect the submission again.")


def _most(name: str) -> int:
    return MOST_RECORD if name.endswith((RECORD, CONFIG)) else MOST_FILE


def read_runs(files: Files, submission: Submission, findings: Findings) -> list[Run]:
    """Read the records, and return the runs whose record is valid."""
    runs = []
    for submitted in submission.runs:
        place = f"{RUNS}/{submitted.run_id}"
        name = f"{place}/{RECORD}"
        if name not in files.sizes:
            continue  # listed as missing
        try:
            text = files.read(name, MOST_RECORD).decode()
            parse_json(text, strict=True)
            record = RunRecord.from_json(text, name)
        except UnicodeDecodeError:
            findings.error(name, "The file is not UTF-8 text.", _RUN_AGAIN)
            continue
        except ValueError as error:
            findings.error(name, f"The file is not a record: {error}.", _RUN_AGAIN)
            continue
        except StoreError as error:
            findings.error(name, error.problem, error.remedy)
            continue
        before = findings.num_errors
        spec = known_task(record.task)
        for problem, remedy in _problems(record, submitted, submission, spec):
            findings.error(name, problem, remedy)
        if spec is not None and findings.num_errors == before:
            runs.append(Run(place, record, spec, sorted(submitted.files)))
    _check_settings(runs, findings)
    _flag_stated(runs, submission.model, findings)
    parameters = max((run.record.parameters.get("total", 0) for run in runs), default=0)
    if len(runs) == len(submission.runs) and submission.model.parameters not in (None, parameters):
        text = f"'model.parameters' is {submission.model.parameters}; the records have up to "
        findings.error(SUBMISSION, f"{text}{parameters}.", _COLLECT)
    return runs


def _check_settings(runs: Sequence[Run], findings: Findings) -> None:
    """Refuse different settings among the seeds of a task."""
    # The hash of a run id covers all choices that move a score, and not the seed.
    hashes: defaultdict[str, defaultdict[str, list[Run]]]
    hashes = defaultdict(lambda: defaultdict(list))
    for run in runs:
        hashes[run.record.task][run.record.run_id.rpartition("-")[2]].append(run)
    for task, groups in hashes.items():
        if len(groups) > 1:
            *_, first = (members[0].place for members in groups.values())
            text = f"Runs of {task} have {len(groups)} different settings: {some(groups)}."
            findings.error(first, text, "Submit seeds of equal settings.")


def _problems(
    record: RunRecord, submitted: SubmittedRun, submission: Submission, spec: TaskSpec | None
) -> Iterator[tuple[str, str]]:
    """Problems of a record, with remedies."""
    named = run_id(
        record.task, record.model, record.mode, record.subset, record.seed, record.identity
    )
    if record.run_id != submitted.run_id or record.run_id != named:
        yield f"The record is of the run {named}, not of {submitted.run_id}.", _COLLECT
    if record.record_type != "run":
        text = f"The record is of the type '{record.record_type[:40]}'; expected run."
        yield text, "Submit runs of marsbench."
    if not is_time(record.created):
        text = f"'created' is '{record.created[:80]}'; expected a time in UTC, ISO 8601."
        yield text, _RUN_AGAIN
    for text in _control_characters(to_plain(record)):
        yield f"The record holds control characters: {text[:100]}.", _RUN_AGAIN
    yield from _setting_problems(record, submission)
    yield from _data_problems(record, submission)
    if spec is None:
        yield f"The task '{record.task[:80]}' is not in the catalogue.", "Submit its own tasks."
    else:
        yield from _fact_problems(record, spec)
    yield from _metric_problems(record)
    for text in number_problems(record):
        yield f"The record has impossible numbers: {text}", _RUN_AGAIN


def _control_characters(value: Any) -> Iterator[str]:
    """Texts of a record with control or format characters, escaped."""
    if isinstance(value, str):
        if visible(value) != value:
            yield visible(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _control_characters(key)
            yield from _control_characters(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _control_characters(inner)


def _setting_problems(record: RunRecord, submission: Submission) -> Iterator[tuple[str, str]]:
    """Settings of a record that differ from those of the submission."""
    settings = {
        "model": (record.model, submission.model.name),
        "mode": (record.mode, submission.mode),
        "protocol": (record.protocol, submission.protocol),
        "subset": (record.subset, submission.subset),
        "imbalance": (record.imbalance, submission.imbalance),
        "views": (str(record.identity.get("views", "none")), submission.views),
    }
    for key, (own, said) in settings.items():
        if own != said:
            text = f"The record has {key} '{own[:80]}'; {SUBMISSION} says '{said[:80]}'."
            yield text, "Submit runs of one setting at a time."
    if record.train_on is not None:
        text = f"The run is trained within a group of samples, {shown(record.train_on)}."
        yield text, "Submit runs trained on all samples of their subset."
    for key in ("mode", "subset", "seed"):
        if (set_to := record.config.get(key, getattr(record, key))) != getattr(record, key):
            text = f"The record was changed: it has {key} '{getattr(record, key)}', its config "
            yield f"{text}{shown(set_to)}.", _RUN_AGAIN
    kind, revision = record.identity.get("kind"), record.identity.get("data_revision")
    if (kind, revision) != (record.kind, record.data.get("revision")):
        yield "The record was changed: its kind or data revision is not in its run id.", _RUN_AGAIN
    yield from _weight_problems(record, submission.model)


def _weight_problems(record: RunRecord, model: SubmittedModel) -> Iterator[tuple[str, str]]:
    """Facts about the initial weights that contradict the record; the author may add facts."""
    own, said = to_plain(record.pretraining), to_plain(model.pretraining)
    for key, value in own.items():
        if value not in (*UNKNOWN_FACTS, said[key]):
            text = f"The pre-training of the record has {key} {shown(value)}; {SUBMISSION} says "
            yield f"{text}{shown(said[key])}.", _COLLECT
    name = weights_of(record)
    if name != str(record.identity.get("weights") or ""):
        yield "The record was changed: its weights are not in its run id.", _RUN_AGAIN
    if record.weights is None and record.mode != Mode.ZERO_SHOT:
        yield from _random_problems(model)
    if name and model.pretraining.data == RANDOM.data:
        text = f"The run starts from the weights {name[:80]}; {SUBMISSION} says random weights."
        yield text, _COLLECT
    if name and not name.startswith(OWN_WEIGHTS) and name != model.weights:
        text = f"The run starts from the weights '{name[:80]}'; {SUBMISSION} says "
        yield f"{text}'{model.weights[:80]}'.", _COLLECT


def weights_of(record: RunRecord) -> str:
    """Name of the initial weights; empty for random weights, and if the record does not say."""
    return str((record.weights or {}).get("name") or "")


def _random_problems(model: SubmittedModel) -> Iterator[tuple[str, str]]:
    """Weights and data of a submission whose runs start from random weights."""
    if model.weights:
        text = f"The run starts from random weights; {SUBMISSION} says '{model.weights[:80]}'."
        yield text, _COLLECT
    if model.pretraining.data not in (UNKNOWN.data, RANDOM.data):
        text = f"The run starts from random weights; {SUBMISSION} says pre-training on "
        yield f"{text}{shown(model.pretraining.data)}.", _COLLECT


def _flag_stated(runs: Sequence[Run], model: SubmittedModel, findings: Findings) -> None:
    """Flag facts about the initial weights that no record confirms."""
    started = [run.record for run in runs if run.record.weights is not None]
    if not started:
        return
    if not model.weights:
        findings.flag(SUBMISSION, "The initial weights are unknown: the records do not name them.")
    stated = [] if model.weights in ("", *map(weights_of, started)) else ["weights"]
    said = to_plain(model.pretraining)
    for key, value in said.items():
        own = [to_plain(record.pretraining)[key] for record in started]
        if value not in UNKNOWN_FACTS and all(known in UNKNOWN_FACTS for known in own):
            stated.append(f"pretraining.{key}")
    if stated:
        text = f"Stated by the author, not by the records: {some(stated, count=5)}."
        findings.flag(SUBMISSION, text)


def _data_problems(record: RunRecord, submission: Submission) -> Iterator[tuple[str, str]]:
    source, revision = (str(record.data.get(key, "")) for key in ("source", "revision"))
    is_demo = source == Data.DEMO or revision.startswith("demo")
    if is_demo != (submission.data is Data.DEMO):
        text = f"The run is of {'demo' if is_demo else 'real'} data; {SUBMISSION} says "
        yield f"{text}{submission.data}.", "Submit runs on real data."
    if source not in _SOURCES:
        text = f"The source of the data is {shown(source)}; expected {', '.join(_SOURCES)}."
        yield text, _RUN_AGAIN
    if record.scored_split not in ("test", OUT_OF_FOLD):
        text = f"The scored split is '{record.scored_split[:40]}'; expected test or {OUT_OF_FOLD}."
        yield text, _RUN_AGAIN
    if record.scored_split == OUT_OF_FOLD and not record.data.get("folds_digest"):
        yield (
            "The run is scored out of fold, but its record has no digest of its folds.",
            _RUN_AGAIN,
        )
    stored = record.data.get("subset_digest")
    if record.identity.get("subset_digest", stored) != stored:
        yield (
            "The record was changed: its digest of train samples is not in its run id.",
            _RUN_AGAIN,
        )


def _fact_problems(record: RunRecord, spec: TaskSpec) -> Iterator[tuple[str, str]]:
    """Facts of a record that differ from its task."""
    for key, own, expected in (
        ("kind", record.kind, str(spec.kind)),
        ("headline metric", record.headline, spec.headline_metric),
    ):
        if own != expected:
            yield f"The {key} is '{own[:40]}'; expected {expected} for {spec.name}.", _RUN_AGAIN
    names: list[str] = record.data.get("classes", [])
    if len(set(names)) != len(names) or len(names) != len(spec.classes):
        text = f"The record has other classes than the {len(spec.classes)} of {spec.name}"
        yield f"{text}: {some(name[:80] for name in names)}.", _RUN_AGAIN
    try:
        record.task_as_run(spec)
    except StoreError as error:
        yield error.problem, error.remedy


def _metric_problems(record: RunRecord) -> Iterator[tuple[str, str]]:
    if record.headline not in record.scores:
        text = f"The record has no {record.headline[:40]} of the split {record.scored_split[:40]}."
        yield text, _RUN_AGAIN
    for split, metrics in record.metrics.items():
        for name, value in metrics.items():
            info = METRICS.get(name.partition("/")[0], _PER_CLASS)
            high = min(info.high, _MOST_LOSS)
            if not info.low <= value <= high:
                text = f"{name[:80]} of {split[:20]} is {value:g}; expected {info.low:g} to "
                yield f"{text}{high:g}.", _RUN_AGAIN


_MOST_LOSS = 1e30
"""Largest value of a loss, of which means are computed."""


_PER_CLASS = MetricInfo("")
"""Bounds of metrics that exist per class only, such as ``f1/CLASS``."""
