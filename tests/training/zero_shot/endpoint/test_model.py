"""Runs behind a local server that answers like the real services, also wrongly."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marsbench
from marsbench.base.errors import ConfigError, EndpointError, StoreError
from marsbench.config.schema import RunConfig
from marsbench.models.answering.parsing import LONGEST
from marsbench.plan.resolve import resolve
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.training.zero_shot.endpoint import limits
from marsbench.training.zero_shot.endpoint.client import TransientError
from marsbench.training.zero_shot.endpoint.keys import read_key
from marsbench.training.zero_shot.endpoint.pace import Pace
from tests.services.completions import KEY, Completions, Said, Trouble
from tests.training.zero_shot.endpoint.conftest import CLASSES, keys, named


def lines(store: Path, record_or_id: RunRecord | str) -> list[dict[str, Any]]:
    run_id = record_or_id if isinstance(record_or_id, str) else record_or_id.run_id
    text = (store / run_id / "answers.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def run_id_of(**config: Any) -> str:
    return resolve(RunConfig.from_dict(config)).run_id


def test_a_run_and_its_bill(endpoint: Completions, small: str, tmp_path: Path) -> None:
    prices = {"api.input_price": 2.0, "api.output_price": 10.0}
    record = marsbench.run(**keys(small, tmp_path, endpoint.url, **prices))
    assert list(endpoint.answered.values()) == [1] * 6
    facts = record.data["zero_shot"]
    assert facts["model"] == "toy-2026-11-30"
    assert facts["structured"] is True
    assert facts["unanswered"] == {}
    cost = 6 * (1000 * 2.0 + 10 * 10.0) / 1e6
    assert facts["bill"] == {
        "answers": 6,
        "input_tokens": 6000,
        "output_tokens": 60,
        "cost_usd": pytest.approx(cost),
    }
    kept = lines(tmp_path, record)
    assert len({line["sample_id"] for line in kept}) == 6
    assert {line["prompt"] for line in kept} == {record.identity["prompt"]}
    assert {line["model"] for line in kept} == {"toy-2026-11-30"}
    assert sum(line["cost"] for line in kept) == pytest.approx(cost)
    frame = Store(tmp_path).predictions(record.run_id)
    by_id = {line["sample_id"]: json.loads(line["text"])["class"] for line in kept}
    for sample_id, scores in zip(frame["sample_id"], frame["scores"], strict=True):
        assert record.data["classes"][int(np.argmax(scores))] == by_id[sample_id]


def test_requests_define_the_classes(endpoint: Completions, small: str, tmp_path: Path) -> None:
    marsbench.run(**keys(small, tmp_path, endpoint.url))
    request = endpoint.log[0]
    system, user = request["messages"]
    assert system["role"] == "system"
    assert all(f"- {name}" in system["content"].splitlines() for name in CLASSES)
    text, picture = user["content"]
    assert text["type"] == "text"
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert request["temperature"] == 0
    assert request["model"] == "toy"
    schema = request["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert sorted(schema["schema"]["properties"]["class"]["enum"]) == sorted(CLASSES)
    assert "max_tokens" not in request


def test_settings_reach_the_request_and_the_id(
    endpoint: Completions, small: str, tmp_path: Path
) -> None:
    plain = keys(small, tmp_path, endpoint.url)
    more = {"api.temperature": None, "api.max_tokens": 50, "api.structured": "text"}
    record = marsbench.run(**{**plain, **more})
    request = endpoint.log[0]
    assert "temperature" not in request
    assert "response_format" not in request
    assert request["max_tokens"] == 50
    ids = {run_id_of(**{**plain, key: value}) for key, value in more.items()}
    assert len({*ids, record.run_id, run_id_of(**plain)}) == 5
    for key, value in (
        ("api.concurrency", 1),
        ("api.timeout", 9.0),
        ("api.max_retries", 1),
        ("api.requests_per_minute", 60.0),
        ("api.input_price", 1.0),
        ("api.base_url", "http://elsewhere/v1"),
    ):
        assert run_id_of(**{**plain, key: value}) == run_id_of(**plain)


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(429),
        Trouble(429, headers={"Retry-After": "0"}),
        Trouble(429, headers={"Retry-After": "Tue, 01 Dec 2020 00:00:00 GMT"}),
        Trouble(500),
        Trouble(503, body=b"<html>Service Unavailable</html>"),
        Trouble(cut=True),
        Trouble(delay=1.5),
        Trouble(body=b""),
        Trouble(body=b"{}"),
        Trouble(body=b'{"choices": []}'),
        Trouble(body=b'{"choices": {"a": 1}}'),
        Trouble(body=b"not json"),
    ],
    ids=lambda t: f"{t.status}{'-cut' if t.cut else ''}{t.delay or ''}{t.body or ''}{t.headers}",
)
def test_transient_troubles_are_retried(
    endpoint: Completions, small: str, tmp_path: Path, trouble: Trouble
) -> None:
    endpoint.troubles += [trouble, trouble]
    record = marsbench.run(**keys(small, tmp_path, endpoint.url, **{"api.timeout": 1.0}))
    assert record.metrics["test"]["unanswered"] == 0
    assert len(lines(tmp_path, record)) == 6
    assert len(endpoint.log) == 8


def test_the_endpoint_says_how_long_to_wait(
    endpoint: Completions, small: str, tmp_path: Path
) -> None:
    endpoint.troubles.append(Trouble(429, headers={"Retry-After": "1.5"}))
    marsbench.run(**keys(small, tmp_path, endpoint.url))
    assert endpoint.times[1] - endpoint.times[0] >= 1.5


def test_too_long_a_wait_ends_the_run(endpoint: Completions, small: str, tmp_path: Path) -> None:
    endpoint.troubles.append(Trouble(429, headers={"Retry-After": "86400"}))
    with pytest.raises(EndpointError, match="asks to wait 86400 s"):
        marsbench.run(**keys(small, tmp_path, endpoint.url))
    assert len(endpoint.log) == 1


def test_a_limit_holds_all_threads() -> None:
    stop = threading.Event()
    shared = Pace(None, 3, stop)
    starts: list[float] = []
    failures = iter([TransientError("limited", 0.6, 429)])

    def make() -> None:
        starts.append(time.monotonic())
        if (error := next(failures, None)) is not None:
            raise error

    shared.request(make, "here")
    assert starts[1] - starts[0] >= 0.6
    other = threading.Thread(target=shared.request, args=(make, "here"))
    began = time.monotonic()
    shared._blocked = began + 0.4
    other.start()
    other.join()
    assert starts[2] - began >= 0.4


def test_requests_per_minute_are_spread(endpoint: Completions, small: str, tmp_path: Path) -> None:
    marsbench.run(**keys(small, tmp_path, endpoint.url, **{"api.requests_per_minute": 300.0}))
    gaps = np.diff(sorted(endpoint.times))
    assert sum(gaps) >= 5 * 0.2 - 0.1


def test_retries_end(endpoint: Completions, small: str, tmp_path: Path) -> None:
    config = keys(small, tmp_path, endpoint.url, **{"api.max_retries": 2, "api.concurrency": 1})
    endpoint.troubles += [Trouble(200, delay=0.001)] * 2 + [Trouble(500)] * 3
    with pytest.raises(EndpointError, match="gives no answer after 2 retries: status 500"):
        marsbench.run(**config)
    assert len(lines(tmp_path, run_id_of(**config))) == 2
    record = marsbench.run(**config)
    assert list(endpoint.answered.values()) == [1] * 6
    assert len(lines(tmp_path, record)) == 6


SAID: list[tuple[Said | str, str]] = [
    ("", "empty"),
    ("I see a crater.", "text without the form of an answer"),
    ('{"class": "volcano"}', "unknown class"),
    ('{"class": "cratère"}', "unknown class"),
    ('{"Klasse": "crater"}', "JSON of another form"),
    ('{"class": ["crater", "dune"]}', "several classes"),
    ("crater, dune", "several classes"),
    ('{"class": "crater", "class": "dune"}', "ambiguous JSON"),
    ('{"class": "cra', "text without the form of an answer"),
    (Said(None, refusal="I cannot help with that."), "refused"),
    (Said(None, finish="content_filter"), "refused"),
]


@pytest.mark.parametrize(("said", "reason"), SAID)
def test_invalid_answers_are_counted_as_wrong(
    small: str, tmp_path: Path, said: Said | str, reason: str
) -> None:
    def say(number: int) -> Said | str:
        return said if number < 2 else named(number)

    with Completions(say) as endpoint:
        record = marsbench.run(**keys(small, tmp_path, endpoint.url, **{"api.concurrency": 1}))
        assert len(endpoint.log) == 6  # an invalid answer is an answer
    assert record.data["zero_shot"]["unanswered"] == {reason: 2}
    scores = record.metrics["test"]
    assert scores["unanswered"] == pytest.approx(2 / 6)
    assert scores["refused"] == pytest.approx(2 / 6 if reason == "refused" else 0)
    frame = Store(tmp_path).predictions(record.run_id)
    named_any = np.array([bool(np.any(row)) for row in frame["scores"]])
    assert named_any.sum() == 4
    expected = "refused" if reason == "refused" else "unparsable"
    assert set(frame["answer"][~named_any]) == {expected}


def test_refusals_of_the_endpoint_itself(endpoint: Completions, small: str, tmp_path: Path) -> None:
    error = {"error": {"message": "Rejected by the safety system.", "code": "content_filter"}}
    endpoint.troubles += [Trouble(400, body=json.dumps(error).encode())]
    record = marsbench.run(**keys(small, tmp_path, endpoint.url, **{"api.concurrency": 1}))
    assert record.metrics["test"]["refused"] == pytest.approx(1 / 6)
    assert record.data["zero_shot"]["model"] == "toy-2026-11-30"


@pytest.mark.parametrize(
    "form",
    ["```json\n{}\n```", "```\n{}\n```", "  {}\n", "{}"],
    ids=["json", "plain", "space", "bare"],
)
def test_code_fences_are_taken_off(small: str, tmp_path: Path, form: str) -> None:
    with Completions(lambda number: form.replace("{}", named(number))) as endpoint:
        record = marsbench.run(**keys(small, tmp_path, endpoint.url))
    assert record.metrics["test"]["unanswered"] == 0


def test_the_beginning_of_a_list_is_no_answer(masked: str, tmp_path: Path) -> None:
    texts = [Said("crater", finish="length"), Said('{"classes": ["dune"]}', finish="length")]
    with Completions(lambda n: texts[n] if n < 2 else "crater") as endpoint:
        record = marsbench.run(**keys(masked, tmp_path, endpoint.url))
    assert record.metrics["test"]["unanswered"] == 1 / 8


def test_masks_are_asked_as_labels(masked: str, tmp_path: Path) -> None:
    texts = ['{"classes": []}', '{"classes": ["dune", "crater"]}', '{"classes": ["sea"]}', "dune"]
    with Completions(lambda number: texts[number % 4]) as endpoint:
        record = marsbench.run(**keys(masked, tmp_path, endpoint.url, **{"api.concurrency": 1}))
        schema = endpoint.log[0]["response_format"]["json_schema"]["schema"]
    names = schema["properties"]["classes"]["items"]["enum"]
    assert sorted(names) == ["crater", "dune"]
    assert record.metrics["test"]["unanswered"] == pytest.approx(1 / 4)
    kept = {line["sample_id"]: line["text"] for line in lines(tmp_path, record)}
    frame = Store(tmp_path).predictions(record.run_id)
    dune, both = record.data["classes"].index("dune"), [1.0, 1.0]
    columns = (frame["sample_id"], frame["scores"], frame["target"])
    for sample_id, scores, target in zip(*columns, strict=True):
        only = [float(i == dune) for i in range(2)]
        wrong = both if not any(target) else [0.0, 0.0]
        expected = [[0.0, 0.0], both, wrong, only][texts.index(kept[sample_id])]
        assert list(scores) == expected


def test_a_changed_model_is_an_error_that_keeps_the_answers(small: str, tmp_path: Path) -> None:
    def say(number: int) -> Said:
        return Said(named(number), model="toy-1" if number < 3 else "toy-2")

    with Completions(say) as endpoint:
        config = keys(small, tmp_path, endpoint.url, **{"api.concurrency": 1})
        with pytest.raises(EndpointError, match="came from toy-1, and now come from toy-2"):
            marsbench.run(**config)
        run_id = run_id_of(**config)
        assert [line["model"] for line in lines(tmp_path, run_id)] == ["toy-1"] * 3 + ["toy-2"]
        assert not (tmp_path / run_id / "record.json").exists()
        endpoint.say = lambda number: Said(named(number), model="toy-1")
        record = marsbench.run(**config)
    assert record.data["zero_shot"]["model"] == "toy-1"
    # The answer of the other model is not used; all others are asked once.
    assert sorted(endpoint.answered.values()) == [1, 1, 1, 1, 1, 2]


def test_answers_to_another_prompt_are_not_used(
    endpoint: Completions, small: str, tmp_path: Path
) -> None:
    config = keys(small, tmp_path, endpoint.url)
    record = marsbench.run(**config)
    kept = lines(tmp_path, record)
    folder = tmp_path / record.run_id
    (folder / "record.json").unlink()
    changed = [line | {"prompt": "other"} if i < 2 else line for i, line in enumerate(kept)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
    again = marsbench.run(**config)
    assert len(endpoint.log) == 8
    assert again.data["zero_shot"]["bill"]["answers"] == 6


def test_a_torn_line_is_cut_off(endpoint: Completions, small: str, tmp_path: Path) -> None:
    config = keys(small, tmp_path, endpoint.url)
    record = marsbench.run(**config)
    path = tmp_path / record.run_id / "answers.jsonl"
    (tmp_path / record.run_id / "record.json").unlink()
    path.write_bytes(path.read_bytes()[:-20])
    marsbench.run(**config)
    assert len(endpoint.log) == 7
    assert len(lines(tmp_path, record)) == 6


def test_a_damaged_file_of_answers_is_an_error(
    endpoint: Completions, small: str, tmp_path: Path
) -> None:
    config = keys(small, tmp_path, endpoint.url)
    folder = tmp_path / run_id_of(**config)
    folder.mkdir(parents=True)
    (folder / "answers.jsonl").write_text('{"sample_id": "a"}\n')
    with pytest.raises(StoreError, match="line 1, is not a kept answer"):
        marsbench.run(**config)
    assert endpoint.log == []


def test_endpoints_without_schemas_are_asked_for_text(small: str, tmp_path: Path) -> None:
    with Completions(named, has_schemas=False) as endpoint:
        config = keys(small, tmp_path, endpoint.url)
        record = marsbench.run(**config)
        assert ["response_format" in request for request in endpoint.log] == [True] + [False] * 6
        assert record.data["zero_shot"]["structured"] is False
        with pytest.raises(EndpointError, match=r"response_format[^$]*api.structured=text"):
            marsbench.run(**{**config, "api.structured": "schema"})


def test_the_name_of_a_limit_is_adapted(endpoint: Completions, small: str, tmp_path: Path) -> None:
    text = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    error = json.dumps({"error": {"message": text, "code": "unsupported_parameter"}}).encode()
    endpoint.troubles.append(Trouble(400, body=error))
    marsbench.run(**keys(small, tmp_path, endpoint.url, **{"api.max_tokens": 40}))
    assert [request.get("max_tokens") for request in endpoint.log[:2]] == [40, None]
    assert all(request["max_completion_tokens"] == 40 for request in endpoint.log[1:])


Spoil = Callable[[Completions, pytest.MonkeyPatch], dict[str, Any]]


def _wrong_key(_: Completions, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setenv("MARSBENCH_API_KEY", f"{KEY}-but-wrong")
    return {}


def _no_key(_: Completions, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.delenv("MARSBENCH_API_KEY")
    return {}


def _odd_key(_: Completions, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setenv("MARSBENCH_API_KEY", f"{KEY}\n{KEY}")
    return {}


def _exhausted(endpoint: Completions, _: pytest.MonkeyPatch) -> dict[str, Any]:
    error = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    endpoint.troubles.append(Trouble(429, body=json.dumps(error).encode()))
    return {}


def _no_temperature(endpoint: Completions, _: pytest.MonkeyPatch) -> dict[str, Any]:
    error = {"error": {"message": "Unsupported value: 'temperature'", "code": "unsupported_value"}}
    endpoint.troubles.append(Trouble(400, body=json.dumps(error).encode()))
    return {}


@pytest.mark.parametrize(
    ("spoil", "problem", "remedy"),
    [
        (_wrong_key, "The key of the endpoint is wrong", "variable MARSBENCH_API_KEY to"),
        (_no_key, "The key of the endpoint is missing", "variable MARSBENCH_API_KEY to"),
        (_odd_key, "holds spaces or other characters", "MARSBENCH_API_KEY"),
        (lambda *_: {"model": "api:other"}, "The model other was not found", "/models"),
        (
            lambda *_: {"api.base_url": "http://127.0.0.1:9/v1"},
            "http://127.0.0.1:9/v1 cannot be reached",
            "api.base_url",
        ),
        (_exhausted, "The quota of the key is exhausted", "not asked again"),
        (_no_temperature, "The request was refused", "api.temperature=null"),
    ],
    ids=["wrong key", "no key", "odd key", "unknown model", "not there", "quota", "temperature"],
)
def test_an_endpoint_that_refuses_is_one_message(
    endpoint: Completions,
    small: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Spoil,
    problem: str,
    remedy: str,
) -> None:
    config = keys(small, tmp_path, endpoint.url) | spoil(endpoint, monkeypatch)
    with pytest.raises((EndpointError, ConfigError), match=problem) as raised:
        marsbench.run(**config)
    assert remedy in raised.value.remedy
    assert len(endpoint.log) <= 1
    assert KEY not in str(raised.value)
    assert no_key_below(tmp_path)


def no_key_below(folder: Path) -> bool:
    """Whether no file holds the key, or half of it."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert paths
    parts = (KEY.encode(), KEY[: len(KEY) // 2].encode(), KEY[len(KEY) // 2 :].encode())
    return not any(part in path.read_bytes() for path in paths for part in parts)


def test_the_key_is_in_no_file_even_if_a_server_says_it(
    small: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts: list[Said | str] = [f"My key is {KEY}", Said(None, refusal=f"{KEY} may not")]

    def say(number: int) -> Said | str:
        return texts[number] if number < 2 else named(number)

    with Completions(say) as endpoint:
        endpoint.troubles.append(Trouble(500, body=f'{{"error": "{KEY}"}}'.encode()))
        record = marsbench.run(**keys(small, tmp_path, endpoint.url))
    assert len(lines(tmp_path, record)) == 6
    assert no_key_below(tmp_path)
    out, err = capfd.readouterr()
    assert KEY not in out + err


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://host/v1",
        "http://user:secret@host/v1",
        "https://host/v1?key=secret",
        "https://host/v1#secret",
        "",
    ],
)
def test_addresses_hold_no_secrets(small: str, url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        RunConfig.from_dict({"task": small, "model": "api:toy", "api.base_url": url})
    assert "api.base_url" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_short_word_for_a_key_does_not_change_answers(
    masked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARSBENCH_API_KEY", "none")
    with Completions(lambda _: "none", key="none") as endpoint:
        record = marsbench.run(**keys(masked, tmp_path, endpoint.url))
    assert record.metrics["test"]["unanswered"] == 0


def test_redirects_are_not_followed(endpoint: Completions, small: str, tmp_path: Path) -> None:
    with Completions(named) as other:
        place = {"Location": f"{other.url}/chat/completions"}
        endpoint.troubles.append(Trouble(307, body=b"", headers=place))
        with pytest.raises(EndpointError, match=f"points to {other.url}") as raised:
            marsbench.run(**keys(small, tmp_path, endpoint.url))
    assert not other.log
    assert "api.base_url" in raised.value.remedy


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble(body=b" " * 100_001), "more than 100,000 bytes"),
        (Trouble(body=b"x", headers={"Content-Encoding": "gzip"}), "packed"),
    ],
)
def test_long_bodies_are_not_read(
    endpoint: Completions,
    small: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Trouble,
    reason: str,
) -> None:
    monkeypatch.setattr(limits, "MOST_BYTES", 100_000)
    endpoint.troubles.append(trouble)
    with pytest.raises(EndpointError, match=reason):
        marsbench.run(**keys(small, tmp_path, endpoint.url, **{"api.max_retries": 0}))


def test_a_body_of_single_bytes_ends(endpoint: Completions, small: str, tmp_path: Path) -> None:
    endpoint.troubles.append(Trouble(body=b" " * 100, drip=0.1))
    config = {"api.max_retries": 0, "api.timeout": 0.5}
    with pytest.raises(EndpointError, match=r"no answer within 0\.5 s"):
        marsbench.run(**keys(small, tmp_path, endpoint.url, **config))


def test_of_long_answers_the_beginning_is_kept(small: str, tmp_path: Path) -> None:
    with Completions(lambda _: "crater " * 10_000) as endpoint:
        record = marsbench.run(**keys(small, tmp_path, endpoint.url))
    assert record.metrics["test"]["unanswered"] == 1
    assert {len(line["text"]) for line in lines(tmp_path, record)} == {LONGEST + 1}


def test_a_first_guess_of_the_bill_comes_before_the_requests(
    endpoint: Completions, small: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prices = {"api.input_price": 2.0, "api.output_price": 10.0}
    marsbench.run(**keys(small, tmp_path, endpoint.url, **prices))
    _, err = capfd.readouterr()
    assert "Asking api:toy about 6 images: roughly" in err
    assert "5 images left: about 5,000 input and 50 output tokens, 0.0105 USD" in err


def test_keys_of_endpoints_are_for_their_models(small: str, tmp_path: Path) -> None:
    words = {"task": small, "model": "resnet101", "api.concurrency": 2, "store": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"The keys api\.\* have no effect on resnet101"):
        resolve(RunConfig.from_dict(words))


@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        ("https://api.openai.com/v1", "sk-of-openai"),
        ("http://api.openai.com/v1", "no-key"),
        ("https://api.openai.com.example/v1", "no-key"),
        ("http://localhost:8000/v1", "no-key"),
    ],
)
def test_openais_key_goes_to_openai_alone(
    base_url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MARSBENCH_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    assert read_key(base_url) == key
    monkeypatch.setenv("MARSBENCH_API_KEY", "of-any-endpoint")
    assert read_key(base_url) == "of-any-endpoint"
