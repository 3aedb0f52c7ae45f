"""A published toy task, for tests of the hub as a source."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from marsbench.config.schema import SourceName, parse_subset
from marsbench.data.rows import Source
from marsbench.data.sources import open_source
from marsbench.data.sources.hub_files import Listing
from marsbench.data.sources.huggingface import HubSource
from marsbench.data.sources.local import LocalSource
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, write_folder
from tests.hub_data import repo_of
from tests.server import Repo, Server

REPO = "Mirali33/mb-toy"
NEWER = "f" * 40
CHANGE = ("Change", "No change")

PARQUET = r"\.parquet$"


def hub_spec(kind: Kind = Kind.MULTICLASS, **fields: Any) -> TaskSpec:
    return make_spec(kind, **{"hub_id": REPO, **fields})


def publish(
    server: Server, tmp_path: Path, spec: TaskSpec | None = None, *subsets: str, **how: Any
) -> tuple[TaskSpec, LocalSource]:
    """Put a generated task on the server; returns it as a folder too."""
    spec = hub_spec() if spec is None else spec
    local = LocalSource(spec, write_folder(spec, tmp_path / "local"))
    server.repos[REPO] = repo_of(spec, local, subsets, **how)
    return spec, local


def opened(spec: TaskSpec, subset: str = "full", **how: Any) -> Source:
    return open_source(spec, SourceName.HUGGINGFACE, subset=parse_subset(subset), **how)


def known(source: Source) -> Listing:
    assert isinstance(source, HubSource)
    return source.listing


def fetched(server: Server) -> list[str]:
    """Splits whose files were asked for."""
    return sorted(
        {re.sub(r".*/|-\d+-of-\d+\.parquet", "", s.path) for s in server.seen(PARQUET, "GET")}
    )


def same(a: Source, b: Source, split: str) -> None:
    ours, theirs = a.rows(split), b.rows(split)
    assert list(ours.sample_ids) == list(theirs.sample_ids)
    np.testing.assert_array_equal(ours.targets, theirs.targets)
    for i in range(len(ours)):
        assert a.read(split, i).image == b.read(split, i).image


def rewritten(repo: Repo, split: str, change: Any) -> None:
    """Replace the table of a split."""
    (path,) = [p for p in repo.files if f"/{split}-" in p]
    out = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(repo.files[path]))), out)
    repo.files[path] = out.getvalue()


def plain(table: Any, label: Any = None) -> Any:
    """A table without what `datasets` noted of it, and other labels if given."""
    if label is not None:
        table = table.set_column(table.column_names.index("label"), "label", pa.array(label))
    return table.replace_schema_metadata(None)
