"""Forecast of the units that share GPUs."""

from collections.abc import Iterable
from typing import Any

from marsbench.sweep.launchers.gpus import memory_of, most_per_gpu, sets_of, visible_gpus
from marsbench.sweep.launchers.settings import LauncherSettings
from marsbench.sweep.memory import Need, joint
from marsbench.sweep.planner import Unit


def forecast(units: Iterable[Unit], settings: LauncherSettings) -> dict[str, Any] | None:
    """Forecast how many units run at once on a GPU of this machine.

    Args:
        units: Planned units.
        settings: Settings of the launcher.

    Returns:
        ``gpus``, each with its memory for workers; the limit ``per_gpu``; and ``units``, a row per
        choice of memory (`memory.like_of`): number of units, estimate and number of records behind
        it, units at once on the smallest GPU. Without an estimate the first unit runs alone. Both
        lists are empty without GPUs. None unless GPUs are to be shared.

    Raises:
        ConfigError: If the settings do not fit the GPUs.
        NotAvailableError: If the memory of the GPUs is unknown.
    """
    if settings.name != "local" or settings.per_gpu == 1:
        return None
    sets = sets_of(settings, visible_gpus())
    most = most_per_gpu(settings, sets)
    if not sets:
        return {"gpus": [], "per_gpu": most, "units": []}
    memory = memory_of(sets)
    smallest = min(memory, key=lambda each: each.room)
    alike: dict[str, list[Need]] = {}
    for unit in units:
        if (need := unit.need) is not None:
            alike.setdefault(need.like, []).append(need)
    rows = []
    for like, needs in alike.items():
        largest = joint(needs)
        rows.append(
            {
                "like": like,
                "units": len(needs),
                "gib": None if largest.bytes is None else _gib(largest.bytes),
                "records": largest.records,
                "at_once": smallest.holds(largest, most),
            }
        )
    return {
        "gpus": [
            {"gpu": name, "room_gib": _gib(each.room)}
            for name, each in zip(sets, memory, strict=True)
        ],
        "per_gpu": most,
        "units": rows,
    }


def _gib(size: int) -> float:
    return round(size / 2**30, 1)
