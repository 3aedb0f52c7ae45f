from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.base.errors import DataError
from marsbench.config.schema import parse_subset
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import few_shot, partition, select
from marsbench.tasks.kinds import Kind
from tests.fakes import make_spec, read_rows, write_folder, write_rows

FRACTIONS = [Fraction(n, 100) for n in (1, 2, 5, 10, 20, 25, 50)]
NAMES = ("a", "b", "c", "d")


def unbalanced(n: int, seed: int) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).choice(4, size=n, p=[0.7, 0.2, 0.07, 0.03])


@settings(max_examples=40, deadline=None)
@given(st.integers(100, 3000), st.integers(0, 1000))
def test_partitions_are_nested_of_exact_size_and_stratified(n: int, seed: int) -> None:
    targets = unbalanced(n, seed)
    smaller: set[int] = set()
    for fraction in FRACTIONS:
        chosen = partition(targets, fraction)
        assert len(chosen) == len(set(chosen.tolist())) == n * fraction // 1
        assert smaller <= set(chosen.tolist())
        smaller = set(chosen.tolist())
        shares = np.bincount(targets[chosen], minlength=4)
        expected = np.bincount(targets, minlength=4) * float(fraction)
        assert np.abs(shares - expected).max() <= 4


def test_partition_size_has_no_rounding_error() -> None:
    # 0.29 * 100 is 28.999999999999996 in floating point.
    assert len(partition(np.zeros(100, int), Fraction(29, 100))) == 29


@pytest.mark.parametrize(("n", "smallest"), [(36, "0.03"), (39, "0.03"), (99, "0.02"), (3, "0.34")])
def test_empty_partition_names_the_smallest_that_works(n: int, smallest: str) -> None:
    with pytest.raises(DataError, match=f"partition_{smallest}"):
        partition(np.zeros(n, int), Fraction(1, 100))
    assert len(partition(np.zeros(n, int), Fraction(smallest))) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000))
def test_few_shot_is_exact_and_nested(seed: int) -> None:
    targets = np.concatenate([unbalanced(400, seed), np.repeat(np.arange(4), 20)])
    smaller: set[int] = set()
    for shots in (1, 2, 5, 10, 15, 20):
        chosen = few_shot(targets, shots, NAMES)
        assert np.bincount(targets[chosen]).tolist() == [shots] * 4
        assert smaller <= set(chosen.tolist())
        smaller = set(chosen.tolist())


def test_multilabel_few_shot_covers_every_class_and_is_nested() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((500, 4)) < [0.6, 0.3, 0.1, 0.06]).astype(np.uint8)
    smaller: set[int] = set()
    for shots in (1, 2, 5, 10):
        chosen = few_shot(targets, shots, NAMES)
        assert targets[chosen].sum(axis=0).min() >= shots
        assert len(chosen) <= 4 * shots
        assert smaller <= set(chosen.tolist())
        smaller = set(chosen.tolist())


def test_few_shot_larger_than_a_class_names_the_class() -> None:
    with pytest.raises(DataError) as caught:
        few_shot(np.array([0] * 9 + [1] * 3), 5, ("crater", "dune"))
    assert "dune (3)" in str(caught.value)
    assert "few_shot_3" in str(caught.value)
    assert "crater" not in str(caught.value)


def test_class_without_samples() -> None:
    with pytest.raises(DataError, match="few-shot subsets need train samples of every class"):
        few_shot(np.zeros(9, int), 1, ("crater", "dune"))


def test_subsets_do_not_depend_on_the_run() -> None:
    targets = unbalanced(500, 1)
    assert (few_shot(targets, 3, NAMES) == few_shot(targets, 3, NAMES)).all()
    first, second = (partition(targets, FRACTIONS[3]) for _ in range(2))
    assert (first == second).all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(make_spec(), tmp_path)


def test_published_lists_win(folder: Path) -> None:
    train = [r for r in read_rows(folder / "annotation.csv") if r[1] == "train"]
    rest = [r for r in read_rows(folder / "annotation.csv") if r[1] != "train"]
    write_rows(folder / "few_shot" / "2_shot.csv", [*train[3:9], *rest])
    write_rows(folder / "partitions" / "0.25x_partition.csv", [*train[:6], *rest])
    source = LocalSource(make_spec(), folder)
    ids = source.rows("train").sample_ids
    for name, expected in (("few_shot_2", train[3:9]), ("partition_0.25", train[:6])):
        selection = select(source, parse_subset(name))
        assert selection.origin == "published"
        assert [ids[i] for i in selection.indices] == sorted(r[0] for r in expected)
    generated = select(source, parse_subset("few_shot_1"))
    assert (generated.origin, len(generated.indices)) == ("generated", 3)
    full = select(source, parse_subset("full"))
    assert (full.origin, len(full.indices)) == ("full", len(train))
    assert len({s.digest for s in (full, generated, selection)}) == 3


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([("nowhere.png", "train", "", "0")], "nowhere.png"),
        ([("val_0000.png", "val", "", "0")], "no train rows"),
        ([("train_0000.png", "train", "", "0")] * 2, "repeats"),
    ],
)
def test_bad_published_lists(folder: Path, rows: list[tuple[str, ...]], match: str) -> None:
    write_rows(folder / "few_shot" / "2_shot.csv", rows)
    with pytest.raises(DataError, match=match):
        select(LocalSource(make_spec(), folder), parse_subset("few_shot_2"))


def test_generated_subset_of_a_multilabel_folder(tmp_path: Path) -> None:
    spec = make_spec(Kind.MULTILABEL)
    source = LocalSource(spec, write_folder(spec, tmp_path))
    assert len(select(source, parse_subset("partition_0.50")).indices) == 12
