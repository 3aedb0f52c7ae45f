"""The Python API: names, types and errors."""

import ast
import importlib
import inspect
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError, UnknownNameError
from marsbench.models.zoo.catalog import MODELS
from marsbench.results.store import Store
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind

REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "run": (("frost_clss", "resnet18"), "frost_cls"),
    "run_evaluate": (("0123456789",), "0123456789"),
    "run_predict": (("0123456789", "missing.png", "out"), "missing.png"),
    "run_sweep": (("smokey",), "smoke"),
    "run_tune": (("frost_clss", "resnet18"), "frost_cls"),
    "make_ensemble": ((["0123456789"],), "0123456789"),
    "make_report": (("missing",), "missing"),
    "load_records": (("missing",), "missing"),
    "load_dataset": (("frost_clss",), "frost_cls"),
    "list_tasks": (("*",), ""),
    "list_models": (("*",), ""),
    "get_task": (("frost_clss",), "frost_cls"),
}
"""Arguments of each function and a word of its error, empty without an error."""


def test_no_name_is_also_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An imported module would take the place of a function of its name."""
    monkeypatch.chdir(tmp_path)
    for module in pkgutil.iter_modules(marsbench.__path__, "marsbench."):
        if module.name != "marsbench.__main__":
            importlib.import_module(module.name)
    functions = {n for n in marsbench.__all__ if inspect.isfunction(getattr(marsbench, n))}
    assert functions == set(REFUSED)
    for name, (arguments, word) in REFUSED.items():
        function = getattr(marsbench, name)
        if not word:
            assert function(*arguments)
            continue
        with pytest.raises(MarsbenchError, match=word) as refused:
            function(*arguments)
        assert refused.value.remedy, name


def test_names_for_type_checkers_are_those_at_run_time() -> None:
    tree = ast.parse(Path(marsbench.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}
    assert homes.keys() == set(marsbench.__all__) - {"__version__"}
    for name, module in homes.items():
        assert getattr(marsbench, name) is getattr(importlib.import_module(str(module)), name)


def test_misspelt_keys_are_errors_for_mypy_too() -> None:
    """Strict mypy reports an ignored error that does not occur."""
    with pytest.raises(ConfigError, match="Unknown key 'modle'"):
        marsbench.run("frost_cls", "resnet18", modle="vit")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"Unknown key 'optim.rl'"):
        marsbench.run("frost_cls", "resnet18", optim={"rl": 1})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(ConfigError, match="Did you mean frozen"):
        marsbench.run("frost_cls", "resnet18", mode="forzen")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Unknown key 'tsak'"):
        marsbench.run_evaluate("0123456789", tsak="frost_cls")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="Did you mean font"):
        marsbench.make_report("runs", fonts="serif")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="Did you mean tile"):
        marsbench.run_predict("0123456789", "a.png", "out", tiles=8)  # type: ignore[call-arg]


def test_lists_of_tasks_and_models() -> None:
    assert marsbench.list_tasks() == list(TASKS)
    assert marsbench.list_tasks("*_seg", kind="segmentation") == [
        name for name in TASKS if name.endswith("_seg")
    ]
    boxes = marsbench.list_models(kind=Kind.DETECTION)
    assert boxes
    assert all(Kind.DETECTION in MODELS[name].kinds for name in boxes)
    assert len(boxes) < len(marsbench.list_models())
    assert "resnet18" in marsbench.list_models("resnet*")
    with pytest.raises(UnknownNameError, match="Did you mean detection"):
        marsbench.list_models(kind="detecton")


def test_a_run_by_position(toy: str, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    first = marsbench.run(
        Path(toy), "timm:test_resnet", mode="scratch", trainer={"max_epochs": 1}, store=store
    )
    assert (first.model, first.mode) == ("timm:test_resnet", "scratch")
    second = marsbench.run(
        toy, "timm:test_resnet", mode="scratch", trainer={"max_epochs": 1}, store=store, seed=1
    )
    images = Path(toy).parent / "data" / "test"
    predicted = marsbench.run_predict(second.run_id, images, tmp_path / "out", store=store, tile=0)
    assert repr(predicted) == f"Prediction {tmp_path}/out: 12 images done, 0 skipped, 0 failed"
    assert len((predicted.folder / "predictions.csv").read_text().splitlines()) == 1 + 12
    again = marsbench.run_predict(store / second.run_id, [images], tmp_path / "out", tile=0)
    assert (again.done, again.skipped, again.failed) == (0, 12, {})
    both = marsbench.make_ensemble([store / first.run_id, second.run_id], store)
    assert both.parents == sorted([first.run_id, second.run_id])
    assert marsbench.make_ensemble([first.run_id, second.run_id], store) == both


def test_a_search_and_a_sweep(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: None
) -> None:
    """In processes of their own; both continue, and failed runs are counted."""
    monkeypatch.chdir(tmp_path)
    (choice,) = marsbench.run_tune(
        toy,
        "timm:test_resnet",
        space={"optim.lr": [1e-4, 0.1]},
        weights=weights,
        trainer={"max_epochs": 2},
        launcher_keys={"jobs": 1},
    )
    assert (choice.tried, choice.mode) == (2, "frozen")
    suite = {
        "description": "Two seeds.",
        "grids": [{"task": toy, "model": "timm:test_resnet", "seed": [0, 1, 2]}],
    }
    Path("mine.yaml").write_text(json.dumps(suite))
    result = marsbench.run_sweep(
        Path("mine.yaml"),
        seed=[0, 1],
        weights=weights,
        hparams="tuned",
        trainer={"max_epochs": 2},
        launcher_keys={"jobs": 1},
    )
    assert (result.runs, result.done, result.failed, result.left) == (2, 2, 0, 0)
    assert result.folder is not None
    table = marsbench.load_records()
    assert sorted(table["seed"]) == [0, 1]
    records, _ = Store(result.store).records()
    assert {r.config["optim"]["lr"] for r in records} == {choice.set["optim.lr"]}
