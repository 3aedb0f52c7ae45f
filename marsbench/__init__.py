"""marsbench: benchmark of models on Mars science.

The public Python API. Its functions are imported on first use, so that ``import marsbench``
and ``marsbench --help`` load neither torch nor hydra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from marsbench.base.version import __version__

if TYPE_CHECKING:
    from marsbench.api import load_dataset, load_records, make_report, run, run_evaluate
    from marsbench.models.own.encoder import Encoder
    from marsbench.models.pretraining import Pretraining

_API = {
    "Encoder": "models.own.encoder",
    "Pretraining": "models.pretraining",
    "load_dataset": "api",
    "load_records": "api",
    "make_report": "api",
    "run": "api",
    "run_evaluate": "api",
}

__all__ = [
    "Encoder",
    "Pretraining",
    "__version__",
    "load_dataset",
    "load_records",
    "make_report",
    "run",
    "run_evaluate",
]


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'marsbench' has no attribute '{name}'")
    return getattr(import_module(f"marsbench.{_API[name]}"), name)


def __dir__() -> list[str]:
    return __all__
