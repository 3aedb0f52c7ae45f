"""Status line while large libraries are imported, which takes seconds on a busy machine."""

import contextlib
import copy
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

LARGE = frozenset(
    (
        "gradio",
        "hydra",
        "matplotlib",
        "numpy",
        "pandas",
        "pyarrow",
        "pytorch_lightning",
        "ray",
        "scipy",
        "segmentation_models_pytorch",
        "sklearn",
        "timm",
        "torch",
        "torchvision",
        "transformers",
        "ultralytics",
    )
)
"""Libraries that the line names."""

_ERASE = "\r\x1b[K"
"""Control sequence that erases the line of the cursor."""


def show_loading() -> None:
    """Name large libraries on standard error during their import, if it is a terminal."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finder that leaves the search to the others, and shows a line while the module runs."""

    def __init__(self) -> None:
        self._is_busy = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of a large library with a loader that shows the line; None for others."""
        if self._is_busy or name not in LARGE:
            return None
        self._is_busy = True
        try:
            spec = find_spec(name)
        finally:
            self._is_busy = False
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module
        spec.loader = copy.copy(spec.loader)  # a finder may return the same one for all modules

        def run_shown(module: ModuleType) -> None:
            with self._shown(name):
                run(module)

        setattr(spec.loader, "exec_module", run_shown)  # noqa: B010
        return spec

    @contextlib.contextmanager
    def _shown(self, name: str) -> Iterator[None]:
        # Libraries that it imports are part of its own time.
        self._is_busy = True
        _write(f"{_ERASE}Loading {name} ...")
        try:
            yield
        finally:
            self._is_busy = False
            _write(_ERASE)


def _write(text: str) -> None:
    """Write to the terminal; a closed terminal ends no import."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
