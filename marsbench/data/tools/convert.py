"""Write any opened source as a folder in the layout Mars-Bench publishes."""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from marsbench.base.errors import ConfigError, DataError
from marsbench.base.files import is_name
from marsbench.base.progress import track
from marsbench.config.schema import PUBLISHED_PARTITIONS, PUBLISHED_SHOTS, Subset, parse_subset
from marsbench.data import decode
from marsbench.data.boxes.files import coco_text, voc_text, yolo_text
from marsbench.data.boxes.forms import BoxFormat, Size
from marsbench.data.formats import TIFF, files_beside
from marsbench.data.rows import Pixels, Raw, Rows, Source
from marsbench.data.samples import needed
from marsbench.data.sources.annotations import (
    ANNOTATIONS,
    BEFORE,
    COLUMNS,
    MAPPING,
    csv_text,
    second_of_pair,
)
from marsbench.data.sources.layout import COCO_FILE, IMAGES, LABELS, MASKS, subset_file
from marsbench.data.sources.local import LocalSource
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import BACKGROUND, TaskSpec, normalise

_SIGNATURES = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    **dict.fromkeys(TIFF, ".tif"),
}
_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".jp2", ".img", ".pbm", ".pgm", ".ppm", ".pnm"),
)
"""Suffixes of image files; other dots, as in ``ESP_011677.1655``, belong to the stem."""


def convert(
    spec: TaskSpec, source: Source, out: Path, boxes: Iterable[BoxFormat] = tuple(BoxFormat)
) -> Path:
    """Write the samples of a source as a task's folder in the published layout.

    Encoded files are copied, arrays are written as PNG. Files of a folder keep their names. In
    other sources, sample ids without a suffix get the suffix of their image, after ``_before`` for
    a pair. Published lists of subsets are written too.

    Args:
        spec: The task.
        source: Its data, opened.
        out: Parent of the task's folder, created if missing.
        boxes: Forms in which to write the boxes of a detection task.

    Returns:
        The task's folder, ``out / spec.folder``.

    Raises:
        ConfigError: If the folder exists and is not empty, or no form of boxes is chosen.
        DataError: If a sample cannot be read or its id is not a file name, or the folder cannot be
            written. No partial folder is left.
    """
    target = _target(spec, out)
    forms = tuple(form for form in BoxFormat if form in set(boxes))
    if spec.has_boxes and not forms:
        raise ConfigError(
            "boxes= is empty; expected a form of boxes.", f"Choose from: {', '.join(BoxFormat)}."
        )
    if source.holds != Subset():
        raise ConfigError(
            f"{source.where} is opened for {source.holds}; expected the full train split.",
            "Open it with subset=full.",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(".part", f".{target.name}.", target.parent))
        try:
            # A folder inside, since only the owner may open a temporary folder.
            partial = temporary / target.name
            partial.mkdir()
            _write(spec, source, partial, forms)
            with contextlib.suppress(FileNotFoundError):
                target.rmdir()
            partial.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}.",
            "Free disk space, or choose another folder.",
        ) from error
    return target


def _target(spec: TaskSpec, out: Path) -> Path:
    name = spec.folder or spec.name
    if not is_name(name):
        raise ConfigError(
            f"folder '{name}' of task {spec.name} is not a folder name.", "Correct it."
        )
    target = out / name
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"{target} exists already.", "Remove it, or choose another folder with --out."
        )
    return target


def _write(spec: TaskSpec, source: Source, folder: Path, forms: Sequence[BoxFormat]) -> None:
    codes = _codes(source.class_names)
    entries: dict[str, list[dict[str, Any]]] = {}
    names: dict[str, str] = {}
    for split in source.splits:
        rows = source.rows(split)
        place = folder / "data" / split
        place.mkdir(parents=True)
        written: dict[int, dict[str, Any]] = {}
        annotated: dict[int, tuple[str, Size, Boxes]] = {}
        order = range(len(rows)) if rows.reading_order is None else rows.reading_order.tolist()
        for i in track(order, f"Writing {spec.name} {split}", len(rows)):
            raw = source.read(split, i)
            name = _file_name(spec, source, rows.sample_ids[i], raw)
            label = _label(spec, rows, i, codes)
            meta = {k: v for k, v in raw.meta.items() if k not in COLUMNS}
            written[i] = {"file_id": name, "split": split, **label, **meta}
            parent = place / (label["feature_name"] if spec.kind.is_classification else IMAGES)
            _create(parent / name, _encoded(raw))
            if spec.is_pairs:
                after = needed(raw.after, raw, "second image")
                _create(second_of_pair(parent / name), _encoded(after))
            elif spec.has_masks:
                mask = needed(raw.mask, raw, "mask")
                if isinstance(source, LocalSource) and not source.has_paths:
                    its_masks = source.folder / "data" / split / MASKS
                    mask_name = str(Path(mask.where).relative_to(its_masks))
                else:
                    mask_name = _stem(name) + _suffix(mask)
                _create(place / MASKS / mask_name, _encoded(mask))
            elif spec.has_boxes:
                annotated[i] = _write_boxes(spec, raw, place, name, source.class_names, forms)
            if split == "train":
                names[rows.sample_ids[i]] = name
        entries[split] = [written[i] for i in sorted(written)]
        if BoxFormat.COCO in forms and annotated:
            images = (annotated[i] for i in sorted(annotated))
            _create(place / COCO_FILE, coco_text(images, source.class_names).encode())
    columns = _columns(spec, entries)
    _write_subsets(source, folder, columns, entries, names)
    mapping = _mapping(spec, source.class_names, codes)
    _create(folder / MAPPING, json.dumps(mapping, indent=1, ensure_ascii=False).encode())
    table = csv_text(columns, [row for rows in entries.values() for row in rows])
    _create(folder / ANNOTATIONS, table.encode())


def _codes(class_names: Sequence[str]) -> list[str]:
    """A folder name for each class, of letters, digits and underscores."""
    codes: list[str] = []
    for class_id, name in enumerate(class_names):
        code = normalise(name).replace(" ", "_")[:60]
        codes.append(code if code and code not in codes else f"{code}_{class_id}".lstrip("_"))
    return codes


def _mapping(
    spec: TaskSpec, class_names: Sequence[str], codes: Sequence[str]
) -> dict[str, list[str]]:
    entries = [
        # A class may be known by its code alone.
        [code, name] if name in spec.class_names else [name]
        for code, name in zip(codes, class_names, strict=True)
    ]
    if spec.has_boxes:
        entries.insert(0, [BACKGROUND, BACKGROUND])
    return {str(i): entry for i, entry in enumerate(entries)}


def _label(spec: TaskSpec, rows: Rows, index: int, codes: Sequence[str]) -> dict[str, str]:
    """Label columns of a row."""
    if not spec.kind.is_classification:
        return {}
    if spec.kind is Kind.MULTILABEL:
        return {"feature_name": "", "label": str(np.flatnonzero(rows.targets[index]).tolist())}
    class_id = int(rows.targets[index])
    return {"feature_name": codes[class_id], "label": str(class_id)}


def _file_name(spec: TaskSpec, source: Source, sample_id: str, raw: Raw) -> str:
    """File name of a sample's image: its id, with the suffix added if missing.

    Raises:
        DataError: If the id leads out of the folder or is not printable, or no suffix is known.
    """
    if not is_name(sample_id) or not sample_id.isprintable() or sample_id != sample_id.strip():
        raise DataError(f"{raw.where}: id {sample_id!r} is not a valid file name.", "Rename it.")
    if isinstance(source, LocalSource):
        return sample_id
    stem, suffix = sample_id, ""
    if sample_id.lower().endswith(_SUFFIXES):
        stem, suffix = os.path.splitext(sample_id)  # noqa: PTH122 - ids may hold folders
    if spec.is_pairs and BEFORE not in Path(sample_id).name:
        stem += f"_{BEFORE}"
    return stem + (suffix or _suffix(raw))


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - names may hold folders


def _suffix(raw: Raw) -> str:
    if isinstance(raw.image, np.ndarray):
        return ".png" if _is_picture(raw.image) else ".tif"
    for signature, suffix in _SIGNATURES.items():
        if raw.image.startswith(signature):
            return suffix
    suffix = Path(raw.where).suffix
    if suffix.lower() in _SUFFIXES:
        return suffix
    raise DataError(f"{raw.where} is not a PNG, JPEG or TIFF.", "Convert the image.")


def _write_boxes(
    spec: TaskSpec,
    raw: Raw,
    place: Path,
    name: str,
    class_names: Sequence[str],
    forms: Sequence[BoxFormat],
) -> tuple[str, Size, Boxes]:
    """Write the label files of an image, and return its entry of the COCO file."""
    boxes = needed(raw.boxes, raw, "boxes")
    size = decode.image_size(raw.image, raw.where, raw.path)
    texts = {
        BoxFormat.YOLO: yolo_text(boxes, size),
        BoxFormat.VOC: voc_text(boxes, size, class_names, name, spec.channels),
    }
    for form, (folder, suffix) in LABELS.items():
        if form in forms:
            _create(place / folder / f"{_stem(name)}{suffix}", texts[form].encode())
    return name, size, boxes


def _encoded(raw: Raw) -> bytes:
    if not isinstance(raw.image, np.ndarray):
        if raw.path is not None and (beside := files_beside(str(raw.path))):
            raise DataError(
                f"{raw.where} has pixels or a mask in another file: {beside[0].name}.",
                "Save it as a TIFF with both.",
            )
        return raw.image
    file = io.BytesIO()
    if _is_picture(raw.image):
        pixels = raw.image[:, :, 0] if raw.image.shape[2] == 1 else raw.image
        Image.fromarray(pixels).save(file, "PNG")
    else:
        tifffile.imwrite(file, raw.image, photometric="minisblack", planarconfig="contig")
    return file.getvalue()


def _is_picture(pixels: Pixels) -> bool:
    """Whether pixels fit a PNG, by type and number of bands; other pixels become a TIFF."""
    return pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3)


def _create(path: Path, content: bytes) -> None:
    """Write a new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise DataError(
            f"Two samples would both be written as {path.name} in {path.parent.name}/.",
            "Their ids differ by suffix or case alone. Rename a sample.",
        ) from error


def _columns(spec: TaskSpec, entries: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Columns of the annotation file: the published columns, then the metadata of samples."""
    known = list(COLUMNS) if spec.kind.is_classification else list(COLUMNS[:2])
    more = {key: None for rows in entries.values() for row in rows for key in row}
    return known + [key for key in more if key not in known]


def _write_subsets(
    source: Source,
    folder: Path,
    columns: Sequence[str],
    entries: dict[str, list[dict[str, Any]]],
    names: dict[str, str],
) -> None:
    """Write the lists of published subsets: their train rows, and all rows of other splits."""
    train = {row["file_id"]: row for row in entries.get("train", [])}
    others = [row for split, rows in entries.items() if split != "train" for row in rows]
    for subset, path in _subsets(source):
        ids = source.subset_ids(subset)
        if ids is None:
            continue
        if unknown := [i for i in ids if i not in names]:
            raise DataError(
                f"The published list of {subset} in {source.where} names {len(unknown)} "
                f"sample(s) missing in the train split, the first {unknown[0]}.",
                "Unpack the data again, or remove the list.",
            )
        table = csv_text(columns, [train[names[i]] for i in ids] + others)
        _create(folder / path, table.encode())


def _subsets(source: Source) -> Iterator[tuple[Subset, Path]]:
    """Subsets with a possible list in a source, and the files to write the lists to."""
    names = [f"few_shot_{shots}" for shots in PUBLISHED_SHOTS]
    names += [f"partition_{share}" for share in PUBLISHED_PARTITIONS]
    for subset in source.subsets if isinstance(source, LocalSource) else map(parse_subset, names):
        if (path := subset_file(subset)) is not None:
            yield subset, path
