"""Text of a card, from records and the task's facts alone."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from marsbench.base import hub
from marsbench.base.hub import HubAddress
from marsbench.base.keys import flatten
from marsbench.base.version import __version__
from marsbench.config.schema import Mode, OptimName, SourceName
from marsbench.leaderboard.card.facts import data_of, pretraining_of, settings_of
from marsbench.leaderboard.card.markdown import Markdown, code, escaped
from marsbench.leaderboard.card.picture import Picture
from marsbench.leaderboard.card.scores import Score, class_scores, lowest_class
from marsbench.leaderboard.card.subject import Subject
from marsbench.models.own.calling import PREFIX as OWN
from marsbench.models.pretraining import OVERLAP_WARNING
from marsbench.report.statistics.summary import LEVEL, ROUNDS
from marsbench.results.record import RunRecord
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind
from marsbench.tasks.spec import TaskSpec

_TEMPLATE = "card.md.j2"

_HEADS = {
    **dict.fromkeys(LABELS, "head"),
    **dict.fromkeys(MASKS, "decoder"),
    **dict.fromkeys(BOXES, "feature pyramid and heads"),
}
"""Trained part of a frozen model."""

_OUTPUTS: dict[Kind, str] = {
    Kind.BINARY: "one of two labels for every {item}",
    Kind.MULTICLASS: "one label for every {item}",
    Kind.MULTILABEL: "a probability for each label of every {item}",
    Kind.SEGMENTATION: "a class for every pixel",
    Kind.DETECTION: "boxes around objects",
}

_CLOSED: dict[Kind, str] = {
    **dict.fromkeys(
        (Kind.BINARY, Kind.MULTICLASS),
        "Every {item} gets one of the {count} classes, whatever it shows.",
    ),
    Kind.MULTILABEL: "Only the {count} labels of the data are predicted.",
    Kind.SEGMENTATION: "Every pixel gets one of the {count} classes, whatever it shows.",
    Kind.DETECTION: "Only objects of the {count} classes are found.",
}

_CLASS_ROWS = 60
"""Largest number of classes in the table of classes."""


def card_text(
    subject: Subject,
    scores: Sequence[Score],
    pictures: Sequence[Picture],
    files: Mapping[str, str],
    *,
    address: HubAddress | None,
    licence: str | None,
) -> str:
    """Write the text below the metadata.

    Args:
        subject: Runs of the card.
        scores: Their scores, the headline first.
        pictures: Pictures beside the card.
        files: Content of each file beside the card, by name.
        address: Repository of the model; None if it is not published.
        licence: The hub's identifier of the model's licence; None if unstated.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - `finalize` escapes every value, for Markdown
        finalize=escaped,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = code
    environment.filters["number"] = _number
    task, record = subject.task, subject.published
    by_class = class_scores(subject)
    text = environment.get_template(_TEMPLATE).render(
        record=record,
        task=task,
        title=task.title or task.name,
        model=code(record.model),
        mode_words=_mode(record, task),
        collection=" of Mars-Bench" if task.collection == "mars_bench" else "",
        version=record.environment.get("marsbench", __version__),
        scored=_scored(record, task),
        estimates=_estimates(len(subject.records)),
        seeds=[r.seed for r in subject.records],
        scores=scores,
        class_metrics=[*by_class],
        class_rows=_class_rows(by_class, record),
        class_note=_class_note(len(subject.records)),
        pictures=pictures,
        use=_use(task),
        limits=list(_limits(subject, by_class)),
        command=Markdown(_command(task, record, address)),
        needs=_needs(task, record, address),
        settings=settings_of(subject),
        runs=[r.run_id for r in subject.records],
        pretraining=pretraining_of(record),
        data=data_of(task, record),
        notes=task.notes,
        citation=task.citation,
        files=files.items(),
        licence=_licence(licence),
    )
    return text.rstrip() + "\n"


def _number(value: float) -> str:
    return "" if not math.isfinite(value) else f"{value:.3f}"


def _item(task: TaskSpec) -> str:
    return "measurement" if task.is_spectra else "pair of images" if task.is_pairs else "image"


def _head(record: RunRecord, task: TaskSpec) -> str:
    """Part of a frozen model that its run fitted."""
    is_knn = flatten(record.identity).get("optim.name") == OptimName.KNN
    return "classifier of nearest neighbours" if is_knn else f"trained {_HEADS[task.kind]}"


def _mode(record: RunRecord, task: TaskSpec) -> str:
    if record.mode == Mode.SCRATCH:
        return "trained without pre-training"
    if record.mode == Mode.FROZEN:
        return f"a frozen pre-trained backbone with a {_head(record, task)}"
    return "pre-trained, all weights fine-tuned"


def _scored(record: RunRecord, task: TaskSpec) -> str:
    item = _item(task)
    if record.scored_split == "test":
        count = record.data.get("num_test")
        return f"Scores on the test split{f' of {count:,} {item}s' if count else ''}."
    folds = record.config.get("folds")
    return (
        f"Scores on the train split, each {item} predicted by a model of the other folds "
        f"({folds}-fold cross-validation)."
    )


def _estimates(count: int) -> str:
    if count == 1:
        return "One seed: the spread over seeds is unknown."
    return (
        f"Intervals are {LEVEL} percentile intervals of {ROUNDS:,} bootstrap rounds over "
        f"{count} seeds."
    )


def _class_rows(
    by_class: Mapping[str, Mapping[str, float]], record: RunRecord
) -> list[tuple[str, list[float]]]:
    names = [str(name) for name in record.data["classes"]]
    if not by_class or len(names) > _CLASS_ROWS:
        return []
    return [(n, [values.get(n, math.nan) for values in by_class.values()]) for n in names]


def _class_note(count: int) -> str:
    return "Scores of classes are means over the seeds." if count > 1 else ""


def _use(task: TaskSpec) -> str:
    origin = ", ".join(filter(None, (task.sensor, task.mission)))
    given = _OUTPUTS[task.kind].format(item=_item(task))
    return (
        f"For research: {given}, for data like the training data"
        f"{f' ({origin})' if origin else ''}. Check a sample of the predictions by eye before "
        "relying on them."
    )


def _limits(subject: Subject, by_class: dict[str, dict[str, float]]) -> Iterator[str]:
    task, record = subject.task, subject.published
    item, count = _item(task), len(record.data["classes"])
    trained = record.data.get("num_train")
    amount = f"{trained:,} {item}s of " if isinstance(trained, int) else ""
    yield (
        f"Trained on {amount}a single data set; other instruments, resolutions and illuminations "
        "are untested."
        if not task.is_spectra
        else f"Trained on {amount}a single data set; other instruments are untested."
    )
    if record.data.get("source") == SourceName.DEMO:
        yield "Trained and scored on demo data, which are drawn, not measured."
    yield _CLOSED[task.kind].format(item=item, count=count)
    lowest = lowest_class(by_class)
    if lowest is not None and count > 1:
        metric, name, value = lowest
        yield f"Lowest score of a class: {name} with {metric} {value:.2f}."
    overlaps = record.pretraining.overlaps
    if overlaps and task.name in overlaps:
        yield OVERLAP_WARNING
    yield "Scores depend on the labels of the data set, which may contain mistakes."
    yield "Not tested for operations, such as the choice of landing sites or traverses."


def _command(task: TaskSpec, record: RunRecord, address: HubAddress | None) -> str:
    own = " --model ./my_encoder.py" if record.model.startswith(OWN) else ""
    place = f"{hub.PREFIX}ORG/NAME" if address is None else str(address)
    if not task.is_spectra:
        return f"marsbench predict {shlex.quote(place)} IMAGES... --out predicted{own}"
    repo = "ORG/NAME" if address is None else address.repo
    return (
        f"hf download {repo} --local-dir model\n"
        f"marsbench spectra submission model --root CHALLENGE{own}"
    )


def _needs(task: TaskSpec, record: RunRecord, address: HubAddress | None) -> Markdown:
    """Weights that the files of the card lack."""
    lines = [] if address is not None else ["ORG/NAME is the repository of these files."]
    if record.model.startswith(OWN):
        lines.append(
            "The architecture is the author's own code, which is not among the files: name it with "
            "--model."
        )
    if record.mode == Mode.FROZEN and record.weights is not None:
        name, path = record.weights.get("name"), record.weights.get("path")
        head = f"The weights here are those of the {_head(record, task)} alone."
        if path is None and record.model.startswith(OWN):
            lines.append(f"{head} The backbone's weights, {code(name)}, come with that code.")
        elif path is None:
            lines.append(
                f"{head} The backbone's weights, {code(name)}, come from their publisher and are "
                "checked by their digest."
            )
        elif hub.is_address(str(path)):
            lines.append(f"{head} The backbone's weights come from {code(path)}.")
        else:
            lines.append(
                f"{head} The backbone's weights are the author's file "
                f"{code(PurePath(str(path)).name)} ({code(name)}), to be put beside the files here."
            )
    return Markdown(" ".join(lines))


def _licence(licence: str | None) -> str:
    if licence is None:
        return "The author states no licence for the weights; those of data and pre-training apply."
    return f"Licence of the weights: {licence}."
