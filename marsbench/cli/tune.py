"""``marsbench tune``: choose hyperparameters by validation loss."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say

if TYPE_CHECKING:
    from marsbench.config.schema import RunConfig
    from marsbench.plan.resolve import Resolver
    from marsbench.plan.tuned import Choice
    from marsbench.sweep.launchers.settings import LauncherSettings
    from marsbench.sweep.tune import Tuning

VARIED = ("task", "model", "mode")


@friendly
def tune(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="task=A,B model=A,B mode=A,B; KEY=A,B of a tuned key replaces the space's "
            "values; any other key is set for all runs.",
            autocompletion=complete.run_words,
        ),
    ] = None,
    space: Annotated[
        str, typer.Option("--space", help="Values to try: paper (648 settings), quick or a YAML.")
    ] = "paper",
    search: Annotated[
        str, typer.Option("--search", help="grid, random or optuna (both with --trials).")
    ] = "grid",
    trials: Annotated[
        int | None,
        typer.Option("--trials", min=1, help="Number of settings to try with random or optuna."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the choices.")] = Path("tuned"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the number of settings; train nothing.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Choose hyperparameters by validation loss, for each task, model and mode.

    For example: marsbench tune task=frost_cls model=efficientnet_lite0 mode=frozen source=demo

    Frozen classification trains all settings together. The choices are small YAML files; `run` and
    `sweep` read them with hparams=tuned. The same command resumes an interrupted search.
    """
    from marsbench.plan.resolve import Resolver
    from marsbench.sweep.tune import check_search, chosen, searched

    check_search(search, trials)
    tunings, settings = _read(words or [], space)
    resolver = Resolver()
    if dry_run:
        _print_plan([(t, t.configs(trials)) for t in tunings], resolver, form)
        return
    tried = searched(tunings, search, trials, settings, resolver, note)
    choices, left = chosen(tried, resolver)
    for choice in choices:
        path = choice.write(out)
        note(f"{choice.task} {choice.model} {choice.mode}: {path}")
    _print_choices(choices, form)
    if choices:
        note(f"Next: {_next(words or [], choices[0], out)}")
    if left:
        note(
            f"{left:,} runs remain; repeat the command to continue. Settings are chosen at the end."
        )
    if len(choices) < len(tried) and not (left and settings.name == "slurm"):
        raise SystemExit(2)


def _next(words: list[str], choice: "Choice", out: Path) -> str:
    """Command line of a run with chosen settings."""
    from marsbench.base.keys import split
    from marsbench.plan.tuned import KEYS
    from marsbench.sweep.words import LAUNCHER

    left_out = {*KEYS, *VARIED, "hparams"}
    keys = [(word, word.partition("=")[0]) for word in words]
    fixed = [w for w, key in keys if key not in left_out and split(key)[0] != LAUNCHER]
    chosen = [f"{key}={getattr(choice, key)}" for key in VARIED]
    return shlex.join(["marsbench", "run", *chosen, *fixed, f"hparams={out}"])


def _read(words: list[str], space: str) -> "tuple[list[Tuning], LauncherSettings]":
    """Read the searches and the launcher's settings from the arguments."""
    import itertools

    from marsbench.base.keys import split
    from marsbench.cli.compose import compose, split_word
    from marsbench.plan.tuned import KEYS
    from marsbench.sweep.tune import load_space, tunings_of
    from marsbench.sweep.words import LAUNCHER, read_launcher

    pairs = [split_word(word) for word in words]
    settings = read_launcher(dict(pairs))[0]
    rest = [(key, value) for key, value in pairs if split(key)[0] != LAUNCHER]
    changes = {key: value.split(",") for key, value in rest if key in KEYS}
    values = load_space(space, changes)
    varied = {key: value.split(",") for key, value in rest if key in VARIED}
    fixed = [f"{key}={value}" for key, value in rest if key not in (*KEYS, *VARIED)]
    configs = []
    for chosen in itertools.product(*varied.values()):
        own = [f"{key}={value}" for key, value in zip(varied, chosen, strict=True)]
        configs.append(compose([*own, *fixed]))
    return tunings_of(configs, values), settings


def _print_plan(
    tried: "list[tuple[Tuning, list[RunConfig]]]", resolver: "Resolver", form: Format
) -> None:
    rows = [
        {
            "task": tuning.base.task,
            "model": tuning.base.model,
            "mode": str(tuning.base.mode),
            "protocol": str(resolver.plan_of(tuning.base).protocol),
            "settings": len(configs),
        }
        for tuning, configs in tried
    ]
    print_rows(rows, form, "Settings to try", right=("settings",))


def _print_choices(choices: "list[Choice]", form: Format) -> None:
    if form.is_json:
        for choice in choices:
            say(json.dumps(dataclasses.asdict(choice)))
        return
    rows = [
        {
            "task": choice.task,
            "model": choice.model,
            "mode": choice.mode,
            "val loss": f"{choice.loss:.4f}",
            "tried": choice.tried,
            **{key: str(value) for key, value in choice.set.items()},
        }
        for choice in choices
    ]
    if rows:
        print_rows(rows, form, "Chosen", right=("val loss", "tried"))
