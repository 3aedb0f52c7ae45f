"""Facts of a card as rows: settings of the runs, pre-training, data."""

from statistics import fmean
from typing import Any

from marsbench.base.hub import HubAddress
from marsbench.base.keys import flatten
from marsbench.leaderboard.card.markdown import Markdown, code
from marsbench.leaderboard.card.subject import Subject
from marsbench.models.pretraining import RANDOM, UNKNOWN
from marsbench.results.record import RunRecord
from marsbench.tasks.spec import TaskSpec

Row = tuple[str, Any]

_HIDDEN = frozenset(
    {"kind", "data_revision", "subset_digest", "weights", "protocol", "pipeline", "spectra", "task"}
)
"""Parts of a run's identity that other rows show, or that are digests and versions."""


def settings_of(subject: Subject) -> list[Row]:
    """Protocol and settings of the runs, with their cost."""
    record = subject.published
    chosen = {
        key: value
        for key, value in flatten(record.identity).items()
        if key.partition(".")[0] not in _HIDDEN
    }
    if raster := record.config.get("raster"):
        chosen["raster"] = raster
    trained = [r.checkpoint.get("epochs_trained") for r in subject.records]
    epochs = {count for count in trained if count is not None}
    train = [r.timing["train"] for r in subject.records if "train" in r.timing]
    trains = record.parameters.get("trained") != 0
    rows: list[Row] = [
        ("mode", record.mode),
        ("subset", record.subset),
        ("protocol", record.protocol),
        ("seeds", ", ".join(str(r.seed) for r in subject.records)),
        ("seed of the weights", record.seed if len(subject.records) > 1 else None),
        *((code(key), value) for key, value in chosen.items()),
        # Nearest neighbours and models of a table minimise no loss of ours.
        ("loss", record.data.get("loss") if trains and "loss" not in chosen else None),
        ("epochs trained", ", ".join(map(str, sorted(epochs)))),
        ("tested epoch", record.checkpoint.get("epoch")),
        ("parameters", _count(record.parameters.get("total"))),
        ("trained parameters", _count(record.parameters.get("trained"))),
        ("training time", f"{fmean(train):,.0f} s on {record.device}" if train else None),
        ("revision of the data", record.data.get("revision")),
    ]
    return [(name, value) for name, value in rows if value not in (None, "", [])]


def _count(value: int | None) -> str | None:
    return f"{value:,}" if value else None  # models fitted to a table count none


def pretraining_of(record: RunRecord) -> Markdown:
    """Pre-training in words."""
    known = record.pretraining
    weights = record.weights or {}
    name = code(weights.get("name", ""))
    if known == RANDOM or (known == UNKNOWN and not weights):
        return Markdown("None: no weights were pre-trained.")
    if known == UNKNOWN:
        return Markdown(f"Unknown. Initial weights: {name}.")
    images = f", {known.images:,} images" if known.images else ""
    licence = f" Licence of the weights: {code(known.licence)}." if known.licence else ""
    if known.overlaps is None:
        overlaps = "It is unknown whether images of the benchmark are among them."
    elif known.overlaps:
        tasks = ", ".join(map(code, known.overlaps))
        overlaps = f"Images of these tasks may be among them: {tasks}."
    else:
        overlaps = "As far as known, no images of the benchmark are among them."
    return Markdown(f"{code(known.data)}{images}. Initial weights: {name}.{licence} {overlaps}")


def data_of(task: TaskSpec, record: RunRecord) -> list[Row]:
    """Training data: origin, size, licence."""
    page = HubAddress(task.hub_id, "dataset") if task.hub_id is not None else None
    rows: list[Row] = [
        ("task", code(task.name)),
        ("title", task.title),
        ("classes", ", ".join(str(name) for name in record.data["classes"])),
        ("instrument", task.sensor),
        ("mission", task.mission),
        ("subjects", ", ".join(task.landforms)),
        *((f"{split} samples", _count(record.data.get(f"num_{split}"))) for split in _SPLITS),
        ("hub", None if page is None else Markdown(f"[{page.repo}]({page.page})")),
        ("Zenodo", task.zenodo_title),
        ("licence", task.licence),
    ]
    return [(name, value) for name, value in rows if value]


_SPLITS = ("train", "val", "test")
