"""Inputs of a run's network, with the statistics of its train samples."""

import json
from pathlib import Path

from marsbench.base import paths
from marsbench.base.documents import parse_json
from marsbench.base.files import once, write_text
from marsbench.config.identity import digest
from marsbench.config.schema import Normalisation
from marsbench.data import decode
from marsbench.data.dataset import MarsDataset
from marsbench.data.statistics import Statistics, band_statistics
from marsbench.models.inputs import Inputs
from marsbench.plan.resolve import Plan

VERSION = 1
"""Part of the key; raise it when the statistics of equal images change."""


def prepared_inputs(plan: Plan) -> Inputs:
    """Inputs of a run; with ``normalisation=data`` with the statistics of its train samples.

    Folds share the statistics of all train samples of the run. They are computed once for runs of
    equal samples, and kept in ``MARSBENCH_HOME/statistics``.

    Raises:
        DataError: If an image cannot be read.
    """
    inputs = plan.inputs
    if inputs.normalisation is not Normalisation.DATA:
        return inputs
    spec = plan.task
    key = digest(
        {
            "version": VERSION,
            "decode": [decode.VERSION, spec.decode, spec.channels, spec.rgb_bands],
            "rows": plan.source.rows("train").fingerprint,
            "samples": plan.selection.digest,
            "bands": plan.config.bands if spec.channels > 3 else None,
        }
    )
    file = paths.home() / "statistics" / spec.name / f"{key[:16]}.json"
    mean, std = once(file, lambda: _read(file), lambda: _write(file, plan))
    if inputs.select is not None:
        mean, std = (tuple(v[i] for i in inputs.select) for v in (mean, std))
    return inputs.with_statistics(mean, std)


def _read(file: Path) -> Statistics | None:
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        mean, std = (tuple(map(float, content[name])) for name in ("mean", "std"))
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return mean, std


def _write(file: Path, plan: Plan) -> Statistics:
    dataset = MarsDataset(
        plan.task,
        plan.source,
        "train",
        indices=plan.selection.indices,
        bands=plan.config.bands,
        cache=plan.config.cache,
    )
    mean, std = band_statistics(dataset)
    write_text(file, json.dumps({"mean": mean, "std": std}) + "\n")
    return mean, std
