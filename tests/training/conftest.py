from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marsbench.training.frozen.features import Encoder
from tests.challenges import write_challenge


@pytest.fixture(scope="module")
def spectra_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of spectra that the tests of a module share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a labelled train split and an unlabelled test split."""
    folder = tmp_path_factory.mktemp("ega_ms")
    return write_challenge(folder, {"train": 48, "test": 8}, ("train",))


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches that no other test has seen."""
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Collects (split, number of samples) of everything that passes through a backbone."""
    seen: list[tuple[str, int]] = []
    batches = Encoder._batches

    def watched(self: Encoder, dataset: Any, *arguments: Any) -> Iterator[Any]:
        for batch in batches(self, dataset, *arguments):
            seen.append((dataset.split, batch.shape[0] * batch.shape[1]))
            yield batch

    monkeypatch.setattr(Encoder, "_batches", watched)
    return seen
