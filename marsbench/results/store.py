"""Store of records: a folder per run; no file is shared and rewritten.

``STORE/task/model/mode/subset/seed-HASH/`` holds ``record.json``, written last by rename and
never changed, ``predictions.parquet``, ``config.yaml``, and optionally ``model.safetensors`` and
``logs/``. A folder without ``record.json`` is an unfinished run; ``failed.json`` describes a failed
attempt.
"""

import contextlib
import json
import math
import os
import platform
import shutil
import traceback
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsbench.base.errors import BusyError, DeviceLostError, StoreError, is_disk_full
from marsbench.base.files import replacing, write_text
from marsbench.base.locks import is_lock, locked
from marsbench.base.names import output_name
from marsbench.base.paths import expanded
from marsbench.base.reading import check_regular, is_missing, read_text
from marsbench.base.version import __version__
from marsbench.results.record import EVALUATION, RunRecord

if TYPE_CHECKING:
    import pandas as pd

RECORD = "record.json"
FAILED = "failed.json"
CONFIG = "config.yaml"
PREDICTIONS = "predictions.parquet"
MODEL = "model.safetensors"
MAPS = "maps"
"""Folder of predicted class maps of the test split, a PNG per sample."""
CHECKPOINTS = "checkpoints"
LOGS = "logs"

_LOCK = ".lock"
_REPLACED = ".replaced"
_INDEX = f".index-{__version__}.parquet"
"""Index file; its name has the version, since rows may differ between versions."""

_DEPTH = 5
"""Parts of a run id: task, model, mode, subset, seed-HASH."""


class DuplicateError(StoreError):
    """A second record of the same run in a store.

    Args:
        run_id: Id of the run.
        used: File in use.
        left_out: Ignored file.
        is_same: Whether both have the same score.
    """

    def __init__(self, run_id: str, used: Path, left_out: Path, *, is_same: bool) -> None:
        self.run_id = run_id
        super().__init__(
            f"{left_out} is a second record of {run_id} beside {used}, with "
            f"{'the same' if is_same else 'another'} score.",
            "Remove the folder of the wrong record.",
        )


class Store:
    """Records below a folder.

    Args:
        root: Folder; may not exist yet.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = expanded(root)

    def folder(self, run_id: str) -> Path:
        """Folder of a run."""
        return self.root / run_id

    def find(self, run_id: str) -> RunRecord | None:
        """Read the record of a run; None if the run has not finished.

        Raises:
            StoreError: If the record is invalid.
        """
        path = self.folder(run_id) / RECORD
        return read_record(path) if path.exists() else None

    @contextlib.contextmanager
    def claim(self, run_id: str) -> Iterator[Path]:
        """Lock the folder of a run against other processes.

        Raises:
            BusyError: If another process holds the lock.
            StoreError: If the store cannot be written.
        """
        folder = self.folder(run_id)
        with contextlib.ExitStack() as held:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(folder / _LOCK, wait=False))
            except BlockingIOError as error:
                raise BusyError(
                    f"Another process is running {run_id}.",
                    "Wait for it to finish, or give this run another store=FOLDER.",
                ) from error
            except OSError as error:
                raise StoreError(
                    f"The store {self.root} cannot be written: {error.strerror or error}.",
                    "Choose a writable folder with store=FOLDER.",
                ) from error
            yield folder

    def finish(self, record: RunRecord, *, sync: bool = True) -> None:
        """Write a record atomically; a record is never overwritten.

        Args:
            record: The record.
            sync: Whether to flush it to the disk, which takes milliseconds.

        Raises:
            StoreError: If the run has a record already.
        """
        folder = self.folder(record.run_id)
        if (folder / RECORD).exists():
            raise StoreError(
                f"{record.run_id} has a record already; records are never changed.",
                "Run it again with --force, which moves the record aside.",
            )
        write_text(folder / RECORD, record.to_json(), sync=sync)
        (folder / FAILED).unlink(missing_ok=True)
        for checkpoints in (folder / CHECKPOINTS, *folder.glob(f"fold_*/{CHECKPOINTS}")):
            if checkpoints.exists():
                shutil.rmtree(checkpoints, ignore_errors=True)

    def fail(self, run_id: str, error: BaseException) -> None:
        """Write the traceback of a failed attempt; a later success removes it.

        A full disk or a lost GPU is no failure of the run, which stays unfinished and continues
        later.
        """
        if is_disk_full(error) or isinstance(error, DeviceLostError):
            return
        report = {
            "run_id": run_id,
            "error": f"{type(error).__name__}: {error}",
            "traceback": "".join(traceback.format_exception(error)),
            "time": now(),
            "host": platform.node(),
        }
        # A full disk, for example, must not hide the original error.
        with contextlib.suppress(OSError):
            write_text(self.folder(run_id) / FAILED, json.dumps(report, indent=2) + "\n")

    def clear(self, run_id: str) -> Path | None:
        """Move the content of a run's folder aside, keeping the lock.

        Returns:
            New folder of the content; None without content.
        """
        folder = self.folder(run_id)
        content = [path for path in folder.iterdir() if not is_lock(path, folder / _LOCK)]
        if not content:
            return None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.root / _REPLACED / run_id / stamp
        aside.mkdir(parents=True)
        # The record is moved first: without a record the folder is an unfinished run.
        for path in sorted(content, key=lambda p: p.name != RECORD):
            path.rename(aside / path.name)
        return aside

    def paths(self) -> list[Path]:
        """Every ``record.json``, sorted."""
        if not self.root.is_dir():
            raise StoreError(
                f"The store {self.root} is missing.",
                "Name the folder that holds the records, as given to store= (default: runs).",
            )
        return sorted(path for folder in self._folders() if not is_missing(path := folder / RECORD))

    def _folders(self) -> list[Path]:
        """Folders of runs, finished or not.

        Raises:
            StoreError: If a folder may not be searched: its records would be missing unnoticed.
        """
        folders = [self.root]
        for _ in range(_DEPTH):
            folders = [path for folder in folders for path in _subfolders(folder)]
        return folders

    def unfinished(self) -> tuple[list[str], list[str]]:
        """Ids of runs without a record: failed runs, and stopped runs."""
        failed: list[str] = []
        stopped: list[str] = []
        for folder in sorted(self._folders()):
            if (folder / CONFIG).exists() and not (folder / RECORD).exists():
                run_id = folder.relative_to(self.root).as_posix()
                (failed if (folder / FAILED).exists() else stopped).append(run_id)
        return failed, stopped

    def records(self) -> tuple[list[RunRecord], list[StoreError]]:
        """Read every record except evaluations, and list errors of invalid ones and of copies."""
        records, _, bad = self.everything()
        return records, bad

    def evaluations(self) -> list[RunRecord]:
        """Read every record of a run evaluated on other data; `records` lists all errors."""
        return self.everything()[1]

    def everything(self) -> tuple[list[RunRecord], list[RunRecord], list[StoreError]]:
        """Read all records at once.

        Returns:
            Records except evaluations, evaluations, and errors of invalid records and of copies.
        """
        read: list[tuple[Path, RunRecord]] = []
        bad: list[StoreError] = []
        for path in self.paths():
            try:
                read.append((path, read_record(path)))
            except StoreError as error:
                bad.append(error)
        good, copies = self._unique([(path, r.run_id, r.score) for path, r in read])
        kept: tuple[list[RunRecord], list[RunRecord]] = [], []
        for path, record in read:
            if path in good:
                kept[record.record_type == EVALUATION].append(record)
        return *kept, [*bad, *copies]

    def _unique(
        self, records: Iterable[tuple[Path, str, float | None]]
    ) -> tuple[set[Path], list[DuplicateError]]:
        """Choose a file for each run id: in the run's own folder if any, else the first."""
        chosen: dict[str, tuple[Path, float | None]] = {}
        copies = []
        for path, run_id, score in sorted(
            records, key=lambda item: (item[0].parent != self.folder(item[1]), item[0])
        ):
            if run_id in chosen:
                used, of = chosen[run_id]
                is_same = of == score or (_is_none(of) and _is_none(score))
                copies.append(DuplicateError(run_id, used, path, is_same=is_same))
            else:
                chosen[run_id] = path, score
        return {path for path, _ in chosen.values()}, copies

    def table(self, *, evaluations: bool = False) -> tuple["pd.DataFrame", list[StoreError]]:
        """Build a tidy table of the records, and list errors of invalid records and of copies.

        Rows of unchanged records come from an index file in the store, which may be deleted.

        Args:
            evaluations: Whether to list evaluations on other data, instead of all other records.

        Returns:
            A row per record, sorted by run id, with a column per metric; and the errors.
        """
        import pandas as pd

        index = self.root / _INDEX
        known: dict[tuple[str, int, int], str] = {}
        with contextlib.suppress(StoreError, ValueError, KeyError):
            frame = read_table(index)
            keys = zip(frame["path"], frame["mtime_ns"], frame["size"], strict=True)
            known = dict(zip(keys, frame["row"], strict=True))
        rows: dict[tuple[str, int, int], str] = {}
        bad: list[StoreError] = []
        for path in self.paths():
            try:
                stat = path.stat()
                key = (str(path.relative_to(self.root)), stat.st_mtime_ns, stat.st_size)
                rows[key] = known.get(key) or json.dumps(table_row(read_record(path)))
            except FileNotFoundError:
                continue  # moved aside since it was listed
            except StoreError as error:
                bad.append(error)
        if rows.keys() != known.keys():
            self._write_index(rows)
        read = {self.root / name: json.loads(row) for (name, _, _), row in rows.items()}
        good, copies = self._unique((p, row["run_id"], row["score"]) for p, row in read.items())
        chosen = [
            row
            for path, row in read.items()
            if path in good and (row["record_type"] == EVALUATION) is evaluations
        ]
        table = pd.DataFrame(chosen) if chosen else pd.DataFrame(columns=["run_id", "score"])
        return table, [*bad, *copies]

    def _write_index(self, rows: dict[tuple[str, int, int], str]) -> None:
        import pandas as pd

        frame = pd.DataFrame(list(rows), columns=["path", "mtime_ns", "size"])
        # A read-only store is read without an index.
        with contextlib.suppress(OSError), replacing(self.root / _INDEX) as partial:
            frame.assign(row=list(rows.values())).to_parquet(partial, index=False)

    def predictions(self, run_id: str) -> "pd.DataFrame":
        """Read the predictions of a run: split, sample_id, target, scores."""
        return read_table(self.folder(run_id) / PREDICTIONS)


def read_table(path: Path) -> "pd.DataFrame":
    """Read a Parquet file; metadata of pandas, which might say anything, are ignored.

    Raises:
        StoreError: If the file is missing or invalid.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_regular(path)
        frame: pd.DataFrame = pq.ParquetFile(path).read().to_pandas(ignore_metadata=True)
        return frame
    except (OSError, pa.ArrowException, ValueError, TypeError, LookupError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "Run it again.") from error


def columns_of(path: Path) -> set[str]:
    """Names of the columns of a Parquet file, without reading its rows.

    Raises:
        StoreError: If the file is missing or invalid.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_regular(path)
        return set(pq.ParquetFile(path).schema_arrow.names)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "Run it again.") from error


def map_path(folder: Path, sample_id: str) -> Path:
    """Path of the class map of a sample in a run's folder, by `output_name`.

    Ids come from tables of others: they may be long, or lead out of the folder.
    """
    return folder / MAPS / f"{output_name(sample_id)}.png"


def _subfolders(folder: Path) -> list[Path]:
    """Subfolders of a folder, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if not e.name.startswith(".") and e.is_dir()]
    except FileNotFoundError:
        return []  # moved aside since it was listed
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be searched: {error.strerror}.", "Check its permissions."
        ) from error
    return [folder / name for name in names]


def table_row(record: RunRecord) -> dict[str, Any]:
    """Flatten a record to a row with a column per metric (``test/accuracy``)."""
    row: dict[str, Any] = {
        name: getattr(record, name)
        for name in ("run_id", "record_type", "task", "kind", "model", "mode", "subset")
    }
    row |= {"seed": record.seed, "protocol": record.protocol, "headline": record.headline}
    row["score"] = record.score
    for split, metrics in record.metrics.items():
        row |= {f"{split}/{name}": value for name, value in metrics.items()}
    # `timing` also has the epoch of resumption, which is not in seconds.
    row |= {f"{name}_s": record.timing.get(name) for name in ("data", "train", "eval")}
    row |= {f"parameters_{name}": value for name, value in record.parameters.items()}
    row |= {"num_train": record.data.get("num_train"), "epoch": record.checkpoint.get("epoch")}
    if record.record_type == EVALUATION:
        row |= evaluation_row(record)
    return row | {"device": record.device, "created": record.created}


FACTS = ("trained_on", "in_domain", "gap", "ceiling", "corruption", "severity", "temperature")
"""Facts of an evaluation in tables; those of later versions may be missing."""


def evaluation_row(record: RunRecord) -> dict[str, Any]:
    """Facts of an evaluation for tables: its run, and its score beside others."""
    facts = record.data.get("evaluation", {})
    row = {"parent": record.parents[0], **{name: facts.get(name) for name in FACTS}}
    return row | {"ceiling": (facts.get("ceiling") or {}).get("score")}


def _is_none(score: float | None) -> bool:
    return score is None or math.isnan(score)


def read_record(path: Path) -> RunRecord:
    """Read a ``record.json``.

    Raises:
        StoreError: If the file is missing or invalid.
    """
    try:
        return RunRecord.from_json(read_text(path), str(path))
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise StoreError(
            f"{path} is not a complete record ({error}).", "Remove its folder and run it again."
        ) from error


def now() -> str:
    """Current time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
