"""Environment variables for workers on other machines; they may inherit none."""

import os
from pathlib import Path

from marsbench.base.environment import CORES


def variables() -> dict[str, str]:
    """The package's own variables and PYTHONPATH, with absolute paths."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key.startswith("MARSBENCH_") and key != CORES  # the cores are this machine's
    }
    if path := os.environ.get("PYTHONPATH"):
        parts = [str(Path(part).absolute()) for part in path.split(os.pathsep) if part]
        kept["PYTHONPATH"] = os.pathsep.join(parts)
    return dict(sorted(kept.items()))
