import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's module, which finds its neighbours as when it is started."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module: ModuleType = importlib.import_module("gpu_first")
    return module


def test_a_failing_step_does_not_stop_the_others(script: Any, tmp_path: Path) -> None:
    figure = script.Figure
    figures = {
        "good": [figure("a", 0.95, "", 0.9), figure("b", 0.5, "", 0.9), figure("c", "words")],
        "bad": [figure("written before", 3.0, "s")],
    }

    def run(step: Any, left: float) -> Any:
        status = "done" if step.name == "good" else "failed (1)"
        return script.Outcome(step.name, step.about, status, 1.0, figures[step.name])

    steps = [script.Step(name, f"about {name}", 5, ()) for name in ("bad", "good")]
    steps.append(script.Step("gpu", "about it", 5, (), needs_gpu=True))
    outcomes = script.measure(steps, run, tmp_path, has_gpu=False)
    assert [outcome.status for outcome in outcomes] == [
        "failed (1)",
        "done",
        "left out: needs a GPU",
    ]
    assert (tmp_path / script.TABLE).read_text().splitlines() == [
        "| step | figure | value | goal |",
        "| --- | --- | --- | --- |",
        "| bad: about bad | failed (1) | | |",
        "| bad: about bad | written before | 3 s | |",
        "| good: about good | a | 0.95 | 0.9 met |",
        "| good: about good | b | 0.5 | 0.9 missed |",
        "| good: about good | c | words | |",
        "| gpu: about it | left out: needs a GPU | | |",
    ]
    written = json.loads((tmp_path / script.FIGURES).read_text())
    assert [outcome["name"] for outcome in written] == ["bad", "good", "gpu"]
    assert written[1]["figures"][0] == {"name": "a", "value": 0.95, "unit": "", "goal": 0.9}


def test_steps_after_the_time_are_left_out(script: Any, tmp_path: Path) -> None:
    limits = []

    def run(step: Any, left: float) -> Any:
        limits.append(left)
        time.sleep(0.1)
        return script.Outcome(step.name, step.about, "done", 0.1)

    steps = [script.Step(name, "", 5, ()) for name in "abc"]
    outcomes = script.measure(steps, run, tmp_path, has_gpu=True, seconds=0.15)
    assert [outcome.status for outcome in outcomes] == ["done", "done", script.NO_TIME]
    assert limits[0] <= 0.15
    assert limits[1] <= 0.05


def test_a_step_ends_at_its_time_limit_with_its_children(script: Any, tmp_path: Path) -> None:
    child = f"import time; time.sleep(1.2); open({str(tmp_path / 'late')!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    started = time.monotonic()
    status, _ = script.timed([sys.executable, "-c", parent], tmp_path / "log", 0.6)
    assert status == "over 0.6 s"
    assert time.monotonic() - started < 1.2
    status, _ = script.timed([sys.executable, "-c", "print(7); exit(3)"], tmp_path / "log", 60)
    assert status == "failed (3)"
    assert (tmp_path / "log").read_text() == "7\n"
    time.sleep(max(0.0, started + 1.6 - time.monotonic()))
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("accelerator", ["gpu", "cpu"])
@pytest.mark.parametrize("quick", [True, False])
def test_each_step_has_a_name_of_its_own_and_a_script(
    accelerator: str, quick: bool, script: Any
) -> None:
    steps = script.steps_of(accelerator, quick=quick)
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    assert all((BENCHMARKS / step.command[0]).is_file() for step in steps)
    kinds = {name.split("-")[0] for name in names}
    assert kinds == {
        *("machine", "runs", "waits", "loop", "bank", "encoding"),
        *("loader", "memory", "checkpoints"),
    }


def test_without_a_gpu_it_says_so(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "has_gpu", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_first.py"])
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert caught.value.code == 2
    assert capsys.readouterr().out.startswith("No GPU: ")
