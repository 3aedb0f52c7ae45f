"""The index of a results repository, a derived file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.base import paths
from marsbench.leaderboard.board.results import Results, check_file
from marsbench.leaderboard.schema import Author
from marsbench.models.pretraining import Pretraining
from tests.leaderboard.fakes import put, some_scores

SCORES = some_scores(np.random.default_rng(0), ("frost_cls", "mmls"), (0, 1))


@pytest.fixture(autouse=True)
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough at once, and the cache is empty."""
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("marsbench.base.files._SETTLED", -60.0)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two entries, and a submission that is left out."""
    folder = tmp_path / "results"
    put(
        folder,
        "a",
        SCORES,
        train_seconds=30.5,
        links=("https://example.org/a",),
        author=Author(name="Ada", organisation="Lab"),
        pretraining=Pretraining(data="Mars images", overlaps=("frost_cls",)),
    )
    put(folder, "b", SCORES, parameters=None)
    put(folder, "c", {("frost_cls", 0): {"accuracy": 0.5}})
    return folder


def index() -> Path:
    (file,) = (paths.home() / "leaderboard").glob("index-*.json")
    return file


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the submissions whose checks are read from now on."""
    from marsbench.leaderboard.board import results as module

    read: list[str] = []
    plain = module._entry_in

    def counted(root: Path, name: str) -> Any:
        read.append(name)
        return plain(root, name)

    monkeypatch.setattr(module, "_entry_in", counted)
    return read


def test_another_start_reads_changed_submissions_alone(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Results(str(results)).load()
    assert [entry.name for entry in first.entries] == ["submission/a", "submission/b"]
    assert "c has no score" in first.notes[0]
    read = count_reads(monkeypatch)
    again = Results(str(results))
    assert again.load() == first
    assert read == []
    assert [check.submission.model.name for check in again.checks() if check.submission] == [
        "a",
        "b",
    ]
    check_file(results, "b").write_text(check_file(results, "b").read_text() + "\n")
    assert Results(str(results)).load() == first
    assert read == ["b"]
    check_file(results, "a").unlink()
    loaded = Results(str(results)).load()
    assert [entry.name for entry in loaded.entries] == ["submission/b"]
    assert read == ["b"]


def test_new_files_are_not_kept(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may change twice between two ticks of the clock."""
    monkeypatch.setattr("marsbench.base.files._SETTLED", 60.0)
    Results(str(results)).load()
    assert json.loads(index().read_text())["items"] == {}


DAMAGES: dict[str, Callable[[Any], object]] = {
    "key": lambda content: content.update(key="other"),
    "items": lambda content: content.update(items=[]),
    "item": lambda content: content["items"].update(a=7),
    "states": lambda content: content["items"]["a"].update(states=[["x"]]),
    "field": lambda content: content["items"]["a"]["entry"].update(model=7),
    "unknown field": lambda content: content["items"]["a"]["entry"].update(odd=7),
    "scores": lambda content: content["items"]["a"]["entry"].update(scores=[["frost_cls", 1]]),
    "score": lambda content: content["items"]["a"]["entry"]["scores"][0][2].update({"0": "x"}),
    "seed": lambda content: content["items"]["a"]["entry"]["scores"][0][2].update({"x": 0.5}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_again(
    results: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Results(str(results)).load()
    whole = json.loads(index().read_text())
    content = json.loads(index().read_text())
    DAMAGES[damage](content)
    index().write_text(json.dumps(content))
    read = count_reads(monkeypatch)
    assert Results(str(results)).load() == first
    assert read[0] == "a"
    assert json.loads(index().read_text()) == whole


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "\ufffd"])
def test_no_index(results: Path, text: str) -> None:
    first = Results(str(results)).load()
    index().write_text(text)
    assert Results(str(results)).load() == first


def test_an_index_that_cannot_be_written(results: Path) -> None:
    first = Results(str(results)).load()
    file = index()
    file.unlink()
    file.mkdir()
    assert Results(str(results)).load() == first
