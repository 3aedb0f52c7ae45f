import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from marsbench import cli
from marsbench.models.zoo.catalog import MODELS
from marsbench.tasks.catalog import TASKS
from marsbench.training.loop.module import MarsModule
from tests.fakes import make_spec, read_rows, write_folder, write_rows, write_spec


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a home of its own and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def marsbench(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in this process: starting Python with torch takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.app(list(words))
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def lines(done: subprocess.CompletedProcess[str]) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def toy(place: Path) -> str:
    folder = write_folder(make_spec(), place)
    return str(write_spec(make_spec(), folder / "task.yaml"))


RUN = ["model=timm:test_resnet", "mode=scratch", "trainer.max_epochs=1", "workers=0"]


def test_help_and_version() -> None:
    done = marsbench("--help")
    assert done.returncode == 0
    for word in ("run", "list", "data", "results"):
        assert word in done.stdout
    assert marsbench("--version").stdout.strip() == "0.1.0"
    assert marsbench("run", "--help").returncode == 0


def test_lists() -> None:
    assert [row["task"] for row in lines(marsbench("list", "tasks"))] == list(TASKS)
    assert [row["model"] for row in lines(marsbench("list", "models"))] == list(MODELS)
    assert "optim.lr" in {row["key"] for row in lines(marsbench("list", "keys"))}
    table = marsbench("list", "tasks", "--format", "table").stdout
    assert "domars16k" in table
    assert "ega_ms" in table


def test_dry_run_names_the_run_and_trains_nothing(toy: str, place: Path) -> None:
    (plan,) = lines(marsbench("run", f"task={toy}", *RUN, "seed=3", "--dry-run"))
    assert plan["run_id"].startswith("toy/timm-test_resnet/scratch/full/3-")
    assert plan["config"]["trainer"]["max_epochs"] == 1
    assert plan["samples"] == {"train": 24, "val": 9, "test": 12}
    assert not (place / "runs").exists()
    readable = marsbench("run", f"task={toy}", *RUN, "--dry-run", "--format", "table").stdout
    assert yaml.safe_load(readable)["samples"]["val"] == 9


def test_run_then_results(toy: str, place: Path) -> None:
    (first,) = lines(marsbench("run", f"task={toy}", *RUN))
    assert first["status"] == "done"
    assert (place / first["folder"] / "record.json").is_file()
    again = marsbench("run", f"task={toy}", *RUN)
    assert lines(again)[0]["status"] == "done already"
    assert "--force" in again.stderr
    screen = marsbench("run", f"task={toy}", *RUN, "--format", "table").stdout
    assert len(screen.splitlines()) < 24
    for word in ("f1_weighted", "random weights", "record.json", first["run_id"]):
        assert word in screen
    (row,) = lines(marsbench("results"))
    assert row["run_id"] == first["run_id"]
    assert row["test"] == round(first["score"], 4)
    assert "Finished runs in runs: 1" in marsbench("results", "runs", "--format", "table").stdout


def test_a_lost_gpu_is_one_message(toy: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nMore.")

    monkeypatch.setattr(MarsModule, "training_step", broken)
    words = ("run", f"task={toy}", "model=timm:test_resnet", "mode=scratch", "workers=0")
    done = marsbench(*words)
    assert done.returncode == 70
    assert done.stderr.startswith("Error: The GPU failed: CUDA error: an illegal memory access")
    assert "Give the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(place.rglob("config.yaml"))
    assert not list(place.rglob("failed.json"))


def test_a_run_off_a_terminal_writes_its_epochs_alone(toy: str, python: str) -> None:
    words = [python, "-m", "marsbench", "run", f"task={toy}", *RUN]
    done = subprocess.run(words, capture_output=True, text=True)
    assert lines(done)[0]["status"] == "done"
    assert re.fullmatch(r"epoch 1/1  val/loss [\d.]+\n", done.stderr)


def test_the_console_script_reports_bad_input(place: Path) -> None:
    script = [str(Path(sys.executable).parent / "marsbench"), "run", "task=frost_cls", "model=vit"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: No data of frost_cls found")


def test_demo_run(place: Path) -> None:
    words = ["task=frost_cls", "source=demo", "size=0.1", "augment=none", *RUN]
    (summary,) = lines(marsbench("run", *words))
    assert summary["run_id"].startswith("frost_cls/timm-test_resnet/scratch/full/0-")


def test_data_info(toy: str, place: Path) -> None:
    (facts,) = lines(marsbench("data", "info", toy, "--samples", "out.png"))
    assert facts["sizes"] == {"train": 24, "val": 9, "test": 12}
    assert {row["class"]: row["train"] for row in facts["classes"]} == {
        "crater": 8,
        "dune": 8,
        "plain": 8,
    }
    with Image.open(place / "out.png") as picture:
        assert picture.width > 800
    # Without data the facts alone, and where they were looked for.
    done = marsbench("data", "info", "mmls")
    assert lines(done)[0]["published sizes"] == {"train": 275, "val": 31, "test": 256}
    assert "No data of mmls found" in done.stderr
    assert "source=demo" in marsbench("data", "info", "domars16k").stderr
    assert "Frost" in marsbench("data", "info", "frost_cls", "source=demo").stdout


def test_data_verify(toy: str, place: Path) -> None:
    (report,) = lines(marsbench("data", "verify", toy))
    assert report["problems"] == []
    next((place / "mb-toy" / "data" / "val").rglob("*.png")).write_bytes(b"")
    done = marsbench("data", "verify", toy, "--format", "table")
    assert done.returncode == 2
    assert "is empty" in done.stdout


def damaged(path: Path, text: str = "not a task: [") -> None:
    path.write_text(text)


BAD = {
    "unknown task": (["run", "task=frost_clss", "model=vit"], ["frost_clss", "frost_cls"]),
    "unknown model": (["run", "task={toy}", "model=vitt"], ["vitt", "vit"]),
    "unknown mode": (["run", "task={toy}", "model=vit", "mode=frozn"], ["frozn", "frozen"]),
    "unknown key": (["run", "task={toy}", "modle=vit"], ["modle", "model"]),
    "unknown group choice": (["run", "task={toy}", "model=vit", "trainer=fast"], ["fast", "quick"]),
    "no task": (["run", "model=vit"], ["task=NAME"]),
    "no model": (["run", "task={toy}"], ["model=NAME"]),
    "word without value": (["run", "frost_cls"], ["frost_cls", "key=value"]),
    "bad number": (["run", "task={toy}", *RUN, "optim.lr=fast"], ["optim.lr", "fast"]),
    "bad subset": (["run", "task={toy}", *RUN, "subset=half"], ["half", "partition_P"]),
    "model of another kind": (["run", "task=frost_cls", "model=unet"], ["unet", "frost_cls"]),
    "spectra that are not here": (["run", "task=ega_ms", "model=vit"], ["metadata.csv"]),
    "zenodo offline": (
        ["run", "task=frost_cls", *RUN, "source=zenodo"],
        ["zenodo", "HF_HUB_OFFLINE", "marsbench data download"],
    ),
    "hub offline": (
        ["run", "task=frost_cls", *RUN, "source=huggingface"],
        ["Mirali33/mb-frost_cls", "HF_HUB_OFFLINE", "marsbench data download"],
    ),
    "revision of a folder": (
        ["run", "task={toy}", *RUN, "source=local", "revision=v1"],
        ["revision=v1", "source=huggingface"],
    ),
    "no data": (
        ["run", "task=frost_cls", "model=vit"],
        ["frost_cls", "data (current folder)", "home", "source=demo", "zenodo", "data download"],
    ),
    "no weights": (
        ["run", "task=frost_cls", "model=vit", "source=demo", "size=0.1"],
        ["vit_l_16", "download.pytorch.org", "torch", "mode=scratch", "weights=PATH"],
    ),
    "missing root": (["run", "task={toy}", *RUN, "root=/nowhere"], ["/nowhere"]),
    "missing yaml": (["run", "task=./nowhere.yaml", *RUN], ["nowhere.yaml"]),
    "bad yaml": (["run", "task={bad_yaml}", *RUN], ["bad.yaml"]),
    "missing weights file": (
        ["run", "task={toy}", "model=vit", "weights=/nowhere.pth"],
        ["/nowhere.pth"],
    ),
    "no few-shot": (["run", "task={toy}", *RUN, "subset=few_shot_20"], ["crater (8)"]),
    "empty partition": (
        ["run", "task={toy}", *RUN, "subset=partition_0.01"],
        ["24", "partition_0.05"],
    ),
    "unwritable store": (["run", "task={toy}", *RUN, "store={file}/runs"], ["store=FOLDER"]),
    "broken image": (["run", "task={broken}", *RUN], ["test_0000.png", "damaged"]),
    "no store": (["results", "nowhere"], ["nowhere"]),
    "data info of nothing": (["data", "info", "frost", "source=demo"], ["frost_cls"]),
    "severity of corruptions": (
        ["data", "corruptions", "frost_cls", "source=demo", "--severity", "1,9"],
        ["severity=1,9", "from 1"],
    ),
    "data key": (["data", "info", "frost_cls", "rot=x"], ["rot", "root"]),
    "picture nowhere": (
        ["data", "info", "{toy}", "--samples", "/nowhere/out.png"],
        ["/nowhere/out.png"],
    ),
    "verify nothing": (["data", "verify", "frost_cls"], ["annotation.csv"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_exit_code_2(case: str, toy: str, place: Path) -> None:
    words, expected = BAD[case]
    damaged(place / "bad.yaml")
    (place / "file").write_text("")
    names = {"toy": toy, "bad_yaml": place / "bad.yaml", "file": place / "file"}
    if case == "broken image":
        folder = write_folder(make_spec(), place / "second")
        names["broken"] = write_spec(make_spec(), folder / "task.yaml")
        image = next((folder / "data" / "test").rglob("test_0000.png"))
        image.write_bytes(image.read_bytes()[:60])
    done = marsbench(*(word.format(**names) for word in words))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    # A run may tell its epochs first.
    lines = done.stderr.splitlines()
    message = "\n".join(line for line in lines if not line.startswith("epoch "))
    assert message.startswith("Error: ")
    for word in expected:
        assert word in message, done.stderr


def test_half_written_record_does_not_hide_the_others(toy: str, place: Path) -> None:
    lines(marsbench("run", f"task={toy}", *RUN))
    (second,) = lines(marsbench("run", f"task={toy}", *RUN, "seed=1"))
    path = place / second["folder"] / "record.json"
    path.write_text(path.read_text()[:100])
    done = marsbench("results")
    assert len(lines(done)) == 1
    assert str(second["folder"]) in done.stderr


def test_a_reader_that_stops_reading() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "marsbench", "list", "keys"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert b"Traceback" not in done.stderr


def test_published_subsets_are_used(toy: str, place: Path) -> None:
    folder = place / "mb-toy"
    train = [r for r in read_rows(folder / "annotation.csv") if r[1] == "train"]
    write_rows(folder / "few_shot" / "5_shot.csv", train[:15])
    (plan,) = lines(marsbench("run", f"task={toy}", *RUN, "subset=few_shot_5", "--dry-run"))
    assert (plan["subset_origin"], plan["samples"]["train"]) == ("published", 15)
