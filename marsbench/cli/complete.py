"""Shell completion of ``KEY=VALUE`` words and task names, without torch and hydra.

Shells append a space to a single match. A single matching key is therefore offered with its values,
so that the shell stops at ``key=`` and lists them.
"""

import contextlib
import io
import os
import re
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum

import typer

from marsbench.base.keys import flatten
from marsbench.cli.output import say

BASH = ("_MARSBENCH_COMPLETE", "complete_bash")
"""Environment variable and value by which the bash script requests matches."""

_PATHS = ("class_map", "root", "weights", "store")
"""Keys of paths, left to the shell's completion of file names."""

Match = tuple[str, str]
"""Completion and its description."""


def run_words(ctx: typer.Context, incomplete: str) -> list[Match]:
    """Complete a word of ``marsbench run``."""
    from marsbench.cli.compose import GROUPS
    from marsbench.config.notes import key_notes
    from marsbench.config.schema import config_keys

    notes = key_notes()
    meanings = {key: notes[key] for key in config_keys()}
    meanings |= {group: f"A choice for {group}.*" for group in GROUPS}
    return _words(incomplete, meanings, _given(ctx, "words"))


def sweep_words(ctx: typer.Context, incomplete: str) -> list[Match]:
    """Complete a word of ``marsbench sweep`` and ``marsbench status``."""
    from marsbench.config.notes import key_notes
    from marsbench.config.schema import config_keys

    notes = key_notes()
    meanings = {"suite": "Named set of runs", "launcher": "Launcher of the runs"}
    meanings |= {key: notes[key] for key in config_keys()}
    return _words(incomplete, meanings, _given(ctx, "words"))


def evaluate_words(ctx: typer.Context, incomplete: str) -> list[Match]:
    """Complete a run or a key of ``marsbench evaluate``."""
    from marsbench.config.notes import field_notes
    from marsbench.evaluate import settings

    notes = field_notes(settings)
    meanings = {"suite": "Named set of runs, with its evaluations"}
    meanings |= {key: notes[f"Settings.{key}"] for key in settings.setting_keys()}
    words = ctx.params.get("words") or ()
    values = dict(word.split("=", 1) for word in words if "=" in word)
    runs = _runs(values.get("store", "runs"), incomplete, words)
    return [*_words(incomplete, meanings, _given(ctx, "words")), *runs]


def run_ids(ctx: typer.Context, incomplete: str) -> list[Match]:
    """Complete a finished run of the store: its id, or the short form of listings."""
    store = ctx.params.get("store") or "runs"
    return _runs(str(store), incomplete, ctx.params.get("runs") or ())


def _runs(folder: str, incomplete: str, given: Collection[str] = ()) -> list[Match]:
    """Ids of a store that start as typed, and short forms once something is typed."""
    from marsbench.base.errors import StoreError
    from marsbench.results.find import finished_ids
    from marsbench.results.ids import short_ids
    from marsbench.results.store import Store

    try:
        short = short_ids(finished_ids(Store(folder)))
    except StoreError:
        return []
    names = dict.fromkeys(short, "")
    if incomplete:
        names |= {name: run_id for run_id, name in short.items() if name != run_id}
    return [
        (name, meaning)
        for name, meaning in sorted(names.items())
        if name.startswith(incomplete) and name not in given
    ]


def words_of(keys: Collection[str]) -> Callable[[typer.Context, str], list[Match]]:
    """Build the completion of an argument ``where`` with these keys."""

    def where_words(ctx: typer.Context, incomplete: str) -> list[Match]:
        from marsbench.config.notes import key_notes

        notes = key_notes()
        return _words(incomplete, {key: notes[key] for key in keys}, _given(ctx, "where"))

    return where_words


def task_names(incomplete: str) -> list[Match]:
    """Complete the name of a task."""
    from marsbench.tasks.catalog import TASKS

    return [(name, s.title) for name, s in TASKS.items() if name.startswith(incomplete)]


def suite_names(incomplete: str) -> list[Match]:
    """Complete the name of a suite."""
    from marsbench.sweep.suites import suite_names

    return [(name, "") for name in suite_names() if name.startswith(incomplete)]


def results_words(incomplete: str) -> list[Match]:
    """Complete a subcommand of ``marsbench results``; an empty word is not completed."""
    commands = {"import": "Import results", "export": "Write a table"}
    return [word for word in commands.items() if incomplete and word[0].startswith(incomplete)]


def _given(ctx: typer.Context, argument: str) -> set[str]:
    """Keys already on the command line."""
    return {word.partition("=")[0] for word in ctx.params.get(argument) or ()}


def _words(incomplete: str, meanings: dict[str, str], given: Collection[str]) -> list[Match]:
    key, separator, typed = incomplete.partition("=")
    if separator:
        values = _values(key, typed) if key in meanings else []
        return [(f"{key}={v}", note) for v, note in values if v.startswith(typed)]
    keys = [name for name in meanings if name.startswith(key) and name not in given]
    if len(keys) != 1:
        return [(f"{name}=", meanings[name]) for name in keys]
    (name,) = keys
    values = _values(name, "")
    if len(values) > 1:
        return [(f"{name}={value}", note) for value, note in values]
    default = [] if (usual := _default(name)) is None else [(f"{name}={usual}", "the default")]
    return [(f"{name}=", meanings[name]), *default]


def _values(key: str, typed: str) -> list[Match]:
    """Values of a key: choices, or the default of a number; none for paths."""
    from marsbench.cli.compose import GROUPS, group_choices
    from marsbench.config.schema import config_keys

    if key in _PATHS:
        return []
    special: dict[str, Callable[[], list[Match]]] = {
        "task": lambda: task_names(""),
        "model": lambda: list(_models(typed)),
        "subset": lambda: list(_subsets()),
        "suite": lambda: [(name, "") for name in group_choices("suite")],
        "launcher": lambda: [(name, "") for name in group_choices("launcher")],
    }
    if key in special:
        return special[key]()
    if key in GROUPS:
        return [(choice, "") for choice in group_choices(key)]
    if (hint := config_keys().get(key)) is None:
        return []
    if issubclass(hint, StrEnum):
        return [(member.value, "") for member in hint]
    if hint is bool:
        return [("true", ""), ("false", "")]
    return [(_default(key) or "", "the default")]


def _models(typed: str) -> Iterator[Match]:
    from marsbench.models.zoo.catalog import ALIASES, MODELS

    for name, spec in MODELS.items():
        yield name, spec.architecture
    for alias, name in ALIASES.items():
        yield alias, name
    if typed:
        # Only the zoo's entries: listing the libraries' thousands of models would load torch.
        for name, spec in MODELS.items():
            yield spec.architecture, name


def _subsets() -> Iterator[Match]:
    from marsbench.config.schema import PUBLISHED_PARTITIONS, PUBLISHED_SHOTS

    yield "full", "the full train split"
    for share in PUBLISHED_PARTITIONS:
        yield f"partition_{share}", ""
    for shots in PUBLISHED_SHOTS:
        yield f"few_shot_{shots}", ""


def _default(key: str) -> str | None:
    """Default of a key of a run; None for other keys."""
    from marsbench.config.schema import RunConfig

    values = flatten(RunConfig().to_dict())
    if key not in values:
        return None
    return "null" if values[key] is None else str(values[key])


def answer_bash(app: Callable[[], object]) -> None:
    """Answer bash: it splits words at ``=`` and ``:`` and expects only the last piece.

    Args:
        app: Command line, which completes whole words.
    """
    # Split at newlines: words may be empty or contain blanks.
    pieces = os.environ.get("COMP_WORDS", "").split("\n")
    current = int(os.environ.get("COMP_CWORD") or len(pieces) - 1)
    words, done = join_pieces(pieces[: current + 1])
    os.environ["COMP_WORDS"] = "\n".join(words)
    os.environ["COMP_CWORD"] = str(len(words) - 1)
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            app()
    finally:
        for line in answer.getvalue().splitlines():
            say(line.removeprefix(done))


def join_pieces(pieces: list[str]) -> tuple[list[str], str]:
    """Join the pieces of words split by bash at ``=`` and ``:``.

    Args:
        pieces: For example ``["marsbench", "run", "task", "=", "fro"]``.

    Returns:
        The words, ``["marsbench", "run", "task=fro"]``, and the completed part of the last word,
        ``"task="``.
    """
    words: list[str] = []
    done = ""
    was_break = False
    for piece in pieces:
        is_break = re.fullmatch("[=:]+", piece) is not None
        # An empty piece after a separator starts a new word.
        if words and (is_break or (was_break and piece)):
            done = words[-1] + (piece if is_break else "")
            words[-1] += piece
        else:
            done = ""
            words.append(piece)
        was_break = is_break
    return words, done
