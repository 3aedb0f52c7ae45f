from pathlib import Path

import pytest

import marsbench
from marsbench.base.errors import MarsbenchError
from marsbench.base.paths import expanded
from marsbench.predict import places
from marsbench.results.find import find_run
from marsbench.results.store import Store

ODD = "~no-such-user/runs"


def test_the_home_of_an_unknown_user_is_a_missing_folder(tmp_path: Path) -> None:
    assert expanded(Path(ODD)) == Store(ODD).root == Path(ODD)
    for find in (find_run, places.find):
        with pytest.raises(MarsbenchError, match="no-such-user"):
            find(ODD, tmp_path)


def test_paths_are_expanded_by_one_function() -> None:
    """`Path.expanduser` raises RuntimeError, which no command catches."""
    package = Path(marsbench.__file__).parent
    users = [p for p in package.rglob("*.py") if ".expanduser(" in p.read_text(encoding="utf-8")]
    assert users == [package / "base" / "paths.py"]
