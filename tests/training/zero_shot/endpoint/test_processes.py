"""Runs behind a local server as processes, which are killed, interrupted and started again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from marsbench import cli
from tests.services.completions import KEY, Completions
from tests.training.zero_shot.endpoint.conftest import named, write
from tests.training.zero_shot.endpoint.test_model import no_key_below

WRONG = "sk-wrong-0123456789abcdef"


def command(python: str, task: str, store: Path, url: str, *more: str) -> list[str]:
    words = [f"task={task}", "model=api:toy", "mode=zero_shot", f"store={store}"]
    return [python, "-m", "marsbench", "run", *words, f"api.base_url={url}", *more]


def start(words: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        # A job in the background inherits that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(is_true: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    end = time.monotonic() + 120
    while not is_true():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


def num_lines(store: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in store.rglob("answers.jsonl"))


def killed_and_resumed(python: str, folder: Path, count: int) -> None:
    """Kill a run half-way with requests in flight; a second run asks for the rest alone."""
    task, store = write(folder, count), folder / "runs"
    with Completions(named) as endpoint:
        endpoint.closes_after = count // 2
        process = start(command(python, task, store, endpoint.url))
        # What the server answered is on the disk; further requests are in flight.
        wait_until(
            lambda: (
                not endpoint.gate.is_set()
                and endpoint.waiting == 4
                and num_lines(store) == endpoint.num_answered
            ),
            process,
        )
        process.kill()
        process.communicate()
        before = endpoint.num_answered
        assert count // 2 <= before < count
        assert not list(store.rglob("record.json"))
        wait_until(lambda: endpoint.waiting == 0)
        endpoint.closes_after = None
        endpoint.gate.set()
        words = command(python, task, store, endpoint.url, "--format", "table")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{before} of {count} answers of api:toy are kept" in done.stderr
        assert len(endpoint.answered) == count
        assert set(endpoint.answered.values()) == {1}
    assert num_lines(store) == count
    assert "0.0% without a valid answer" in done.stdout
    assert no_key_below(store)
    assert KEY not in done.stdout + done.stderr


def test_a_killed_run_asks_nothing_twice(tmp_path: Path, python: str) -> None:
    killed_and_resumed(python, tmp_path, 24)


@pytest.mark.slow
def test_a_killed_run_of_500_images_asks_nothing_twice(tmp_path: Path, python: str) -> None:
    killed_and_resumed(python, tmp_path, 500)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_keeps_the_answers_in_flight(
    tmp_path: Path, python: str, number: signal.Signals, code: int
) -> None:
    def slowly(image: int) -> str:
        time.sleep(0.1)
        return named(image)

    task, store = write(tmp_path, 40), tmp_path / "runs"
    with Completions(slowly) as endpoint:
        process = start(command(python, task, store, endpoint.url))
        wait_until(lambda: endpoint.num_answered >= 10, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        assert "waiting for the answers in flight" in err
        assert 10 <= endpoint.num_answered < 40
        assert num_lines(store) == endpoint.num_answered == len(endpoint.log)
        again = subprocess.run(
            command(python, task, store, endpoint.url),
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode == 0, again.stderr
        assert len(endpoint.answered) == 40
        assert set(endpoint.answered.values()) == {1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["api.base_url=http://127.0.0.1:9/v1"], "cannot be reached"),
        (["model=api:other"], "The model other was not found"),
        ([], "The key of the endpoint is wrong"),
    ],
    ids=["not there", "unknown model", "wrong key"],
)
def test_refusals_are_one_message_and_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    if not words:
        monkeypatch.setenv("MARSBENCH_API_KEY", WRONG)
    task, store = write(tmp_path, 3), tmp_path / "runs"
    with Completions(named) as endpoint:
        given = dict(word.split("=", 1) for word in command("", task, store, endpoint.url)[4:])
        given |= dict(word.split("=", 1) for word in words)
        with pytest.raises(SystemExit) as ended:
            cli.app(["run", *(f"{key}={value}" for key, value in given.items())])
    assert ended.value.code == 2
    out, err = capfd.readouterr()
    assert err.count("Error") == 1
    assert message in err
    assert "Traceback" not in err
    assert WRONG not in out + err
    files = [path for path in store.rglob("*") if path.is_file()]
    assert any(path.name == "failed.json" for path in files)
    assert not any(WRONG.encode() in path.read_bytes() for path in files)


def test_the_bill_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    task, store = write(tmp_path, 3), tmp_path / "runs"
    with Completions(lambda number: named(number) if number else "") as endpoint:
        prices = ("api.input_price=2", "api.output_price=10")
        words = [*command("", task, store, endpoint.url, *prices)[3:], "--format"]
        cli.app([*words, "table", "--dry-run"], standalone_mode=False)
        out, _ = capfd.readouterr()
        assert endpoint.log == []
        guess = yaml.safe_load(out)["estimate"]
        assert guess["requests"] == 3
        assert guess["cost_usd"] == (guess["input"] * 2 + guess["output"] * 10) / 1e6 > 0
        cli.app([*words, "table"], standalone_mode=False)
    out, _ = capfd.readouterr()
    assert "answers    33.3% without a valid answer (1 empty)" in out
    assert "3,000 input and 30 output tokens, 0.0063 USD, of toy-2026-11-30" in out
