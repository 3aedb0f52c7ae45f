"""Loggers that are not installed, not logged in, out of reach, or that fail while training."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError
from marsbench.cli import app
from marsbench.results.store import Store


class FakeRun:
    """A run of the fake package."""

    id = "fake"

    def __init__(self, wandb: "FakeWandb") -> None:
        self.wandb = wandb
        self.logged: list[dict[str, Any]] = []
        self.ended: int | None = None
        self.name = ""

    def log(self, values: dict[str, Any]) -> None:
        if self.wandb.fails_after is not None and len(self.logged) >= self.wandb.fails_after:
            raise BrokenPipeError(32, "the service died")
        self.logged.append(values)

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass

    def finish(self, code: int = 0) -> None:
        self.ended, self.wandb.run = code, None


class FakeWandb(ModuleType):
    """The parts of wandb that Lightning calls."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.run: FakeRun | None = None
        self.runs: list[FakeRun] = []
        self.refuses: Exception | None = None
        self.fails_after: int | None = None

    def init(self, **_: Any) -> FakeRun:
        if self.refuses is not None:
            raise self.refuses
        self.run = FakeRun(self)
        self.runs.append(self.run)
        return self.run


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    parts: dict[str, Any] = {"wandb.sdk.lib": "RunDisabled", "wandb.wandb_run": "Run"}
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setitem(sys.modules, "wandb.sdk", ModuleType("wandb.sdk"))
    for name, member in parts.items():
        module: Any = ModuleType(name)
        setattr(module, member, FakeRun if member == "Run" else type(member, (), {}))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", True)
    return fake


def keys(toy: str, store: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": toy,
        "model": "timm:test_resnet",
        "mode": "scratch",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 8,
        "trainer.max_epochs": 2,
        "logger.wandb": True,
        **more,
    }


class UsageError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UsageError("api_key not configured (no-tty). call wandb.login()\nmore"), "no-tty"),
        (TimeoutError("Run initialization has timed out after 90.0 sec."), "timed out"),
        (AttributeError("`np.float_` was removed"), r"AttributeError: `np.float_`"),
        (ModuleNotFoundError("No module named 'click'", name="click.core"), "The package click,"),
    ],
)
def test_a_logger_that_cannot_start(
    toy: str, tmp_path: Path, wandb: FakeWandb, error: Exception, said: str
) -> None:
    wandb.refuses = error
    words = [f"{key}={value}" for key, value in keys(toy, tmp_path).items()]
    done = CliRunner().invoke(app, ["run", *words])
    assert done.exit_code == 2
    problem, remedy = done.stderr.splitlines()[-2:]
    assert problem.startswith("Error: ")
    assert said in problem
    assert "logger.wandb=true" in problem
    assert "wandb login" in remedy or "pip install" in remedy
    assert "Traceback" not in done.output
    assert not list(tmp_path.rglob("record.json"))
    # Nothing is lost: the same run starts once the logger is left out.
    marsbench.run(**keys(toy, tmp_path, **{"logger.wandb": False}))
    assert len(list(tmp_path.rglob("record.json"))) == 1


def test_an_interrupted_run_is_kept_by_a_logger_that_cannot_start_again(
    toy: str, tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marsbench.training import network

    def end(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(network, "load_chosen", end)
        with pytest.raises(KeyboardInterrupt):
            marsbench.run(**keys(toy, tmp_path))
    checkpoints = {path.name for path in tmp_path.rglob("*.ckpt")}
    assert checkpoints == {"best.ckpt"}
    wandb.refuses = ConnectionError("no route")
    with pytest.raises(ConfigError, match="cannot start: ConnectionError: no route"):
        marsbench.run(**keys(toy, tmp_path))
    assert {path.name for path in tmp_path.rglob("*.ckpt")} == checkpoints
    wandb.refuses = None
    assert marsbench.run(**keys(toy, tmp_path)).timing["resumed_from_epoch"] == 2


@pytest.mark.parametrize("after", [0, 3])
def test_a_logger_that_fails_while_training(
    toy: str, tmp_path: Path, wandb: FakeWandb, capsys: pytest.CaptureFixture[str], after: int
) -> None:
    plain = marsbench.run(**keys(toy, tmp_path / "plain", **{"logger.wandb": False}))
    wandb.fails_after = after
    record = marsbench.run(**keys(toy, tmp_path / "failing"))
    said = capsys.readouterr().err
    assert said.count("logger.wandb failed: BrokenPipeError: [Errno 32] the service died") == 1
    assert "The run goes on without it" in said
    assert record.metrics == plain.metrics
    curves = [
        (Store(tmp_path / name).folder(plain.run_id) / "logs/attempt_1/metrics.csv").read_text()
        for name in ("plain", "failing")
    ]
    assert curves[0] == curves[1]
    assert len(wandb.runs[0].logged) == after


def test_every_run_of_a_process_has_a_log_of_its_own(
    toy: str, tmp_path: Path, wandb: FakeWandb
) -> None:
    for seed in (0, 1):
        marsbench.run(**keys(toy, tmp_path, seed=seed))
    assert [run.ended for run in wandb.runs] == [0, 0]
    assert all(len(run.logged) > 2 for run in wandb.runs)


def test_a_log_that_the_program_began_goes_on(toy: str, tmp_path: Path, wandb: FakeWandb) -> None:
    own = wandb.init()
    marsbench.run(**keys(toy, tmp_path))
    assert len(own.logged) > 2
    assert own.ended is None
    assert wandb.runs == [own]


def test_tensorboard_that_fails(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pytorch_lightning.loggers import TensorBoardLogger

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    more = {"logger.wandb": False, "logger.tensorboard": True}
    monkeypatch.setattr(TensorBoardLogger, "log_metrics", fail)
    assert marsbench.run(**keys(toy, tmp_path / "a", **more)).score is not None
    assert "logger.tensorboard failed: OSError: [Errno 28]" in capsys.readouterr().err
    monkeypatch.setattr(TensorBoardLogger, "experiment", property(fail))
    with pytest.raises(ConfigError, match=r"logger.tensorboard=true cannot start: OSError"):
        marsbench.run(**keys(toy, tmp_path / "b", **more))
