"""``marsbench model``: own encoders."""

from typing import Annotated

import typer

from marsbench.cli.output import Format, FormatOption, friendly, print_rows

app = typer.Typer(no_args_is_help=True, help="Check an own encoder.")


@app.callback()
def _group() -> None:
    """Keep `check` a command, as long as it is the only one."""


@app.command("check")
@friendly
def check(
    model: Annotated[
        str,
        typer.Argument(help="./my_encoder.py, ./my_encoder.py:function or package.module:function"),
    ],
    device: Annotated[
        str, typer.Option("--device", help="auto (a GPU if available), cpu, cuda or cuda:1.")
    ] = "auto",
    form: FormatOption = Format.AUTO,
) -> None:
    """Run an own encoder on generated inputs, and list its facts and all problems.

    For example: marsbench model check ./my_encoder.py
    """
    from marsbench.base.errors import ConfigError
    from marsbench.models.own.calling import call, describe, place_of
    from marsbench.models.own.checking import dense_problems, problems_of, weights_problems
    from marsbench.models.spec import SEGMENTATION, kinds_of
    from marsbench.predict.run import device_of

    place = place_of(model)
    if place is None:
        raise ConfigError(
            f"'{model}' names no function.",
            "Give ./my_encoder.py, ./my_encoder.py:function or package.module:function.",
        )
    spec = describe(place)
    facts = {
        "model": spec.name,
        "input": f"{spec.in_channels} x {spec.input_size} x {spec.input_size}",
        "parameters": f"{spec.parameters:.1f} million",
        "tasks": kinds_of(spec),
        "modes": ", ".join(sorted(spec.modes)),
        "digest": spec.id.partition("@")[2],
    }
    encoder = call(place, pretrained=True)
    facts["features"] = str(encoder.num_features)
    problems = problems_of(encoder, device_of(device))
    if spec.kinds >= SEGMENTATION:
        problems += dense_problems(encoder, device_of(device))
    if not problems:
        problems = weights_problems(encoder, lambda p: call(place, pretrained=p))
    rows = [{"fact": name, "value": value} for name, value in facts.items()]
    rows += [{"fact": "problem", "value": problem} for problem in problems]
    print_rows(rows, form, model)
    if problems:
        raise SystemExit(2)
