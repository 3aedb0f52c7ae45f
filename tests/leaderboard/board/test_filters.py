from pathlib import Path

import pytest

from marsbench.leaderboard.board.entries import Entry
from marsbench.leaderboard.board.ranking import Filters, size_of
from marsbench.leaderboard.board.results import Results
from marsbench.models.pretraining import Overlap
from tests.leaderboard.fakes import many


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    folder: Path = tmp_path_factory.mktemp("results")
    many(folder, 60, seeds=(0,))
    return Results(str(folder)).load().entries


def test_no_filter_keeps_the_full_train_split(entries: list[Entry]) -> None:
    assert Filters().keep(entries) == entries
    assert Filters(subset="few_shot_5").keep(entries) == []
    assert Filters(subset="any").keep(entries) == entries


def test_each_filter(entries: list[Entry]) -> None:
    kept = Filters(modes=("frozen", "scratch")).keep(entries)
    assert kept == [entry for entry in entries if entry.mode != "finetune"]
    assert Filters(protocols=("online",)).keep(entries) == []
    assert Filters(protocols=("cached",)).keep(entries) == entries
    kept = Filters(pretraining=("ImageNet-1k",)).keep(entries)
    assert len(kept) == 12
    assert {entry.pretraining.data for entry in kept} == {"ImageNet-1k"}
    for overlap in Overlap:
        kept = Filters(overlap=overlap).keep(entries)
        assert len(kept) == 20
        assert {entry.pretraining.overlap for entry in kept} == {overlap}
    kept = Filters(sizes=("up to 10 M",)).keep(entries)
    assert kept == [entry for entry in entries if (entry.parameters or 0) <= 10e6]
    assert 0 < len(kept) < len(entries)
    assert {size_of(entry) for entry in kept} == {"up to 10 M"}
    assert Filters(sizes=("unknown",)).keep(entries) == []


def test_search(entries: list[Entry]) -> None:
    kept = Filters(search="MODEL-0011").keep(entries)
    assert [entry.model for entry in kept] == ["model-0011"]
    kept = Filters(search="group 5 imagenet-1k").keep(entries)
    assert "Group 5" in {entry.author.name for entry in kept}
    assert {entry.pretraining.data for entry in kept} == {"ImageNet-1k"}
    assert Filters(search="nothing like it").keep(entries) == []
