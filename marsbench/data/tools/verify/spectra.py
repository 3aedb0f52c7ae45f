"""Check a challenge's folder of spectra, every measurement, and report everything at once."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from marsbench.base.errors import DataError, some
from marsbench.base.progress import track
from marsbench.data.rows import Raw
from marsbench.data.sources.challenge import ChallengeSource
from marsbench.data.spectra import to_spectrum
from marsbench.data.tools.verify.report import VerifyReport
from marsbench.tasks.spec import TaskSpec


def verify_spectra(spec: TaskSpec, folder: Path) -> VerifyReport:
    """Read every measurement of a folder.

    Args:
        spec: The task.
        folder: The folder that holds ``metadata.csv``.
    """
    report = VerifyReport(str(folder))
    try:
        source = ChallengeSource(spec, folder, strict=False, check=False)
    except DataError as error:
        report.problems.append(str(error).replace("\n", " "))
        return report
    report.notes += source.notes
    if "train" not in source.splits:
        report.problems.append("the train split has no labels")
    for split in ("val", "test"):
        if split not in source.splits:
            what = "no labels" if split in source.unlabelled else "no samples"
            report.notes.append(f"{what} of the {split} split: folds=4 scores within train")
    wrong: list[str] = []
    negative: list[str] = []
    instruments: Counter[str] = Counter()
    places: dict[str, list[str]] = {}
    ids = sorted(source.meta)
    for sample_id in track(ids, f"Checking {spec.name}", len(ids)):
        try:
            raw = source.read_sample(sample_id)
            spectrum = to_spectrum(spec, raw)
        except DataError as error:
            report.problems.append(str(error).replace("\n", " "))
            continue
        report.num_files += 1
        report.num_samples += 1
        instruments[str(spectrum.instrument)] += 1
        digest = _md5(raw)
        places.setdefault(digest, []).append(sample_id)
        if (wanted := raw.meta.get("md5")) and wanted != digest:
            wrong.append(sample_id)
        if np.any(spectrum.abundance < 0):
            negative.append(sample_id)
    report.notes.append("instruments: " + ", ".join(f"{n} {c}" for n, c in instruments.items()))
    if wrong:
        report.problems.append(
            f"{len(wrong)} measurement(s) differ from their MD5 in metadata.csv: "
            f"{some(wrong)}. Unpack the data again."
        )
    if negative:
        report.notes.append(
            f"{len(negative)} measurement(s) hold negative abundances; subtracting the minimum or "
            "background of each ion removes them"
        )
    if repeated := [" = ".join(group) for group in places.values() if len(group) > 1]:
        report.notes.append(f"{len(repeated)} group(s) of equal files: {some(repeated)}")
    return report


def _md5(raw: Raw) -> str:
    content = raw.image if isinstance(raw.image, bytes) else b""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
