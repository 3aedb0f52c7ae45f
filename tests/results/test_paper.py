"""The paper's single runs in the package."""

import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from marsbench.models.zoo.catalog import MODELS
from marsbench.results.paper import paper_records
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.results.upstream.importing import import_results
from marsbench.results.upstream.names import EARTH_MODELS

SCRIPT = Path(__file__).parents[2] / "scripts" / "paper_runs.py"
TABLE = resources.files("marsbench.results.paper") / "runs.csv"


def test_records_of_the_table() -> None:
    records = paper_records()
    # 315 + 2443 + 1680 + 224 + 1729 rows, of which 539 repeat the full split and 3 are empty; and
    # 1053 rows of earth_data.csv, of which 224 of ViT-L/16 are in the other files.
    assert len(records) == len({record.run_id for record in records}) == 6678
    assert Counter((record.kind, record.headline) for record in records) == {
        ("binary", "f1_positive"): 2162,
        ("binary", "f1_weighted"): 443,
        ("multiclass", "f1_weighted"): 1856,
        ("multilabel", "f1_weighted"): 490,
        ("segmentation", "iou_per_image"): 1727,
    }
    assert {(r.record_type, r.protocol, r.mode) for r in records} == {
        ("imported", "upstream", "frozen")
    }
    assert {r.model for r in records} - set(MODELS) <= set(EARTH_MODELS.values())
    assert all(r.score is not None and 0 <= r.score <= 1 for r in records)
    # As printed; change_cls_ctx has one score in all its runs on the full split.
    (one,) = {r.score for r in records if (r.task, r.subset) == ("change_cls_ctx", "full")}
    assert one == pytest.approx(0.711, abs=5e-4)
    assert paper_records() == records
    assert paper_records() is not records


def test_table_is_small() -> None:
    assert len(TABLE.read_bytes()) <= 200 * 1024


def without_origin(record: RunRecord) -> dict[str, object]:
    fields = {k: v for k, v in vars(record).items() if k != "created"}
    return fields | {"data": {k: v for k, v in record.data.items() if k != "imported"}}


@pytest.mark.realdata
def test_equals_an_import_of_the_public_files(paper_runs: Path, tmp_path: Path) -> None:
    files = sorted(f for f in paper_runs.glob("*.csv") if not f.name.startswith("upstream_"))
    done = import_results(files, tmp_path, mode="frozen")
    assert (len(done.records), done.repeated, len(done.empty)) == (6678, 763, 3)
    records, bad = Store(tmp_path).records()
    assert not bad
    ours = {record.run_id: without_origin(record) for record in paper_records()}
    assert {record.run_id: without_origin(record) for record in records} == ours


@pytest.mark.realdata
def test_the_script_writes_the_table(paper_runs: Path, tmp_path: Path) -> None:
    written = tmp_path / "runs.csv"
    subprocess.run([sys.executable, SCRIPT, paper_runs, written], check=True)
    assert written.read_bytes() == TABLE.read_bytes()
