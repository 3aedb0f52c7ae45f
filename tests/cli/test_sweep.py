"""`marsbench sweep` and `marsbench list suites` as they are typed."""

import json
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from marsbench.cli import app
from marsbench.cli.compose import compose
from marsbench.cli.sweep import hours, read_asked, time_of
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Resolver
from marsbench.plan.tuned import path_of
from marsbench.results.store import Store
from marsbench.sweep.planner import PlannedRun, SweepPlan, Unit
from tests.sweep.records import finish, record_of, write_suite

DEMO = ["source=demo", "size=0.05"]


def call(*words: str, code: int = 0) -> tuple[list[str], str]:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done.stdout.splitlines(), done.stderr


def test_the_suites_are_listed() -> None:
    lines, _ = call("list", "suites")
    assert {json.loads(line)["suite"]: json.loads(line)["runs"] for line in lines} == {
        "cross_domain": 126,
        "cross_instrument": 2,
        "foundation": 2800,
        "frozen_demo": 791,
        "frozen_landmarks": 882,
        "paper_cls": 945,
        "paper_det": 252,
        "paper_earth_observation": 672,
        "paper_few_shot": 5040,
        "paper_imbalance": 560,
        "paper_partitions": 10752,
        "paper_seg": 672,
        "paper_vlm": 84,
        "paper_zero_shot": 18,
        "robustness": 402,
        "smoke": 6,
    }


def test_the_table_of_a_shard_without_runs(tmp_path: Path) -> None:
    words = ["sweep", "suite=smoke", f"store={tmp_path}", "--dry-run", "--shard", "9/9"]
    lines, _ = call(*words, "--format", "table")
    assert lines[-1].startswith("0 runs: 0 done")


def test_a_plan_is_printed_and_nothing_started(tmp_path: Path) -> None:
    words = ["sweep", "suite=smoke", f"store={tmp_path}", "--dry-run"]
    lines, _ = call(*words)
    summary, *rows = map(json.loads, lines)
    assert summary["grids"] == {"frozen": 4, "scratch": 2}
    assert (summary["to_do"], summary["units"], summary["lacking"]) == (6, 4, 0)
    assert summary["estimated_roughly"] == 6
    assert [row["task"] for row in rows] == ["frost_cls", "landmark_cls"]
    text = "\n".join(call(*words, "--format", "table")[0])
    assert "6 runs (4 frozen, 2 scratch): 0 done, 0 failed, 6 to do in 4 units" in text
    assert "time unknown: 6 of 6 runs have no finished run like them" in text
    assert "worker_hours" not in text
    assert list(tmp_path.iterdir()) == []


def test_words_narrow_or_set(tmp_path: Path) -> None:
    words = ["suite=paper_cls", "task=frost_cls,landmark_cls", "model=vit", "seed=0,1"]
    asked = read_asked([*words, "trainer.max_epochs=2", "optim=sgd", f"store={tmp_path}"])
    assert len(asked.runs) == 2 * 3 * 2
    assert {run.trainer.max_epochs for run in asked.runs} == {2}
    assert {str(run.optim.name) for run in asked.runs} == {"sgd"}
    assert {run.store for run in asked.runs} == {str(tmp_path)}


def test_commands_are_those_of_the_runs(tmp_path: Path) -> None:
    narrow = ["task=frost_cls,landmark_cls", "model=vit,squeezenet", "seed=0,1"]
    words = ["suite=paper_cls", *DEMO, f"store={tmp_path}", *narrow]
    lines, _ = call("sweep", *words, "--print-commands")
    runs = [line for line in lines if line.startswith("marsbench run ")]
    units = [line for line in lines if line.startswith("marsbench sweep ")]
    assert len(lines) == len(runs) + len(units)
    assert (len(runs), len(units)) == (2 * 2 * 2 * 2, 2 * 2)
    resolver = Resolver()
    wanted = {resolver.run_id(run) for run in read_asked(words).runs}
    named = {resolver.run_id(compose(shlex.split(line)[2:])) for line in runs}
    for line in units:
        asked = read_asked(shlex.split(line)[2:])
        assert asked.store.root == tmp_path
        named |= {resolver.run_id(run) for run in asked.runs}
    assert named == wanted
    parts = [call("sweep", *words, "--shard", f"{i}/3", "--print-commands")[0] for i in (1, 2, 3)]
    assert sorted(line for part in parts for line in part) == sorted(lines)


def ids_of(lines: list[str], resolver: Resolver) -> list[str]:
    """Ids of the runs that printed lines carry out."""
    found = []
    for line in lines:
        _, command, *words = shlex.split(line)
        options = [word for word in words if word.startswith("--")]
        assert options in ([], ["--retry-failed"])
        words = [word for word in words if word not in options]
        runs = [compose(words)] if command == "run" else read_asked(words).runs
        found += [resolver.run_id(run) for run in runs]
    return found


CLS = ["suite=paper_cls", "task=frost_cls", "model=vit,squeezenet", "seed=0,1"]


@pytest.mark.parametrize(
    "words",
    [
        ["suite=smoke"],
        ["suite=smoke", "trainer=quick", "optim=sgd", "optim.lr=0.01"],
        CLS,
        [*CLS, "trainer=long", "logger=none", "scheduler=cosine", "mode=frozen,finetune"],
        ["suite=paper_imbalance", "task=surface_cls", "model=vit", "seed=0,1"],
        ["suite=paper_partitions", *CLS[1:], "subset=partition_0.50", "trainer=quick"],
        ["suite=frozen_demo", "task=frost_cls", "subset=full,partition_0.10"],
        ["suite=MIXED"],
        ["suite=MIXED", "optim.lr=0.1", "optim=adamw"],
    ],
    ids=" ".join,
)
def test_commands_carry_out_what_was_asked_for(words: list[str], tmp_path: Path) -> None:
    mixed = write_suite(
        tmp_path / "mixed.yaml",
        {"task": "frost_cls", "model": "vit", "optim.lr": [0.1, 0.01], "seed": [0, 1]},
        {"task": "frost_cls", "model": "vit", "seed": [2, 3]},
        **{"optim.name": "sgd"},
    )
    words = [word.replace("MIXED", mixed) for word in words]
    demo = [] if words[0].endswith(("frozen_demo", ".yaml")) else DEMO
    words = [*words, *demo, f"store={tmp_path}"]
    resolver = Resolver()
    wanted = {resolver.run_id(run) for run in read_asked(words).runs}
    lines, _ = call("sweep", *words, "--print-commands", "--retry-failed")
    assert set(ids_of(lines, resolver)) == wanted


def test_commands_of_tuned_runs(tmp_path: Path) -> None:
    for mode in ("frozen", "finetune"):
        choice = path_of(tmp_path / "tuned", "frost_cls", "resnet18", mode)
        choice.parent.mkdir(parents=True, exist_ok=True)
        chosen = {"optim.name": "sgd", "optim.lr": 0.3, "trainer.max_epochs": 7}
        choice.write_text(yaml.safe_dump({"set": chosen}))
    suite = write_suite(
        tmp_path / "s.yaml",
        {"task": "frost_cls", "model": "resnet18", "mode": ["frozen", "finetune"], "seed": [0, 1]},
        hparams=str(tmp_path / "tuned"),
    )
    # What is given goes before what was tuned, also where it is the default.
    for more in ([], ["optim.name=adamw"], ["optim=adamw"], ["trainer.max_epochs=50"]):
        words = [f"suite={suite}", f"store={tmp_path}", *more]
        runs = read_asked(words).runs
        assert {run.optim.lr for run in runs} == {0.3}
        is_adamw = "adamw" in "".join(more)
        assert {str(run.optim.name) for run in runs} == {"adamw" if is_adamw else "sgd"}
        resolver = Resolver()
        lines, _ = call("sweep", *words, "--print-commands")
        assert [line.split()[1] for line in lines].count("run") == 2
        assert set(ids_of(lines, resolver)) == {resolver.run_id(run) for run in runs}


def test_a_group_goes_before_the_suite_with_defaults_too(tmp_path: Path) -> None:
    keys = {"optim.name": "sgd", "logger.wandb": True, "trainer.patience": 9}
    suite = write_suite(tmp_path / "s.yaml", {"task": "frost_cls", "model": "vit"}, **keys)
    words = [f"suite={suite}", "optim=adamw", "logger=none", f"store={tmp_path}"]
    asked = read_asked(words)
    (run,) = asked.runs
    assert str(run.optim.name) == "adamw"
    assert run.logger.wandb is False
    assert run.trainer.patience == 9
    assert asked.words == tuple(words)


@pytest.mark.parametrize("gpus", [[], ["0", "1"]])
def test_parts_are_the_same_with_and_without_gpus(
    gpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sweep", "suite=paper_cls", "task=frost_cls,surface_cls", "seed=0,1", *DEMO]
    words += [f"store={tmp_path}", "--print-commands", "--shard", "2/3"]
    usual, _ = call(*words)
    monkeypatch.setattr("marsbench.sweep.launchers.gpus.visible_gpus", lambda: gpus)
    assert sorted(call(*words)[0]) == sorted(usual)


def test_commands_for_machines_that_have_the_data(tmp_path: Path) -> None:
    words = ["suite=paper_det", "seed=0", f"root={tmp_path}", f"store={tmp_path}"]
    lines, said = call("sweep", *words, "--print-commands")
    assert len(lines) == 36
    assert "36 of these runs are missing on this machine" in said


def test_a_finished_suite_starts_nothing(tmp_path: Path) -> None:
    words = ["suite=smoke", f"store={tmp_path}"]
    resolver = Resolver()
    for run in read_asked(words).runs:
        finish(Store(tmp_path), record_of(run, resolver))
    lines, _ = call("sweep", *words)
    assert json.loads(lines[0]) == {
        "suite": "smoke",
        "runs": 6,
        "done": 6,
        "failed": 0,
        "left": 0,
        "lacking": 0,
        "store": str(tmp_path),
        "sweep": None,
    }
    assert not (tmp_path / ".sweeps").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "No suite is given"),
        (["suite=paper_clss"], "Did you mean paper_cls"),
        (["suite=smoke", "suite=smoke"], "'suite' is given twice"),
        (["suite=smoke", "tsk=frost_cls"], "Unknown key 'tsk'"),
        (["suite=smoke", "task=vit"], "Unknown task 'vit'"),
        (["suite=smoke", "launcher=slrum"], "Unknown launcher 'slrum'"),
        (["suite=smoke", "launcher.job=2"], "launcher.job"),
        (["suite=smoke", "size=none"], "'size' is 'none'; expected a number"),
        (["suite=smoke", "trainer=quik"], "Unknown choice for trainer 'quik'"),
        (["suite=smoke", "preset=mmls_unet"], "which suite smoke varies"),
        (["suite=smoke", "--shard", "3/2"], "--shard is 3/2"),
        (["suite"], "not of the form key=value"),
    ],
)
def test_what_cannot_be_swept(words: list[str], said: str, tmp_path: Path) -> None:
    lines, error = call("sweep", *words, "--dry-run", code=2)
    assert lines == []
    assert error.startswith("Error: ")
    assert said in error


def test_data_that_lack_are_told_and_end_in_an_error(tmp_path: Path) -> None:
    words = ["suite=paper_det", "seed=0", f"root={tmp_path}", f"store={tmp_path / 'runs'}"]
    lines, said = call("sweep", *words, code=2)
    assert json.loads(lines[-1])["lacking"] == 36
    assert said.count("Left out of") == 3


def test_the_time_of_a_plan_is_a_range_or_unknown() -> None:
    configs = [RunConfig(task="frost_cls", seed=seed) for seed in (0, 1)]
    runs = [PlannedRun(c, "", seconds=7192.0, is_measured=True) for c in configs]
    plan = SweepPlan(runs, [Unit([run], False) for run in runs])
    words = "2.0 hours to 8.0 hours of one worker's time, from records of similar runs"
    assert time_of(plan) == words
    runs[1].is_measured = False
    assert time_of(plan) == "time unknown: 1 of 2 runs have no finished run like them"


def test_times_in_words() -> None:
    assert [hours(s) for s in (5, 100, 7200, 200000)] == [
        "5 s",
        "1.7 minutes",
        "2.0 hours",
        "2.3 days",
    ]


def test_words_are_completed() -> None:
    from marsbench.cli.complete import sweep_words

    context = typer.Context(typer.main.get_command(app))
    assert ("suite=smoke", "") in sweep_words(context, "suite=")
    assert [word for word, _ in sweep_words(context, "launcher=l")] == ["launcher=local"]
    assert "task=frost_cls" in [word for word, _ in sweep_words(context, "task=fro")]


def test_tune_ends_with_the_command_of_a_run() -> None:
    from marsbench.cli.tune import _next
    from marsbench.plan.tuned import Choice

    choice = Choice("frost_cls", "vit", "frozen", {}, 0.1, 1, 0, "cached", "id", {})
    words = ["task=frost_cls,domars16k", "model=vit", "optim.lr=1,2", "launcher.jobs=2", "size=0.1"]
    expected = "marsbench run task=frost_cls model=vit mode=frozen size=0.1 hparams=my/tuned"
    assert _next(words, choice, Path("my/tuned")) == expected
