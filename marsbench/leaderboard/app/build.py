"""Assembly of the app: filters, tabs and their events."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr

from marsbench.leaderboard.app import pages, texts, upload
from marsbench.leaderboard.app.controls import Controls, controls, refreshed
from marsbench.leaderboard.app.tables import Table
from marsbench.leaderboard.app.upload import Labels
from marsbench.leaderboard.app.views import Filled, Views
from marsbench.leaderboard.app.words import full_name
from marsbench.leaderboard.board.live import Board, Live
from marsbench.leaderboard.board.tasksets import CAPABILITIES, Choice, TaskSet, categories, kinds

MODEL, COMPARE, SUBMIT = "model", "compare", "submit"

MENUS = {MODEL: 1, COMPARE: 2}
"""Number of menus of entries of a tab."""

MODEL_COLUMN = 1
"""Column of the model in every table; a click on it opens the model's page."""

ARCHIVES = [".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"]

HEIGHT = 640
"""Largest height of a table in pixels."""

QUIET: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "api_visibility": "private",
}
"""Settings of quick events, which have no endpoint for programs."""

SLOW: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}


@dataclass(frozen=True)
class Tab:
    """A tab with a table.

    Attributes:
        item: The tab.
        fill: From the values of the filters and of `inputs` to the tab's content.
        inputs: Its own choices.
        outputs: Components that it fills.
    """

    item: gr.Tab
    fill: Callable[..., Filled]
    inputs: tuple[gr.Radio, ...]
    outputs: "Outputs"


class Outputs(NamedTuple):
    """Components that a tab fills.

    Attributes:
        caption: Text above the table.
        table: The table.
        names: Entry of each row.
        picture: Figure below the table, hidden in tabs without one.
    """

    caption: gr.HTML
    table: gr.Dataframe
    names: gr.State
    picture: gr.HTML


def build(live: Live, labels: Labels) -> gr.Blocks:
    """Build the app of a board.

    Args:
        live: The board.
        labels: Test labels for the checks of uploads.
    """
    views, board = Views(live), live.board
    blocks: gr.Blocks
    with gr.Blocks(
        title=texts.TITLE, analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True
    ) as blocks:
        with gr.Row(equal_height=False, elem_classes="head"):
            heading = gr.HTML(texts.heading(board), elem_id="heading", min_width=300)
            to_submit = gr.Button("How to submit", size="sm", scale=0, min_width=140)
        shared = controls(board)
        active = gr.State("overall")
        listed = gr.State({})
        with gr.Tabs(selected="overall", elem_id="tabs") as tabs:
            table_tabs = _table_tabs(views, [part.value for part in shared])
            with gr.Tab("Compare", id=COMPARE) as tab:
                _compare(live, shared, tab, listed)
            with gr.Tab("Model", id=MODEL) as tab:
                entry = _model(live, shared, tab, listed)
            with gr.Tab("Submit", id=SUBMIT):
                gr.Markdown(texts.submit())
                _upload(live, labels)
            with gr.Tab("About", id="about"):
                gr.Markdown(texts.about(), elem_id="about")
        to_submit.click(lambda: gr.update(selected=SUBMIT), None, tabs, **QUIET)
        _fill_on_changes(live, table_tabs, shared, active)

        def picked(names: list[str], sent: Sent, event: gr.SelectData) -> list[Any]:
            """Open the page of the model whose name was selected."""
            row, column = event.index
            if column != MODEL_COLUMN or row >= len(names):
                return [gr.skip()] * 3
            return [gr.update(selected=MODEL), *_listing(live.board, sent, MODEL, names[row])]

        for tab in table_tabs.values():
            chosen = [tab.outputs.names, listed]
            tab.outputs.table.select(picked, chosen, [tabs, entry, listed], **QUIET)

        def opened(sent: Sent, request: gr.Request) -> list[Any]:
            """Show a newer board, and open the entry that the address names."""
            live.look()
            now = live.board
            changed = [gr.skip()] * (1 + len(Controls._fields))
            if now is not board:
                changed = [texts.heading(now), *refreshed(now)]
            if (named := now.entry(request.query_params.get("entry"))) is None:
                return [*changed, *[gr.skip()] * 3]
            tab = gr.update(selected=MODEL)
            return [*changed, tab, *_listing(now, sent, MODEL, named.name)]

        blocks.load(opened, listed, [heading, *shared, tabs, entry, listed], **QUIET)
    return blocks


def _table_tabs(views: Views, values: Sequence[Any]) -> dict[str, Tab]:
    """Create the tabs with tables; the first is filled."""
    made: dict[str, Tab] = {}
    first = views.opening()
    with gr.Tab("Overall", id="overall") as item:
        category = _choice(categories(), first)
        filled = views.overall(values, first)
        made["overall"] = Tab(item, views.overall, (category,), _outputs("overall", filled))
    with gr.Tab("By kind", id="kind") as item:
        kind = _choice(kinds(), next(iter(kinds())))
        made["kind"] = Tab(item, views.kind, (kind,), _outputs("kind"))
    with gr.Tab("Capabilities", id="capability") as item:
        with gr.Row():
            category = _choice(categories(), first)
            grouping = gr.Radio(list(CAPABILITIES), value="landform", label="Columns")
        inputs = (category, grouping)
        made["capability"] = Tab(item, views.capability, inputs, _outputs("capability"))
    with gr.Tab("Efficiency", id="efficiency") as item:
        category = _choice(categories(), first)
        made["efficiency"] = Tab(item, views.efficiency, (category,), _outputs("efficiency"))
    return made


def _choice(sets: Mapping[str, TaskSet], value: str) -> gr.Radio:
    """Choice of a set of tasks."""
    options = [(f"{name.capitalize()} ({len(tasks.tasks)})", name) for name, tasks in sets.items()]
    return gr.Radio(options, value=value, label="Tasks")


def _outputs(name: str, filled: Filled | None = None) -> Outputs:
    filled = filled or Filled("", Table())
    return Outputs(
        caption=gr.HTML(filled.caption),
        table=gr.Dataframe(
            filled.table.value,
            datatype=filled.table.kinds,
            interactive=False,
            max_height=HEIGHT,
            buttons=["fullscreen"],
            pinned_columns=2,
            show_label=False,
            elem_id=f"table-{name}",
            elem_classes="board",
        ),
        names=gr.State(filled.table.names),
        picture=gr.HTML(filled.picture, elem_classes="pictures", visible=bool(filled.picture)),
    )


def _fill_on_changes(
    live: Live, tabs: Mapping[str, Tab], shared: Controls, active: gr.State
) -> None:
    """Fill the active tab when a filter or choice changes, and when it is selected if need be."""
    inputs: list[Any] = [*shared, *(part for tab in tabs.values() for part in tab.inputs)]
    outputs = [part for tab in tabs.values() for part in tab.outputs]

    def key(values: Sequence[Any]) -> str:
        return json.dumps([live.board.loaded, *values])

    # Gradio selects the first tab when the page opens, with the values that filled it.
    filled = gr.State({"overall": key([part.value for part in inputs])})

    def fill(name: str, before: Mapping[str, str], *values: Any) -> list[Any]:
        filters, own = values[: len(shared)], list(values[len(shared) :])
        updates: list[Any] = []
        for other, tab in tabs.items():
            choices = [own.pop(0) for _ in tab.inputs]
            if other == name:
                updates += _updates(tab.fill(filters, *choices))
            else:
                updates += [gr.skip()] * len(tab.outputs)
        return [{**before, name: key(values)}, *updates]

    changes = [part.change for part in inputs]
    gr.on(
        changes,
        fill,
        [active, filled, *inputs],
        [filled, *outputs],
        trigger_mode="always_last",
        **QUIET,
    )
    for name, tab in tabs.items():

        def select(before: Mapping[str, str], *values: Any, name: str = name) -> list[Any]:
            if before.get(name) == key(values):
                return [name, *[gr.skip()] * (1 + len(outputs))]
            return [name, *fill(name, before, *values)]

        tab.item.select(select, [filled, *inputs], [active, filled, *outputs], **QUIET)


def _updates(filled: Filled) -> list[Any]:
    table = gr.update(value=filled.table.value, datatype=filled.table.kinds)
    picture = gr.update(value=filled.picture, visible=bool(filled.picture))
    return [filled.caption, table, filled.table.names, picture]


Sent = Mapping[str, str]
"""Time of the board whose entries the menus of a tab hold, by tab."""


def _listing(board: Board, sent: Sent, tab: str, *values: str) -> list[Any]:
    """Update the menus of a tab: their entries, which no page holds from the start, and values.

    Args:
        board: The board.
        sent: Entries that the page holds.
        tab: The tab.
        values: New value of each menu; none to keep them.

    Returns:
        An update of each menu, and the entries that the page holds now.
    """
    choices: dict[str, Any] = {}
    if sent.get(tab) != board.loaded:
        choices["choices"] = [(full_name(entry), entry.name) for entry in board.entries]
    menus = [{**choices, "value": value} for value in values] or [choices] * MENUS[tab]
    updates = [gr.update(**menu) if menu else gr.skip() for menu in menus]
    return [*updates, {**sent, tab: board.loaded}]


def _compare(live: Live, shared: Controls, tab: gr.Tab, listed: gr.State) -> None:
    """Create the tab that compares two entries."""
    with gr.Row():
        common: dict[str, Any] = {"value": None, "min_width": 300}
        first = gr.Dropdown([], label="Entry", elem_id="first", **common)
        second = gr.Dropdown([], label="Compared with", elem_id="second", **common)
    page = gr.HTML("<p>Choose two entries.</p>", elem_id="pair")

    def fill(metric: str, *chosen: str | None) -> Any:
        entries = [entry for name in chosen if (entry := live.board.entry(name)) is not None]
        if len(entries) < 2:
            return gr.skip()
        return pages.pair_page(entries[0], entries[1], Choice(metric))

    def select(sent: Sent) -> list[Any]:
        return _listing(live.board, sent, COMPARE)

    tab.select(select, listed, [first, second, listed], **QUIET)
    inputs = [shared.metric, first, second]
    changes = [shared.metric.change, first.change, second.change]
    gr.on(changes, fill, inputs, page, **SLOW)


def _model(live: Live, shared: Controls, tab: gr.Tab, listed: gr.State) -> gr.Dropdown:
    """Create the tab of a single entry."""
    chosen = gr.Dropdown([], value=None, label="Entry", elem_id="entry")
    page = gr.HTML("<p>Choose an entry, or select a model in a table.</p>", elem_id="model")

    def fill(metric: str, name: str | None) -> Any:
        board = live.board
        entry = board.entry(name)
        return (
            gr.skip() if entry is None else pages.model_page(entry, board.entries, Choice(metric))
        )

    def select(sent: Sent) -> list[Any]:
        return _listing(live.board, sent, MODEL)

    tab.select(select, listed, [chosen, listed], **QUIET)
    gr.on([shared.metric.change, chosen.change], fill, [shared.metric, chosen], page, **SLOW)
    return chosen


def _upload(live: Live, labels: Labels) -> None:
    """Create the upload that runs the check of submissions."""
    file = gr.File(label="Archive of a submission", file_types=ARCHIVES, elem_id="archive")
    page = gr.HTML(upload.EMPTY, elem_id="check")

    def fill(path: str | None) -> list[Any]:
        # The archive is deleted, so the field becomes empty: a link to it would lead nowhere.
        return [upload.checked(path, live, labels), None]

    # A check needs memory: one at a time.
    file.upload(fill, file, [page, file], concurrency_limit=1, **SLOW)
