"""Filters that the tabs with tables share."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import gradio as gr

from marsbench.config.schema import Mode
from marsbench.leaderboard.board.entries import Entry
from marsbench.leaderboard.board.live import Board
from marsbench.leaderboard.board.ranking import ANY, SIZES, UNKNOWN, Filters
from marsbench.leaderboard.board.tasksets import Choice
from marsbench.models.pretraining import Overlap
from marsbench.report.study.cells import FULL, amount_of

FIRST_ROWS = 100
"""Rows of a table unless all are wanted: a browser takes long to show thousands."""


class Controls(NamedTuple):
    """Components of the filters, in the order of `selection`."""

    metric: gr.Radio
    search: gr.Textbox
    modes: gr.CheckboxGroup
    protocols: gr.CheckboxGroup
    subset: gr.Dropdown
    sizes: gr.Dropdown
    pretraining: gr.Dropdown
    overlap: gr.Dropdown
    all_rows: gr.Checkbox


class Selection(NamedTuple):
    """Values of the filters."""

    choice: Choice
    filters: Filters
    all_rows: bool


def controls(board: Board) -> Controls:
    """Create the filters."""
    with gr.Row(elem_classes="filters"):
        metric = gr.Radio(
            [(title, choice.value) for choice, title in METRICS.items()],
            value=board.opening().value,
            label="Metric of each task",
            scale=3,
            min_width=320,
        )
        search = gr.Textbox(
            "",
            label="Search",
            placeholder="model, author, weights or data",
            max_length=200,
            scale=2,
            min_width=260,
        )
        all_rows = gr.Checkbox(
            label="All rows",
            info=f"Otherwise the first {FIRST_ROWS}.",
            visible=len(board.entries) > FIRST_ROWS,
            scale=0,
            min_width=180,
        )
    with gr.Accordion("Filters", open=False), gr.Row():
        modes = gr.CheckboxGroup(list(Mode), label="Mode", info="None ticked: all.")
        protocols = gr.CheckboxGroup(_protocols(board.entries), label="Protocol")
        subset = gr.Dropdown(subsets(board.entries), value=FULL, label="Subset of the train split")
        sizes = gr.Dropdown([*SIZES, UNKNOWN], multiselect=True, label="Parameters")
        pretraining = gr.Dropdown(_data(board.entries), multiselect=True, label="Pre-training data")
        overlap = gr.Dropdown(
            [ANY, *Overlap], value=ANY, label="Overlap of pre-training with test images"
        )
    return Controls(metric, search, modes, protocols, subset, sizes, pretraining, overlap, all_rows)


METRICS = {
    Choice.HEADLINE: "Headline (weighted F1, mean IoU, mAP)",
    Choice.PAPER: "Paper (F1 of class 1 in binary tasks, IoU over images)",
}


def selection(
    metric: str,
    search: str | None,
    modes: list[str] | None,
    protocols: list[str] | None,
    subset: str | None,
    sizes: list[str] | None,
    pretraining: list[str] | None,
    overlap: str | None,
    all_rows: bool | None = False,
) -> Selection:
    """Values of the filters from the values of their components."""
    filters = Filters(
        modes=tuple(modes or ()),
        protocols=tuple(protocols or ()),
        subset=subset or FULL,
        sizes=tuple(sizes or ()),
        pretraining=tuple(pretraining or ()),
        overlap=overlap or ANY,
        search=search or "",
    )
    return Selection(Choice(metric), filters, bool(all_rows))


def subsets(entries: Iterable[Entry]) -> list[str]:
    """Subsets of some entries, the full train split first."""
    return sorted({FULL, *(entry.subset for entry in entries)}, key=amount_of, reverse=True)


def _protocols(entries: Iterable[Entry]) -> list[str]:
    return sorted({entry.protocol for entry in entries})


def _data(entries: Iterable[Entry]) -> list[str]:
    return sorted({entry.pretraining.data for entry in entries})


def refreshed(board: Board) -> list[Any]:
    """Updates of the filters for other entries, in the order of `Controls`; values stay."""
    updates: dict[str, Any] = {
        "protocols": {"choices": _protocols(board.entries)},
        "subset": {"choices": subsets(board.entries)},
        "pretraining": {"choices": _data(board.entries)},
        "all_rows": {"visible": len(board.entries) > FIRST_ROWS},
    }
    return [
        gr.update(**updates[name]) if name in updates else gr.skip() for name in Controls._fields
    ]
