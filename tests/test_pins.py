"""The pins of constraints.txt fit each other and every extra, so that all extras install."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def pins() -> dict[str, str]:
    """Version of every pinned package, by canonical name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    names = [canonicalize_name(name) for name, _ in pairs]
    assert len(set(names)) == len(names)
    return {canonicalize_name(name): version for name, version in pairs}


def installed(name: str) -> list[str]:
    """Requirements of a package as installed; empty if it is not installed."""
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


def applicable(texts: Iterable[str], extras: Iterable[str]) -> Iterator[Requirement]:
    """Requirements that hold on this machine, with these extras of their package."""
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def problems(texts: list[str], pinned: dict[str, str]) -> list[str]:
    """Requirements, and requirements of their packages, that the pins do not satisfy."""
    waiting = [("marsbench", requirement) for requirement in applicable(texts, ())]
    visited: set[tuple[str, frozenset[str]]] = set()
    failed = []
    while waiting:
        parent, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name == "marsbench":
            nested = [text for extra in requirement.extras for text in EXTRAS[extra]]
            waiting += [(parent, item) for item in applicable(nested, ())]
            continue
        version = pinned.get(name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            failed.append(f"{parent} requires {requirement}; the pin is {version}")
        if (key := (name, frozenset(requirement.extras))) not in visited:
            visited.add(key)
            waiting += [(name, item) for item in applicable(installed(name), requirement.extras)]
    return failed


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_pins_satisfy_the_extra(extra: str) -> None:
    texts = EXTRAS[extra] if extra else PROJECT["dependencies"]
    assert problems(texts, pins()) == []


def test_a_pin_that_does_not_fit_is_named() -> None:
    assert problems(["numpy>=1.26"], {"numpy": "1.25"}) == [
        "marsbench requires numpy>=1.26; the pin is 1.25"
    ]
    below = {**pins(), "numpy": "1.0"}
    assert any(re.match("pandas requires numpy", text) for text in problems(["pandas"], below))
    without = {name: version for name, version in pins().items() if name != "numpy"}
    assert any("the pin is None" in text for text in problems(["pandas"], without))


def test_extras_of_all_are_those_without_terms_of_their_own() -> None:
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.extras == set(EXTRAS) - {"all", "dev", "yolo"}
