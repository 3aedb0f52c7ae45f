"""Import of results of the Mars-Bench code base (https://github.com/kerner-lab/Mars-Bench).

Two sorts of CSV files are read. Upstream test runs append to
``benchmarks/benchmark_TASK_results.csv``: run_id, model, dataset, training_type, number_of_samples,
random_seed, model_checkpoint, and a column per metric (``test/F1Score_weighted``, ``test/iou``,
``mean_average_precision``, ...). The tables of its figures (``classification_filtered.csv``,
``..._partition_filtered.csv``, ``..._few_shot_filtered.csv``, ``earth_data.csv``) have model,
dataset, seed and ``test metric``, and optionally training_type, ``partition name`` and few_shot.

Metrics keep their upstream definition: IoU is imported as ``iou_per_image``; F1 of binary tasks is
the F1 of class 1 for any average, imported as ``f1_positive``. Earth observation models are
exceptions (`EARTH_MODELS`).
"""

import csv
import hashlib
import io
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from marsbench.base.errors import DataError, MarsbenchError, some
from marsbench.base.progress import steps
from marsbench.base.reading import read_bytes
from marsbench.config.schema import parse_subset
from marsbench.results.record import RunRecord
from marsbench.results.store import Store, now
from marsbench.results.upstream.names import EARTH_SEED
from marsbench.results.upstream.records import UpstreamRun, numbered
from marsbench.results.upstream.rows import Rows, mode_of


class Imported(NamedTuple):
    """Result of an import.

    Attributes:
        records: Records written.
        existing: Number of records already in the store, with the same scores.
        repeated: Number of rows of the same run as an earlier row, with the same scores.
        empty: Rows without a score, as file and line.
        notes: Remarks on the imported records.
    """

    records: list[RunRecord]
    existing: int
    repeated: int
    empty: list[str]
    notes: list[str]


@dataclass
class UpstreamFiles:
    """Records of the rows of result files, and all problems.

    Attributes:
        rows: Converts rows.
        records: Records and their rows, by run id.
        problems: Problems.
        remedies: Their remedies, each once.
        ignored: Columns without a matching metric.
        repeated: Number of rows that repeat an earlier row.
        empty: Rows without a score.
    """

    rows: Rows
    records: dict[str, tuple[RunRecord, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    remedies: dict[str, None] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    repeated: int = 0
    empty: list[str] = field(default_factory=list)

    def wrong(self, problem: str, remedy: str = "") -> None:
        """Add a problem and its remedy."""
        self.problems.append(problem)
        self.remedies |= dict.fromkeys([remedy] if remedy else [])

    def read(self, file: Path) -> None:
        """Read a file.

        Raises:
            DataError: If it cannot be read, or a column is missing.
        """
        content, header, lines = _table(file)
        self.ignored |= self.rows.ignored(file, header)
        sha256, created = hashlib.sha256(content).hexdigest(), now()
        earth: Counter[tuple[str, ...]] = Counter()
        for number, cells in lines:
            where = f"{file}, line {number}"
            if not any(cells):
                continue
            if len(cells) != len(header):
                self.wrong(f"{where}: {len(cells)} cells where the header has {len(header)}.")
                continue
            row = dict(zip(header, cells, strict=True))
            try:
                run = self.rows.read(row, where)
            except MarsbenchError as error:
                self.wrong(f"{where}: {error.problem}", error.remedy)
                continue
            if run is None:
                self.empty.append(where)
                continue
            kept = {column: cell for column, cell in row.items() if cell}
            origin = {"file": file.name, "sha256": sha256, "line": number, "row": kept}
            self._add(_seeded(run[0], earth).record(run[1], origin, created), where)

    def _add(self, record: RunRecord, where: str) -> None:
        if record.run_id not in self.records:
            self.records[record.run_id] = record, where
            return
        first, place = self.records[record.run_id]
        if is_equal(first.metrics, record.metrics):
            self.repeated += 1
            return
        run = f"{record.task} {record.model} {record.mode} {record.subset} seed {record.seed}"
        self.wrong(
            f"{where}: a second run of {run}, with other scores; the first is {place}.",
            "Keep one row of each run.",
        )

    def check(self) -> None:
        """Raise all problems.

        Raises:
            DataError: If there are any.
        """
        scale = self.rows.scale_problems() if self.records else {}
        problems = [*scale, *self.problems]
        if problems:
            raise DataError(
                f"Nothing was imported: {some(problems, separator=chr(10))}",
                "\n".join(dict.fromkeys([*self.remedies, *scale.values()]))
                or "Correct the file, or remove these rows.",
            )


def import_results(
    files: Sequence[Path],
    store: Path | str,
    *,
    mode: str | None = None,
    subset: str | None = None,
    rename: Mapping[str, str] | None = None,
    percent: bool = False,
) -> Imported:
    """Write a record for every run of some result files, or none if any row is invalid.

    Rows without a score are left out. Rows of a run with equal scores are one record.

    Args:
        files: CSV files as described above.
        store: Folder of records; made if it is missing.
        mode: Mode for files without a column training_type.
        subset: Subset for rows without a subset; full if None.
        rename: Our names of tasks and models, or new names of models, by names in the files.
        percent: Whether scores are in percent.

    Raises:
        MarsbenchError: If a file or row is invalid, two rows of the same run or the store have
            unequal scores; lists all problems.
    """
    rows = Rows(
        mode=mode_of(mode) if mode else None,
        subset=str(parse_subset(subset or "full")),
        rename={name.lower(): ours for name, ours in (rename or {}).items()},
        percent=percent,
    )
    read = UpstreamFiles(rows)
    for file in files:
        read.read(Path(file))
    opened = Store(store)
    new = []
    for record, where in read.records.values():
        old = opened.find(record.run_id)
        if old is None:
            new.append(record)
        elif not is_equal(old.metrics, record.metrics):
            read.wrong(
                f"{where}: the store has other scores of {record.run_id}.",
                "Import into another store, or remove the record's folder.",
            )
    read.check()
    _write(opened, new)
    notes = list(dict.fromkeys(note for record in new for note in record.data["notes"]))
    if read.ignored:
        notes.append(f"Ignored columns without a matching metric: {some(sorted(read.ignored))}.")
    return Imported(new, len(read.records) - len(new), read.repeated, read.empty, notes)


def _write(store: Store, records: Sequence[RunRecord]) -> None:
    """Write records, and flush all to the disk at once: one by one takes milliseconds each."""
    with steps("Importing", len(records)) as step:
        for record in records:
            with store.claim(record.run_id):
                store.finish(record, sync=False)
            step(1)
    if records and hasattr(os, "sync"):
        os.sync()


def is_equal(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether metrics by split are equal, except for the last digits of a printed number."""
    flat = [{(s, n): v for s, of in m.items() for n, v in of.items()} for m in (first, second)]
    return flat[0].keys() == flat[1].keys() and all(
        math.isclose(value, flat[1][key], rel_tol=1e-12, abs_tol=1e-15)
        for key, value in flat[0].items()
    )


def _seeded(run: UpstreamRun, earth: Counter[tuple[str, ...]]) -> UpstreamRun:
    """Number the runs of Earth observation models, whose seed is not in the file."""
    if not run.is_earth or run.seed != EARTH_SEED:
        return run
    cell = (run.task.name, run.model, run.mode, run.subset)
    seed, series = numbered(earth[cell])
    earth[cell] += 1
    return replace(run, seed=seed, series=series)


def _table(file: Path) -> tuple[bytes, list[str], Iterator[tuple[int, list[str]]]]:
    """Read a CSV file.

    Returns:
        Its content, its columns, and its rows with their line numbers.

    Raises:
        DataError: If it cannot be read, has no commas, or a column occurs twice.
    """
    try:
        content = read_bytes(file)
        table = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        lines = [(table.line_num, [cell.strip() for cell in cells]) for cells in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{file} cannot be read: {reason}.", "Name a CSV file that Mars-Bench wrote."
        ) from error
    header = lines[0][1] if lines else []
    if len(header) == 1 and (mark := next((m for m in ";\t|" if m in header[0]), "")):
        raise DataError(
            f"{file} separates its columns by {mark!r}; expected commas.",
            "Save it with commas between columns, and with points in numbers.",
        )
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise DataError(
            f"{file} has the column {some(twice)} twice; expected unique columns.",
            "Remove one of them.",
        )
    return content, header, iter(lines[1:])
