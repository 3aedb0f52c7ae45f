"""Write the table of the paper's single runs from the files of the Mars-Bench code base.

python scripts/paper_runs.py FOLDER marsbench/results/paper/runs.csv

FOLDER is benchmark/data of https://github.com/kerner-lab/Mars-Bench at commit d1b1a9b.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

from marsbench.config.schema import Mode
from marsbench.results.upstream.importing import UpstreamFiles
from marsbench.results.upstream.names import HEADLINE_COLUMN, SEEDS
from marsbench.results.upstream.rows import Rows

FILES = (
    "classification_filtered.csv",
    "classification_partition_filtered.csv",
    "classification_few_shot_filtered.csv",
    "segmentation_filtered.csv",
    "segmentation_partition_filtered.csv",
    "earth_data.csv",
)


def main() -> None:
    """Read the files and write the table."""
    folder, path = map(Path, sys.argv[1:])
    files = UpstreamFiles(Rows(Mode.FROZEN, "full", {}, percent=False))
    for name in FILES:
        files.read(folder / name)
    files.check()
    rows: defaultdict[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    for record, _ in files.records.values():
        series = str(record.identity.get("series", 1))
        score = record.data["imported"]["row"][HEADLINE_COLUMN]  # with the printed digits
        rows[record.task, record.model, record.subset, series][record.seed] = score
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("task", "model", "subset", "series", *SEEDS))
        for key, scores in sorted(rows.items()):
            table.writerow((*key, *(scores.get(seed, "") for seed in SEEDS)))


if __name__ == "__main__":
    main()
