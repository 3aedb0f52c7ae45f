"""Whatever can move a score is in the run id or in the keys of caches, and nothing else is.

Files are changed in place, to content of the same size, and their old modification time is
restored. After each change the caches must hold what the files hold.
"""

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from marsbench.config.schema import RunConfig
from marsbench.data.cache import DirectSamples, cached_samples
from marsbench.data.dataset import MarsDataset
from marsbench.plan.resolve import Plan, resolve
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from marsbench.training.frozen.features import Encoder
from tests.fakes import make_spec, read_rows, write_folder, write_rows, write_spec
from tests.hub import REPO, hub_spec, plain, publish, rewritten
from tests.server import Server

SIZES = {"train": 8, "val": 4, "test": 4}
CLASSES = ("ridge", "dunes", "plain")
"""Names of equal length, so that two of them can be swapped in place."""

MODELS = {
    "multiclass": {"model": "timm:test_resnet"},
    "multilabel": {"model": "timm:test_resnet"},
    "pairs": {"model": "timm:test_resnet"},
    "segmentation": {"model": "unet", "mode": "scratch"},
    "yolo": {"model": "faster_rcnn", "mode": "scratch"},
    "voc": {"model": "faster_rcnn", "mode": "scratch"},
    "coco": {"model": "faster_rcnn", "mode": "scratch"},
}
BOXES = ("yolo", "voc", "coco")


def spec_of(name: str) -> TaskSpec:
    if name == "segmentation":
        return make_spec(Kind.SEGMENTATION, ("background", *CLASSES[:2]), decode=Decode.IMAGE_MASK)
    if name in BOXES:
        return make_spec(Kind.DETECTION, CLASSES, decode=Decode.IMAGE_BOXES)
    if name == "pairs":
        return make_spec(Kind.BINARY, CLASSES[:2], decode=Decode.PAIR_LABEL)
    return make_spec(Kind(name), CLASSES)


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def folder(name: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task's folder with a YAML; images and masks are of a size for all pixels."""
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    spec = spec_of(name)
    folder = write_folder(spec, tmp_path, SIZES)
    write_spec(spec, folder / "task.yaml")
    shutil.copy(weights, folder / "model.safetensors")
    for path in folder.rglob("*.png"):
        path.write_bytes(uncompressed(np.asarray(Image.open(path))))
    for split in SIZES if name in BOXES else ():
        place = folder / "data" / split
        for form, part in zip(
            BOXES, ("labels", "pascal_voc", "coco_annotations.json"), strict=True
        ):
            if form != name:
                (place / part).unlink() if form == "coco" else shutil.rmtree(place / part)
        if name == "coco":  # names of classes are compared where a file has them
            content = json.loads((place / "coco_annotations.json").read_text())
            del content["categories"]
            (place / "coco_annotations.json").write_text(json.dumps(content))
    if name in ("multiclass", "pairs"):
        # Folders with the names of no class, so that labels can be swapped.
        rows = [(*row[:2], f"part_{row[3]}", row[3]) for row in read_rows(annotations(folder))]
        for path in list((folder / "data").glob("*/*")):
            code = json.loads((folder / "mapping.json").read_text()).items()
            label = next(k for k, (short, _) in code if short == path.name)
            path.rename(path.with_name(f"part_{label}"))
        write_rows(annotations(folder), rows)
    if name == "multiclass":
        train = [row for row in read_rows(annotations(folder)) if row[1] == "train"]
        write_rows(folder / "few_shot" / "1_shot.csv", train[:3])
    return folder


def annotations(folder: Path) -> Path:
    return folder / "annotation.csv"


def uncompressed(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=0)
    return out.getvalue()


def in_place(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a file, but neither its size nor its modification time."""
    before, content = path.stat(), path.read_bytes()
    changed = change(content)
    assert changed != content
    with path.open("r+b") as file:
        file.write(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def swapped(first: bytes, second: bytes) -> Callable[[bytes], bytes]:
    def swap(content: bytes) -> bytes:
        parts = content.split(first)
        return second.join(part.replace(second, first) for part in parts)

    return swap


def redrawn(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    return lambda content: uncompressed(change(np.asarray(Image.open(io.BytesIO(content)))))


def replaced_with_times(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace a file by another of the same size and times, as ``cp -p`` does."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    shutil.copystat(path, other)
    in_place(other, change)
    shutil.copy2(other, path)
    other.unlink()


def first(folder: Path, pattern: str) -> Path:
    return min((folder / "data" / "train").rglob(pattern))


def plan_of(name: str, folder: Path, **keys: Any) -> Plan:
    given = {"task": str(folder / "task.yaml"), "root": str(folder), **MODELS[name]}
    if "mode" not in {**given, **keys}:
        given["weights"] = str(folder / "model.safetensors")
    return resolve(RunConfig.from_dict({**given, **keys}))


def keys_of(plan: Plan) -> dict[str, str]:
    """Folders of the decoded caches, and keys of features."""
    keys = {}
    for split in plan.source.splits:
        rows = plan.source.rows(split)
        keys[split] = cached_samples(plan.task, plan.source, rows).folder.name
        if plan.protocol == "cached":
            keys[f"{split} features"] = Encoder(plan).key(split)
    return keys


def check_caches(plan: Plan) -> None:
    """Compare what the caches hold with what the files hold."""
    for split in plan.source.splits:
        rows = plan.source.rows(split)
        cached = cached_samples(plan.task, plan.source, rows)
        direct = DirectSamples(plan.task, plan.source, rows)
        dataset = MarsDataset(plan.task, plan.source, split)
        for i in range(len(rows)):
            one, other = cached[i], direct[i]
            np.testing.assert_array_equal(one.pixels, other.pixels)
            assert dataset.meta(i) == other.meta
            if other.mask is not None:
                np.testing.assert_array_equal(one.mask, other.mask)
            if one.boxes is not None and other.boxes is not None:
                np.testing.assert_array_equal(one.boxes.xyxy, other.boxes.xyxy)
                np.testing.assert_array_equal(one.boxes.labels, other.boxes.labels)


Change = Callable[[Path], None]

IN_ID: dict[str, dict[str, Change]] = {
    "multiclass": {
        "labels": lambda f: in_place(
            annotations(f),
            swapped(
                b"part_0,0\r\ntrain_0001.png,train,part_1,1",
                b"part_0,1\r\ntrain_0001.png,train,part_1,0",
            ),
        ),
        "classes": lambda f: in_place(f / "mapping.json", swapped(b"ridge", b"dunes")),
        "subset": lambda f: in_place(
            f / "few_shot" / "1_shot.csv", swapped(b"train_0000", b"train_0003")
        ),
    },
    "multilabel": {
        "labels": lambda f: in_place(annotations(f), swapped(b"0, 1", b"1, 2")),
        "classes": lambda f: in_place(f / "mapping.json", swapped(b"ridge", b"dunes")),
    },
    "pairs": {"classes": lambda f: in_place(f / "mapping.json", swapped(b"ridge", b"dunes"))},
    "segmentation": {
        "mask": lambda f: in_place(
            first(f, "masks/*.png"), redrawn(lambda m: np.where(m == 255, m, (m + 1) % 3))
        ),
        "mask by cp -p": lambda f: replaced_with_times(
            first(f, "masks/*.png"), redrawn(lambda m: np.where(m == 255, 0, m))
        ),
        "classes": lambda f: in_place(f / "mapping.json", swapped(b"ridge", b"dunes")),
    },
    "yolo": {
        "boxes": lambda f: in_place(first(f, "labels/*.txt"), lambda b: b[:-2] + b"1\n"),
        "classes": lambda f: in_place(f / "mapping.json", swapped(b"ridge", b"dunes")),
    },
    "voc": {
        "boxes": lambda f: in_place(first(f, "pascal_voc/*.xml"), swapped(b"xmin>1", b"xmin>0")),
        "names": lambda f: in_place(first(f, "pascal_voc/*.xml"), swapped(b"plain", b"ridge")),
        "classes": lambda f: in_place(f / "mapping.json", swapped(b"ridge", b"dunes")),
        "codes": lambda f: in_place(f / "mapping.json", swapped(b"rid3", b"dun2")),
    },
    "coco": {
        "boxes": lambda f: in_place(
            first(f, "coco*.json"), swapped(b'category_id": 1', b'category_id": 2')
        ),
        "classes": lambda f: in_place(f / "mapping.json", swapped(b"ridge", b"plain")),
    },
}
"""Changes of labels, masks, boxes, names of classes and lists of subsets."""


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name, changes in IN_ID.items() for change in changes],
    ids=lambda value: value,
)
def test_labels_are_in_the_id(name: str, change: str, folder: Path) -> None:
    keys = {"subset": "few_shot_1"} if change == "subset" else {}
    before = plan_of(name, folder, **keys)
    old = keys_of(before)
    IN_ID[name][change](folder)
    after = plan_of(name, folder, **keys)
    assert after.run_id != before.run_id
    check_caches(after)
    if change in ("boxes", "mask"):
        assert keys_of(after)["train"] != old["train"]
        assert keys_of(after)["val"] == old["val"] or name == "coco"


IMAGES = dict.fromkeys(("segmentation", *BOXES), "images/*.png")


def darker(content: bytes) -> bytes:
    return redrawn(lambda pixels: pixels // 2)(content)


@pytest.mark.parametrize("way", [in_place, replaced_with_times], ids=["in place", "cp -p"])
@pytest.mark.parametrize("part", ["first", "second"])
def test_images_are_in_the_keys(
    name: str, part: str, way: Callable[[Path, Callable[[bytes], bytes]], None], folder: Path
) -> None:
    if (part == "second") != (name == "pairs"):
        pytest.skip("one image per sample")
    before = plan_of(name, folder)
    old = keys_of(before)
    way(first(folder, IMAGES.get(name, "*_after.png" if part == "second" else "*.png")), darker)
    after = plan_of(name, folder)
    assert after.run_id == before.run_id  # `data verify` reads pixels
    new = keys_of(after)
    assert {key for key in old if new[key] != old[key]} == {key for key in old if "train" in key}
    check_caches(after)


def test_metadata_are_in_no_cache(name: str, folder: Path) -> None:
    rows = read_rows(annotations(folder))
    header = ("file_id", "split", "feature_name", "label")[: len(rows[0])]
    write_rows(annotations(folder), [(*row, "Tharsis") for row in rows], (*header, "region"))
    before = plan_of(name, folder)
    old = keys_of(before)
    in_place(annotations(folder), lambda b: b.replace(b"Tharsis", b"Elysium", 1))
    after = plan_of(name, folder)
    assert (after.run_id, keys_of(after)) == (before.run_id, old)
    check_caches(after)
    dataset = MarsDataset(after.task, after.source, "train")
    assert [dataset[i]["meta"]["region"] for i in (0, 1)] == ["Elysium", "Tharsis"]


def test_what_cannot_move_a_score_changes_nothing(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan_of(name, folder)
    old = keys_of(before)
    for path in folder.rglob("*"):
        if path.is_file() and (path.suffix != ".png" or path.parent.name == "masks"):
            os.utime(path, ns=(1, 1))
    (folder / "data" / "train" / "notes.txt").write_text("unused")
    (folder / "README.md").write_text("unused")
    after = plan_of(name, folder, store=str(tmp_path / "other"), workers=3, cache=False)
    assert (after.run_id, keys_of(after)) == (before.run_id, old)
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "mb-toy")
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "another home"))
    assert plan_of(name, copy).run_id == before.run_id


def test_a_weights_file_is_in_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("marsbench.base.files._SETTLED", -1.0)  # even of the newest files
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights 1")
    spec = spec_of("multiclass")
    folder = write_folder(spec, tmp_path, SIZES)
    write_spec(spec, folder / "task.yaml")
    before = plan_of("multiclass", folder, weights=str(path))
    assert plan_of("multiclass", folder, weights=str(path)).run_id == before.run_id
    in_place(path, swapped(b"1", b"2"))
    after = plan_of("multiclass", folder, weights=str(path))
    assert after.run_id != before.run_id
    assert Encoder(after).key("train") != Encoder(before).key("train")


YAML = {
    "bands",  # in tests/training/test_inputs.py
    "classes",
    "decode",
    "headline",
    "kind",
    "name",
    "platform",
    "rgb_bands",
    "technique",
}
"""Fields of a custom task that can move a score; the tests below change each."""

NEUTRAL_YAML: dict[str, Any] = {
    "collection": "mine",
    "title": "Other",
    "sizes": {"train": 8},
    "channels": 3,  # grey images are repeated, and of more than three bands all must agree
    "image_size": [32, 32],
    "landforms": ["impact craters"],
    "mission": "other",
    "sensor": "other",
    "folder": "mb-other",
    "hub_id": "me/other",
    "zenodo_title": "other",
    "min_partition": 0.5,
    "few_shot": False,
    "citation": "other",
    "licence": "other",
    "notes": ["other"],
}


def test_every_field_of_a_task_is_known_to_move_the_score_or_not() -> None:
    fields = {field.name for field in dataclasses.fields(TaskSpec)}
    assert YAML | set(NEUTRAL_YAML) == fields - {"path"}


def edit_yaml(folder: Path, /, **fields: Any) -> None:
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}))


@pytest.mark.parametrize("field", NEUTRAL_YAML)
@pytest.mark.parametrize("name", ["multiclass"])
def test_other_fields_of_a_task_are_not_in_the_id(field: str, folder: Path) -> None:
    before = plan_of("multiclass", folder, mode="scratch")
    edit_yaml(folder, **{field: NEUTRAL_YAML[field]})
    assert plan_of("multiclass", folder, mode="scratch").run_id == before.run_id


@pytest.mark.parametrize(
    "fields",
    [{"name": "other"}, {"platform": "rover"}, {"headline": "f1_macro"}],
    ids=lambda fields: next(iter(fields)),
)
@pytest.mark.parametrize("name", ["multiclass"])
def test_fields_of_a_task_are_in_the_id(fields: dict[str, Any], folder: Path) -> None:
    before = plan_of("multiclass", folder, mode="scratch")
    edit_yaml(folder, **fields)
    assert plan_of("multiclass", folder, mode="scratch").run_id != before.run_id


@pytest.mark.parametrize("name", ["multiclass"])
def test_the_spelling_of_a_class_is_in_the_id(folder: Path) -> None:
    before = plan_of("multiclass", folder)
    edit_yaml(folder, classes=["ridge", "dune", "plain"])
    path = folder / "mapping.json"
    path.write_text(path.read_text().replace('"dunes"', '"dune"'))
    assert plan_of("multiclass", folder).run_id != before.run_id


@pytest.mark.parametrize("name", ["pairs"])
def test_the_kind_of_a_task_is_in_the_id(folder: Path) -> None:
    before = plan_of("pairs", folder)
    edit_yaml(folder, kind="multiclass")
    assert plan_of("pairs", folder).run_id != before.run_id


@pytest.mark.parametrize("bands", ["rgb", "all"])
def test_bands_of_colour_are_in_the_id(bands: str, tmp_path: Path) -> None:
    spec = make_spec(
        Kind.SEGMENTATION, ("background", "ridge"), decode=Decode.IMAGE_MASK, channels=4
    )
    folder = write_folder(spec, tmp_path, SIZES)
    write_spec(spec, folder / "task.yaml")
    # bands=rgb refuses masks of bands without names: tests/training/test_inputs.py.
    choices = ([2, 1, 0], [3, 2, 1]) if bands == "rgb" else ([2, 1, 0], [3, 2, 1], None)
    ids = set()
    for colors in choices:
        edit_yaml(folder, rgb_bands=colors)
        plan = plan_of("segmentation", folder, bands=bands)
        ids.add(plan.run_id)
        check = cached_samples(plan.task, plan.source, plan.source.rows("val"), plan.config.bands)
        direct = DirectSamples(plan.task, plan.source, plan.source.rows("val"), plan.config.bands)
        np.testing.assert_array_equal(check[0].pixels, direct[0].pixels)
    assert len(ids) == len(choices)


def test_the_technique_of_spectra_is_in_the_id(tmp_path: Path) -> None:
    folder, lines = tmp_path, ["sample_id,split,features_path,instrument_type,derivatized"]
    for i, split in enumerate(SIZES):
        (folder / f"S{i}.csv").write_text("never read")
        (folder / f"{split}_labels.csv").write_text(f"sample_id,a,b\nS{i},1,1\n")
        lines.append(f"S{i},{split},S{i}.csv,commercial,0")
    (folder / "metadata.csv").write_text("\n".join(lines))
    task = {"name": "mine", "kind": "multilabel", "decode": "spectrum", "classes": ["a", "b"]}
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    keys = {"task": str(folder), "model": "logistic_regression", "mode": "scratch"}
    config = RunConfig.from_dict({**keys, "root": str(folder)})
    before = resolve(config)
    edit_yaml(folder, technique="ega")
    assert resolve(config).run_id == before.run_id
    edit_yaml(folder, technique="gc")
    assert resolve(config).run_id != before.run_id


REVERSED = {"classes": ["plain", "dunes", "ridge"]}


def on_hub(server: Server, tmp_path: Path, spec: TaskSpec) -> tuple[Path, RunConfig]:
    """A custom task with published data: the folder of its YAML, and a run."""
    publish(server, tmp_path, spec)
    write_spec(spec, tmp_path / "task.yaml")
    edit_yaml(tmp_path, hub_id=spec.hub_id)
    keys = {**MODELS["yolo" if spec.has_boxes else "multiclass"], "mode": "scratch"}
    values = {"task": str(tmp_path / "task.yaml"), "source": "huggingface", **keys}
    return tmp_path, RunConfig.from_dict(values)


@pytest.mark.parametrize(
    "fields",
    [
        REVERSED,
        {"classes": ["ridge", "dune", "plain"]},
        {"classes": [*CLASSES[:2], {"name": "plain", "acronym": "pla"}]},
    ],
    ids=["order", "spelling", "acronym"],
)
def test_classes_of_boxes_on_the_hub_are_in_the_id(
    server: Server, tmp_path: Path, fields: dict[str, Any]
) -> None:
    spec = hub_spec(Kind.DETECTION, classes=CLASSES, decode=Decode.IMAGE_BOXES)
    folder, config = on_hub(server, tmp_path, spec)
    for split in SIZES:  # by numbers alone, whose classes the task names
        rewritten(server.repos[REPO], split, lambda t: t.drop_columns(["pascal_voc_annotation"]))
    before = resolve(config)
    check_caches(before)
    edit_yaml(folder, **fields)
    after = resolve(config)
    assert after.run_id != before.run_id
    check_caches(after)


@pytest.mark.parametrize("is_named", [True, False])
def test_classes_of_labels_on_the_hub_are_in_the_id_where_the_task_orders_them(
    server: Server, tmp_path: Path, is_named: bool
) -> None:
    spec = hub_spec(classes=CLASSES)
    folder, config = on_hub(server, tmp_path, spec)
    for split in SIZES if not is_named else ():
        rewritten(server.repos[REPO], split, plain)
    before = resolve(config)
    edit_yaml(folder, **REVERSED)
    assert (resolve(config).run_id == before.run_id) == is_named


def test_decoding_of_hub_data_is_in_the_id(server: Server, tmp_path: Path) -> None:
    spec = hub_spec(Kind.BINARY, classes=CLASSES[:2], decode=Decode.PAIR_LABEL)
    folder, config = on_hub(server, tmp_path, spec)
    before = resolve(config)
    edit_yaml(folder, decode="image_label", channels=3)
    assert resolve(config).run_id != before.run_id
