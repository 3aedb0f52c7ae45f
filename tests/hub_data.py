"""Data sets as they are published, made from any opened source: parquet files and zips."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import tifffile
from PIL import Image

from marsbench.config.schema import Subset, parse_subset
from marsbench.data import decode
from marsbench.data.rows import Pixels, Raw, Source
from marsbench.data.subsets import select
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec
from tests.server import Repo

datasets.disable_progress_bars()

GROUP = 7
"""Rows of a row group, fewer than a split has, so that reading meets several."""


def png(pixels: Pixels) -> bytes:
    """Encode pixels of shape (H, W) or (H, W, C); more bands than a PNG's as a TIFF."""
    out = io.BytesIO()
    if pixels.dtype != np.uint8:
        tifffile.imwrite(out, pixels, photometric="minisblack", planarconfig="contig")
        return out.getvalue()
    Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(
        out, "PNG"
    )
    return out.getvalue()


def published(subset: Subset, kind: Kind) -> str:
    """Name of the split that holds a subset."""
    if subset.shots is not None:
        return f"few_shot_train_{subset.shots}_shot"
    if subset.fraction is not None:
        prefix = "" if kind is Kind.DETECTION else "partition_train_"
        return f"{prefix}{subset.fraction:.2f}x_partition"
    return "train"


def repo_of(
    spec: TaskSpec,
    source: Source,
    subsets: Sequence[str] = (),
    *,
    names: Sequence[str] | None = None,
    shards: int = 1,
) -> Repo:
    """Make a repository as Mars-Bench publishes one.

    Args:
        spec: The task.
        source: Where its samples come from.
        subsets: Subsets to publish beside the full splits.
        names: What to call the classes, by id; those of the source by default.
        shards: Files of each split.
    """
    names = source.class_names if names is None else names
    features = features_of(spec, names)
    files: dict[str, bytes] = {}
    for split in source.splits:
        positions = list(range(len(source.rows(split))))
        files |= _files(split, _rows(spec, source, split, positions, names), features, shards)
    for name in subsets:
        subset = parse_subset(name)
        positions = select(source, subset).indices.tolist()
        rows = _rows(spec, source, "train", positions, names)
        files |= _files(published(subset, spec.kind), rows, features, 1)
    files["README.md"] = b"---\nlicense: cc-by-4.0\n---\n"
    return Repo(files)


def features_of(spec: TaskSpec, names: Sequence[str]) -> datasets.Features:
    """Columns of a repository."""
    label = datasets.ClassLabel(names=list(names))
    image = datasets.Image()
    if spec.has_masks:
        number = datasets.Value("int64")
        return datasets.Features(
            image=image, mask=image, width=number, height=number, class_labels=datasets.List(label)
        )
    if spec.has_boxes:
        four = datasets.List(datasets.Value("float64"))
        number = datasets.Value("int64")
        corners = {k: datasets.Value("float64") for k in ("xmin", "ymin", "xmax", "ymax")}
        text = datasets.Value("string")
        return datasets.Features(
            image=image,
            yolo_annotation={"bbox": datasets.List(four), "category": datasets.List(number)},
            coco_annotation={
                "annotations": datasets.List({"bbox": four, "category_id": number}),
            },
            pascal_voc_annotation={"objects": datasets.List({"bbox": corners, "name": text})},
        )
    if spec.kind is Kind.MULTILABEL:
        return datasets.Features(image=image, label=datasets.List(label))
    return datasets.Features(image=image, label=label)


def _rows(
    spec: TaskSpec, source: Source, split: str, positions: Iterable[int], names: Sequence[str]
) -> list[dict[str, Any]]:
    rows = source.rows(split)
    found = []
    # Not in the order of the ids, which a reader must not rely on.
    for i in sorted(positions, key=lambda i: (i * 7919) % 104729):
        raw = source.read(split, i)
        content = _image(spec, raw)
        row: dict[str, Any] = {"image": {"bytes": content, "path": str(rows.sample_ids[i])}}
        if spec.kind.is_classification:
            target = rows.targets[i]
            one = spec.kind is not Kind.MULTILABEL
            row["label"] = int(target) if one else np.flatnonzero(target).tolist()
        elif raw.mask is not None:
            height, width = decode.image_size(content, "generated")
            mask = raw.mask.image if isinstance(raw.mask.image, bytes) else png(raw.mask.image)
            row |= {"mask": {"bytes": mask, "path": None}, "width": width, "height": height}
            row["class_labels"] = list(range(len(names)))
        elif raw.boxes is not None:
            row |= box_columns(raw.boxes, decode.image_size(content, "generated"), names)
        found.append(row)
    return found


def _image(spec: TaskSpec, raw: Raw) -> bytes:
    if spec.is_pairs:
        return png(decode.pair(raw, spec.channels))
    return raw.image if isinstance(raw.image, bytes) else png(raw.image)


def box_columns(boxes: Boxes, size: tuple[int, int], names: Sequence[str]) -> dict[str, Any]:
    """The three columns of boxes of one image of (height, width)."""
    height, width = size
    yolo, coco, voc = [], [], []
    for (x1, y1, x2, y2), label in zip(boxes.xyxy.tolist(), boxes.labels.tolist(), strict=True):
        yolo.append(
            [
                round((x1 + x2) / 2 / width, 6),
                round((y1 + y2) / 2 / height, 6),
                round((x2 - x1) / width, 6),
                round((y2 - y1) / height, 6),
            ]
        )
        coco.append({"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": label + 1})
        corners = dict(
            zip(("xmin", "ymin", "xmax", "ymax"), map(round, (x1, y1, x2, y2)), strict=True)
        )
        voc.append({"bbox": corners, "name": names[label]})
    return {
        "yolo_annotation": {"bbox": yolo, "category": boxes.labels.tolist()},
        "coco_annotation": {"annotations": coco},
        "pascal_voc_annotation": {"objects": voc},
    }


def _files(
    split: str, rows: list[dict[str, Any]], features: datasets.Features, shards: int
) -> dict[str, bytes]:
    files = {}
    for shard in range(shards):
        part = rows[shard * len(rows) // shards : (shard + 1) * len(rows) // shards]
        table = datasets.Dataset.from_list(part, features=features)
        out = io.BytesIO()
        table.to_parquet(out, batch_size=GROUP)
        files[f"data/{split}-{shard:05d}-of-{shards:05d}.parquet"] = out.getvalue()
    return files


def zip_of(folder: Path) -> bytes:
    """Zip a task's folder, itself included."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent))
    return out.getvalue()
