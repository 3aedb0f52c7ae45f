"""Facts of records that nobody can compute again: weights, sizes, times and memory."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.leaderboard.document import read_submission
from marsbench.leaderboard.files import opened
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.runs import read_runs
from marsbench.models.pretraining import Pretraining
from marsbench.results.record import RunRecord
from tests.leaderboard.fabricated import change_record, rename_run, run_folders, seal, submit


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("valid")
    folder = submit(place / "data", place / "submission", ("frost_cls",), seeds=(0,))
    return seal(folder, lambda content: content.update(partial=True))


@pytest.fixture
def copied(valid: Path, tmp_path: Path) -> Path:
    return shutil.copytree(valid, tmp_path / "submission")


def problems(folder: Path) -> tuple[list[str], list[str]]:
    """Errors and flags of the document and the records; predictions are not read."""
    findings = Findings()
    with opened(folder, findings) as files:
        assert files is not None
        submission, _ = read_submission(files, findings)
        if submission is not None:
            read_runs(files, submission, findings)
    return (
        [finding.problem for finding in findings.all if finding.is_error],
        [finding.problem for finding in findings.all if not finding.is_error],
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r["parameters"].update(total=-5), "'parameters.total' is -5; expected a number"),
        (lambda r: r["parameters"].update(total=0), "'parameters.total' is 0; a network has"),
        (lambda r: r["parameters"].update(total=10**15), "'parameters.total' is 1000000000000000;"),
        (lambda r: r["parameters"].update(trained=10**9), "'parameters.trained' is 1000000000 of"),
        (lambda r: r["timing"].update(train=-1.0), "'timing.train' is -1.0; expected a number"),
        (lambda r: r["timing"].update(train=1e300), "'timing.train' is 1e+300"),
        (lambda r: r["peak_memory"].update(host=-1), "'peak_memory.host' is -1"),
        (lambda r: r["peak_memory"].update(device=10**18), "'peak_memory.device' is 1000000000"),
        (lambda r: r["checkpoint"].update(epoch=-1), "'checkpoint.epoch' is -1"),
        (lambda r: r["data"].update(num_train=-1), "'data.num_train' is -1"),
        (lambda r: r["data"].update(num_test="many"), "'data.num_test' is 'many'"),
        (lambda r: r["data"].update(num_test=True), "'data.num_test' is true"),
        (lambda r: r["data"].update(train_counts={"frost": -1}), "'data.train_counts.frost' is -1"),
    ],
)
def test_impossible_numbers(change: Callable[[Any], object], reason: str, copied: Path) -> None:
    change_record(run_folders(copied)[0], change)
    (error,) = problems(copied)[0]
    assert error.startswith(f"The record has impossible numbers: {reason}")


def with_identity(submission: Path, **choices: Any) -> None:
    """Change choices of the record, and its run id with them."""

    def change(record: RunRecord) -> RunRecord:
        record.identity.update(choices)
        return record

    rename_run(submission, run_folders(submission)[0], change)


@pytest.mark.parametrize(
    ("key", "value", "most"),
    [
        ("input_size", 10**9, "8,192"),
        ("input_size", 0, "8,192"),
        ("input_size", "224", "8,192"),
        ("outputs", 10**9, "10,000"),
        ("outputs", True, "10,000"),
    ],
)
def test_sizes_of_a_model(key: str, value: Any, most: str, copied: Path) -> None:
    with_identity(copied, **{key: value})
    (error,) = problems(copied)[0]
    assert (
        f"has {key} {str(value).lower() if value is True else repr(value)}; expected 1 to {most}"
        in error
    )


def with_weights(submission: Path, weights: Any, named: str | None, **fields: Any) -> None:
    """Give the record other initial weights, and its run id with them."""

    def change(record: RunRecord) -> RunRecord:
        object.__setattr__(record, "weights", weights)
        if named is not None:
            record.identity["weights"] = named
        for key, value in fields.items():
            object.__setattr__(record, key, value)
        return record

    rename_run(submission, run_folders(submission)[0], change)


def says(submission: Path, **fields: Any) -> None:
    seal(submission, lambda content: content["model"].update(fields))


def test_weights_that_contradict_the_record(copied: Path) -> None:
    says(copied, weights="vit.pth", pretraining={"data": "ImageNet-1k"})
    first, second = problems(copied)[0]
    assert first == "The run starts from random weights; submission.json says 'vit.pth'."
    assert "random weights; submission.json says pre-training on 'ImageNet-1k'" in second
    with_weights(copied, {"name": "other.pth"}, "other.pth")
    (error,) = problems(copied)[0]
    assert error == "The run starts from the weights 'other.pth'; submission.json says 'vit.pth'."
    with_weights(copied, {"name": "vit.pth"}, "other.pth")
    (error,) = problems(copied)[0]
    assert error == "The record was changed: its weights are not in its run id."


def test_weights_that_the_author_states(copied: Path) -> None:
    with_weights(copied, {}, None)
    errors, flags = problems(copied)
    assert errors == []
    assert flags == ["The initial weights are unknown: the records do not name them."]
    says(copied, weights="vit.pth", pretraining={"data": "ImageNet-1k"})
    stated = "Stated by the author, not by the records: weights, pretraining.data."
    assert problems(copied) == ([], [stated])
    with_weights(
        copied, {"name": "vit.pth"}, "vit.pth", pretraining=Pretraining(data="ImageNet-1k")
    )
    assert problems(copied) == ([], [])
