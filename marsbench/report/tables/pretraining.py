"""Table of the pre-training behind the models of a report."""

from marsbench.models.pretraining import OVERLAP_WARNING, RANDOM, UNKNOWN
from marsbench.report.analysis import Analysis
from marsbench.report.study.pretraining import initial_weights
from marsbench.report.tables.forms import OVERLAP, Column, Entry, Score, Table


def pretraining_table(analysis: Analysis) -> Table:
    """List data, number of images, licence and overlaps of the initial weights of each model."""
    rows: list[list[Entry]] = [
        [
            each.model,
            each.weights or ("random" if each.pretraining == RANDOM else UNKNOWN.data),
            each.pretraining.data,
            _count(each.pretraining.images),
            each.pretraining.licence or None,
            each.pretraining.overlap_words,
        ]
        for each in initial_weights(analysis.study.records)
    ]
    columns = ("model", "initial weights", "pre-training data", "images", "licence of the weights")
    return Table(
        "pretraining",
        "Pre-training of the models",
        "Of the runs' records, or for records of earlier versions of the same weights in the zoo; "
        "unknown: nobody has stated the data. Runs from scratch start from random weights."
        + f" {OVERLAP} {OVERLAP_WARNING}"
        * bool(analysis.overlapping),
        list(map(Column, (*columns, "overlap with test images"))),
        rows,
        nothing="All runs start from random weights.",
    )


def _count(images: int | None) -> Score | None:
    return Score(images, words=f"{images:,}") if images else None
