import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsbench.cli import loading


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two large libraries, one of which imports the other, and one that fails."""
    for name, code in (
        ("outer", "import inner_of_test"),
        ("inner", "import sys; sys.stderr.write('inner')"),
        ("broken", "raise ImportError('no such device')"),
    ):
        (tmp_path / f"{name}_of_test.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    names = {f"{name}_of_test" for name in ("outer", "inner", "broken")}
    monkeypatch.setattr(loading, "LARGE", names)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("libraries")
def test_a_large_library_is_named_while_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    loading.show_loading()
    importlib.import_module("outer_of_test")
    assert terminal.getvalue() == "\r\x1b[KLoading outer_of_test ...inner\r\x1b[K"
    with pytest.raises(ImportError, match="no such device"):
        importlib.import_module("broken_of_test")
    assert terminal.getvalue().endswith("Loading broken_of_test ...\r\x1b[K")


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_pipes_and_dumb_terminals_stay_quiet(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", written := stream())
    monkeypatch.setenv("TERM", "dumb" if stream is Terminal else "xterm")
    loading.show_loading()
    importlib.import_module("outer_of_test")
    assert written.getvalue() == "inner"
