"""The real services: does each task have its data there?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from marsbench.config.schema import SourceName, parse_subset
from marsbench.data.download.web import UnreachableError, get_json
from marsbench.data.sources import hub_files, open_source, zenodo
from marsbench.tasks.catalog import TASKS

pytestmark = pytest.mark.network

ON_ZENODO = [name for name, spec in TASKS.items() if spec.zenodo_title is not None]


@pytest.fixture(scope="module")
def hits() -> list[Mapping[str, Any]]:
    """The community's records on Zenodo, asked for once."""
    try:
        return list(zenodo._hits())
    except UnreachableError as error:
        pytest.skip(error.problem)


@pytest.mark.parametrize("name", ON_ZENODO)
def test_zenodo_has_a_record(
    name: str, hits: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(ON_ZENODO) == 20
    spec = TASKS[name]
    monkeypatch.setattr(zenodo, "_hits", lambda: iter(hits))
    archive = zenodo.find_archive(spec)
    assert archive.size > 0
    assert archive.digest.startswith("md5:")
    assert archive.url.startswith("https://")


ON_THE_HUB = [name for name, spec in TASKS.items() if spec.hub_id is not None]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home, and a skip where the hub cannot be reached."""
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path))
    try:
        get_json("https://huggingface.co/api/datasets?limit=1")
    except UnreachableError as error:
        pytest.skip(error.problem)


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_the_hub_has_every_split(hub: None, name: str) -> None:
    assert len(ON_THE_HUB) == 20
    spec = TASKS[name]
    assert spec.hub_id is not None
    listing = hub_files.fetch(spec.hub_id, None, [])
    wanted = [f"partition_{spec.min_partition:.2f}", "partition_0.50"]
    wanted += ["few_shot_1", "few_shot_20"] if spec.few_shot else []
    assert {"train", "val", "test"} <= set(listing.splits)
    for subset in wanted:
        assert hub_files.split_name(parse_subset(subset), listing.splits) is not None, subset
    assert all(f.digest for files in listing.splits.values() for f in files)


@pytest.mark.parametrize("name", ["change_cls_ctx", "boulder_seg", "boulder_det"])
def test_small_tasks_open_from_the_hub(hub: None, name: str) -> None:
    spec = TASKS[name]
    source = open_source(spec, SourceName.HUGGINGFACE)
    assert {split: len(source.rows(split)) for split in source.splits} == spec.sizes
    for split in source.splits:
        raw = source.read(split, 0)
        assert raw.image is not None
        assert (raw.mask is not None) == (name == "boulder_seg")
        assert (raw.boxes is not None) == (name == "boulder_det")
