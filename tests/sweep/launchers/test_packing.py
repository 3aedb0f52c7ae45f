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


def units(count: int) -> list[Path]:
    return [Path(str(i)) for i in range(count)]


def test_a_unit_with_a_fault_starts_again_on_another_gpu() -> None:
    packing = Packing(["0", "1"], 1)
    a, b, c = units(3)
    assert [packing.start([u]).gpu for u in (a, b)] == ["0", "1"]  # type: ignore[union-attr]
    assert packing.end(a, is_fault=True) is None
    # GPU 0 alone is free, and gets the next unit.
    start = packing.start([a, c])
    assert start is not None
    assert (start.unit, start.gpu) == (c, "0")
    packing.end(b)
    start = packing.start([a])
    assert start is not None
    assert start.gpu == "1"


def test_a_unit_with_a_fault_starts_again_on_a_smaller_gpu() -> None:
    (a,) = units(1)
    packing = Packing(["0", "1"], 2, [memory(80, 80), memory(24, 24)], {a: Need("a", 30 * GIB)})
    packing.start([a])
    packing.end(a, is_fault=True)
    start = packing.start([a])
    assert start is not None
    assert (start.gpu, start.shares) == ("1", False)


def test_a_gpu_with_faults_in_a_row_gets_no_unit_while_another_works() -> None:
    packing = Packing(["0", "1"], 1)
    first, *others = units(9)
    assert packing.start([others[0]])
    assert packing.start([first])  # GPU 1 works for long

    def fault(unit: Path) -> str | None:
        return packing.end(unit, is_fault=True)

    assert fault(others[0]) is None
    for i in (1, 2):
        start = packing.start([others[i]])
        assert start is not None
        assert start.gpu == "0"
        assert fault(others[i]) == ("0" if i == 2 else None)
    assert packing.start([others[3]]) is None
    # If no GPU works, the cause is elsewhere, and all are used.
    packing.end(first)
    for i in (3, 4, 5):
        start = packing.start([others[i]])
        assert start is not None
        assert start.gpu == "1"
        assert fault(others[i]) is None
    gpus = {start.gpu for u in others[6:8] if (start := packing.start([u])) is not None}
    assert gpus == {"0", "1"}


def test_a_fault_of_a_single_gpu() -> None:
    packing = Packing(["0"], 1)
    for unit in units(5):
        assert packing.start([unit])
        assert packing.end(unit, is_fault=True) is None
