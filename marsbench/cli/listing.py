"""``marsbench list``: tasks, models, suites and keys, without torch."""

from typing import TYPE_CHECKING

import typer

from marsbench.cli.choosing import ColumnsOption, SortOption, arrange
from marsbench.cli.output import Format, FormatOption, friendly, print_rows

if TYPE_CHECKING:
    from marsbench.models.spec import WeightSpec

app = typer.Typer(no_args_is_help=True, help="List tasks, models, suites or configuration keys.")


@app.command("tasks")
@friendly
def tasks(
    columns: ColumnsOption = None, sort: SortOption = None, form: FormatOption = Format.AUTO
) -> None:
    """List all tasks with kind, sensor, classes and split sizes."""
    from marsbench.demo.recipes import RECIPES
    from marsbench.tasks.catalog import TASKS

    rows = []
    for spec in TASKS.values():
        rows.append(
            {
                "task": spec.name,
                "kind": spec.kind.value,
                "sensor": spec.sensor,
                "classes": len(spec.classes),
                **{split: spec.sizes.get(split) for split in ("train", "val", "test")},
                "metric": spec.headline_metric,
                "demo": "yes" if spec.name in RECIPES else "",
            }
        )
    shown = arrange(rows, columns, sort)
    print_rows(
        shown,
        form,
        f"{len(rows)} tasks",
        right=("classes", "train", "val", "test"),
        first=tuple(shown[0])
        if columns
        else ("task", "kind", "classes", "train", "test", "metric", "val", "demo"),
        has_options=True,
    )


@app.command("models")
@friendly
def models(
    columns: ColumnsOption = None, sort: SortOption = None, form: FormatOption = Format.AUTO
) -> None:
    """List the model zoo with default weights; other models are timm:NAME or torchvision:NAME."""
    from marsbench.models.spec import kinds_of
    from marsbench.models.zoo.catalog import MODELS

    rows = [
        {
            "model": spec.name,
            "aliases": ", ".join(spec.aliases),
            "library": spec.architecture,
            "params (M)": spec.parameters,
            "input": spec.input_size,
            "weights": spec.weights.name if spec.weights else "",
            "trained on": _training_data(spec.weights),
            "licence": spec.weights.licence if spec.weights else "",
            "kinds": kinds_of(spec),
        }
        for spec in MODELS.values()
    ]
    shown = arrange(rows, columns, sort)
    print_rows(
        shown,
        form,
        f"{len(rows)} models",
        right=("params (M)", "input"),
        first=tuple(shown[0])
        if columns
        else ("model", "params (M)", "input", "weights", "licence"),
        has_options=True,
    )


def _training_data(weights: "WeightSpec | None") -> str:
    if weights is None:
        return ""
    return weights.data + (f" ({weights.images:,} images)" if weights.images else "")


@app.command("suites")
@friendly
def suites(form: FormatOption = Format.AUTO) -> None:
    """List all suites for `marsbench sweep suite=NAME`."""
    from marsbench.sweep.suites import expand, load_suite, suite_names

    loaded = [load_suite(name) for name in suite_names()]
    rows = [
        {"suite": s.name, "runs": len(expand(s, {})), "description": s.description} for s in loaded
    ]
    title = f"{len(rows)} suites"
    print_rows(rows, form, title, right=("runs",), first=("suite", "description"))


@app.command("keys")
@friendly
def keys(form: FormatOption = Format.AUTO) -> None:
    """List all keys of a run with defaults and meanings."""
    from marsbench.base.keys import flatten
    from marsbench.config.notes import key_notes
    from marsbench.config.schema import RunConfig

    defaults = flatten(RunConfig().to_dict())
    rows = [
        {"key": key, "default": defaults[key], "meaning": meaning}
        for key, meaning in key_notes().items()
    ]
    title = "Keys of `marsbench run KEY=VALUE ...`"
    print_rows(rows, form, title, first=("key", "meaning"))
