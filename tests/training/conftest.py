import pytest

from tests.fakes import make_spec, write_folder, write_spec


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a custom task beside its data: 24 train, 9 val and 12 test samples."""
    folder = write_folder(make_spec(), tmp_path_factory.mktemp("toy"))
    return str(write_spec(make_spec(), folder / "task.yaml"))
