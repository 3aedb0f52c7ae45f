"""The real services: does each task have its data there?"""

from collections.abc import Mapping
from typing import Any

import pytest

from marsbench.data.catalog import TASKS
from marsbench.data.sources import web, zenodo
from marsbench.data.sources.transfer import TransferError

pytestmark = pytest.mark.network

ON_ZENODO = [name for name, spec in TASKS.items() if spec.zenodo_title is not None]


@pytest.fixture(scope="module")
def hits() -> list[Mapping[str, Any]]:
    """The community's records on Zenodo, asked for once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "WAITS", (1.0,))
        try:
            return list(zenodo._hits())
        except TransferError as error:
            if error.status is not None:
                raise
            pytest.skip(f"Zenodo cannot be reached: {error.problem}")


@pytest.mark.parametrize("name", ON_ZENODO)
def test_zenodo_has_a_record(
    name: str, hits: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(ON_ZENODO) == 20
    spec = TASKS[name]
    monkeypatch.setattr(zenodo, "_hits", lambda: iter(hits))
    file = zenodo._archive(zenodo.find_record(spec.zenodo_title or ""), spec)
    assert file.size > 0
    assert (file.digest or "").startswith("md5:")
    assert file.url.startswith("https://")
