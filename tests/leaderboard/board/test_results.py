"""Results repositories and local stores as sources of entries."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from marsbench.base.errors import ConfigError, DataNotFoundError, StoreError
from marsbench.cli import app
from marsbench.leaderboard.board.entries import NOT_SUBMITTED, Origin
from marsbench.leaderboard.board.live import Live
from marsbench.leaderboard.board.results import LARGEST, Results, check_file
from marsbench.leaderboard.board.sources import paper_entries, store_entries
from marsbench.leaderboard.board.tasksets import CAPABILITIES, Choice, capabilities, categories
from marsbench.leaderboard.schema import SUBMISSION, Badge, Data, Finding
from marsbench.models.pretraining import Pretraining
from marsbench.results.paper import paper_records
from tests.leaderboard.fabricated import submit
from tests.leaderboard.fakes import many, put, some_scores
from tests.report.fake_store import Fake, everything, fake_record, make_store
from tests.server import Repo, Server

RNG = np.random.default_rng(0)
SCORES = some_scores(RNG, ("frost_cls", "landmark_cls"), (0, 1))


def test_an_entry_has_the_facts_of_its_submission(tmp_path: Path) -> None:
    flag = Finding(where="submission.json", problem="Its predictions are odd.", is_error=False)
    data = Pretraining(data="Mars images", images=10, overlaps=("frost_cls",))
    put(tmp_path, "one", SCORES, partial=True, note="Hello.", findings=(flag,), pretraining=data)
    (entry,) = Results(str(tmp_path)).load().entries
    assert (entry.name, entry.model) == ("submission/one", "one")
    assert (entry.origin, entry.badge) == (Origin.SUBMISSION, Badge.CONSISTENT)
    assert (entry.pretraining, entry.parameters) == (data, 25_000_000)
    assert (entry.created, entry.note, entry.partial) == ("2026-11-02", "Hello.", True)
    assert entry.flags == ("Its predictions are odd.",)
    assert set(entry.scores) == {
        ("frost_cls", "f1_weighted"),
        ("frost_cls", "f1_positive"),
        ("landmark_cls", "f1_weighted"),
    }
    assert set(entry.scores["frost_cls", "f1_positive"]) == {0, 1}


def test_costs_come_from_the_checked_records(tmp_path: Path) -> None:
    put(tmp_path, "a", SCORES, parameters=None, recorded=12_000_000, train_seconds=30.5)
    put(tmp_path, "b", SCORES, parameters=None)
    first, second = Results(str(tmp_path)).load().entries
    assert (first.parameters, first.train_seconds) == (12_000_000, 30.5)
    assert (second.parameters, second.train_seconds) == (None, None)


def test_an_entry_with_a_run_that_was_not_rescored(tmp_path: Path) -> None:
    put(tmp_path, "one", SCORES, badge=Badge.NOT_RESCORED)
    (entry,) = Results(str(tmp_path)).load().entries
    assert entry.badge == Badge.NOT_RESCORED


def left_out(folder: Path) -> str:
    loaded = Results(str(folder)).load()
    assert loaded.entries == []
    (note,) = loaded.notes
    return note


def test_submissions_that_are_left_out(tmp_path: Path) -> None:
    wrong = Finding(where="runs", problem="Wrong.")
    put(tmp_path / "refused", "a", SCORES, findings=(wrong,))
    assert "a is refused by its check" in left_out(tmp_path / "refused")
    put(tmp_path / "demo", "a", SCORES, data=Data.DEMO)
    assert "a is on demo data" in left_out(tmp_path / "demo")
    put(tmp_path / "subset", "a", SCORES, subset="half")
    assert "a: Unknown subset 'half'" in left_out(tmp_path / "subset")
    put(tmp_path / "none", "a", {("frost_cls", 0): {"accuracy": 0.5}})
    assert "a has no score" in left_out(tmp_path / "none")

    put(tmp_path / "unchecked", "a", SCORES)
    check_file(tmp_path / "unchecked", "a").unlink()
    assert "a is not checked yet" in left_out(tmp_path / "unchecked")
    put(tmp_path / "changed", "a", SCORES)
    file = tmp_path / "changed" / "submissions" / "a" / SUBMISSION
    file.write_text(file.read_text().replace("A. Author", "Another"))
    assert "a was changed after its check" in left_out(tmp_path / "changed")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"runs": NaN}', b" " * (LARGEST + 1)])
def test_damaged_checks(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "a", SCORES)
    put(tmp_path, "b", SCORES)
    check_file(tmp_path, "a").write_bytes(content)
    loaded = Results(str(tmp_path)).load()
    assert [entry.model for entry in loaded.entries] == ["b"]
    assert loaded.notes[0].startswith("1 submission is left out: a")


def test_special_files_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a", SCORES)
    check = check_file(tmp_path, "a")
    check.unlink()
    os.mkfifo(check)
    assert "a named pipe" in left_out(tmp_path) or "cannot be read" in left_out(tmp_path)


def test_two_scores_of_a_seed(tmp_path: Path) -> None:
    put(tmp_path, "a", SCORES)
    check = check_file(tmp_path, "a")
    content = json.loads(check.read_text())
    content["runs"].append(content["runs"][0])
    check.write_text(json.dumps(content))
    assert "a has two runs of frost_cls with seed 0" in left_out(tmp_path)


def test_places_that_are_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="no folder submissions"):
        Results(str(tmp_path)).load()
    with pytest.raises(ConfigError, match=r"hf://datasets/ORG/NAME"):
        Results("hf://a/b").load()
    with pytest.raises(DataNotFoundError, match="HF_HUB_OFFLINE"):
        Results("hf://datasets/nobody/nothing").load()


def test_a_repository_of_the_hub(server: Server, tmp_path: Path) -> None:
    put(tmp_path / "results", "one", SCORES)
    put(tmp_path / "more", "two", SCORES)
    server.repos["org/results"] = Repo(files_below(tmp_path / "results"))
    results = Results("hf://datasets/org/results")
    assert [entry.model for entry in results.load().entries] == ["one"]
    # Other files of the repository stay there.
    assert not any(s.path.endswith("record.json") for s in server.seen(method="GET"))
    files = files_below(tmp_path / "results") | files_below(tmp_path / "more")
    server.repos["org/results"] = Repo(files, commit="f" * 40)
    assert [entry.model for entry in results.load().entries] == ["one", "two"]
    # Without the hub the last commit serves.
    server.fail(".*", times=100, status=503)
    assert [entry.model for entry in results.load().entries] == ["one", "two"]


def files_below(folder: Path) -> dict[str, bytes]:
    """Files of a repository: those of a folder, and a record."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    content = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {**content, "submissions/one/runs/record.json": b"{}"}


def test_an_empty_repository_of_the_hub(server: Server) -> None:
    server.repos["org/results"] = Repo({"README.md": b"Results."})
    loaded = Results("hf://datasets/org/results").load()
    assert loaded.entries == []
    assert "no submissions yet" in loaded.notes[0]


def test_checks_of_a_repository(tmp_path: Path) -> None:
    submit(tmp_path / "data", tmp_path / "results" / "submissions" / "good")
    shutil.copytree(
        tmp_path / "results" / "submissions" / "good", tmp_path / "results" / "submissions" / "bad"
    )
    (tmp_path / "results" / "submissions" / "bad" / "more.txt").write_text("odd")
    command = ["leaderboard", "check", str(tmp_path / "results"), "--root", str(tmp_path / "data")]
    done = CliRunner().invoke(app, [*command, "--format", "json"])
    assert done.exit_code == 2
    bad, good = map(json.loads, done.stdout.splitlines())
    assert (bad["name"], bad["valid"], good["name"], good["valid"]) == ("bad", False, "good", True)
    assert "do not belong" in bad["errors"][0]["problem"]
    assert bad["errors"][0]["remedy"] == "Remove them."
    loaded = Results(str(tmp_path / "results")).load()
    assert [entry.name for entry in loaded.entries] == ["submission/good"]
    assert loaded.entries[0].badge == Badge.CONSISTENT
    assert loaded.entries[0].parameters == 10_000_000
    assert loaded.entries[0].train_seconds is not None
    assert "bad is refused by its check" in loaded.notes[0]
    # Unchanged submissions are not checked again.
    again = CliRunner().invoke(app, [*command, "--format", "json"])
    assert again.exit_code == 0
    assert again.stdout == ""


def test_unchanged_submissions_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        put(tmp_path, name, SCORES)
    results = Results(str(tmp_path))
    first = results.load().entries
    read: list[str] = []

    def remember(root: Path, name: str) -> str:
        read.append(name)
        return "left out"

    monkeypatch.setattr("marsbench.leaderboard.board.results._entry_in", remember)
    assert results.load().entries == first
    check = check_file(tmp_path, "b")
    check.write_text(check.read_text() + "\n")
    assert [entry.model for entry in results.load().entries] == ["a"]
    assert read == ["b"]


def test_a_thousand_submissions(tmp_path: Path) -> None:
    many(tmp_path, 1000, seeds=(0, 1))
    loaded = Results(str(tmp_path)).load()
    assert len(loaded.entries) == 1000
    assert loaded.notes == []
    assert len({entry.name for entry in loaded.entries}) == 1000


def test_a_local_store(tmp_path: Path) -> None:
    demo = fake_record(Fake("mmls", "unet", seed=99))
    demo = replace(demo, data={**demo.data, "source": "demo"})
    make_store(tmp_path / "runs", [*everything(seeds=(0, 1, 10)), demo])
    loaded = store_entries(tmp_path / "runs", "runs")
    ways = {(entry.model, entry.mode, entry.subset, entry.imbalance) for entry in loaded.entries}
    assert len(ways) == len(loaded.entries) > 30
    assert {entry.badge for entry in loaded.entries} == {NOT_SUBMITTED}
    assert {entry.author.name for entry in loaded.entries} == {"runs"}
    (vit,) = [
        entry
        for entry in loaded.entries
        if (entry.model, entry.mode, entry.subset) == ("vit_l_16", "frozen", "full")
        and entry.imbalance == "none"
    ]
    assert len(vit.scores["frost_cls", "f1_weighted"]) == 3
    assert vit.parameters == 10_000_000
    assert vit.train_seconds is not None
    # Without the metric in the record or predictions with both classes.
    assert any(metric == "f1_positive" for _, metric in vit.scores)
    assert loaded.notes == [
        "Left out of runs: 18 runs on custom tasks or other data.",
        "Left out of runs: 1 run on demo data.",
    ]


def test_a_board_of_several_sources(tmp_path: Path) -> None:
    put(tmp_path / "results", "one", SCORES)
    make_store(tmp_path / "runs", [fake_record(Fake("frost_cls", "vit_l_16"))])
    live = Live([tmp_path / "runs"], str(tmp_path / "results"))
    origins = {entry.origin for entry in live.board.entries}
    assert origins == set(Origin)
    names = [entry.name for entry in live.board.entries]
    assert len(set(names)) == len(names)
    assert live.board.entry("submission/one") is not None
    assert live.board.entry("nothing") is None


def test_runs_that_a_report_keeps_apart_are_counted() -> None:
    loaded = paper_entries()
    shown = sum(
        len({(task, seed) for (task, _), by_seed in entry.scores.items() for seed in by_seed})
        for entry in loaded.entries
    )
    # Earth observation models: an F1 of unknown average in binary tasks, and second series.
    assert len(paper_records()) - shown == 499
    (note,) = loaded.notes
    assert note.startswith("Left out of Purohit et al. 2025: 499 runs with further settings or ")


def test_stores_of_equal_names_are_apart(tmp_path: Path) -> None:
    stores = [tmp_path / "runs", tmp_path / "other" / "runs", tmp_path / "more"]
    for store in stores:
        make_store(store, [fake_record(Fake("frost_cls", "vit_l_16"))])
    live = Live([*stores, stores[0]])
    entries = [entry for entry in live.board.entries if entry.origin is Origin.STORE]
    assert [entry.author.name for entry in entries] == [str(stores[0]), str(stores[1]), "more"]
    assert all(live.board.entry(entry.name) is entry for entry in entries)


def test_a_board_opens_with_the_metric_that_it_has(tmp_path: Path) -> None:
    assert Live().board.opening() is Choice.PAPER
    put(tmp_path, "one", some_scores(RNG, categories()["detection"].tasks))
    assert Live(results=str(tmp_path)).board.opening() is Choice.HEADLINE


def test_a_board_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "one", SCORES)
    live = Live(results=str(tmp_path))
    first = live.board
    put(tmp_path, "two", SCORES)
    live.look()
    assert live.board is first  # it was read a moment ago
    monkeypatch.setattr("marsbench.leaderboard.board.live.INTERVAL", 0.0)
    live.look()
    live.wait()
    assert live.board.entry("submission/two") is not None
    (tmp_path / "submissions").rename(tmp_path / "gone")
    live.look()
    live.wait()
    assert live.board.entry("submission/two") is not None  # as read before


@pytest.mark.parametrize("grouping", CAPABILITIES)
def test_capabilities_cover_the_tasks(grouping: str) -> None:
    for category, tasks in categories().items():
        groups = capabilities(grouping, category)
        covered = {task for group in groups for task in group.tasks}
        assert covered == set(tasks.tasks) or (grouping, category) == ("landform", "spectra")
    sensors = {group.title: group.tasks for group in capabilities("sensor", "segmentation")}
    assert sensors["CTX"] == ("conequest_seg", "mmls")
