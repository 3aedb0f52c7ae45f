"""marsbench: benchmark of models on Mars science.

The public Python API. Its functions are imported on first use, so that ``import marsbench``
and ``marsbench --help`` load neither torch nor hydra.
"""

from typing import TYPE_CHECKING

from marsbench.base.version import __version__

__all__ = [
    "Encoder",
    "Pretraining",
    "__version__",
    "get_task",
    "list_models",
    "list_tasks",
    "load_dataset",
    "load_records",
    "make_ensemble",
    "make_report",
    "run",
    "run_evaluate",
    "run_predict",
    "run_sweep",
    "run_tune",
]

if TYPE_CHECKING:
    from marsbench.api import (
        list_models,
        list_tasks,
        load_dataset,
        load_records,
        make_ensemble,
        make_report,
        run,
        run_evaluate,
        run_predict,
        run_sweep,
        run_tune,
    )
    from marsbench.models.own.encoder import Encoder
    from marsbench.models.pretraining import Pretraining
    from marsbench.tasks.catalog import get_task
else:
    # Unseen by type checkers, for which any misspelt name would exist.
    _ELSEWHERE = {
        "Encoder": "marsbench.models.own.encoder",
        "Pretraining": "marsbench.models.pretraining",
        "get_task": "marsbench.tasks.catalog",
    }

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'marsbench' has no attribute '{name}'")
        from importlib import import_module

        return getattr(import_module(_ELSEWHERE.get(name, "marsbench.api")), name)


def __dir__() -> list[str]:
    return __all__
