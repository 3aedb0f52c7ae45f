"""What a worker on another machine must be told, since it may inherit nothing from here."""

import os
from pathlib import Path

from marsbench.base.environment import CORES


def variables() -> dict[str, str]:
    """Variables of ours, and where Python finds modules that are not installed."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key.startswith("MARSBENCH_") and key != CORES  # those of this machine
    }
    if path := os.environ.get("PYTHONPATH"):
        parts = [str(Path(part).absolute()) for part in path.split(os.pathsep) if part]
        kept["PYTHONPATH"] = os.pathsep.join(parts)
    return dict(sorted(kept.items()))
