"""Generated data of any TaskSpec in the published layout."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from marsbench.data.spec import ClassInfo, Decode, TaskSpec
from marsbench.kinds import Kind

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

    Labels go round the classes, in the reverse of the spec's order, so that a reader that
    assumes the spec's order is found out.
    """
    rng = np.random.default_rng(seed)
    folder = Path(root) / spec.folder
    names = spec.class_names[::-1]
    codes = [name[:3].lower() + str(i) for i, name in enumerate(names)]
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
            if spec.decode is Decode.PAIR_LABEL:
                path = path.with_name(f"{path.stem}_before.png")
                second = path.with_name(f"{split}_{i:04d}_after.png")
                Image.fromarray(draw(rng, [0], side, spec.channels)).save(second)
            Image.fromarray(draw(rng, ids, side, spec.channels)).save(path)
            rows.append((path.name, split, feature, label))
    write_rows(folder / "annotation.csv", rows)
    mapping = {str(i): [c, n] for i, (c, n) in enumerate(zip(codes, names, strict=True))}
    (folder / "mapping.json").write_text(json.dumps(mapping))
    return folder


def write_rows(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    """Write an annotation CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file_id", "split", "feature_name", "label"))
        writer.writerows(rows)


def read_rows(path: Path) -> list[tuple[str, ...]]:
    """Read an annotation CSV without its header."""
    with path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]
