"""``marsbench submit``: from a store to a checked submission."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from marsbench.base.json_schema import DIALECT
from marsbench.cli import app
from marsbench.config.identity import run_id
from marsbench.leaderboard.schema import Check
from marsbench.models.pretraining import Pretraining
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, RECORD, Store
from tests.conftest import go_offline
from tests.leaderboard.fabricated import SEEDS, change_predictions, change_record, run_folders
from tests.leaderboard.fabricated import submit as fabricate
from tests.server import Repo, Server

TASKS = ("conequest_det", "frost_cls", "mars_seg_mer")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data below ``data`` and a store of runs in ``runs``."""
    place = tmp_path_factory.mktemp("made")
    fabricate(place / "data", place, TASKS)
    (place / "submission.json").unlink()
    return place


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A copy of the store, whose runs name the folder of the data."""
    copy = shutil.copytree(made / "runs", tmp_path / "runs")
    for path in copy.rglob(RECORD):
        record = RunRecord.from_json(path.read_text(), "")
        config = {"source": "local", "root": str(made / "data")}
        path.write_text(replace(record, config=config | record.config).to_json())
    return copy


def submit(*words: str | Path, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a command."""
    done = CliRunner().invoke(app, ["submit", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def check_of(stdout: str) -> Check:
    content: dict[str, Any] = json.loads(stdout)
    is_valid = content.pop("valid")
    del content["path"]
    check = Check.from_json(json.dumps(content), "")
    assert check.is_valid == is_valid
    return check


def test_a_store_becomes_a_submission_that_validates(
    store: Path, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stdout, stderr = submit(store, "--author", "Ada", "--note", "Hello.", "--out", out)
    check = check_of(stdout)
    assert check.is_valid
    assert check.submission is not None
    assert check.submission.tasks == TASKS
    assert {str(run.badge) for run in check.runs} == {"scores consistent with predictions"}
    assert len(check.runs) == len(TASKS) * len(SEEDS)
    assert f"paths of this machine, which readers will see: root={made / 'data'}" in stderr
    with (out / "rows" / "segmentation.csv").open() as file:
        (row,) = csv.DictReader(file)
    records = [Store(store).find(run.run_id) for run in check.runs if run.task == "mars_seg_mer"]
    dice = [record.scores["dice"] for record in records if record is not None]
    assert float(row["Dice Score"]) == pytest.approx(sum(dice) / len(SEEDS), abs=5e-5)
    assert sorted(path.name for path in (out / "rows").iterdir()) == [
        "classification.csv",
        "detection.csv",
        "segmentation.csv",
    ]
    assert len(yaml.safe_load((out / ".eval_results" / "marsbench.yaml").read_text())) == 3
    # What was written is a valid submission, for others too; and may be written again.
    again, _ = submit("--check", out, "--root", made / "data")
    assert check_of(again).runs == check.runs
    submit(store, "task=frost_cls", "--author", "Ada", "--out", out)
    assert [path.name for path in (out / "rows").iterdir()] == ["classification.csv"]


def test_tables_for_people(store: Path, tmp_path: Path) -> None:
    words = (store, "task=frost_cls,mars_seg_mer", "--author", "Ada", "--out", tmp_path / "out")
    stdout, _ = submit(*words, "--format", "table")
    assert "f1_weighted" in stdout
    assert "miou" in stdout
    assert stdout.splitlines()[-1] == f"{tmp_path / 'out'} is valid: 14 runs."


def test_problems_end_with_code_2_and_leave_the_folder(store: Path, tmp_path: Path) -> None:
    folder = next(store.glob("frost_cls/*/*/*/3-*"))
    change_predictions(folder, lambda frame: frame.iloc[1:])
    out = tmp_path / "out"
    words = (store, "task=frost_cls", "--author", "Ada", "--out", out)
    stdout, _ = submit(*words, code=2)
    check = check_of(stdout)
    assert not check.is_valid
    (finding,) = check.errors
    assert folder.relative_to(store).as_posix() in finding.where
    assert finding.remedy
    assert (out / "submission.json").exists()
    assert not (out / "rows").exists()
    stdout, stderr = submit(*words, "--format", "table", code=2)
    assert f"Error in {finding.where}: {finding.problem} {finding.remedy}" in stderr
    assert stderr.splitlines()[-1] == f"{out} is not valid: 1 error."


def test_incomplete_submissions_are_marked(store: Path, tmp_path: Path) -> None:
    shutil.rmtree(next(store.glob("frost_cls/*/*/*/3-*")))
    words = (store, "task=frost_cls", "--author", "Ada", "--out", tmp_path / "out")
    _, stderr = submit(*words, code=2)
    assert "Missing: frost_cls seed 3." in stderr
    assert not (tmp_path / "out").exists()
    stdout, _ = submit(*words, "--partial")
    check = check_of(stdout)
    assert check.is_valid
    assert check.submission is not None
    assert check.submission.partial


def test_an_archive_is_checked(store: Path, made: Path, tmp_path: Path) -> None:
    submit(store, "task=frost_cls", "--author", "Ada", "--out", tmp_path / "out")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "out")
    stdout, _ = submit("--check", archive, "--source", "local", "--root", made / "data")
    assert check_of(stdout).is_valid
    change_record(run_folders(tmp_path / "out")[0], lambda content: content.update(model="vit"))
    stdout, _ = submit("--check", tmp_path / "out", "--root", made / "data", code=2)
    assert "SHA-256" in check_of(stdout).errors[0].problem


def test_details_come_from_a_file(store: Path, tmp_path: Path) -> None:
    known = Pretraining(data="MarsPix", images=5)
    for path in store.glob("frost_cls/*/*/*/*/record.json"):
        record = RunRecord.from_json(path.read_text(), "")
        choices = {**record.identity, "weights": "w"}
        names = record.task, record.model, record.mode, record.subset, record.seed
        changed = replace(
            record,
            run_id=run_id(*names, choices),
            identity=choices,
            weights={"name": "w"},
            pretraining=known,
        )
        path.write_text(changed.to_json())
        path.parent.rename(store / changed.run_id)
    about = tmp_path / "about.yaml"
    about.write_text(
        "author: {name: Ada, organisation: Lab}\n"
        "model: {licence: MIT, pretraining: {overlaps: [frost_cls]}}\n"
    )
    words = (store, "task=frost_cls", "--about", about, "--out", tmp_path / "out")
    check = check_of(submit(*words, "--organisation", "Observatory")[0])
    assert check.submission is not None
    assert check.submission.author.organisation == "Observatory"
    assert check.submission.model.licence == "MIT"
    pretraining = check.submission.model.pretraining
    assert (pretraining.data, pretraining.overlaps) == ("MarsPix", ("frost_cls",))


def test_tasks_of_ones_own_are_left_out(store: Path, tmp_path: Path) -> None:
    for path in store.glob("frost_cls/*/*/*/*/record.json"):
        record = RunRecord.from_json(path.read_text(), "")
        name = record.run_id.replace("frost_cls", "my_rocks")
        target = store / name
        shutil.copytree(path.parent, target)
        (target / RECORD).write_text(replace(record, run_id=name, task="my_rocks").to_json())
    words = (store, "--author", "Ada", "--out", tmp_path / "out")
    stdout, stderr = submit(*words)
    assert check_of(stdout).is_valid
    assert "Left out: my_rocks, not among the tasks of the leaderboard." in stderr
    _, stderr = submit(*words, "task=my_rocks", code=2)
    assert "my_rocks is not a task of the leaderboard" in stderr


def test_odd_configurations_of_records_are_data(store: Path, tmp_path: Path) -> None:
    for path in store.glob("frost_cls/*/*/*/*/record.json"):
        content = json.loads(path.read_text())
        odd = {"source": ["x"], "root": {"a": 1}, "task": None, "optim": [1], "store": "/a\n/b"}
        path.write_text(json.dumps(content | {"config": odd}))
    words = (store, "task=frost_cls", "--author", "Ada", "--out", tmp_path / "out")
    stdout, stderr = submit(*words)
    assert {str(run.badge) for run in check_of(stdout).runs} == {"not re-scored"}
    assert r"store=/a\n/b" in stderr
    shutil.rmtree(next(store.glob("frost_cls/*/*/*/3-*")))
    _, stderr = submit(*words, code=2)
    assert "Missing: frost_cls seed 3." in stderr


def test_a_run_without_predictions(store: Path, tmp_path: Path) -> None:
    (next(store.glob("frost_cls/*/*/*/3-*")) / PREDICTIONS).unlink()
    words = (store, "task=frost_cls", "--author", "Ada", "--out", tmp_path / "out")
    _, stderr = submit(*words, code=2)
    assert "predictions.parquet cannot be read: No such file or directory." in stderr


REPO = "hf://datasets/org/results"


def test_a_valid_submission_becomes_a_pull_request(
    store: Path, made: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "reader")
    server.repos["org/results"] = Repo({"README.md": b"Results"})
    out = tmp_path / "out"
    stdout, _ = submit(
        store, "task=frost_cls,mars_seg_mer", "--author", "Ada B.", "--out", out, "--push", REPO
    )
    first, second = map(json.loads, stdout.splitlines())
    assert first["valid"]
    assert second == {"pull_request": f"{server.url}/datasets/org/results/discussions/1"}
    assert set(server.repos["org/results"].files) == {"README.md"}
    (pull,) = server.repos["org/results"].pulls.values()
    assert pull.title == "Submission: resnet101, frozen, full, by Ada B."
    name = f"submissions/Ada-B-resnet101-frozen-full-{first['digest'][:8]}"
    local = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    pushed = {k.removeprefix(f"{name}/"): v for k, v in pull.files.items() if k != "README.md"}
    assert pushed == local
    # What is in the request is a valid submission.
    for path, content in pushed.items():
        (tmp_path / "pulled" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pulled" / path).write_bytes(content)
    stdout, _ = submit("--check", tmp_path / "pulled", "--root", made / "data")
    assert check_of(stdout).is_valid


def test_pushes_that_are_refused(
    store: Path, made: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    submit(store, "task=frost_cls", "--author", "Ada", "--out", out)
    check = ("--check", out, "--root", made / "data", "--push")
    monkeypatch.setenv("HF_TOKEN", "reader")
    _, stderr = submit(*check, REPO, code=2)
    assert "was not found on" in stderr
    server.repos["org/results"] = Repo({"README.md": b"Results"})
    server.fail("/commit/", method="POST", status=403)
    _, stderr = submit(*check, REPO, code=2)
    assert "refuses access to hf://datasets/org/results" in stderr
    for other in ("org/results", "hf://org/results", f"{REPO}/a", f"{REPO}@main"):
        _, stderr = submit(*check, other, code=2)
        assert "hf://datasets/ORG/NAME" in stderr
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", out)
    _, stderr = submit("--check", archive, *check[2:], REPO, code=2)
    assert "Unpack it, and push the folder." in stderr
    go_offline(monkeypatch)
    _, stderr = submit(*check, REPO, code=2)
    assert "HF_HUB_OFFLINE forbids requests" in stderr
    go_offline(monkeypatch, False)
    change_predictions(next((out / "runs").glob("*/*/*/*/3-*")), lambda frame: frame.iloc[1:])
    server.forget()
    submit(*check, REPO, code=2)
    assert server.seen(method="POST") == []
    assert not server.repos["org/results"].pulls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "The folder of the submission is missing"),
        (("runs", "other", "--out", "o"), "runs and other are two folders of records"),
        (("seed=1", "seed=2", "--out", "o"), "'seed' is given twice"),
        (("runs", "--check", "o"), "collects none"),
        (("--check", "o", "--out", "o"), "collects none"),
        (("none", "--author", "Ada", "--out", "o"), "The store none is missing"),
    ],
)
def test_invalid_commands(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, stderr = submit(*words, code=2)
    assert message in stderr
    assert list(tmp_path.iterdir()) == []


def test_the_schema_is_printed() -> None:
    stdout, _ = submit("--schema")
    schema = json.loads(stdout)
    assert schema["$schema"] == DIALECT
    assert schema["required"] == [
        "author",
        "model",
        "mode",
        "protocol",
        "subset",
        "tasks",
        "seeds",
        "created",
        "runs",
    ]
    assert schema["$defs"]["Author"]["properties"]["name"]["maxLength"] == 200
