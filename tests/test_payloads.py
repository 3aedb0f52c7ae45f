"""Files from elsewhere that would run code if they were executed: each only writes a marker.

Every payload ends in one clear message, or is read as text, and writes no marker.
"""

import codecs
import dataclasses
import functools
import io
import json
import os
import pickle
import runpy
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner, Result

from marsbench.base.errors import MarsbenchError, WeightsError
from marsbench.base.files import file_digest
from marsbench.cli import app
from marsbench.cli.compose import compose
from marsbench.config.identity import run_id
from marsbench.data.sources.hub_files import known_listing
from marsbench.models.tables.boosting import BoostedStackModel, LightGBMModel, TreeSettings
from marsbench.models.tables.linear import KernelLogisticModel, LogisticRegressionModel
from marsbench.models.tensors import read_checkpoint
from marsbench.models.zoo.catalog import get_model
from marsbench.plan.tuned import filled
from marsbench.predict.load import load
from marsbench.results.store import PREDICTIONS, Store, read_table
from marsbench.sweep.launchers.settings import load_settings
from marsbench.sweep.suites import load_suite
from marsbench.sweep.tune import load_space
from marsbench.tasks.custom import load_task
from marsbench.tasks.kinds import Decode, Kind
from marsbench.training.loop import fitting
from marsbench.training.trained import rebuild_table
from tests.fakes import make_spec, read_rows, write_folder, write_rows, write_spec
from tests.report.fake_store import Fake, fake_record, write

T = TypeVar("T")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """Path that payloads write to; nothing may be there afterwards."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "the payload was executed"


def call(*words: str, code: int) -> Result:
    """Call the command: one message at most, and no traceback."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, (done.output, done.exception)
    assert "Traceback" not in done.output
    assert done.stderr.count("Error: ") == (code == 2 and "verify" not in words)
    return done


def refused(read: Callable[[Path], T], path: Path) -> T | None:
    """Read a file; None if it is refused in a message that names it."""
    try:
        return read(path)
    except MarsbenchError as error:
        if path.name not in error.problem:
            raise
        return None


# Pickles


class Reduced:
    """A pickle that calls a function, and sets a state on what it returns."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class Evaluating(nn.Module):
    """A library's module whose construction evaluates its own configuration."""

    def __init__(self, config: dict[str, str] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        eval((config or {}).get("activation", "None"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        eval(state.get("activation", "None"))
        super().__setstate__(state)  # type: ignore[no-untyped-call]


def touching(marker: Path) -> str:
    """An expression that writes the marker."""
    return f"open({str(marker)!r}, 'w').close()"


def script(marker: Path, name: str = "hubconf.py") -> Path:
    """A script that writes the marker."""
    path = marker.with_name(name)
    path.write_text(f"{touching(marker)}\ndef entry(): {touching(marker)}\n")
    return path


def inner_pickle(marker: Path) -> str:
    """A pickle that another payload loads."""
    path = marker.with_name("inner.pkl")
    path.write_bytes(pickle.dumps(Reduced(open, (str(marker), "w"))))
    return str(path)


def object_array(marker: Path) -> str:
    """An array of objects that another payload loads."""
    path = marker.with_name("inner.npy")
    array = np.empty(1, dtype=object)
    array[0] = Reduced(open, (str(marker), "w"))
    np.save(path, array)
    return str(path)


CALLS: dict[str, Callable[[Path], Reduced]] = {
    "os.system": lambda m: Reduced(os.system, (f"touch {m}",)),
    "os.mkdir": lambda m: Reduced(os.mkdir, (str(m),)),
    "open": lambda m: Reduced(open, (str(m), "w")),
    "FileIO": lambda m: Reduced(io.FileIO, (str(m), "w")),
    "codecs": lambda m: Reduced(codecs.open, (str(m), "w")),
    "exec": lambda m: Reduced(exec, (touching(m),)),
    "eval": lambda m: Reduced(eval, (touching(m),)),
    "Popen": lambda m: Reduced(subprocess.Popen, (["touch", str(m)],)),
    "runpy": lambda m: Reduced(runpy.run_path, (str(script(m)),)),
    "copy": lambda m: Reduced(shutil.copy, (__file__, str(m))),
    "partial": lambda m: Reduced(functools.partial(open, str(m), "w"), ()),
    "torch.save": lambda m: Reduced(torch.save, ({}, str(m))),
    "torch.load": lambda m: Reduced(
        functools.partial(torch.load, weights_only=False), (inner_pickle(m),)
    ),
    "torch.hub": lambda m: Reduced(
        torch.hub._load_local,
        (str(script(m).parent), "entry"),
    ),
    "numpy.save": lambda m: Reduced(np.save, (str(m), np.ones(1))),
    "numpy.load": lambda m: Reduced(
        functools.partial(np.load, allow_pickle=True), (object_array(m),)
    ),
    "constructor": lambda m: Reduced(Evaluating, ({"activation": touching(m)},)),
    "state": lambda m: Reduced(Evaluating, (), {"activation": touching(m)}),
}


@pytest.mark.parametrize("payload", CALLS.values(), ids=CALLS)
def test_pickles_in_checkpoints(payload: Callable[[Path], Reduced], marker: Path) -> None:
    """Beside tensors, as the model, and as the whole file; an archive, and torch's old format."""
    path = marker.with_name("x.pt")
    contents: list[Any] = [
        {"weight": torch.ones(2), "extra": payload(marker)},
        {"state_dict": {"weight": torch.ones(2)}, "callbacks": {"a": payload(marker)}},
        {"model": payload(marker), "ema": None},
        payload(marker),
    ]
    for content in contents:
        for archive in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=archive)
            # None is returned if the file is refused.
            read = refused(read_checkpoint, path)
            assert read is None or list(read) == ["weight"]


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["x.pt", "x.ckpt", "x.bin", "x.safetensors"])
def test_plain_pickles(protocol: int, name: str, marker: Path) -> None:
    path = marker.with_name(name)
    path.write_bytes(pickle.dumps(Reduced(os.system, (f"touch {marker}",)), protocol))
    with pytest.raises(WeightsError, match=name):
        read_checkpoint(path)


def test_an_ultralytics_checkpoint_that_evaluates_its_activation(
    marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, tasks = types.ModuleType("ultralytics"), types.ModuleType("ultralytics.nn.tasks")
    model = type("DetectionModel", (Evaluating,), {"__module__": "ultralytics.nn.tasks"})
    tasks.DetectionModel = model  # type: ignore[attr-defined]
    for module in (library, types.ModuleType("ultralytics.nn"), tasks):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    path = marker.with_name("yolo.pt")
    torch.save({"model": Reduced(model, ({"activation": touching(marker)},))}, path)
    with pytest.raises(WeightsError, match="no tensors"):
        read_checkpoint(path)
    torch.save({"ema": model().half(), "model": None}, path)
    assert list(read_checkpoint(path)) == ["weight"]


def test_a_script_of_torch_is_refused(marker: Path) -> None:
    path = marker.with_name("x.pt")
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path)
    with pytest.raises(WeightsError, match=r"x\.pt"):
        read_checkpoint(path)


def test_code_in_the_header_of_safetensors_is_text(marker: Path) -> None:
    path = marker.with_name("x.safetensors")
    save_file({touching(marker): torch.ones(1)}, path, {"format": touching(marker)})
    assert list(read_checkpoint(path)) == [touching(marker)]


# Run folders


def run_folder(marker: Path, model: str = "timm:test_resnet", **fields: Any) -> Path:
    """Folder of a finished frozen run, as someone else might send it."""
    record = fake_record(Fake("frost_cls", "resnet101"))
    config = {"task": "frost_cls", "model": model, "mode": "frozen", **fields.pop("config", {})}
    identity = {**record.identity, "input_size": 32, **fields.pop("identity", {})}
    record = dataclasses.replace(
        record,
        model=model,
        config=config,
        identity=identity,
        run_id=run_id("frost_cls", model, "frozen", "full", 0, identity),
        **fields,
    )
    folder = marker.parent / "run"
    folder.mkdir()
    (folder / "record.json").write_text(record.to_json())
    save_file({"head.weight": torch.ones(2, 2)}, folder / "model.safetensors")
    return folder


def test_weights_named_by_a_record(marker: Path) -> None:
    path = marker.with_name("evil.pt")
    torch.save({"model": CALLS["constructor"](marker)}, path)
    digest = file_digest(path)
    config = {"weights": str(path)}
    folder = run_folder(marker, config=config, identity={"weights": digest})
    with pytest.raises(WeightsError, match="no tensors"):
        load(str(folder), marker.parent)


def test_the_model_of_a_run_folder(marker: Path) -> None:
    folder = run_folder(marker)
    (folder / "model.safetensors").write_bytes(pickle.dumps(CALLS["os.system"](marker)))
    (folder / "config.yaml").write_text(f"!!python/object/apply:os.system ['touch {marker}']")
    with pytest.raises(MarsbenchError):
        load(str(folder), marker.parent)


@pytest.mark.parametrize(
    "model",
    [
        "os:system",
        "timm:hf-hub:org/name",
        "smp:unet/../../x",
        "torchvision:os.system",
        "marsbench.base.lazy:load",
        "../../x.py",
    ],
)
def test_models_named_by_a_record(
    model: str, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(marker, "x.py")
    monkeypatch.chdir(marker.parent)
    with pytest.raises(MarsbenchError, match="Unknown"):
        load(str(run_folder(marker, model)), marker.parent)


def test_a_checkpoint_to_resume_from(marker: Path) -> None:
    path = marker.with_name("last.ckpt")
    good: dict[str, Any] = {"state_dict": {}, "epoch": 1, "callbacks": {"a": {}}}
    torch.save(good, path)
    assert fitting._read(path) == good
    for more in (
        {"extra": CALLS["os.system"](marker)},
        {"epoch": "../x"},
        {"callbacks": None},
        {"callbacks": {"a": "../x"}},
    ):
        torch.save(good | more, path)
        with pytest.raises(MarsbenchError, match="damaged"):
            fitting._read(path)


TABLES: dict[str, Callable[[], Any]] = {
    "logistic_regression": LogisticRegressionModel,
    "kernel_logistic": KernelLogisticModel,
    "lightgbm": lambda: LightGBMModel(TreeSettings(trees=2, members=1), threads=1),
    "boosted_stack": lambda: BoostedStackModel(TreeSettings(trees=2, members=1), threads=1),
}
FILES = {
    "logistic_regression": "coefficients.npz",
    "kernel_logistic": "arrays.npz",
    "lightgbm": "label0_0.txt",
    "boosted_stack": "judge.cbm",
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted table model of each sort."""
    pytest.importorskip("lightgbm")
    pytest.importorskip("catboost")
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 5), dtype=np.float32), rng.integers(0, 2, (40, 2)).astype(np.uint8)
    top = tmp_path_factory.mktemp("tables")
    for name, make in TABLES.items():
        model = make()
        model.fit(x, y, 0)
        model.save(top / name)
    return top


@pytest.mark.parametrize("name", TABLES)
def test_files_of_table_models(name: str, tables: Path, marker: Path) -> None:
    """A pickle, an array of objects, code as text, and settings of other types."""
    folder = marker.with_name("run")
    shutil.copytree(tables / name, folder / "model")
    record = dataclasses.replace(fake_record(Fake("ega_ms", "lightgbm")), model=name)
    spec: Any = None  # not needed to read the files
    rebuild_table(record, folder, spec, None, get_model(name))
    file, settings = folder / "model" / FILES[name], folder / "model" / "model.json"
    whole, facts = file.read_bytes(), json.loads(settings.read_text())
    objects = io.BytesIO()
    array = np.array([CALLS["open"](marker), None], dtype=object)
    np.savez(objects, weights=array, intercepts=array, mean=array)
    contents = (pickle.dumps(CALLS["open"](marker)), objects.getvalue(), touching(marker).encode())
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(WeightsError, match="damaged"):
            rebuild_table(record, folder, spec, None, get_model(name))
    file.write_bytes(whole)
    wrong: Any
    for wrong in ({"x": touching(marker)}, {"__class__": "os.system"}, [1], "x"):
        settings.write_text(json.dumps({**facts, "settings": wrong}))
        with pytest.raises(WeightsError):
            rebuild_table(record, folder, spec, None, get_model(name))


# Tables of predictions and data


def extension_type(marker: Path, name: bytes) -> pa.Schema:
    """A column of an extension type whose metadata is a pickle."""
    field = pa.field(
        "scores",
        pa.int64(),
        metadata={
            b"ARROW:extension:name": name,
            b"ARROW:extension:metadata": pickle.dumps(CALLS["open"](marker)),
        },
    )
    return pa.schema([field])


@pytest.mark.parametrize(
    "name", [b"arrow.py_extension_type", b"pandas.period", b"pandas.interval", b"x"]
)
def test_extension_types_of_parquet(name: bytes, marker: Path) -> None:
    store = Store(marker.with_name("runs"))
    record = fake_record(Fake("ega_ms", "lightgbm"))
    write(store, [record])
    table = pa.table({"scores": [1, 2]}).cast(extension_type(marker, name))
    pq.write_table(table, store.folder(record.run_id) / PREDICTIONS)
    read = refused(read_table, store.folder(record.run_id) / PREDICTIONS)
    assert read is None or len(read) == 2


@pytest.mark.parametrize("dtype", ["object", "pickle", "os.system", "period[D]", "category"])
def test_metadata_of_pandas(dtype: str, marker: Path) -> None:
    store = Store(marker.with_name("runs"))
    record = fake_record(Fake("ega_ms", "lightgbm"))
    write(store, [record])
    facts = {
        "name": "scores",
        "field_name": "scores",
        "pandas_type": dtype,
        "numpy_type": dtype,
        "metadata": {"evaluated": touching(marker), "num_categories": 1, "ordered": False},
    }
    metadata = {
        "index_columns": [touching(marker)],
        "column_indexes": [facts],
        "columns": [facts],
        "attributes": {"x": touching(marker)},
        "pandas_version": "3.0.0",
    }
    table = pa.table({"scores": [1, 2]}).replace_schema_metadata(
        {b"pandas": json.dumps(metadata).encode(), b"PANDAS_ATTRS": b'{"a": "__import__"}'}
    )
    pq.write_table(table, store.folder(record.run_id) / PREDICTIONS)
    read = refused(read_table, store.folder(record.run_id) / PREDICTIONS)
    assert read is None or len(read) == 2


def test_pickles_in_cells_stay_bytes(marker: Path) -> None:
    store = Store(marker.with_name("runs"))
    record = fake_record(Fake("ega_ms", "lightgbm"))
    write(store, [record])
    content = pickle.dumps(CALLS["open"](marker))
    path = store.folder(record.run_id) / PREDICTIONS
    pd.DataFrame({"scores": [content]}).to_parquet(path)
    assert store.predictions(record.run_id)["scores"][0] == content


# Data folders


EPS = """%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 32 32
({marker}) (w) file closefile
showpage
"""
VRT = """<VRTDataset rasterXSize="32" rasterYSize="32">
<VRTRasterBand dataType="Byte" band="1" subClass="VRTDerivedRasterBand">
<PixelFunctionType>run</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>
<PixelFunctionCode>{code}</PixelFunctionCode></VRTRasterBand></VRTDataset>
"""
IMAGES: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda m: pickle.dumps(CALLS["open"](m)),
    "array": lambda m: Path(object_array(m)).read_bytes(),
    "EPS": lambda m: EPS.format(marker=m).encode(),
    "VRT": lambda m: VRT.format(code=touching(m)).encode(),
    "script": lambda m: f"#!/bin/sh\ntouch {m}\n".encode(),
    "SVG": lambda m: f"<svg><script>{touching(m)}</script></svg>".encode(),
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task's data, of custom YAML, in an empty home."""
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    spec = make_spec(folder="data")
    folder = write_folder(spec, tmp_path, {"train": 4, "val": 3, "test": 3})
    write_spec(spec, folder / "task.yaml")
    return folder


@pytest.mark.parametrize("content", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_that_are_programs(
    content: Callable[[Path], bytes], suffix: str, data: Path, marker: Path
) -> None:
    old = next((data / "data" / "train").rglob("*.png"))
    old.write_bytes(content(marker))
    old.rename(old.with_suffix(suffix))
    done = call("data", "verify", str(data), f"root={data}", code=2)
    assert old.stem in str(json.loads(done.stdout)["problems"])


def test_code_in_labels_and_names(data: Path, marker: Path) -> None:
    code = f"__import__('os').system('touch {marker}')"
    rows = read_rows(data / "annotation.csv")
    for column in range(4):
        evil = [list(row) for row in rows]
        evil[0][column] = code
        write_rows(data / "annotation.csv", [tuple(row) for row in evil])
        call("data", "verify", str(data), f"root={data}", code=2)
    write_rows(data / "annotation.csv", rows)
    mapping = json.loads((data / "mapping.json").read_text())
    for content in ({code: code, **mapping}, {**mapping, "0": code}, [code], code):
        (data / "mapping.json").write_text(json.dumps(content))
        call("data", "verify", str(data), f"root={data}", code=2)
    (data / "mapping.json").write_text("[" * 100_000)
    call("data", "verify", str(data), f"root={data}", code=2)


def test_code_in_lists_of_labels(tmp_path: Path, marker: Path) -> None:
    spec = make_spec(Kind.MULTILABEL, folder="data")
    folder = write_folder(spec, tmp_path, {"train": 4, "val": 3, "test": 3})
    write_spec(spec, folder / "task.yaml")
    rows = read_rows(folder / "annotation.csv")
    texts = [f"[__import__('os').system('touch {marker}')]", "[" * 5000, "-" * 100_000 + "1"]
    for text in texts:
        write_rows(folder / "annotation.csv", [(*rows[0][:3], text), *rows[1:]])
        call("data", "verify", str(folder), f"root={folder}", code=2)


def test_entities_in_boxes(tmp_path: Path, marker: Path) -> None:
    spec = make_spec(Kind.DETECTION, ("crater", "dune"), folder="data", decode=Decode.IMAGE_BOXES)
    folder = write_folder(spec, tmp_path, {"train": 4, "val": 4, "test": 4})
    write_spec(spec, folder / "task.yaml")
    secret = tmp_path / "secret"
    secret.write_text("crater")
    path = next(
        p for p in (folder / "data/train/pascal_voc").iterdir() if b"crater" in p.read_bytes()
    )
    (folder / "data/train/coco_annotations.json").unlink()
    shutil.rmtree(folder / "data/train/labels")
    whole = path.read_text()
    many = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    for entities in (f'<!ENTITY e11 SYSTEM "{secret}">', f'<!ENTITY e0 "x">{many}'):
        text = whole.replace("<name>crater", "<name>&e11;")
        path.write_text(f"<!DOCTYPE annotation [{entities}]>{text}")
        done = call("data", "verify", str(folder), f"root={folder}", code=2)
        assert path.name in done.output


# YAML


TAGS = {
    "apply": "!!python/object/apply:os.system ['touch {marker}']",
    "new": "!!python/object/new:os.mkdir ['{marker}']",
    "name": "!!python/name:os.system",
    "module": "!!python/module:os",
    "object": "!!python/object:subprocess.Popen {{args: ['touch', '{marker}']}}",
}
VALID: dict[str, dict[str, Any]] = {
    "task": {"name": "toy", "kind": "binary", "classes": ["a", "b"]},
    "suite": {"grids": [{"task": ["frost_cls"], "model": ["resnet101"]}]},
    "launcher": {"name": "local", "partition": "x"},
    "space": {"optim.lr": [0.1]},
    "tuned": {"set": {"optim.lr": 0.1}},
}
READERS: dict[str, Callable[[Path], Any]] = {
    "task": load_task,
    "suite": lambda path: load_suite(str(path)),
    "launcher": lambda path: load_settings(str(path), {}),
    "space": lambda path: load_space(str(path), {}),
    "tuned": lambda path: filled(
        {"hparams": str(path.parent), "task": "frost_cls", "model": "resnet101", "mode": "frozen"}
    ),
}


def yaml_file(entry: str, marker: Path, text: str) -> Path:
    """A file of an entry point, with a further value."""
    path = marker.with_name("x.yaml")
    if entry == "tuned":
        path = marker.parent / "frost_cls" / "resnet101-frozen.yaml"
        path.parent.mkdir(exist_ok=True)
    path.write_text(f"{text}\n{yaml.safe_dump(VALID[entry])}")
    return path if entry != "tuned" else path.parent


@pytest.mark.parametrize("entry", READERS)
@pytest.mark.parametrize("tag", TAGS)
def test_tags_of_yaml(entry: str, tag: str, marker: Path) -> None:
    READERS[entry](yaml_file(entry, marker, ""))
    path = yaml_file(entry, marker, f"notes: {TAGS[tag].format(marker=marker)}")
    with pytest.raises(MarsbenchError, match="could not determine a constructor"):
        READERS[entry](path)


BOMB = "a0: &a0 [x]\n" + "\n".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
)


@pytest.mark.parametrize("entry", READERS)
@pytest.mark.parametrize(
    "text", [BOMB, "a: " + "[" * 100_000, "a: &a [*a]"], ids=["bomb", "deep", "ring"]
)
def test_bombs_of_yaml(entry: str, text: str, marker: Path) -> None:
    with pytest.raises(MarsbenchError, match="is refused"):
        READERS[entry](yaml_file(entry, marker, text))


@pytest.mark.parametrize("entry", READERS)
def test_targets_and_interpolations_are_text(
    entry: str, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "swordfish")
    lines = (
        "_target_: os.system",
        "x: ${oc.env:SECRET}",
        f"y: ${{python:{touching(marker)}}}",
        "z: '{{ cycler.__init__.__globals__.os.system(1) }}'",
    )
    for line in lines:
        try:
            shown = str(READERS[entry](yaml_file(entry, marker, line)))
        except MarsbenchError as error:
            shown = str(error)
        assert "swordfish" not in shown


@pytest.mark.parametrize(
    "word", ["root=${oc.env:SECRET}", "weights=${oc.decode:x}", "hparams=null", "preset=../../x"]
)
def test_interpolations_of_the_command_line_are_text(
    word: str, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "swordfish")
    try:
        shown = str(compose(["task=frost_cls", "model=resnet101", word]))
    except MarsbenchError as error:
        shown = str(error)
    assert "swordfish" not in shown


@pytest.mark.parametrize("text", [TAGS["apply"], "configs: &a [*a]", BOMB, "[" * 100_000])
def test_cards_of_data_sets(text: str, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("MARSBENCH_HOME", str(marker.with_name("home")))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(marker.parent))
    commit = "0" * 40
    folder = marker.parent / "datasets--org--name" / "snapshots" / commit
    folder.mkdir(parents=True)
    pd.DataFrame({"a": [1]}).to_parquet(folder / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(f"---\n{text.format(marker=marker)}\n---\n")
    listing = known_listing("org/name", commit)
    assert listing is None or list(listing.splits) == ["train"]


# Stores and reports


def test_a_store_from_elsewhere(marker: Path) -> None:
    """Pickles of submitted jobs, states of sweeps, and records that hold code."""
    store = Store(marker.with_name("runs"))
    code = "{{ cycler.__init__.__globals__.os.system('touch " + str(marker) + "') }}"
    html = f"<script>{touching(marker)}</script>"
    records = [fake_record(Fake("frost_cls", "resnet101", seed=seed)) for seed in (0, 1)]
    write(store, [dataclasses.replace(r, device=code, environment={code: html}) for r in records])
    sweep = store.root / ".sweeps" / "evil"
    for place in ("slurm", "workers", "units"):
        (sweep / place).mkdir(parents=True)
        (sweep / place / "0_submitted.pkl").write_bytes(pickle.dumps(CALLS["open"](marker)))
        (sweep / place / "0.json").write_text(json.dumps({"ids": [code], "host": code}))
    facts = {"suite": code, "launcher": html, "time": code, "ids": ["../../x", code, 1]}
    (sweep / "sweep.json").write_text(json.dumps(facts))
    failed = store.root / "a/b/c/d/0-x"
    failed.mkdir(parents=True)
    (failed / "failed.json").write_text("[" * 100_000)
    call("status", "--store", str(store.root), code=0)
    call("results", str(store.root), code=0)
    out = marker.with_name("report")
    call("report", str(store.root), "--out", str(out), "--only", "tables", code=0)
    page = (out / "index.html").read_text()
    assert html not in page
    assert "{{ cycler" in page  # as text


@pytest.mark.parametrize(
    "run",
    [
        "../../../../x/0-{}",
        "/tmp/a/b/c/0-{}",
        "a/../../../0-{}",
        "a/b/c/d/..",
        "a/b/c/d/0-{}\n",
        "a//b/c/0-{}",
        "a/b/c/d/" + "x" * 260 + "-{}",
    ],
)
def test_ids_and_parents_stay_in_their_store(run: str, marker: Path) -> None:
    record = fake_record(Fake("frost_cls", "resnet101"))
    evil = run.format(record.run_id.rpartition("-")[2])
    for changed in ({"run_id": evil}, {"parents": [evil]}):
        folder = marker.parent / "runs" / record.run_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(dataclasses.replace(record, **changed).to_json())
        read, bad = Store(marker.parent / "runs").records()
        assert not read
        assert "run id" in str(bad[0])
