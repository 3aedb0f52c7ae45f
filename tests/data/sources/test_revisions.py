"""Revisions of folders: unchanged since earlier versions where they covered the labels already."""

import json
from pathlib import Path

import pytest

from marsbench.data.sources.local import LocalSource
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, write_rows

CLASSES = ("crater", "dune")

EARLIER = {
    "multiclass": "folder:b0147f9191355fa6",
    "multilabel": "folder:eb865616f95cb11e",
    "pairs": "folder:b8488ae58ea730c7",
    "segmentation": "folder:bb68ad9b182e2eb5",
    "detection": "folder:9e3ffd6e793df21f",
}
"""Revisions of earlier versions, which took masks and boxes by the size of their files."""

CHANGED = {"segmentation", "detection"}
"""Kinds whose revisions changed when the content of masks and boxes entered them."""


def make(kind: str) -> TaskSpec:
    if kind == "pairs":
        return make_spec(Kind.BINARY, CLASSES, decode=Decode.PAIR_LABEL)
    decode = {"segmentation": Decode.IMAGE_MASK, "detection": Decode.IMAGE_BOXES}
    classes = ("background", "crater") if kind == "segmentation" else CLASSES
    return make_spec(Kind(kind), classes, decode=decode.get(kind, Decode.IMAGE_LABEL))


def write(kind: str, folder: Path) -> Path:
    """A folder of given bytes, which are read when images are."""
    spec = make(kind)
    place = folder / "data" / "train"
    rows: list[tuple[str, ...]] = []
    for i in range(4):
        name, label = f"{i}_before.png", str(i % 2)
        if kind in CHANGED:
            (place / "images").mkdir(parents=True, exist_ok=True)
            (place / "images" / name).write_bytes(b"image %d" % i)
            rows.append((name, "train"))
            continue
        parent = place if kind == "multilabel" else place / CLASSES[i % 2]
        parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_bytes(b"image" * (i + 1))
        if kind == "pairs":
            (parent / f"{i}_after.png").write_bytes(b"later" * (i + 2))
        text = ("[0]", "[0, 1]")[i % 2] if kind == "multilabel" else label
        rows.append((name, "train", CLASSES[i % 2], text))
    if kind == "segmentation":
        (place / "masks").mkdir()
        for i in range(4):
            (place / "masks" / f"{i}_before.png").write_bytes(b"mask %d" % i)
    if kind == "detection":
        for form, suffix, text in (("labels", "txt", "0 0.5"), ("pascal_voc", "xml", "<a/>")):
            (place / form).mkdir()
            for i in range(4):
                (place / form / f"{i}_before.{suffix}").write_text(text)
        (place / "coco_annotations.json").write_text('{"images": []}')
    header = ("file_id", "split", "feature_name", "label")
    write_rows(folder / "annotation.csv", rows, header[: len(rows[0])])
    names = ("background", *CLASSES) if kind == "detection" else spec.class_names
    (folder / "mapping.json").write_text(json.dumps(dict(enumerate(names))))
    return folder


@pytest.mark.parametrize("kind", EARLIER)
def test_revisions_of_labels_are_those_of_before(kind: str, tmp_path: Path) -> None:
    revision = LocalSource(make(kind), write(kind, tmp_path / "data")).revision
    assert (revision != EARLIER[kind]) == (kind in CHANGED)
