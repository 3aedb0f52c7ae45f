from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.challenges import write_challenge
from tests.fakes import make_spec, write_folder, write_spec


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a custom task beside its data: 24 train, 9 val and 12 test samples."""
    folder = write_folder(make_spec(), tmp_path_factory.mktemp("toy"))
    return str(write_spec(make_spec(), folder / "task.yaml"))


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
