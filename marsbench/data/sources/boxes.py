"""Boxes of the samples of a local folder, from files of any form."""

import contextlib
import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from marsbench.base import paths
from marsbench.base.errors import DataError, collecting
from marsbench.base.files import write_text
from marsbench.data.boxes import files as box_files
from marsbench.data.boxes.forms import BoxFormat, Size, cross_check
from marsbench.data.rows import Rows
from marsbench.data.sources.annotations import read_bytes
from marsbench.data.sources.layout import FORM_OF_SUFFIX, IMAGES, LABELS, form_of
from marsbench.metrics.boxes import Boxes

_PARSING = threading.Lock()
"""Held while a split's COCO file is parsed, so that reading threads parse it only once."""


class BoxFiles:
    """Files of boxes of a local folder; COCO files are parsed on first use.

    Args:
        folder: The folder.
        classes: Class id by normalised name or code.
        rows: Index of each split; may be filled later, as all further arguments.
        files: Paths of the files of each sample, its image first, by split.
        refused: Paths of files that cannot be read.
        has_paths: Whether ``annotation.csv`` has the paths of files.

    Attributes:
        coco_paths: Path of the COCO file of each sample, by split; empty text for none.
    """

    def __init__(
        self,
        folder: Path,
        classes: Mapping[str, int],
        rows: Mapping[str, Rows],
        files: Mapping[str, Sequence[tuple[str, ...]]],
        refused: set[str],
        *,
        has_paths: bool,
    ) -> None:
        self._folder, self._classes, self._rows, self._files = folder, classes, rows, files
        self._refused, self._has_paths = refused, has_paths
        self.coco_paths: dict[str, list[str]] = {}
        self._coco: dict[tuple[str, str], tuple[box_files.CocoFile | None, list[DataError]]] = {}

    def read(
        self, split: str, index: int, size: Size, problems: list[DataError] | None = None
    ) -> Boxes | None:
        """Read the boxes of an image; arguments and result as of `LocalSource.boxes`."""
        image, *labels = map(Path, self._files[split][index])
        forms: dict[BoxFormat, Boxes] = {}
        if coco_path := self.coco_paths[split][index]:
            with collecting(problems):
                coco = self._coco_file(split, coco_path, problems)
                sample_id = self._rows[split].sample_ids[index]
                if coco is not None and sample_id in coco.sizes:
                    forms[BoxFormat.COCO] = coco.boxes(sample_id, size, self._classes)
        for path in labels:
            if problems is not None and str(path) in self._refused:
                continue
            with collecting(problems):
                form = form_of(str(path))
                if form is BoxFormat.YOLO:
                    forms[form] = box_files.read_yolo(
                        read_bytes(path), size, self._classes, str(path)
                    )
                elif form is BoxFormat.VOC:
                    forms[form] = box_files.read_voc(
                        read_bytes(path), size, self._classes, str(path)
                    )
                else:
                    raise DataError(
                        f"{path} is not a file of boxes by its suffix.",
                        f"Expected are {', '.join(FORM_OF_SUFFIX)}.",
                    )
        with collecting(problems):
            if forms:
                return cross_check(forms, str(image))
        return None

    def _coco_file(
        self, split: str, path: str, problems: list[DataError] | None
    ) -> box_files.CocoFile | None:
        """COCO file of a split, parsed on first use; None if damaged."""
        with _PARSING:
            if (split, path) not in self._coco:
                self._coco[split, path] = self._parse_coco(split, path)
        coco, errors = self._coco[split, path]
        if problems is None and errors:
            raise errors[0]
        if problems is not None:
            problems += errors
        return coco

    def _parse_coco(
        self, split: str, path: str
    ) -> tuple[box_files.CocoFile | None, list[DataError]]:
        if path in self._refused:
            return None, []
        ids = self._rows[split].sample_ids
        own = zip(ids, self.coco_paths[split], self._files[split], strict=True)
        images = {i: files[0].removeprefix(f"{self._folder}/") for i, p, files in own if p == path}
        try:
            coco = box_files.read_coco(read_bytes(Path(path)), path)
            if self._has_paths:
                coco = coco.matched(images, self._classes)
        except DataError as error:
            return None, [error]
        return coco, coco.problems([*images], Path(path).with_name(IMAGES), self._classes)


def difficult_notes(digests: Mapping[str, str]) -> tuple[str, ...]:
    """Count the objects that Pascal VOC files mark as difficult.

    Args:
        digests: Digest of the content by path, of files of any form.
    """
    suffix = LABELS[BoxFormat.VOC][1]
    files = [file for file in digests if file.endswith(suffix)]
    if not files:
        return ()
    key = hashlib.sha256("".join(digests[file] for file in files).encode()).hexdigest()
    kept = paths.home() / "digests" / f"difficult-{key[:32]}.txt"
    try:
        count = int(kept.read_text())
    except (OSError, ValueError):
        count = sum(box_files.count_difficult(read_bytes(Path(file))) for file in files)
        with contextlib.suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_text(kept, str(count))
    if not count:
        return ()
    note = f"{count} object(s) are marked difficult in Pascal VOC files; training and scores "
    return (f"{note}count them like all others.",)
