import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from PIL import Image

from marsbench.base.errors import ConfigError, DeviceLostError, StoreError
from marsbench.data import drawing
from marsbench.predict import outputs, run
from marsbench.predict.options import Options
from marsbench.predict.predictor import Predictor
from marsbench.predict.run import predict
from marsbench.predict.walk import Item
from marsbench.predict.work import Summary
from marsbench.tasks.kinds import Kind
from tests.predict.stubs import predictor

SCALE = (33550, 12, 3, (2.0, 2.0, 0.0), True)
TIE = (33922, 12, 6, (0.0, 0.0, 0.0, 1000.0, 5000.0, 0.0), True)
KEYS = (34735, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 1), True)
NAME = (34737, 2, 6, "Mars|", True)
GEO = [SCALE, TIE, KEYS, NAME]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def item(path: Path, pixels: np.ndarray, **options: Any) -> Item:
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    else:
        Image.fromarray(pixels).save(path)
    return Item(path, path.name)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / outputs.TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


def go(
    model: Predictor, items: list[Item], out: Path, **options: Any
) -> tuple[Summary, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    return predict(model, items, out, Options(device="cpu", **options), told.append), told


def expected(pixels: np.ndarray) -> np.ndarray:
    """The classes of `Pointwise`."""
    values = torch.from_numpy(pixels.astype(np.float32) / np.float32(255))[None, None]
    with torch.inference_mode():
        found: np.ndarray = predictor(Kind.SEGMENTATION).model(values)[0].argmax(dim=0).numpy()
    return found


def test_labels(tmp_path: Path) -> None:
    items = [
        item(tmp_path / f"{value}.png", np.full((20, 30), value, np.uint8))
        for value in (0, 128, 255)
    ]
    summary, told = go(predictor(Kind.MULTICLASS), items, tmp_path / "out", batch_size=2)
    assert (summary.done, summary.skipped, summary.failed) == (3, 0, [])
    assert [line["label"] for line in told] == ["crater", "dune", "plain"]
    rows = {Path(row["file"]).name: row for row in rows_of(tmp_path / "out")}
    assert list(rows["0.png"])[:3] == ["file", "label", "probability/crater"]
    assert rows["0.png"]["label"] == "crater"
    numbers = [float(rows["128.png"][f"probability/{n}"]) for n in ("crater", "dune", "plain")]
    assert sum(numbers) == pytest.approx(1)
    assert rows["128.png"]["scaling"] == "8 bits"
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["model"] == "stub"


def test_several_labels_above_a_threshold(tmp_path: Path) -> None:
    one = item(tmp_path / "a.png", np.full((9, 9), 64, np.uint8))
    go(predictor(Kind.MULTILABEL), [one], tmp_path / "out", threshold=0.1)
    assert rows_of(tmp_path / "out")[0]["label"] == "crater;dune"
    go(predictor(Kind.MULTILABEL), [one], tmp_path / "none", threshold=0.99)
    assert rows_of(tmp_path / "none")[0]["label"] == ""


@pytest.mark.parametrize("size", [(100, 131), (20, 90), (65, 65)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_tiles_give_what_the_whole_gives(
    size: tuple[int, int], overlap: float, tmp_path: Path
) -> None:
    pixels = noise(*size)
    one = item(tmp_path / "large.png", pixels)
    out = tmp_path / "out"
    _, told = go(predictor(Kind.SEGMENTATION), [one], out, overlap=overlap, batch_size=3)
    assert told[0]["tiles"] > 1
    found = np.asarray(Image.open(out / "maps" / "large.png"))
    np.testing.assert_array_equal(found, expected(pixels))
    counts = np.bincount(found.ravel(), minlength=3)
    row = rows_of(out)[0]
    for name, count in zip(("background", "crater", "dune"), counts, strict=True):
        assert float(row[f"share/{name}"]) == pytest.approx(count / found.size)
    assert row["map"] == "maps/large.png"
    assert (out / "legend.png").exists()


def test_a_map_on_disk_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_IN_MEMORY", 0)
    pixels = noise(90, 100)
    go(predictor(Kind.SEGMENTATION), [item(tmp_path / "a.png", pixels)], tmp_path / "out")
    found = np.asarray(Image.open(tmp_path / "out" / "maps" / "a.png"))
    np.testing.assert_array_equal(found, expected(pixels))
    assert not list((tmp_path / "out").glob("tmp*"))


def test_small_images_are_seen_as_a_whole_at_the_models_size(tmp_path: Path) -> None:
    pixels = np.kron(noise(16, 16), np.ones((3, 3))).astype(np.uint8)
    out = tmp_path / "out"
    small = [item(tmp_path / "small.png", pixels), item(tmp_path / "same.png", noise(32, 32))]
    _, told = go(predictor(Kind.SEGMENTATION), small, out)
    assert [line["tiles"] for line in told] == [1, 1]
    assert np.asarray(Image.open(out / "maps" / "small.png")).shape == (48, 48)
    same = np.asarray(Image.open(out / "maps" / "same.png"))
    np.testing.assert_array_equal(same, expected(noise(32, 32)))
    # Tiles of another size, on demand.
    _, told = go(predictor(Kind.SEGMENTATION), small[:1], tmp_path / "tiles", tile=20)
    assert told[0]["tiles"] == 9
    large = [item(tmp_path / "large.png", noise(100, 100))]
    _, told = go(predictor(Kind.SEGMENTATION), large, tmp_path / "whole", tile=0)
    assert told[0]["tiles"] == 1


def test_tiles_cover_what_a_training_image_covered(tmp_path: Path) -> None:
    model = predictor(Kind.SEGMENTATION)
    model = replace(model, task=replace(model.task, image_size=(64, 64)))
    pixels = np.kron(noise(40, 40), np.ones((4, 4))).astype(np.uint8)
    _, told = go(model, [item(tmp_path / "a.png", pixels)], tmp_path / "out", overlap=0)
    assert told[0]["tiles"] == 9
    found = np.asarray(Image.open(tmp_path / "out" / "maps" / "a.png"))
    assert (found == expected(pixels)).mean() > 0.5


def test_overlays_show_classes_but_not_the_background(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32), np.uint8)
    pixels[:, 16:] = 255
    one = item(tmp_path / "a.png", pixels)
    go(predictor(Kind.SEGMENTATION), [one], tmp_path / "out")
    drawn = np.asarray(Image.open(tmp_path / "out" / "overlays" / "a.png"))
    assert not drawn[:, :16].any()
    color = drawing.palette(("background", "crater", "dune"))[2]
    np.testing.assert_array_equal(drawn[5, 20], (255 + color.astype(int)) // 2)
    summary, _ = go(predictor(Kind.SEGMENTATION), [one], tmp_path / "plain", overlay=False)
    assert summary.done == 1
    assert not (tmp_path / "plain" / "overlays").exists()
    # The overlay that lacks is made later.
    assert go(predictor(Kind.SEGMENTATION), [one], tmp_path / "plain")[0].done == 1


def test_class_maps_keep_the_place_of_their_image(tmp_path: Path) -> None:
    pixels = noise(80, 90).astype(np.float32)
    pixels[:10] = -1
    nodata = (42113, 2, 3, "-1", True)
    one = item(tmp_path / "strip.tif", pixels, extratags=[*GEO, nodata])
    go(predictor(Kind.SEGMENTATION), [one], tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "maps" / "strip.tif") as file:
        found = file.read(1)
        assert file.nodata == 255
        assert file.transform[:6] == (2, 0, 1000, 0, -2, 5000)
    with rasterio.open(tmp_path / "out" / "overlays" / "strip.tif") as file:
        assert (file.count, file.transform[:6]) == (3, (2, 0, 1000, 0, -2, 5000))
    assert found.dtype == np.uint8
    assert (found[:10] == 255).all()
    assert (found[10:] < 3).all()
    row = rows_of(tmp_path / "out")[0]
    shares = [float(row[f"share/{n}"]) for n in ("background", "crater", "dune")]
    assert sum(shares) == pytest.approx(1)
    assert row["scaling"].startswith("percentiles")


def boxes_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / outputs.BOXES).read_text())
    return content


def test_boxes_in_coco_form(tmp_path: Path) -> None:
    pixels = np.zeros((48, 64), np.uint8)
    pixels[12:24, 20:40] = 255
    items = [
        item(tmp_path / "a.png", pixels),
        item(tmp_path / "b.tif", pixels, extratags=GEO),
        item(tmp_path / "c.png", np.zeros((40, 40), np.uint8)),
    ]
    go(predictor(Kind.DETECTION), items, tmp_path / "out")
    content = boxes_of(tmp_path / "out")
    assert content["categories"] == [{"id": 1, "name": "crater"}, {"id": 2, "name": "rock"}]
    assert [(i["width"], i["height"]) for i in content["images"]] == [(64, 48), (64, 48), (40, 40)]
    first, second = content["annotations"]
    assert first["bbox"] == pytest.approx([20, 12, 20, 12], abs=2.1)
    assert (first["image_id"], second["image_id"]) == (1, 2)
    assert first["category_id"] == 2
    assert first["score"] == pytest.approx(0.9)
    assert "geo_bbox" not in first
    left, top, width, height = second["bbox"]
    assert second["geo_bbox"] == pytest.approx(
        [1000 + 2 * left, 5000 - 2 * (top + height), 1000 + 2 * (left + width), 5000 - 2 * top]
    )
    assert {p.name for p in (tmp_path / "out" / "overlays").iterdir()} == {
        "a.png",
        "b.tif",
        "c.png",
    }
    go(predictor(Kind.DETECTION), items[:1], tmp_path / "low", threshold=0.05)
    assert len(boxes_of(tmp_path / "low")["annotations"]) == 2


def test_boxes_of_large_images(tmp_path: Path) -> None:
    pixels = np.zeros((100, 150), np.uint8)
    pixels[20:26, 28:34] = 255  # within the overlap of tiles, or cut by one's border
    pixels[70:78, 100:110] = 255
    one = item(tmp_path / "a.png", pixels)
    _, told = go(predictor(Kind.DETECTION), [one], tmp_path / "out", overlap=0.5)
    assert told[0]["tiles"] > 4
    assert told[0]["boxes"] == 2
    found = sorted(a["bbox"] for a in boxes_of(tmp_path / "out")["annotations"])
    assert found == [[28, 20, 6, 6], [100, 70, 10, 8]]


def test_what_is_there_is_skipped(tmp_path: Path) -> None:
    model, out = predictor(Kind.SEGMENTATION), tmp_path / "out"
    items = [item(tmp_path / f"{i}.png", noise(20, 20, seed=i)) for i in range(3)]
    go(model, items[:2], out)
    # As if killed: half a line.
    journal = out / ".journal.jsonl"
    journal.write_text(journal.read_text() + '{"source": "hal')
    summary, told = go(model, items, out)
    assert (summary.done, summary.skipped) == (1, 2)
    assert [line["status"] for line in told] == ["skipped", "skipped", "done"]
    assert len(rows_of(out)) == 3
    (out / "maps" / "1.png").unlink()
    item(items[0].path, noise(25, 25))
    assert go(model, items, out)[0].done == 2
    assert rows_of(out)[0]["height"] == "25"
    assert go(model, items, out, overwrite=True)[0].done == 3
    with pytest.raises(StoreError, match="other settings: model differ"):
        go(replace(model, origin="another"), items, out)
    with pytest.raises(StoreError, match="overlap"):
        go(model, items, out, overlap=0.1)
    assert not list(out.rglob("*.part"))


def test_a_bad_image_does_not_stop_the_others(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("nothing")
    items = [
        item(tmp_path / "a.png", noise(20, 20)),
        Item(bad, "bad.png"),
        item(tmp_path / "one.png", noise(1, 1)),
        item(tmp_path / "z.png", noise(20, 20)),
    ]
    summary, told = go(predictor(Kind.MULTICLASS), items, tmp_path / "out")
    assert summary.done == 2
    assert [one.name for one, _ in summary.failed] == ["bad.png", "one.png"]
    assert sorted(line["status"] for line in told) == ["done", "done", "failed", "failed"]
    rows = rows_of(tmp_path / "out")
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert rows[1] == dict.fromkeys(rows[1], "") | {
        "file": "bad.png",
        "path": str(bad),
        "error": f"{bad} has no known image format.",
    }
    assert go(predictor(Kind.MULTICLASS), items, tmp_path / "out")[0].skipped == 2
    # A row of an earlier call stays, until the image is predicted.
    go(predictor(Kind.MULTICLASS), items[:1], tmp_path / "out")
    assert rows_of(tmp_path / "out") == rows
    item(bad, noise(20, 20))
    go(predictor(Kind.MULTICLASS), items[:2], tmp_path / "out")
    assert [bool(row["error"]) for row in rows_of(tmp_path / "out")] == [False, False, True, False]


@pytest.mark.parametrize("kind", list(Kind))
def test_names_of_any_bytes_and_length_have_outputs_and_rows(kind: Kind, tmp_path: Path) -> None:
    names = ["a" * 246 + ".png", "a" * 245 + "b.png", "n\new.png", "=1+2.png"]
    names += [os.fsdecode(b"\xd6l.png"), os.fsdecode(b"\xd7l.png"), "ü" * 120 + ".png"]
    folder = tmp_path / ("b" * 250)
    folder.mkdir()
    items = [item(folder / name, noise(20, 20, seed=i)) for i, name in enumerate(names)]
    items = [replace(one, name=f"{folder.name}/{one.name}") for one in items]
    # Equal names in another long folder.
    (tmp_path / ("c" * 250)).mkdir()
    items += [item(tmp_path / ("c" * 250) / name, noise(20, 20)) for name in names]
    out = tmp_path / "out"
    summary, told = go(predictor(kind), items, out)
    assert (summary.done, summary.failed) == (14, [])
    if kind is Kind.DETECTION:
        images = boxes_of(out)["images"]
        assert {str(Path(i["overlay"]).name) for i in images} == {
            path.name for path in (out / "overlays").rglob("*.png")
        }
    else:
        rows = rows_of(out)
        assert len(rows) == 14
        assert any(row["file"].endswith(r"\xd6l.png") for row in rows)
        if kind is Kind.SEGMENTATION:
            assert len({row["map"] for row in rows}) == 14
            assert all((out / row["map"]).is_file() for row in rows)
    assert all(line["file"].isprintable() or "\n" in line["file"] for line in told)
    assert go(predictor(kind), items, out)[0].skipped == 14
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("overlap", 1.0), ("threshold", -0.1), ("tile", 3)]
)
def test_options_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name.replace("_", "-")):
        Options(**{name: value})  # type: ignore[arg-type]


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device nothing"):
        predict(predictor(Kind.MULTICLASS), [], tmp_path, Options(device="nothing"))


def test_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: torch.device("torch's own words"))
    with pytest.raises(ConfigError, match=r"this machine has no usable GPU \(.*own words"):
        run.device_of("cuda")


def test_a_lost_gpu_stops_the_call_and_the_next_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = predictor(Kind.MULTICLASS)
    items = [item(tmp_path / f"{k}.png", noise(20, 30, seed=k)) for k in range(4)]
    forward, calls = type(model.model).forward, list[int]()

    def broken(self: torch.nn.Module, image: torch.Tensor) -> Any:
        calls.append(len(image))
        if len(calls) == 2:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")
        return forward(self, image)

    monkeypatch.setattr(type(model.model), "forward", broken)
    with pytest.raises(DeviceLostError, match="unspecified launch failure"):
        go(model, items, tmp_path / "out", batch_size=2)
    assert calls == [2, 2]
    summary, _ = go(model, items, tmp_path / "out", batch_size=2)
    assert (summary.done, summary.skipped) == (2, 2)


def test_more_classes_than_colours() -> None:
    names = [f"class {i}" for i in range(40)]
    assert drawing.palette(names).shape == (40, 3)
    assert len({tuple(c) for c in drawing.palette(names)[:16].tolist()}) == 16


def test_a_raster_whose_name_is_not_utf8_is_read_like_any_other(tmp_path: Path) -> None:
    plain = item(tmp_path / "plain.tif", noise(40, 40), extratags=GEO)
    path = tmp_path / os.fsdecode(b"\xd6l.tif")
    path.write_bytes(plain.path.read_bytes())
    out = tmp_path / "out"
    summary, _ = go(predictor(Kind.SEGMENTATION), [plain, Item(path, path.name)], out)
    assert (summary.done, summary.failed) == (2, [])
    first, second = (rasterio.open(out / row["map"]) for row in rows_of(out))
    np.testing.assert_array_equal(first.read(), second.read())
    assert first.transform == second.transform


def test_a_large_map_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a file without their bytes on the disk would end the process by a bus error."""

    def full(_file: int, _start: int, size: int) -> None:
        assert size == 20 * 30
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(outputs, "_IN_MEMORY", 0)
    ids = np.tile(np.arange(3, dtype=np.uint8), (20, 10))
    arguments: Any = (iter([(0, ids)]), ids.shape, np.zeros((3, 3), np.uint8), None, False)
    with monkeypatch.context() as disk:
        disk.setattr(os, "posix_fallocate", full)
        with pytest.raises(StoreError, match="No space left"):
            outputs.write_class_map(tmp_path / "a.png", *arguments)
    assert list(tmp_path.iterdir()) == []
    outputs.write_class_map(tmp_path / "a.png", iter([(0, ids)]), *arguments[1:])
    assert (np.asarray(Image.open(tmp_path / "a.png")) == ids).all()
