"""Splits of a new task."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.base.errors import ConfigError, DataError
from marsbench.data.tools.init.splits import (
    Unit,
    _Balance,
    assign,
    group_names,
    parse_shares,
)

SHARES = parse_shares("0.7,0.15,0.15")


def singles(sizes: dict[str, int]) -> list[Unit]:
    """Units of an image of one class."""
    return [
        Unit(f"{name}{i}", 1, Counter({name: 1})) for name, n in sizes.items() for i in range(n)
    ]


def count(units: list[Unit], splits: dict[str, str]) -> dict[str, Counter[str]]:
    """Images of each class by split."""
    counts: dict[str, Counter[str]] = {}
    for unit in units:
        for name, n in unit.classes.items():
            counts.setdefault(name, Counter())[splits[unit.key]] += n
    return counts


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 60), min_size=1),
    st.sampled_from(["0.7,0.15,0.15", "0.8,0.1,0.1", "1/3,1/3,1/3", "0.5,0.25,0.25"]),
    st.integers(0, 3),
)
def test_classes_are_divided_within_rounding(sizes: dict[str, int], text: str, seed: int) -> None:
    shares = parse_shares(text)
    units = singles(sizes)
    counts = count(units, assign(units, shares, seed))
    for name, n in sizes.items():
        if n < 3:
            assert counts[name] == Counter(dict.fromkeys(("train", "test")[:n], 1))
            continue
        raised = {s: max(share * n, Fraction(1)) for s, share in shares.items()}
        raised["train"] -= sum(raised.values()) - n
        for split, share in raised.items():
            assert counts[name][split] >= 1
            assert abs(counts[name][split] - share) <= 1
    # Rounding does not add up over the classes; small classes have more val and test images.
    raised_by = [
        max(Fraction(0), 1 - share * n) for share in shares.values() for n in sizes.values()
    ]
    num_raised = sum(raised_by)
    total = sum(sizes.values())
    for split, share in shares.items():
        own = sum(c[split] for c in counts.values())
        assert abs(own - share * total) <= 2 + 2 * num_raised


@st.composite
def grouped(draw: st.DrawFn) -> list[Unit]:
    groups = draw(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=20), min_size=4))
    return [Unit(f"g{i}", len(names), Counter(names)) for i, names in enumerate(groups)]


@settings(max_examples=40, deadline=None)
@given(grouped(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_groups_stay_together_in_any_order(units: list[Unit], seed: int, rng: object) -> None:
    splits = assign(units, SHARES, seed)
    assert splits.keys() == {unit.key for unit in units}
    shuffled = sorted(units, key=lambda unit: rng.random())  # type: ignore[attr-defined]
    assert assign(shuffled, SHARES, seed) == splits
    num_units = Counter(name for unit in units for name in unit.classes)
    for name, own in count(units, splits).items():
        if num_units[name] == len(units):  # then any group has the class
            assert set(own) == set(SHARES)


@settings(max_examples=40, deadline=None)
@given(grouped(), st.integers(1, 20), st.integers(0, 3))
def test_assigned_units_stay_when_others_come(units: list[Unit], num_new: int, seed: int) -> None:
    first, new = units[:-num_new], units[-num_new:]
    before = assign(first, SHARES, seed)
    after = assign(units, SHARES, seed, fixed=before)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(first) + len(new)


def test_large_groups_of_a_class_reach_every_split() -> None:
    """Of 27, 23 and 10 images, the greedy choice alone puts two groups into train."""
    sizes = {"a": 27, "b": 23, "c": 10, "d": 40}
    units = [Unit(key, n, Counter({"x" if key != "d" else "y": n})) for key, n in sizes.items()]
    splits = assign(units, SHARES, 0)
    assert {splits[key] for key in "abc"} == set(SHARES)


def test_no_float_decides() -> None:
    """Sums of floats differ by version of Python, and would move images."""
    unit = Unit("g", 3, Counter("aab"))
    balance = _Balance([unit, *singles({"a": 30, "b": 7})], SHARES)
    numbers = [n for s in SHARES for n in (*balance.cost(unit, s), *balance._need(unit, s))]
    assert {type(n) for n in numbers} == {int}


def test_the_seed_decides() -> None:
    units = singles({"a": 30})
    assert assign(units, SHARES, 0) == assign(units, SHARES, 0) != assign(units, SHARES, 1)


@pytest.mark.parametrize("text", ["", "0.7,0.3", "0.7,0.2,0.2", "1,0,0", "a,b,c", "1/0,1,1"])
def test_invalid_shares(text: str) -> None:
    with pytest.raises(ConfigError, match="three positive numbers with the sum 1"):
        parse_shares(text)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("dunes/ESP_011677_1655_RED-0093.jpg", "ESP_011677_1655"),
        ("P01_001501_1280_XI_52S001W.tif", "P01_001501_1280"),
        ("MY34_003806_019_2_RPB.png", "MY34_003806_019_2"),
        ("V12345006.png", "V12345006"),
    ],
)
def test_observation_ids(name: str, group: str) -> None:
    assert group_names([name], "observation") == {name: group}


def test_groups_by_expression() -> None:
    assert group_names(["a/7_1.png"], r"(\w)/(\d)_") == {"a/7_1.png": "a_7"}
    assert group_names(["a/7_1.png"], r"\d_") == {"a/7_1.png": "7_"}
    with pytest.raises(DataError, match=r"matches 1 of 2 images, and not b\.png"):
        group_names(["a1.png", "b.png"], r"\d")
    with pytest.raises(ConfigError, match="not a regular expression"):
        group_names(["a"], "(")
