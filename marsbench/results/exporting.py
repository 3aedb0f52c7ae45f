"""Export of a store as a table for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING

from marsbench.base.errors import ConfigError, StoreError
from marsbench.base.files import replacing
from marsbench.base.paths import expanded
from marsbench.base.text import spreadsheet_csv
from marsbench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".csv")


def export_results(
    store: Path | str,
    out: Path,
    *,
    long: bool = False,
    replace: bool = False,
    evaluations: bool = False,
) -> tuple[int, list[StoreError]]:
    """Write a store's records to a file.

    Args:
        store: Folder of records.
        out: File to write, ``.parquet`` or ``.csv``.
        long: Whether to write a row per metric (split, metric, value) instead of a row per record
            with a column per metric.
        replace: Whether to overwrite an existing file.
        evaluations: Whether to write the evaluations on other data, instead of all other records.

    Returns:
        Number of rows, and errors of invalid records, which are left out.

    Raises:
        MarsbenchError: If the store is empty, or the file cannot be written.
    """
    out = expanded(out)
    if out.suffix not in SUFFIXES:
        raise ConfigError(
            f"{out} has an unknown suffix; expected .parquet or .csv.", "Correct the file name."
        )
    if out.exists() and not replace:
        raise ConfigError(f"{out} exists already.", "Name another file, or add --force.")
    table, unreadable = Store(store).table(evaluations=evaluations)
    if table.empty:
        raise StoreError(
            f"The store {store} has no finished {'evaluation' if evaluations else 'run'} with a "
            "valid record.",
            "Name the folder that holds the records.",
        )
    if long:
        table = lengthen(table)
    try:
        with replacing(out) as partial:
            if out.suffix == ".csv":
                partial.write_text(spreadsheet_csv(table), encoding="utf-8")
            else:
                table.to_parquet(partial, index=False)
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or error}.", "Name a writable folder."
        ) from error
    return len(table), unreadable


def lengthen(table: "pd.DataFrame") -> "pd.DataFrame":
    """Convert rows per record to rows per metric; missing metrics have no row.

    Args:
        table: Table from `Store.table`, with columns of metrics named ``split/metric``.
    """
    metrics = [name for name in table.columns if "/" in name]
    facts = [name for name in table.columns if name not in metrics and name != "score"]
    long = table.melt(facts, metrics, var_name="name", value_name="value").dropna(subset="value")
    split = long["name"].str.partition("/")
    long = long.assign(split=split[0], metric=split[2])
    columns = [*facts, "split", "metric", "value"]
    return long[columns].sort_values(["run_id", "split", "metric"], ignore_index=True)
