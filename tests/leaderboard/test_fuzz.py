"""Every field of a valid document and record, replaced by wrong values: refused, or harmless."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marsbench.config.identity import run_id
from marsbench.leaderboard.document import read_submission
from marsbench.leaderboard.files import Files
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.runs import read_runs
from marsbench.leaderboard.schema import RUNS, SUBMISSION, Check
from marsbench.models.pretraining import Pretraining
from marsbench.results.record import RunRecord
from marsbench.results.store import RECORD
from tests.leaderboard.fabricated import rename_run, run_folders, seal, submit

DEEP = "[" * 500 + "]" * 500

WRONG = {
    "null": "null",
    "empty": '""',
    "minus": "-1",
    "infinite": "1e400",
    "nan": "NaN",
    "list": "[]",
    "mapping": "{}",
    "long": f'"{"x" * 10_000}"',
    "deep": DEEP,
    "true": "true",
    "parent": '"../x"',
    "control": '"\\u001b[2J"',
    "digits": f"1{'0' * 400}",
    "huge": "1e300",
}
"""JSON by name."""

ANY = {*WRONG} - {"infinite", "nan", "deep", "control"}
"""Values that are plain data, of any type."""

TEXT = {"empty", "long", "parent"}

HARMLESS: dict[str, dict[str, set[str]]] = {
    SUBMISSION: {
        # Words of the author, shown as text.
        "author.name": {"parent"},
        "author.organisation": {"empty", "parent"},
        "author.link": {"empty"},
        "model.licence": {"empty", "parent"},
        "model.links": {"list"},
        "model.links.*": {"empty"},
        "note": {"empty", "parent"},
        # Facts that may be unknown.
        "model.parameters": {"null"},
        "model.pretraining.overlaps": {"list"},
        "partial": {"true"},
    },
    RECORD: {
        # Read by nobody but people: what counts is in the identity.
        "config": {"mapping"},
        "config.imbalance": ANY,
        "config.task": ANY,
        "config.strict": ANY,
        "config.size": ANY,
        "weights.sha256": ANY,
        "checkpoint": {"mapping"},
        "checkpoint.val_loss": ANY,
        "device": TEXT,
        "environment": {"mapping"},
        "environment.*": TEXT,
        "git": {"null", "mapping"},
        "git.*": ANY,
        "data.notes": {"list"},
        "data.notes.*": TEXT,
        # Names are compared with the labels, later.
        "data.classes.*": TEXT,
        # Facts that may be unknown, or follow from the task.
        "data.inputs": {"mapping"},
        "data.num_train": {"null"},
        "data.num_test": {"null"},
        "data.task": {"mapping"},
        "data.task.image_size": {"null"},
        "data.task.rgb_bands": {"null"},
        "data.task.technique": {"null"},
        "data.train_counts": {"null", "mapping"},
        "parents": {"list"},
        "peak_memory": {"mapping"},
        "pretraining": {"mapping"},
        "pretraining.images": {"null"},
        "pretraining.licence": {"empty"},
        "pretraining.overlaps": {"null", "list"},
        "timing": {"mapping"},
        # Other settings, of which the run id tells.
        "identity.optim": ANY,
        "identity.optim.lr": ANY,
        "identity.input_size": {"null"},
        "identity.outputs": {"null"},
    },
}
"""Values that may stand in a field; all others are refused."""


class Documents(Files):
    """Files in memory."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(Path(), {name: len(content) for name, content in contents.items()})
        object.__setattr__(self, "contents", contents)

    def read(self, name: str, most: int) -> bytes:
        content: bytes = vars(self)["contents"][name]
        return content


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A valid document and record with as many fields as possible, by file name."""
    place = tmp_path_factory.mktemp("fuzz")
    folder = submit(place / "data", place / "submission", ("frost_cls",), seeds=(0,))
    known = Pretraining(data="ImageNet-1k", images=5, licence="MIT", overlaps=())

    def complete(record: RunRecord) -> RunRecord:
        record.identity.update(weights="w", input_size=224, outputs=1)
        record.config.update(strict=True, size=1.0)
        record.data.update(inputs={}, notes=["x"], num_train=40, num_test=24, train_counts={"a": 1})
        object.__setattr__(record, "weights", {"name": "w", "sha256": "0" * 64})
        object.__setattr__(record, "pretraining", known)
        return record

    run = rename_run(folder, run_folders(folder)[0], complete)
    seal(folder, lambda content: content.update(partial=True, note="A note."))
    content = json.loads((folder / SUBMISSION).read_text())
    record = json.loads((run / RECORD).read_text())
    content["model"] |= {
        "weights": "w",
        "parameters": record["parameters"]["total"],
        "pretraining": record["pretraining"],
        "licence": "MIT",
        "links": ["https://example.org/w"],
    }
    return {SUBMISSION: content, RECORD: record}


def fields_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values within a document."""
    items: Any = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield (*path, key)
        yield from fields_of(inner, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], text: str) -> bytes:
    """JSON of a document with a text in place of a value."""
    outer = copy = json.loads(json.dumps(document))
    for key in path[:-1]:
        outer = outer[key]
    outer[path[-1]] = "@@"
    return json.dumps(copy).replace('"@@"', text).encode()


def checked(documents: dict[str, bytes], place: str) -> Check:
    """Check a document and the record of its run in a folder."""
    findings = Findings()
    record = documents[RECORD]
    files = Documents({SUBMISSION: documents[SUBMISSION], f"{RUNS}/{place}/{RECORD}": record})
    submission, _ = read_submission(files, findings)
    if submission is not None:
        read_runs(files, submission, findings)
    return Check(checked="", submission=submission, findings=findings.all)


def renamed(documents: dict[str, bytes], place: str) -> tuple[dict[str, bytes], str]:
    """Give the record the run id that follows from its identity, which is its folder."""
    record = json.loads(documents[RECORD])
    task, model, mode, subset, seed = place.rpartition("-")[0].split("/")
    named = run_id(task, model, mode, subset, int(seed), record["identity"])
    content = documents[SUBMISSION].replace(place.encode(), named.encode())
    return {SUBMISSION: content, RECORD: json.dumps(record | {"run_id": named}).encode()}, named


def is_harmless(name: str, path: tuple[Any, ...], value: str) -> bool:
    key = ".".join(map(str, path))
    group = ".".join(map(str, (*path[:-1], "*")))
    return value in HARMLESS[name].get(key, HARMLESS[name].get(group, set()))


@pytest.mark.parametrize("name", [SUBMISSION, RECORD])
def test_every_field_with_wrong_values(name: str, documents: dict[str, Any]) -> None:
    valid = {key: json.dumps(value).encode() for key, value in documents.items()}
    place: str = documents[RECORD]["run_id"]
    assert checked(valid, place).errors == ()
    unexpected = []
    for path in fields_of(documents[name]):
        for value, text in WRONG.items():
            changed, folder = valid | {name: replaced(documents[name], path, text)}, place
            if path[0] == "identity" and len(path) > 1 and value in ANY:
                changed, folder = renamed(changed, place)
            check = checked(changed, folder)
            for finding in check.findings:
                assert finding.problem.isprintable()
            if check.is_valid != is_harmless(name, path, value):
                unexpected.append((path, value, [error.problem for error in check.errors]))
    assert unexpected == []
