"""Hyperparameters chosen by validation loss, and taken over by later runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError
from marsbench.cli import app
from marsbench.cli.compose import compose
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Resolver
from marsbench.plan.tuned import KEYS, Choice, filled
from marsbench.results.store import Store
from marsbench.sweep.suites import expand, load_suite
from marsbench.sweep.tune import Tuning, carry_out, choose, load_space


def words(toy: str, weights: str, store: Path) -> list[str]:
    return [
        f"task={toy}",
        "model=timm:test_resnet",
        f"weights={weights}",
        f"store={store}",
        "trainer.max_epochs=4",
    ]


def test_the_paper_grid_has_648_settings() -> None:
    base = RunConfig.from_dict({"task": "frost_cls", "model": "vit"})
    tuning = Tuning(base, load_space("paper", {}))
    settings = tuning.settings()
    assert len({tuning.config(setting) for setting in settings}) == 648
    drawn = tuning.settings(20, seed=1)
    assert len(drawn) == 20
    assert all(setting in settings for setting in drawn)


def test_what_was_tuned_is_the_lowest_validation_loss(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: None
) -> None:
    monkeypatch.chdir(tmp_path)
    own = [
        *words(toy, weights, tmp_path / "runs"),
        "optim.lr=1e-4,0.1,1e30",
        "optim.batch_size=8,4",
    ]
    done = CliRunner().invoke(app, ["tune", *own, "--space", "quick"])
    assert done.exit_code == 0, done.output
    (choice,) = (json.loads(line) for line in done.stdout.splitlines())
    records, _ = Store(tmp_path / "runs" / ".tuning").records()
    assert choice["tried"] == 2 * 3 * 2
    assert choice["loss"] == min(record.checkpoint["value"] for record in records)
    path = tmp_path / "tuned" / "toy" / "timm-test_resnet-frozen.yaml"
    assert yaml.safe_load(path.read_text()) == choice
    # Searches stay apart from results.
    assert not Store(tmp_path / "runs").paths()
    again = CliRunner().invoke(app, ["tune", *own, "--space", "quick"])
    assert json.loads(again.stdout) == choice

    record = marsbench.run(
        task=toy,
        model="timm:test_resnet",
        weights=weights,
        store=str(tmp_path / "runs"),
        hparams="tuned",
        trainer={"max_epochs": 3},
    )
    chosen = record.config["optim"]
    assert (chosen["lr"], chosen["batch_size"]) == (
        choice["set"]["optim.lr"],
        choice["set"]["optim.batch_size"],
    )
    assert record.config["trainer"]["max_epochs"] == 3
    # A record's config is whole: it needs the file no more.
    path.unlink()
    assert filled(record.config)["optim"] == record.config["optim"]


def choice_of(**values: Any) -> Choice:
    base: dict[str, Any] = {
        "task": "frost_cls",
        "model": "vit_l_16",
        "mode": "frozen",
        "set": {"optim.lr": 0.25, "scheduler.name": "cosine"},
        "loss": 0.5,
        "tried": 3,
        "failed": 0,
        "protocol": "cached",
        "run": "x",
        "searched": {},
    }
    return Choice(**(base | values))


def test_short_text_of_a_choice() -> None:
    assert repr(choice_of()).splitlines() == [
        "Choice frost_cls vit_l_16 frozen: lowest loss 0.5000 of 3 settings",
        "  optim.lr=0.25, scheduler.name=cosine",
    ]


def test_words_go_before_what_was_tuned(tmp_path: Path) -> None:
    choice_of().write(tmp_path)
    given = ["task=frost_cls", "model=vit", f"hparams={tmp_path}"]
    config = compose(given)
    assert (config.optim.lr, config.scheduler.name) == (0.25, "cosine")
    assert compose([*given, "optim.lr=0.5"]).optim.lr == 0.5
    assert compose([*given, "optim.lr=0.5"]).scheduler.name == "cosine"
    assert compose([*given, "scheduler=step"]).scheduler.name == "step"
    assert compose([*given, "scheduler=step"]).optim.lr == 0.25


def test_a_group_gives_what_its_yaml_sets_and_no_more(tmp_path: Path) -> None:
    choice_of(set={"optim.lr": 0.25, "optim.name": "adamw"}).write(tmp_path)
    given = ["task=frost_cls", "model=vit", f"hparams={tmp_path}"]
    optim = compose([*given, "optim=sgd"]).optim
    assert (optim.name, optim.lr) == ("sgd", 0.25)
    # Also where the YAML says what is the default anyway.
    assert compose([*given, "optim=adam"]).optim.name == "adam"


def test_a_suite_takes_what_was_tuned_for_each_model(tmp_path: Path) -> None:
    choice_of().write(tmp_path)
    choice_of(model="resnet101", set={"optim.lr": 0.125}).write(tmp_path)
    (tmp_path / "suite.yaml").write_text(
        "grids: [{task: frost_cls, model: [vit, resnet101], seed: [0, 1]}]"
    )
    runs = expand(load_suite(str(tmp_path / "suite.yaml")), {"hparams": str(tmp_path)})
    assert {(run.model, run.optim.lr) for run in runs} == {("vit_l_16", 0.25), ("resnet101", 0.125)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no tuned hyperparameters of"),
        ("nothing", "is not a file of tuned hyperparameters"),
        ("set: {seed: 3}", "sets seed, which are not tunable"),
    ],
)
def test_bad_choices(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        path = choice_of().write(tmp_path)
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        filled({"task": "frost_cls", "model": "vit", "hparams": str(tmp_path)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "papers"], "paper"),
        (["--search", "gird"], "grid"),
        (["--search", "random"], "needs --trials"),
        (["--trials", "3"], "excludes --trials"),
        (["optim.lr=fast"], "optim.lr"),
        (["task=frost_clss"], "frost_cls"),
    ],
)
def test_bad_searches(arguments: list[str], message: str, tmp_path: Path) -> None:
    base = ["tune", "model=vit", f"store={tmp_path}", "--dry-run"]
    own = [] if any(a.startswith("task=") for a in arguments) else ["task=frost_cls"]
    done = CliRunner().invoke(app, [*base, *own, *arguments])
    assert done.exit_code == 2
    assert message in done.output


def test_random_settings_are_of_the_grid(
    toy: str, weights: str, tmp_path: Path, workers: None
) -> None:
    done = CliRunner().invoke(
        app,
        [
            "tune",
            *words(toy, weights, tmp_path / "runs"),
            *("--search", "random", "--trials", "5", "--out", str(tmp_path / "tuned")),
        ],
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tried"] == 5


def test_optuna_tries_what_it_proposes(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr("marsbench.sweep.tune.TOGETHER", 3)
    call = [
        *("tune", *words(toy, weights, tmp_path / "runs")),
        *("--search", "optuna", "--trials", "7", "--out", str(tmp_path / "tuned")),
    ]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    choice = json.loads(done.stdout)
    assert 0 < choice["tried"] <= 7
    # Repeated, it proposes the same, and everything is there.
    assert json.loads(CliRunner().invoke(app, call).stdout) == choice


def test_a_setting_that_diverges_is_counted_and_not_chosen(
    toy: str, weights: str, tmp_path: Path
) -> None:
    base = RunConfig.from_dict(
        {
            "task": toy,
            "model": "timm:test_resnet",
            "weights": weights,
            "store": str(tmp_path),
            "optim.name": "sgd",
            "trainer.max_epochs": 2,
        }
    )
    tuning = Tuning(base, {"optim.lr": (1e300, 0.01)})
    configs = [tuning.config(setting) for setting in tuning.settings()]
    resolver = Resolver()
    first, second = carry_out(configs, resolver)
    assert first is None
    assert second is not None
    choice, left = choose(tuning, configs, resolver)
    assert choice is not None
    assert (choice.set["optim.lr"], choice.tried, choice.failed, left) == (0.01, 2, 1, 0)
    assert set(choice.set) <= set(KEYS)
