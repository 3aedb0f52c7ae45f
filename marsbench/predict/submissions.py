"""Write and score submissions to the mass-spectrometry challenges, CSVs of probabilities."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from marsbench.base.errors import DataError, some, unknown_name
from marsbench.base.files import replacing
from marsbench.base.progress import tell
from marsbench.base.reading import read_bytes
from marsbench.data.sources import find_local
from marsbench.data.sources.challenge import SUBMISSION, ChallengeSource
from marsbench.data.spectra import to_spectrum
from marsbench.metrics import scoring
from marsbench.results.find import check_model, find_run
from marsbench.spectra.spectrum import Spectrum
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS

ID = "sample_id"


class _Measurements:
    """Measurements of a challenge's folder, read on access."""

    def __init__(self, source: ChallengeSource, ids: Sequence[str]) -> None:
        self.source, self.ids = source, ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Spectrum:
        return to_spectrum(self.source.spec, self.source.read_sample(self.ids[index]))


def write_submission(
    run: str,
    root: str,
    out: Path,
    *,
    template: Path | None = None,
    split: str = "test",
    store: Path = Path("runs"),
    model: str | None = None,
) -> int:
    """Predict the samples of a challenge and write a CSV of ids and probabilities.

    Args:
        run: Id, short form of it, or folder of a finished run or ensemble.
        root: The challenge's folder, or an archive or URL of it.
        out: CSV to write.
        template: The challenge's ``submission_format.csv``, with the order of samples and labels.
            By default the file in the folder; without a file, all samples of `split`.
        split: train, val or test.
        store: Folder of records.
        model: The own encoder of the run, which its record does not name.

    Returns:
        Number of samples.

    Raises:
        MarsbenchError: If the run or the data are missing, or do not fit each other.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    record, folder = find_run(run, store)
    check_model(record)
    spec = record.task_as_run(get_task(str(record.config["task"])))
    place = find_local(spec, root)
    # Only predicted samples must exist.
    source = ChallengeSource(spec, place, strict=False, check=False)
    names = list(record.data["classes"])
    if template is None and split == "test" and (place / SUBMISSION).exists():
        template = place / SUBMISSION
    if template is not None:
        ids, columns = _read_template(template)
    else:
        ids, columns = _ids_of(source, split), names
    if sorted(columns) != sorted(names):
        raise DataError(
            f"The labels of {template} are {some(columns)}; the run {record.run_id} expects "
            f"{', '.join(names)}.",
            "Give the submission_format.csv of the run's challenge.",
        )
    if unknown := [i for i in ids if i not in source.meta]:
        raise DataError(
            f"{len(unknown)} sample(s) of {template} are missing in {place}: {some(unknown)}.",
            "Give the folder of their measurements.",
        )
    if "train" in source.splits and set(ids) & set(source.rows("train").sample_ids):
        tell("Warning: the run may have been trained on some of these samples.")
    from marsbench.predict.spectra import predict_spectra

    scores = predict_spectra(record, folder, _Measurements(source, ids), ids, store, model)
    table = pd.DataFrame(np.clip(scores, 0.0, 1.0), columns=names)[columns]
    table.insert(0, ID, ids)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as partial:
            table.to_csv(partial, index=False, float_format="%.9g")
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}.", "Choose another --out."
        ) from error
    return len(table)


def _ids_of(source: ChallengeSource, split: str) -> list[str]:
    if split in source.splits:
        return list(source.rows(split).sample_ids)
    if split in source.unlabelled:
        return source.unlabelled[split]
    raise DataError(
        f"{source.where} has no samples of the {split} split.", "Choose another with --split."
    )


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(path)), dtype={ID: str})
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}.", "Give a CSV file.") from error
    if ID not in table or table[ID].duplicated().any() or table[ID].isna().any():
        raise DataError(
            f"The column {ID} of {path} is missing, or has empty or repeated values.",
            f"Give each sample a row with its {ID}.",
        )
    return table


def _read_template(path: Path) -> tuple[list[str], list[str]]:
    table = _read_table(path)
    return [str(i) for i in table[ID]], [str(c) for c in table.columns if c != ID]


def _numbers(table: pd.DataFrame) -> NDArray[np.float64]:
    """Cells as numbers; NaN for others."""
    numbers: NDArray[np.float64] = table.apply(pd.to_numeric, errors="coerce").to_numpy(
        dtype=np.float64
    )
    return numbers


def score_submission(
    predictions: Path, labels: Path, metadata: Path | None = None
) -> dict[str, float]:
    """Score a submission against labels.

    Args:
        predictions: The submission's CSV.
        labels: CSV of labels; each of its samples needs a prediction.
        metadata: ``metadata.csv``, to also score each instrument.

    Returns:
        Metric name to value, as in a record.

    Raises:
        DataError: If a file cannot be read, or the two do not fit each other.
    """
    predicted, truth = _read_table(predictions), _read_table(labels)
    names = [str(c) for c in truth.columns if c != ID]
    if sorted(str(c) for c in predicted.columns if c != ID) != sorted(names):
        raise DataError(
            f"The labels of {predictions} differ from those of {labels}; expected "
            f"{', '.join(names)}.",
            "Correct the columns.",
        )
    merged = truth[[ID]].merge(predicted, on=ID, how="left")
    scores: NDArray[np.float64] = _numbers(merged[names])
    known = _numbers(truth[names])
    if odd := [str(i) for i in np.asarray(truth[ID])[~np.isin(known, (0, 1)).all(axis=1)]]:
        raise DataError(
            f"{labels} has labels other than 0 and 1 for {len(odd)} sample(s): {some(odd)}.",
            "Correct them.",
        )
    bad = ~np.isfinite(scores).all(axis=1) | (scores < 0).any(axis=1) | (scores > 1).any(axis=1)
    if bad.any():
        ids = [str(i) for i in np.asarray(merged[ID])[bad]]
        raise DataError(
            f"{predictions} has missing or invalid probabilities for {len(ids)} sample(s): "
            f"{some(ids)}.",
            "Give every sample a row of numbers from 0 to 1.",
        )
    columns: dict[str, list[object]] = {
        "target": list(known.astype(np.uint8)),
        "scores": list(scores),
    }
    if metadata is not None:
        rows = _read_table(metadata).set_index(ID)
        if "instrument_type" in rows:
            columns["instrument"] = [str(rows["instrument_type"].get(i, "")) for i in truth[ID]]
    return scoring.score(Kind.MULTILABEL, columns, names)
