"""A folder in the layout of the mass-spectrometry challenges.

``metadata.csv`` (sample_id, split, features_path, and instrument_type or derivatized), the labels
of a split in ``{split}_labels.csv``, and a CSV per measurement. The labels of the test split were
never published. A split without labels is not a split of the task, but its measurements can be
read for a submission.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import DataError, some
from marsbench.base.files import file_state, is_name
from marsbench.base.reading import check_regular
from marsbench.config.schema import SourceName, Subset
from marsbench.data.rows import Raw, Rows
from marsbench.data.sources.annotations import csv_rows, read_bytes
from marsbench.data.spectra import technique_of, to_spectrum
from marsbench.spectra.spectrum import Instrument, Technique
from marsbench.tasks.spec import SPLITS, TaskSpec

METADATA = "metadata.csv"

SUBMISSION = "submission_format.csv"


class ChallengeSource:
    """Source of a challenge's folder.

    Args:
        spec: The task.
        folder: The folder that holds ``metadata.csv``.
        strict: Whether missing or damaged measurements, and labels without a measurement, are an
            error. Otherwise they are skipped and listed in `notes`.
        check: Whether to read every measurement to find damage, if not strict.

    Attributes:
        meta: Row of ``metadata.csv`` of every sample with a file, by id.
        unlabelled: Sample ids of splits without labels.

    Raises:
        DataError: If the tables contradict the task, each other or the files; names them.
    """

    name = SourceName.LOCAL
    holds = Subset()

    def __init__(
        self, spec: TaskSpec, folder: Path, *, strict: bool = True, check: bool = True
    ) -> None:
        self.spec, self.folder = spec, folder
        self.notes: tuple[str, ...] = ()
        self.meta: dict[str, dict[str, str]] = {}
        self._files: dict[str, Path] = {}
        self._listed: set[str] = set()
        split_of = self._read_metadata(strict, check)
        self._strict = strict
        self.class_names = spec.class_names
        self._rows: dict[str, Rows] = {}
        self.unlabelled: dict[str, list[str]] = {}
        content = hashlib.sha256(json.dumps(self.class_names).encode())
        for split in SPLITS:
            ids = sorted(i for i, s in split_of.items() if s == split)
            if not ids:
                continue
            path = folder / f"{split}_labels.csv"
            if not os.path.lexists(path):
                self.unlabelled[split] = ids
                continue
            labels = self._read_labels(path, split_of, split)
            targets = np.array([labels[i] for i in ids], dtype=np.uint8)
            fingerprint = hashlib.sha256()
            for sample_id, row in zip(ids, targets, strict=True):
                info = self._files[sample_id].stat()
                meta = sorted(self._meta_of(sample_id).items())
                listed = self.meta[sample_id].get("features_md5_hash", "")
                content.update(
                    f"{split}\t{sample_id}\t{row.tolist()}\t{info.st_size}\t{meta}\t{listed}\n".encode()
                )
                # The metadata are cached with the points.
                file = f"{self._files[sample_id]}\t{file_state(info)}"
                fingerprint.update(os.fsencode(f"{file}\t{meta}\n"))
            groups = [self.meta[i].get("instrument_type", "") for i in ids]
            facts = [self._meta_of(i) for i in ids]
            self._rows[split] = Rows(
                split,
                ids,
                targets,
                fingerprint.hexdigest(),
                groups=groups if any(groups) else None,
                fields={name: [f.get(name, "") for f in facts] for name in facts[0]},
            )
        self.revision = f"folder:{content.hexdigest()[:16]}"

    def _read_metadata(self, strict: bool, check: bool) -> dict[str, str]:
        """Read ``metadata.csv``, and return the split of each sample with a file."""
        table = self.folder / METADATA
        split_of: dict[str, str] = {}
        bad: list[str] = []
        absent: list[str] = []
        known = set(map(str, Instrument))
        measured = "instrument_type" if technique_of(self.spec) is Technique.EGA else "derivatized"
        for line, row in csv_rows(table, ("sample_id", "split", "features_path", measured)):
            sample_id = row["sample_id"]
            self._listed.add(sample_id)
            if sample_id in split_of:
                bad.append(f"line {line}: {sample_id} is listed twice")
            elif row["split"] not in SPLITS:
                bad.append(f"line {line}: split is '{row['split']}', not one of {SPLITS}")
            elif not is_name(row["features_path"]):
                bad.append(f"line {line}: '{row['features_path']}' is not a file of this folder")
            elif row.get("instrument_type", "commercial") not in known:
                bad.append(
                    f"line {line}: instrument_type is '{row['instrument_type']}', not one of "
                    f"{', '.join(sorted(known))}"
                )
            elif row.get("derivatized", "") not in ("", "0", "1", "0.0", "1.0"):
                bad.append(f"line {line}: derivatized is '{row['derivatized']}', not 0 or 1")
            elif reason := _refusal(self.folder / row["features_path"]):
                absent.append(f"{row['features_path']}{reason}")
            else:
                split_of[sample_id] = row["split"]
                self.meta[sample_id] = row
                self._files[sample_id] = self.folder / row["features_path"]
        if bad:
            raise DataError(f"{table}: {len(bad)} bad row(s): {some(bad, '; ')}.", "Correct them.")
        if absent and strict:
            raise DataError(
                f"{table} lists {len(absent)} measurement(s) not found or unreadable: "
                f"{some(absent)}.",
                "Unpack the data again, remove those rows, or add strict=false to skip them.",
            )
        if absent:
            self.notes += (
                f"{len(absent)} listed measurement(s) are missing and skipped: {some(absent)}.",
            )
        if not strict and check:
            self._leave_out_bad(split_of)
        return split_of

    def _leave_out_bad(self, split_of: dict[str, str]) -> None:
        """Skip unreadable measurements, and list them in `notes`."""
        bad: list[str] = []
        for sample_id in list(split_of):
            try:
                to_spectrum(self.spec, self.read_sample(sample_id))
            except DataError as error:
                bad.append(error.problem)
                del split_of[sample_id]
        if bad:
            self.notes += (f"{len(bad)} measurement(s) are skipped: {some(bad, ' ')}",)

    def _read_labels(
        self, path: Path, split_of: Mapping[str, str], split: str
    ) -> dict[str, NDArray[np.uint8]]:
        """Read the labels of a split, in the order of the task's classes."""
        names = self.spec.class_names
        labels: dict[str, NDArray[np.uint8]] = {}
        bad: list[str] = []
        left_out = self._listed - split_of.keys()
        for line, row in csv_rows(path, ("sample_id", *names)):
            if extra := [c for c in row if c not in ("sample_id", *names)]:
                raise DataError(
                    f"{path} has columns that are not classes of {self.spec.name}: {some(extra)}.",
                    "Remove them, or describe the data as a task of your own.",
                )
            sample_id = row["sample_id"]
            values = [row[name] for name in names]
            if odd := [v for v in values if v not in ("0", "1", "0.0", "1.0")]:
                bad.append(f"line {line}: '{odd[0]}' is not 0 or 1")
            elif sample_id in labels:
                bad.append(f"line {line}: {sample_id} is labelled twice")
            elif sample_id in left_out:
                continue
            elif sample_id not in split_of and not self._strict:
                left_out.add(sample_id)
                self.notes += (f"{sample_id} of {path.name} is not in {METADATA}, and skipped.",)
            elif split_of.get(sample_id) != split:
                bad.append(f"line {line}: {sample_id} is not a {split} sample of {METADATA}")
            else:
                labels[sample_id] = np.array([float(v) for v in values]).astype(np.uint8)
        if missing := [i for i, s in split_of.items() if s == split and i not in labels]:
            bad.append(f"{len(missing)} sample(s) have no row: {some(sorted(missing))}")
        if bad:
            raise DataError(
                f"{path}: {len(bad)} problem(s): {some(bad, '; ')}.", "Correct the tables."
            )
        return labels

    @property
    def where(self) -> str:
        """Path of the folder."""
        return str(self.folder)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with labels."""
        return tuple(self._rows)

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        if split not in self._rows:
            has = ", ".join(self._rows) or "none"
            what = "no labels" if split in self.unlabelled else "no samples"
            raise DataError(
                f"{self.folder} has {what} of the {split} split (with labels: {has}).",
                "Add them, or add folds=4 for cross-validation within train.",
            )
        return self._rows[split]

    def read(self, split: str, index: int) -> Raw:
        """Read the file of a sample of `rows`."""
        return self.read_sample(self.rows(split).sample_ids[index])

    def read_sample(self, sample_id: str) -> Raw:
        """Read the file of a sample, with or without labels.

        Raises:
            DataError: If the file cannot be read.
        """
        path = self._files[sample_id]
        meta = self._meta_of(sample_id)
        if digest := self.meta[sample_id].get("features_md5_hash", ""):
            meta["md5"] = digest
        return Raw(read_bytes(path), str(path), meta=meta)

    def path(self, sample_id: str) -> Path:
        """File of a sample."""
        return self._files[sample_id]

    def _meta_of(self, sample_id: str) -> dict[str, str]:
        """Metadata in the image of a sample: instrument and derivatisation."""
        row = self.meta[sample_id]
        meta = {}
        if "instrument_type" in row:
            meta["instrument"] = row["instrument_type"]
        if "derivatized" in row:
            meta["derivatized"] = str(int(float(row["derivatized"] or 0)))
        return meta

    def subset_ids(self, subset: Subset) -> None:
        """None: the challenges have no published subsets."""
        return


def _refusal(path: Path) -> str:
    """Reason in brackets if a path is no regular file, else an empty text."""
    try:
        check_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return " (missing)"
    except OSError as error:
        return f" ({error.strerror})"
    return "" if path.is_file() else " (it is a folder)"
