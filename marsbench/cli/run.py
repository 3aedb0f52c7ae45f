"""``marsbench run``: train and test a model on a task."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say

if TYPE_CHECKING:
    from marsbench.plan.resolve import Plan
    from marsbench.results.record import RunRecord


_INTERRUPTED = (
    "The run was interrupted; the same command continues after its last saved epoch (heads on "
    "cached features start again, in seconds)."
)
_ASKED_IN_PART = (
    "The run was interrupted; the same command continues. Kept answers of an endpoint are not "
    "asked again."
)


@friendly
def run(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="task=NAME model=NAME ...; `marsbench list keys` shows all keys.",
            autocompletion=complete.run_words,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved config and run id; do not train.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run again; an existing run is moved aside.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Train and test a model on a task, and write a record.

    For example: marsbench run task=frost_cls model=vit_tiny mode=scratch source=demo

    A finished run is not repeated; an interrupted run continues after its last saved epoch.
    """
    from marsbench.cli.compose import compose

    config = compose(words or [])
    if dry_run:
        from marsbench.plan.resolve import resolve

        _print_plan(resolve(config), form)
        return
    from marsbench.api import run_config
    from marsbench.base import environment
    from marsbench.config.schema import Mode
    from marsbench.results.store import Store

    try:
        outcome = run_config(config, force=force)
    except (KeyboardInterrupt, SystemExit):
        if environment.helps_another(config.world_size):
            raise  # only the first of several training processes prints
        note(_INTERRUPTED if config.mode is not Mode.ZERO_SHOT else _ASKED_IN_PART)
        raise
    folder = Store(config.store).folder(outcome.record.run_id)
    if outcome.was_done:
        note("Already done; nothing was changed (--force runs it again).")
    print_summary(outcome.record, str(folder), form, was_done=outcome.was_done)


def _print_plan(plan: "Plan", form: Format) -> None:
    from marsbench.models.spec import Library

    resolved = {
        "run_id": plan.run_id,
        "config": plan.config.to_dict(),
        "identity": plan.identity,
        "data": plan.source.where,
        "samples": plan.num_samples,
        "subset_origin": plan.selection.origin,
        "train_counts": plan.train_counts,
        "num_draws": len(plan.balance.draws),
        "loss": str(plan.loss),
        "outputs": plan.num_outputs,
    }
    if plan.model.library is Library.API:
        from marsbench.training.zero_shot.endpoint.bill import estimate

        tokens = estimate(plan)
        resolved["estimate"] = {**asdict(tokens), "cost_usd": tokens.cost(plan.config.api)}
    if form.is_json:
        say(json.dumps(resolved))
        return
    import yaml

    say(yaml.safe_dump(resolved, sort_keys=False).rstrip())


def print_summary(record: "RunRecord", folder: str, form: Format, *, was_done: bool) -> None:
    """Print a summary of a record."""
    if form.is_json:
        summary = {
            "run_id": record.run_id,
            "status": "done already" if was_done else "done",
            "headline": record.headline,
            "score": record.score,
            "metrics": record.metrics,
            "folder": folder,
        }
        say(json.dumps(summary))
        return
    from marsbench.config.schema import Mode

    names = [n for n in record.metrics[record.scored_split] if "/" not in n]
    rows = [
        {
            "metric": f"{name} *" if name == record.headline else name,
            **{
                s: f"{record.metrics[s][name]:.4f}" if name in record.metrics[s] else ""
                for s in record.metrics
            },
        }
        for name in names
    ]
    say(record.run_id)
    print_rows(rows, Format.TABLE, "", right=tuple(record.metrics))
    data, checkpoint = record.data, record.checkpoint
    weights = "random weights" if record.weights is None else str(record.weights["name"])
    parameters = record.parameters
    say(f"*          headline metric of {record.task} ({record.kind})")
    counts = [f"{data[f'num_{s}']} {s}" for s in ("train", "val", "test") if f"num_{s}" in data]
    say(f"data       {data['revision']} ({data['source']}): {', '.join(counts)}")
    if record.scored_split != "test":
        say("           oof: train samples, each predicted by the model of the other folds")
    if record.mode == Mode.ZERO_SHOT:
        say(f"model      {record.model}, {record.mode}; nothing trained")
        for line in _answers(record):
            say(line)
    else:
        say(
            f"model      {record.model}, {record.mode}, from {weights}; "
            f"{parameters['trained']:,} of {parameters['total']:,} parameters trained"
        )
        say(f"training   {_training(checkpoint)}")
    timing = record.timing
    say(
        f"time       data {timing['data']:.1f} s, train {timing['train']:.1f} s, "
        f"eval {timing['eval']:.1f} s on {record.device}"
    )
    say(f"record     {folder}/record.json")


def _answers(record: "RunRecord") -> Iterator[str]:
    """Lines about the answers of a generative model; none for other models."""
    from marsbench.training.zero_shot.endpoint.bill import dollars

    facts, scores = record.data.get("zero_shot", {}), record.scores
    if "refused" in scores:
        reasons = ", ".join(f"{n} {reason}" for reason, n in facts.get("unanswered", {}).items())
        unanswered = f"{scores['unanswered']:.1%} without a valid answer"
        yield f"answers    {unanswered}{f' ({reasons})' if reasons else ''}"
    if paid := facts.get("bill"):
        cost = paid["cost_usd"]
        price = "prices unknown" if cost is None else dollars(cost)
        tokens = " and ".join(
            f"{'unknown' if paid[key] is None else format(paid[key], ',')} {word}"
            for key, word in (("input_tokens", "input"), ("output_tokens", "output"))
        )
        yield f"bill       {tokens} tokens, {price}, of {facts.get('model')}"


def _training(checkpoint: Mapping[str, Any]) -> str:
    """Epochs trained and the choice of the tested epoch, in words."""
    if folds := checkpoint.get("folds"):
        return f"{len(folds)} models, one per fold"
    if "epoch" not in checkpoint:
        return "fitted at once"
    chosen = f"chosen by {checkpoint['chosen_by']} {checkpoint.get('value', 0):.4f}"
    return (
        f"{checkpoint['epochs_trained']} epochs; tested epoch {checkpoint['epoch'] + 1}, "
        f"{'the last' if checkpoint['chosen_by'] == 'last' else chosen}"
    )
