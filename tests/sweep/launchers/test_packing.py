"""Packing of units onto GPUs of simulated memory, in GiB."""

from pathlib import Path

import pytest

from marsbench.sweep.launchers.packing import Memory, Packing
from marsbench.sweep.memory import Need

GIB = 2**30
H200 = (140, 140)

Units = dict[str, tuple[str, float | None]]
"""Likeness and estimate of each unit."""

Case = tuple[Units, list[tuple[int, int]], int, list[list[str]]]
"""Units, free and total memory of each GPU, most units on a GPU, expected rounds."""


def memory(free: int, total: int) -> Memory:
    return Memory(free * GIB, total * GIB)


def pack(
    units: Units, gpus: list[tuple[int, int]], most: int, measured: dict[str, int]
) -> list[list[str]]:
    """Rounds of units that run at once, each as UNIT@GPU; a round ends all at once."""
    needs: dict[Path, Need | None] = {
        Path(name): Need(like, None if gib is None else int(gib * GIB))
        for name, (like, gib) in units.items()
    }
    names = [str(i) for i in range(len(gpus))]
    packing = Packing(names, most, [memory(*gpu) for gpu in gpus], needs)
    waiting, rounds = list(needs), []
    while waiting:
        started = []
        while (start := packing.start(waiting)) is not None:
            waiting.remove(start.unit)
            started.append(start)
        assert started, "nothing runs, and units wait"
        rounds.append([f"{start.unit}@{start.gpu}" for start in started])
        for start in started:
            packing.end(start.unit)
            like = units[str(start.unit)][0]
            packing.measure(start.unit, measured.get(like, 0) * GIB)
    return rounds


CASES: dict[str, Case] = {
    "as many as are allowed": (
        dict.fromkeys("abcde", ("a", 10)),
        [H200],
        4,
        [["a@0", "b@0", "c@0", "d@0"], ["e@0"]],
    ),
    "in turn": (
        dict.fromkeys("abcd", ("a", 10)),
        [H200, H200],
        2,
        [["a@0", "b@1", "c@0", "d@1"]],
    ),
    # 140 - 14 of margin: 126 for workers.
    "within the margin": ({"a": ("a", 63), "b": ("a", 63)}, [H200], 4, [["a@0", "b@0"]]),
    "beyond the margin": ({"a": ("a", 64), "b": ("a", 64)}, [H200], 4, [["a@0"], ["b@0"]]),
    "others use the GPU": ({"a": ("a", 20), "b": ("a", 20)}, [(50, 140)], 4, [["a@0"], ["b@0"]]),
    "a small unit beside a large one": (
        {"a": ("a", 100), "b": ("a", 100), "c": ("c", 20)},
        [H200],
        4,
        [["a@0", "c@0"], ["b@0"]],
    ),
    "larger than the GPU": (
        {"a": ("a", 200), "b": ("b", 1)},
        [H200],
        4,
        [["a@0"], ["b@0"]],
    ),
    "unequal GPUs": (
        dict.fromkeys("abcd", ("a", 30)),
        [(24, 24), (80, 80)],
        4,
        [["a@1", "b@1"], ["c@1", "d@1"]],
    ),
    "a GPU too small for a unit stays free for others": (
        {"a": ("a", 30), "b": ("b", 200), "c": ("c", 8)},
        [(24, 24), (80, 80)],
        4,
        [["a@1", "c@0"], ["b@1"]],
    ),
    "the first of its kind alone": (
        {"a": ("x", None), "b": ("x", None), "c": ("x", None)},
        [H200],
        4,
        [["a@0"], ["b@0", "c@0"]],
    ),
    "known units do not join a unit without estimate": (
        {"a": ("x", None), "b": ("b", 10), "c": ("b", 10)},
        [H200],
        4,
        [["a@0"], ["b@0", "c@0"]],
    ),
    "kinds are measured one by one": (
        {"a": ("x", None), "b": ("x", None), "c": ("y", None), "d": ("y", None)},
        [H200],
        2,
        [["a@0"], ["b@0"], ["c@0"], ["d@0"]],
    ),
}
MEASURED = {"x": 40, "y": 90}


@pytest.mark.parametrize("case", CASES)
def test_packings(case: str) -> None:
    units, gpus, most, expected = CASES[case]
    assert pack(units, gpus, most, MEASURED) == expected
