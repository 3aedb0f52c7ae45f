"""Generated data of any TaskSpec in the published layout."""

import codecs
import csv
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import ClassInfo, TaskSpec

SIZES = {"train": 24, "val": 9, "test": 12}


def make_spec(
    kind: Kind = Kind.MULTICLASS,
    classes: Sequence[str] = ("crater", "dune", "plain"),
    **fields: Any,
) -> TaskSpec:
    """A small task."""
    return TaskSpec(
        **{
            "name": "toy",
            "title": "Toy",
            "kind": kind,
            "classes": tuple(ClassInfo(name, f"A {name}.") for name in classes),
            "folder": "mb-toy",
            "channels": 1,
            **fields,
        }
    )


def visible(folder: Path) -> Path:
    """Let every user visit a folder of pytest."""
    top = Path(tempfile.gettempdir())
    if top not in folder.parents:
        pytest.skip(f"{folder} is outside of {top}, and its parents are not ours to open")
    for place in (folder, *folder.parents[: folder.parents.index(top)]):
        place.chmod(0o755)
    return folder


@contextmanager
def as_nobody() -> Iterator[None]:
    """Drop the rights of root, for whom every file is readable."""
    if os.geteuid() != 0:
        yield
        return
    codecs.lookup("utf-8-sig")  # nobody may not read the modules of Python
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def write_spec(spec: TaskSpec, path: Path) -> Path:
    """Write a custom task's YAML."""
    import yaml

    content = {
        "name": spec.name,
        "title": spec.title,
        "kind": spec.kind.value,
        "channels": spec.channels,
        "folder": spec.folder,
        "classes": list(spec.class_names),
        **({} if spec.decode is Decode.IMAGE_LABEL else {"decode": spec.decode.value}),
        **({} if spec.image_size is None else {"image_size": list(spec.image_size)}),
    }
    path.write_text(yaml.safe_dump(content))
    return path


def draw(
    rng: np.random.Generator, class_ids: list[int], side: int, channels: int
) -> npt.NDArray[np.uint8]:
    """A noisy image with one stripe pattern per class, so that a model can learn it."""
    y, x = np.mgrid[:side, :side]
    image = rng.normal(120, 12, (side, side))
    for k in class_ids:
        angle = k * np.pi / 5
        image += 50 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * (0.3 + 0.12 * k))
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return pixels if channels == 1 else np.repeat(pixels[:, :, None], 3, axis=2)


def write_folder(
    spec: TaskSpec,
    root: str | Path,
    sizes: dict[str, int] | None = None,
    side: int = 32,
    seed: int = 0,
) -> Path:
    """Write a task's folder in the published layout and return it.

    Labels go round the classes, in the reverse of the spec's order (the background stays first),
    so that a reader that assumes the spec's order is found out. Every fourth sample of a
    segmentation or detection task shows no object.
    """
    rng = np.random.default_rng(seed)
    folder = Path(root) / spec.folder
    names = spec.class_names[::-1]
    if spec.kind is Kind.DETECTION or "background" in names:
        names = ("background", *(name for name in names if name != "background"))
    codes = [name[:3].lower() + str(i) for i, name in enumerate(names)]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    mapping = {str(i): [c, n] for i, (c, n) in enumerate(zip(codes, names, strict=True))}
    (folder / "mapping.json").write_text(json.dumps(mapping))
    if spec.kind in (Kind.SEGMENTATION, Kind.DETECTION):
        listed = []
        for split, n in (sizes or SIZES).items():
            write = _write_masks if spec.kind is Kind.SEGMENTATION else _write_boxes
            write(rng, folder / "data" / split, split, n, side, spec.channels, names)
            suffix = ".png" if spec.channels in (1, 3) else ".tif"
            listed += [(f"{split}_{i:04d}{suffix}", split) for i in range(n)]
        write_rows(folder / "annotation.csv", listed, ("file_id", "split"))
        return folder
    rows = []
    for split, n in (sizes or SIZES).items():
        for i in range(n):
            if spec.kind is Kind.MULTILABEL:
                ids = sorted({i % len(names), int(rng.integers(len(names)))})
                relative, label, feature = Path(), str(ids), ""
            else:
                ids = [i % len(names)]
                relative, label, feature = Path(codes[ids[0]]), str(ids[0]), codes[ids[0]]
            path = folder / "data" / split / relative / f"{split}_{i:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if spec.is_pairs:
                path = path.with_name(f"{path.stem}_before.png")
                second = path.with_name(f"{split}_{i:04d}_after.png")
                Image.fromarray(draw(rng, [0], side, spec.channels)).save(second)
            Image.fromarray(draw(rng, ids, side, spec.channels)).save(path)
            rows.append((path.name, split, feature, label))
    write_rows(folder / "annotation.csv", rows)
    return folder


def _draw_objects(
    rng: np.random.Generator, place: Path, name: str, ids: npt.NDArray[np.uint8], channels: int
) -> None:
    """Write an image that shows each class where the map of class ids says so."""
    side = len(ids)
    image = draw(rng, [], side, 1)
    for k in np.unique(ids[(ids > 0) & (ids < 255)]):
        image = np.where(ids == k, draw(rng, [int(k)], side, 1), image)
    place.mkdir(parents=True, exist_ok=True)
    if channels in (1, 3):
        pixels = image if channels == 1 else np.repeat(image[:, :, None], 3, axis=2)
        Image.fromarray(pixels).save(place / f"{name}.png")
    else:
        bands = np.repeat(image[:, :, None] / np.float32(255), channels, axis=2)
        tifffile.imwrite(place / f"{name}.tif", bands.astype(np.float32))


def _write_masks(
    rng: np.random.Generator,
    place: Path,
    split: str,
    n: int,
    side: int,
    channels: int,
    names: Sequence[str],
) -> None:
    y, x = np.mgrid[:side, :side]
    (place / "masks").mkdir(parents=True)
    for i in range(n):
        mask = np.zeros((side, side), np.uint8)
        if i % 4 != 3:
            cy, cx = rng.integers(side // 4, side - side // 4, 2)
            mask[(y - cy) ** 2 + (x - cx) ** 2 < (side / 4) ** 2] = 1 + i % (len(names) - 1)
            mask[:2, : side // 4] = 255
        name = f"{split}_{i:04d}"
        _draw_objects(rng, place / "images", name, mask, channels)
        Image.fromarray(mask).save(place / "masks" / f"{name}.png")


def _write_boxes(
    rng: np.random.Generator,
    place: Path,
    split: str,
    n: int,
    side: int,
    channels: int,
    names: Sequence[str],
) -> None:
    """Write images of 0 to 2 squares, and their boxes in all three forms.

    Quarters of a pixel: YOLO's six decimals are not exact, and Pascal VOC is rounded.
    """
    for folder in ("labels", "pascal_voc"):
        (place / folder).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i in range(n):
        name = f"{split}_{i:04d}"
        file_name = f"{name}{'.png' if channels in (1, 3) else '.tif'}"
        shown = np.zeros((side, side), np.uint8)
        yolo, voc = "", ""
        for j in range(0 if i % 4 == 3 else 1 + i % 2):
            k = 1 + (i + j) % (len(names) - 1)
            x, y = rng.integers(0, 2 * side, 2) / 4
            width, height = rng.integers(side, 2 * side, 2) / 4
            shown[round(y) : round(y + height), round(x) : round(x + width)] = k
            centre = ((x + width / 2) / side, (y + height / 2) / side)
            numbers = (*centre, width / side, height / side)
            yolo += f"{k - 1} {' '.join(f'{v:.6f}' for v in numbers)}\n"
            corners = {"xmin": x, "ymin": y, "xmax": x + width, "ymax": y + height}
            box = "".join(f"<{c}>{round(v)}</{c}>" for c, v in corners.items())
            voc += f"<object><name>{names[k]}</name><bndbox>{box}</bndbox></object>"
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": k,
                    "bbox": [x, y, width, height],
                }
            )
        _draw_objects(rng, place / "images", name, shown, channels)
        (place / "labels" / f"{name}.txt").write_text(yolo)
        size = f"<size><width>{side}</width><height>{side}</height></size>"
        (place / "pascal_voc" / f"{name}.xml").write_text(f"<annotation>{size}{voc}</annotation>")
        images.append({"id": i + 1, "file_name": file_name, "width": side, "height": side})
    categories = [{"id": k, "name": name} for k, name in enumerate(names) if k > 0]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (place / "coco_annotations.json").write_text(json.dumps(content))


def write_rows(
    path: Path,
    rows: Iterable[tuple[str, ...]],
    header: Sequence[str] = ("file_id", "split", "feature_name", "label"),
) -> None:
    """Write an annotation CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def add_column(folder: Path, name: str, values: Sequence[str]) -> None:
    """Add a column to a task's annotations; its values go round the rows."""
    path = folder / "annotation.csv"
    with path.open(newline="") as file:
        header, *rows = (tuple(row) for row in csv.reader(file))
    extended = [(*row, values[i % len(values)]) for i, row in enumerate(rows)]
    write_rows(path, extended, (*header, name))


def read_rows(path: Path) -> list[tuple[str, ...]]:
    """Read an annotation CSV without its header."""
    with path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def needs_ultralytics() -> None:
    """Skip a test where the package lacks, without importing it as it would like to be.

    It changes a process when it is imported; the package undoes that.
    """
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("needs ultralytics")
