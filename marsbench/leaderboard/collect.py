"""Collect the files of a submission into a folder."""

import hashlib
from pathlib import Path

from marsbench.base.errors import ConfigError, StoreError, some
from marsbench.base.files import replacing_folder, write_text
from marsbench.base.keys import flatten
from marsbench.base.paths import expanded
from marsbench.base.progress import track
from marsbench.base.reading import is_missing, read_bytes, read_text
from marsbench.base.text import inline
from marsbench.leaderboard.choice import Choice
from marsbench.leaderboard.details import Details
from marsbench.leaderboard.schema import (
    EVAL_RESULTS,
    ROWS,
    RUNS,
    SUBMISSION,
    Submission,
    SubmittedRun,
)
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, RECORD, Store, map_path, now, read_table
from marsbench.tasks.kinds import Kind

NAMES = frozenset({SUBMISSION, RUNS, ROWS, EVAL_RESULTS})
"""Names in the folder of a submission."""


def collect(store: Store, choice: Choice, details: Details, out: Path) -> Submission:
    """Copy the records, predictions and class maps of a submission, and describe them.

    Weights, logs and configurations stay behind (the configuration is part of the record). The
    folder appears as a whole, and replaces an earlier submission.

    Args:
        store: Store of the records.
        choice: The records.
        details: Author, model and note.
        out: Folder to write.

    Raises:
        ConfigError: If the folder holds other files, or is within the store or around it.
        StoreError: If a file of a run is missing or invalid.
    """
    folder = expanded(out).resolve()
    _check_folder(folder, store.root.resolve())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as partial:
        copied = track(choice.records, "Copying runs", len(choice.records))
        submission = Submission(
            author=details.author,
            model=details.model,
            mode=choice.settings["mode"],
            protocol=choice.settings["protocol"],
            subset=choice.settings["subset"],
            imbalance=choice.settings["imbalance"],
            views=choice.settings["views"],
            data=choice.data,
            tasks=choice.tasks,
            seeds=choice.seeds,
            partial=choice.partial,
            created=now(),
            note=details.note,
            runs=tuple(_copy(store, record, partial / RUNS) for record in copied),
        )
        write_text(partial / SUBMISSION, submission.to_json())
    return submission


def absolute_paths(records: tuple[RunRecord, ...]) -> list[str]:
    """Keys of configurations with absolute paths, which a submission shows to its readers."""
    values = (flatten(record.config | {"weights": record.weights}) for record in records)
    paths = (
        inline(f"{key}={value}")
        for flat in values
        for key, value in flat.items()
        if _is_path(value)
    )
    return list(dict.fromkeys(paths))


def _is_path(value: object) -> bool:
    return isinstance(value, str) and (value.startswith(("/", "~")) or value[1:3] == ":\\")


def _check_folder(folder: Path, store: Path) -> None:
    """Check that a folder is new, empty, or an earlier submission alone."""
    if folder in (store, *store.parents) or store in folder.parents:
        raise ConfigError(
            f"{folder} overlaps with the store {store}.", "Give another folder with --out."
        )
    remedy = "Give another folder with --out, or move these files away."
    if is_missing(folder):
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder.", "Give a folder with --out.")
    names = sorted(path.name for path in folder.iterdir())
    if others := [name for name in names if name not in NAMES]:
        raise ConfigError(f"{folder} holds other files: {some(others)}.", remedy)
    if names:
        if SUBMISSION not in names:
            raise ConfigError(f"{folder} holds files, but no {SUBMISSION}.", remedy)
        try:
            Submission.from_json(read_text(folder / SUBMISSION), str(folder / SUBMISSION))
        except (StoreError, UnicodeDecodeError) as error:
            text = f"{folder} is not an earlier submission, so it is not replaced."
            raise ConfigError(text, remedy) from error


def _copy(store: Store, record: RunRecord, runs: Path) -> SubmittedRun:
    """Copy the files of a run.

    Raises:
        StoreError: If one is missing or not a regular file.
    """
    source, target = store.folder(record.run_id), runs / record.run_id
    names = [RECORD, PREDICTIONS]
    if not is_missing(source / PREDICTIONS) and record.kind == Kind.SEGMENTATION:
        ids = read_table(source / PREDICTIONS)
        names += (
            map_path(Path(), str(sample_id)).as_posix()
            for sample_id in ids["sample_id"][ids["split"] == "test"]
        )
    return SubmittedRun(
        run_id=record.run_id,
        files={name: _copied(source / name, target / name, record.run_id) for name in names},
    )


def _copied(source: Path, target: Path, run_id: str) -> str:
    """Copy a file and return its SHA-256."""
    try:
        content = read_bytes(source)
    except OSError as error:
        raise StoreError(
            f"{source} cannot be read: {error.strerror or error}.",
            f"Run {run_id} again with --force, or leave it out.",
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
