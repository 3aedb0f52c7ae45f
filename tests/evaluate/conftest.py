from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of the tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield
