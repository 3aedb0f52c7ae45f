import json
from typing import Any

import pytest

from marsbench.base.errors import StoreError
from marsbench.leaderboard.schema import (
    SEEDS,
    Author,
    Badge,
    Check,
    CheckedRun,
    Data,
    Finding,
    Signature,
    Submission,
    SubmittedModel,
    SubmittedRun,
)

RUN = CheckedRun(
    run_id="frost_cls/vit/frozen/full/0-0123456789",
    task="frost_cls",
    seed=0,
    split="test",
    badge=Badge.CONSISTENT,
    metrics={"accuracy": 0.5},
    labels="folder:01",
    num_samples=12,
    signature=Signature(digest="ab", sketch="AAAA"),
)


def make_submission(**fields: Any) -> Submission:
    values: dict[str, Any] = {
        "author": Author(name="A"),
        "model": SubmittedModel(name="vit"),
        "mode": "frozen",
        "protocol": "cached",
        "subset": "full",
        "tasks": ("frost_cls",),
        "seeds": (0,),
        "created": "2026-01-01T00:00:00+00:00",
        "runs": (SubmittedRun(run_id=RUN.run_id, files={"record.json": "00"}),),
    }
    return Submission(**values | fields)


def make_check() -> Check:
    submission = make_submission()
    flag = Finding(where="submission.json", problem="It is partial.", is_error=False)
    return Check(
        checked="2026-01-01T00:00:00+00:00", submission=submission, runs=(RUN,), findings=(flag,)
    )


def test_checks_are_read_as_written() -> None:
    check = make_check()
    read = Check.from_json(check.to_json(), "check.json")
    assert read.runs == check.runs
    assert read.findings == check.findings
    assert read.is_valid
    assert read.submission is not None
    assert read.submission.runs == ()  # the digests of the files are with the submission
    assert not Check(checked="", findings=(Finding(where="", problem=""),)).is_valid


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "Update marsbench"),
        ({"runs": [{"run_id": 1}]}, r"'runs\.1\.run_id' is 1"),
        ({"found": []}, "Unknown key 'found'"),
        ({"digest": None}, "'digest' is empty"),
    ],
)
def test_invalid_checks(change: dict[str, object], reason: str) -> None:
    text = json.dumps(json.loads(make_check().to_json()) | change)
    with pytest.raises(StoreError, match=reason):
        Check.from_json(text, "check.json")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"runs": NaN}', '{"a": 1, "a": 2}'])
def test_texts_that_are_no_checks(text: str) -> None:
    with pytest.raises(StoreError, match=r"check\.json is not a check of a submission"):
        Check.from_json(text, "check.json")


def test_submissions_are_read_as_written() -> None:
    submission = make_submission(
        author=Author(name="Ångström", organisation="Lab", link="https://example.org/a?b=c"),
        data=Data.DEMO,
        note="Two lines.\nHere.",
    )
    assert Submission.from_json(submission.to_json(), "submission.json") == submission


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "Update marsbench"),
        ({"author": {"name": " "}}, "expected a name of up to 200 characters"),
        ({"author": {"name": "A" * 201}}, "expected a name of up to 200 characters"),
        ({"author": {"name": "\udc80"}}, "surrogates not allowed"),
        ({"author": {"name": "A", "link": "http://a.org"}}, "begins with https://"),
        ({"author": {"name": "A", "link": "javascript:alert(1)"}}, "begins with https://"),
        ({"author": {"name": "A", "link": "https://a.org\n<b>"}}, "begins with https://"),
        ({"note": "a" * 1001}, "text of up to 1000 characters"),
        ({"data": "other"}, "Unknown data 'other'"),
    ],
)
def test_invalid_submissions(change: dict[str, object], reason: str) -> None:
    text = json.dumps(json.loads(make_submission().to_json()) | change)
    with pytest.raises(StoreError, match=reason):
        Submission.from_json(text, "submission.json")


def test_missing_runs() -> None:
    seeds = tuple(range(SEEDS))
    runs = [
        SubmittedRun(run_id=f"{task}/vit/frozen/full/{seed}-0123456789", files={})
        for task in ("domars16k", "frost_cls")
        for seed in seeds
    ]
    whole = make_submission(tasks=("domars16k", "frost_cls"), seeds=seeds, runs=tuple(runs))
    assert whole.missing == {}
    assert whole.is_complete
    gaps = make_submission(tasks=("domars16k", "frost_cls"), seeds=seeds, runs=tuple(runs[1:-2]))
    assert gaps.missing == {"domars16k": (0,), "frost_cls": (5, 6)}
    assert not gaps.is_complete
    few = make_submission(seeds=(0,))
    assert few.missing == {}
    assert not few.is_complete
