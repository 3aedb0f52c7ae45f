"""Check of ``submission.json``, before any file that it names is read."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from marsbench.base.errors import ConfigError, StoreError, some
from marsbench.base.files import is_name
from marsbench.base.text import inline, spreadsheet_cell, visible
from marsbench.base.values import to_plain
from marsbench.config.identity import is_run_id
from marsbench.config.schema import Imbalance, Mode, Protocol, canonical_subset
from marsbench.leaderboard.files import Files
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.schema import SEEDS, SUBMISSION, Submission
from marsbench.results.store import CONFIG, MAPS, PREDICTIONS, RECORD
from marsbench.tasks.catalog import TASKS, known_task

MOST_JSON = 32_000_000
"""Largest size of ``submission.json`` in bytes; the digests of 32,000 class maps are 5 MB."""

LONGEST = 1000
"""Longest text, in characters."""

MOST_SEEDS = 1000
"""Largest number of seeds; each is looked up for each task."""

_COLLECT = "Collect the submission again with `marsbench submit`."
_PLAIN = "Write plain text in one line."

_SETTINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "mode": (tuple(map(str, Mode)), "a mode"),
    "protocol": (tuple(str(p) for p in Protocol if p is not Protocol.AUTO), "a protocol"),
    "imbalance": (tuple(map(str, Imbalance)), "a method"),
}
"""Valid values of a submission's settings, and their sort."""


def read_submission(files: Files, findings: Findings) -> tuple[Submission | None, str]:
    """Read ``submission.json``; problems become findings.

    Returns:
        The submission, None if it cannot be read, and the SHA-256 of the file.
    """
    if SUBMISSION not in files.sizes:
        findings.error(SUBMISSION, "The file is missing.", _COLLECT)
        return None, ""
    try:
        content = files.read(SUBMISSION, MOST_JSON)
    except ValueError as error:
        findings.error(SUBMISSION, f"The file {error}.", _COLLECT)
        return None, ""
    digest = hashlib.sha256(content).hexdigest()
    try:
        submission = Submission.from_json(content.decode(), SUBMISSION)
    except UnicodeDecodeError:
        findings.error(SUBMISSION, "The file is not UTF-8 text.", _COLLECT)
        return None, digest
    except StoreError as error:
        findings.error(SUBMISSION, error.problem, error.remedy)
        return None, digest
    for problem, remedy in _problems(submission):
        findings.error(SUBMISSION, problem, remedy)
    return submission, digest


def _problems(submission: Submission) -> Iterator[tuple[str, str]]:
    """Problems of a submission's values, with remedies."""
    yield from _text_problems(to_plain(replace(submission, runs=())), "")
    for key, link in _links(submission):
        if link and not _is_web_page(link):
            text = f"'{key}' is {link[:100]!r}; expected the https address of a web page."
            yield text, "Correct it, or leave it empty."
    yield from _setting_problems(submission)
    yield from _task_problems(submission)
    yield from _run_problems(submission)


def _text_problems(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Texts with control characters, markup or formulas, which boards and tables might run."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _text_problems(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, tuple | list):
        for number, inner in enumerate(value, start=1):
            yield from _text_problems(inner, f"{key}.{number}")
    elif isinstance(value, str):
        if len(value) > LONGEST:
            yield f"'{key}' has {len(value):,} characters; expected up to {LONGEST:,}.", _PLAIN
        escaped = visible(value) if key == "note" else inline(value)
        if escaped != value:
            yield f"'{key}' holds control characters: {escaped[:100]}.", _PLAIN
        if re.search(r"<[A-Za-z!/?]", value):
            yield f"'{key}' holds markup: {value[:100]}.", _PLAIN
        if spreadsheet_cell(value) != value:
            text = f"'{key}' begins like a formula of a spreadsheet: {value[:100]}."
            yield text, "Begin with a letter or digit."


def _links(submission: Submission) -> Iterator[tuple[str, str]]:
    yield "author.link", submission.author.link
    for number, link in enumerate(submission.model.links, start=1):
        yield f"model.links.{number}", link


def _is_web_page(link: str) -> bool:
    """Whether a text is an https address without credentials."""
    try:
        parts = urlsplit(link)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_host = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) is not None
    return parts.scheme == "https" and is_host and "@" not in parts.netloc


def _setting_problems(submission: Submission) -> Iterator[tuple[str, str]]:
    for key, (names, what) in _SETTINGS.items():
        if getattr(submission, key) not in names:
            text = f"'{key}' is '{getattr(submission, key)[:80]}'; expected {what}"
            yield f"{text}: {', '.join(names)}.", _COLLECT
    try:
        canonical = canonical_subset(submission.subset)
    except ConfigError as error:
        yield f"'subset' is invalid. {error.problem}", error.remedy
    else:
        if canonical != submission.subset:
            yield f"'subset' is {submission.subset}; expected {canonical}.", _COLLECT
    if re.fullmatch(r"none|d4|[1-9]\d{0,3}", submission.views) is None:
        text = f"'views' is '{submission.views[:80]}'; expected none, d4 or a number of draws."
        yield text, _COLLECT
    if not is_time(submission.created):
        text = f"'created' is '{submission.created[:80]}'; expected a time in UTC, ISO 8601."
        yield text, _COLLECT


def is_time(text: str) -> bool:
    """Whether a text is a time with its zone, ISO 8601."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _task_problems(submission: Submission) -> Iterator[tuple[str, str]]:
    tasks, seeds = submission.tasks, submission.seeds
    if unknown := [task for task in tasks if known_task(task) is None]:
        text = f"'tasks' names tasks that are not in the catalogue: {some(unknown)}."
        yield text, "Submit tasks of `marsbench list tasks`."
    if not tasks or list(tasks) != sorted(set(tasks)):
        yield "'tasks' is empty, unsorted or names a task twice.", _COLLECT
    if not seeds or len(set(seeds)) != len(seeds):
        yield "'seeds' is empty or names a seed twice.", _COLLECT
    if len(seeds) > MOST_SEEDS:
        yield f"'seeds' has {len(seeds):,} seeds; expected up to {MOST_SEEDS:,}.", _COLLECT
    if odd := [seed for seed in seeds if not 0 <= seed < 2**32]:
        yield f"'seeds' holds {some(map(str, odd))}; expected seeds from 0.", _COLLECT
    overlaps = submission.model.pretraining.overlaps or ()
    if unknown := [task for task in overlaps if known_task(task) is None]:
        text = f"'model.pretraining.overlaps' names tasks not in the catalogue: {some(unknown)}."
        yield text, "Name tasks of `marsbench list tasks`."
    if not submission.partial and len(seeds) < SEEDS:
        text = f"'seeds' has {len(set(seeds))} seeds; a complete submission has at least {SEEDS}."
        yield text, "Run the other seeds, or collect with --partial."


def _run_problems(submission: Submission) -> Iterator[tuple[str, str]]:
    """Problems of the list of runs: forms, repetitions and gaps."""
    ids = [run.run_id for run in submission.runs]
    if odd := [run_id for run_id in ids if not _is_id(run_id)]:
        text = f"'runs' holds ids that are not task/model/mode/subset/seed-HASH: {_few(odd)}."
        yield text, _COLLECT
    if twice := [run_id for run_id, count in Counter(ids).items() if count > 1]:
        yield f"'runs' names runs twice: {_few(twice)}.", _COLLECT
    for run in submission.runs:
        if odd := [name for name in run.files if not _is_file_name(name)]:
            text = f"{run.run_id[:200]} lists files that do not belong to a run: {_few(odd)}."
            yield text, f"A run has {RECORD}, {PREDICTIONS}, {CONFIG} and class maps, nothing else."
        if odd := [n for n, d in run.files.items() if re.fullmatch("[0-9a-f]{64}", d) is None]:
            yield f"{run.run_id[:200]} has digests that are not SHA-256: {_few(odd)}.", _COLLECT
        if missing := [name for name in (RECORD, PREDICTIONS) if name not in run.files]:
            yield f"{run.run_id[:200]} lists no {' and no '.join(missing)}.", _COLLECT
    if has_runs_to_compare(submission):
        yield from _gap_problems(submission)


def _gap_problems(submission: Submission) -> Iterator[tuple[str, str]]:
    """Tasks and seeds that the runs repeat, add or lack."""
    of_task_and_seed = Counter((run.task, run.seed) for run in submission.runs)
    if twice := [f"{t} seed {s}" for (t, s), count in of_task_and_seed.items() if count > 1]:
        yield f"Two runs have the same task and seed: {some(twice)}.", "Keep one of them."
    if others := sorted({run.task for run in submission.runs} - set(submission.tasks)):
        yield f"'runs' has runs of tasks that 'tasks' does not name: {some(others)}.", _COLLECT
    if unnamed := sorted({run.seed for run in submission.runs} - set(submission.seeds)):
        yield f"'runs' has seeds that 'seeds' does not name: {some(map(str, unnamed))}.", _COLLECT
    if without := [task for task in submission.tasks if not _count(submission, task)]:
        yield f"There are no runs of {some(without)}.", "Run them, or remove the task."
    if (gaps := submission.missing) and not submission.partial:
        listed = [f"{task} seed {some(map(str, seeds))}" for task, seeds in gaps.items()]
        text = f"Runs are missing: {some(listed, '; ')}."
        yield text, "Run them with `marsbench run`, or collect with --partial."


def _count(submission: Submission, task: str) -> int:
    """Number of runs of a task."""
    return sum(run.task == task for run in submission.runs)


def has_runs_to_compare(submission: Submission) -> bool:
    """Whether all run ids have a task and a seed, and there are not too many of either."""
    # More tasks than the catalogue has are refused, but each would be looked up with each seed.
    is_small = len(submission.tasks) <= len(TASKS) and len(submission.seeds) <= MOST_SEEDS
    return is_small and all(_is_id(run.run_id) for run in submission.runs)


def _is_id(text: str) -> bool:
    seed = text.rpartition("/")[2]
    return is_run_id(text) and re.fullmatch("[0-9]{1,10}-[0-9a-f]{10}", seed) is not None


def _is_file_name(name: str) -> bool:
    """Whether a path below a run's folder is a file of a submission."""
    is_map = name.startswith(f"{MAPS}/") and name.endswith(".png") and is_name(name)
    return is_map or name in (RECORD, PREDICTIONS, CONFIG)


def _few(names: Iterable[str]) -> str:
    return some(name[:80] for name in names)
