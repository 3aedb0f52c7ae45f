"""Models of the hub, served by a server of our own to the real client."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError, WeightsError
from marsbench.cli import app
from marsbench.config.schema import RunConfig
from marsbench.models.pretraining import UNKNOWN
from marsbench.plan.resolve import resolve
from marsbench.predict.load import load
from marsbench.predict.predictor import Predictor
from marsbench.results.record import RunRecord
from tests.conftest import go_offline
from tests.predict.test_run import rows_of
from tests.server import COMMIT, Repo, Server

MODEL = "timm:test_resnet"
NEWER = "f" * 40


def keys(toy: str, **more: Any) -> dict[str, Any]:
    given = {"task": toy, "model": MODEL, "mode": "scratch", "workers": 0, "optim.batch_size": 8}
    return given | {"trainer.max_epochs": 1, "trainer.accelerator": "cpu"} | more


@pytest.fixture(scope="module")
def trained(toy: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    """A finished run and its folder."""
    store = tmp_path_factory.mktemp("runs")
    record = marsbench.run(**keys(toy, store=str(store)))
    return record, store / record.run_id


def published(folder: Path, *names: str) -> Repo:
    return Repo({name: (folder / name).read_bytes() for name in names})


@pytest.fixture
def repo(trained: tuple[RunRecord, Path], toy: str, server: Server) -> Repo:
    """The run in a repository, with its task beside it."""
    repo = published(trained[1], "record.json", "model.safetensors")
    repo.files |= {"task.yaml": Path(toy).read_bytes(), "README.md": b"# A model", "x.bin": b"-"}
    server.models["org/run"] = repo
    return repo


def logits(predictor: Predictor) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.inference_mode():
        scores: torch.Tensor = predictor.model(torch.rand(3, 1, predictor.side, predictor.side))
    return scores


def loaded(text: str, tmp_path: Path, **more: Any) -> Predictor:
    return load(text, tmp_path / "no-store", **more)


def test_a_published_run_predicts_as_its_folder(
    repo: Repo, trained: tuple[RunRecord, Path], toy: str, tmp_path: Path, server: Server
) -> None:
    # The author's files are elsewhere: the task is read from the repository.
    record = json.loads(repo.files["record.json"])
    record["config"]["task"] = "/nowhere/task.yaml"
    repo.files["record.json"] = json.dumps(record).encode()
    images = Path(toy).parent / "data" / "test"
    for place, out in (("hf://org/run", "hub"), (str(trained[1]), "folder")):
        words = ["predict", place, str(images), "--out", str(tmp_path / out), "--device", "cpu"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.stderr
    assert rows_of(tmp_path / "hub") == rows_of(tmp_path / "folder")
    assert len(rows_of(tmp_path / "hub")) == 12
    read = {seen.path.rpartition("/")[2] for seen in server.seen("/resolve/")}
    assert read == {"record.json", "task.yaml", "model.safetensors"}


def test_the_newest_commit_unless_another_is_named(
    repo: Repo,
    trained: tuple[RunRecord, Path],
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = logits(loaded("hf://org/run", tmp_path))
    assert torch.equal(first, logits(loaded(str(trained[1]), tmp_path)))
    state = {name: tensor + 1 for name, tensor in load_file(trained[1] / MODEL_FILE).items()}
    save_file(state, tmp_path / MODEL_FILE)
    repo.earlier[COMMIT] = dict(repo.files)
    repo.files[MODEL_FILE] = (tmp_path / MODEL_FILE).read_bytes()
    repo.commit = NEWER
    second = logits(loaded("hf://org/run", tmp_path))
    assert not torch.equal(first, second)
    assert torch.equal(first, logits(loaded(f"hf://org/run@{COMMIT}", tmp_path)))
    # Without an answer, or without permission to ask, the cache serves.
    server.fail("/api/models/org/run", status=408)
    server.fail("/api/models/org/missing", status=408)
    with pytest.raises(WeightsError, match="does not answer for hf://org/missing"):
        loaded("hf://org/missing", tmp_path)
    assert torch.equal(second, logits(loaded("hf://org/run", tmp_path)))
    go_offline(monkeypatch)
    server.forget()
    assert torch.equal(second, logits(loaded("hf://org/run", tmp_path)))
    assert not server.seen()
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids requests"):
        loaded("hf://org/other", tmp_path)


MODEL_FILE = "model.safetensors"


def test_a_checkpoint_without_a_record(
    trained: tuple[RunRecord, Path], toy: str, tmp_path: Path, server: Server
) -> None:
    content = (trained[1] / MODEL_FILE).read_bytes()
    mapping = json.dumps({"0": "plain", "1": "dune", "2": "crater"}).encode()
    server.models["org/raw"] = Repo(
        {"z.safetensors": content, "sub/m.safetensors": content, "sub/mapping.json": mapping}
    )
    given = {"task": toy, "model": MODEL}
    same = logits(loaded(str(trained[1]), tmp_path))
    found = loaded("hf://org/raw/sub/m.safetensors", tmp_path, **given)
    assert torch.equal(logits(found), same)
    assert found.classes == ("plain", "dune", "crater")
    assert not found.notes
    assert found.origin == "hf://org/raw/sub/m.safetensors"
    other = loaded("hf://org/raw", tmp_path, **given)
    assert torch.equal(logits(other), same)
    assert other.notes  # its classes are assumed
    with pytest.raises(ConfigError, match="--task TASK and --model MODEL"):
        loaded("hf://org/raw", tmp_path)
    server.models["org/raw"] = Repo({"notes.txt": b"none"}, commit=NEWER)
    with pytest.raises(WeightsError, match="No checkpoint was found in hf://org/raw"):
        loaded("hf://org/raw", tmp_path, **given)


def refused(text: str, tmp_path: Path, *words: str) -> None:
    with pytest.raises(MarsbenchError) as caught:
        loaded(text, tmp_path)
    for word in words:
        assert word in str(caught.value)


def test_repositories_from_elsewhere_are_data(repo: Repo, tmp_path: Path) -> None:
    # Names that lead out of their folder are not files of the repository.
    repo.files["../../../../evil.safetensors"] = b"x"
    repo.files["record.json"] += b" " * 10_000_001
    refused("hf://org/run", tmp_path, "record.json of hf://org/run has 100", "at most 10000000")
    assert not (tmp_path / "evil.safetensors").exists()
    repo.files["record.json"] = b"[" * 100_000
    repo.commit = "1" * 40
    refused("hf://org/run", tmp_path, "is not a complete record")
    repo.files["record.json"] = b'{"run_id": "../../x"}'
    repo.commit = "2" * 40
    refused("hf://org/run", tmp_path, "is an invalid record")


def test_a_pickle_of_the_hub_runs_nothing(
    repo: Repo, toy: str, tmp_path: Path, server: Server
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"a": Evil()}, tmp_path / "model.pt")
    server.models["org/evil"] = Repo({"model.pt": (tmp_path / "model.pt").read_bytes()})
    with pytest.raises(WeightsError, match="could execute code"):
        loaded("hf://org/evil", tmp_path, task=toy, model=MODEL)
    assert not (tmp_path / "ran").exists()


def test_the_hub_has_one_spelling(repo: Repo, tmp_path: Path) -> None:
    refused("org/run", tmp_path, "write hf://org/run")
    refused("hf://org", tmp_path, "not an address of the hub", "hf://ORG/NAME")
    refused("hf://datasets/org/run", tmp_path, "is a dataset, not a model")
    refused("hf://org/missing", tmp_path, "not found")


# Initial weights


def test_initial_weights_of_the_hub(
    weights: str, toy: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.models["org/weights"] = Repo({"a/model.safetensors": Path(weights).read_bytes()})
    place = "hf://org/weights/a/model.safetensors"
    given = keys(toy, mode="frozen", store=str(tmp_path / "runs"))
    # Equal contents are the same run, wherever they are.
    local = resolve(RunConfig.from_dict(given | {"weights": weights}))
    assert resolve(RunConfig.from_dict(given | {"weights": place})).run_id == local.run_id
    # The commit of the first download stays.
    torch.manual_seed(7)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "b.safetensors")
    newer = Repo({"a/model.safetensors": (tmp_path / "b.safetensors").read_bytes()}, commit=NEWER)
    server.models["org/weights"] = replace(
        newer, earlier={COMMIT: server.models["org/weights"].files}
    )
    record = marsbench.run(**given, weights=place)
    assert record.run_id == local.run_id
    assert record.weights is not None
    assert record.weights["path"] == f"hf://org/weights@{COMMIT}/a/model.safetensors"
    assert record.config["weights"] == place
    assert record.pretraining == UNKNOWN
    other = resolve(
        RunConfig.from_dict(given | {"weights": f"hf://org/weights@{NEWER}/a/model.safetensors"})
    )
    assert other.run_id != local.run_id
    # A frozen run keeps its head alone, and gets its backbone from the same commit.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    assert loaded(str(tmp_path / "runs" / record.run_id), tmp_path).origin == record.run_id
    assert [s.path for s in server.seen("/resolve/", "GET")][-1].startswith(
        f"/org/weights/resolve/{COMMIT}/"
    )


def test_initial_weights_that_are_not_there(
    toy: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.models["org/weights"] = Repo({"model.safetensors": b"no tensors"})
    given = keys(toy, mode="frozen", store=str(tmp_path / "runs"))

    def refused(weights: str, *words: str) -> None:
        done = CliRunner().invoke(
            app, ["run", *(f"{k}={v}" for k, v in given.items()), f"weights={weights}"]
        )
        assert done.exit_code == 2
        for word in words:
            assert word in done.stderr

    refused("hf://org/weights", "is a repository", "hf://org/weights/FILE")
    refused("hf://org/weights/a.pt", "a.pt was not found in hf://org/weights")
    refused("hf://org/weights/model.safetensors", "is damaged or not a checkpoint")
    go_offline(monkeypatch)
    refused("hf://org/others/a.pt", "HF_HUB_OFFLINE forbids requests")
