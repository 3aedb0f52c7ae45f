"""Record of a run, with all information to repeat it."""

import json
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, NamedTuple, TypedDict

from marsbench.base.documents import parse_json
from marsbench.base.errors import StoreError, some
from marsbench.base.text import inline
from marsbench.base.values import Limit, Problem, build, check, shown, to_plain
from marsbench.config.identity import digest, is_run_id
from marsbench.config.schema import MOST_SIDE
from marsbench.models.pretraining import UNKNOWN, Pretraining
from marsbench.tasks.spec import READING, TaskSpec

SCHEMA_VERSION = 1

RUN = "run"
IMPORTED = "imported"
EVALUATION = "evaluation"
"""Types of records; `marsbench.results.ensemble` has its own."""

MOST_CLASSES = 10_000
"""Largest number of classes, each with outputs of a model that is built from a record."""


class DataFields(TypedDict, total=False):
    """Known keys of `RunRecord.data`, among further keys."""

    source: str
    revision: str
    scored_split: str
    folds_digest: str
    classes: list[str]
    num_train: int | None
    train_counts: dict[str, int] | None
    subset_origin: str
    subset_digest: str
    test_digest: str
    zero_shot: dict[str, Any]
    task: dict[str, Any]
    inputs: dict[str, Any]
    notes: list[str]


class CheckpointFields(TypedDict, total=False):
    """Known keys of `RunRecord.checkpoint`, among further keys."""

    epoch: int
    epochs_trained: int


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Result of a run.

    Attributes:
        run_id: ``task/model/mode/subset/seed-HASH``.
        task: Task name.
        kind: Kind of the task; multilabel for masks recast as labels by mode zero_shot.
        model: Model name, aliases resolved.
        mode: scratch, frozen, finetune or zero_shot.
        subset: Subset of the train split.
        seed: Seed.
        protocol: online, cached or upstream; never mixed in reports.
        headline: Name of the headline metric.
        metrics: For val and test, metric name to value.
        config: Resolved configuration.
        identity: Choices behind HASH.
        data: Source, revision, class names in the order of their ids, bands and sizes of the task,
            samples per split, and origin and digest of the subset.
        weights: Pre-trained weights; None for random weights.
        checkpoint: Tested epoch (from 0), its validation loss, and number of trained epochs.
        timing: Seconds for data, train and eval in the process that finished the run, and the
            epoch of resumption if any.
        peak_memory: Peak bytes of the process (host), of tensors on the device, and reserved there
            by torch's allocator (device_reserved).
        parameters: Number of parameters, total and trained.
        device: Name of the device.
        environment: Versions of Python and packages, operating system.
        git: Commit of the code and whether there were uncommitted changes; None outside a checkout.
        created: Time of writing, UTC, ISO 8601.
        record_type: run, ensemble, imported (from another code base), or evaluation.
        parents: Ids of the source records.
        pretraining: Data behind the pre-trained weights; `UNKNOWN` in records of earlier versions.
        schema_version: Version of this layout.
    """

    run_id: str
    task: str
    kind: str
    model: str
    mode: str
    subset: str
    seed: int
    protocol: str
    headline: str
    metrics: dict[str, dict[str, float]]
    config: dict[str, Any]
    identity: dict[str, Any]
    data: Annotated[dict[str, Any], DataFields]
    weights: dict[str, Any] | None
    checkpoint: Annotated[dict[str, Any], CheckpointFields]
    timing: dict[str, float]
    peak_memory: dict[str, int]
    parameters: dict[str, int]
    device: str
    environment: dict[str, str]
    git: dict[str, Any] | None
    created: str
    record_type: str = RUN
    parents: list[str] = field(default_factory=list)
    pretraining: Pretraining = UNKNOWN
    schema_version: Annotated[int, Limit(low=1)] = SCHEMA_VERSION

    def __repr__(self) -> str:
        """Id, headline metric and samples, in two lines; `to_json` has all fields."""
        score = "undefined" if self.score is None else f"{self.score:.4f}"
        count = self.data.get("num_train" if self.scored_split == "oof" else "num_test")
        samples = "" if count is None else f" ({count} samples)"
        kind = "" if self.record_type == RUN else f" ({self.record_type})"
        lines = (
            f"RunRecord{kind} {self.run_id}",
            f"  {self.headline} {score} on {self.scored_split}{samples}",
        )
        return "\n".join(map(inline, lines))

    @property
    def imbalance(self) -> str:
        """Method for unequal classes; none for no method."""
        return str(self.identity.get("imbalance", "none"))

    @property
    def train_on(self) -> str | None:
        """Group of the train and validation samples, as ``FIELD:VALUE``; None for all samples."""
        group = self.identity.get("train_on")
        return None if group is None else str(group)

    @property
    def score(self) -> float | None:
        """Headline metric on the scored split; None if undefined."""
        return self.scores.get(self.headline)

    @property
    def scores(self) -> dict[str, float]:
        """All metrics on the scored split."""
        return self.metrics.get(self.scored_split, {})

    @property
    def train_seconds(self) -> float | None:
        """Seconds of training; None if unknown, as for resumed runs, which time the rest alone."""
        return None if "resumed_from_epoch" in self.timing else self.timing.get("train")

    @property
    def scored_split(self) -> str:
        """The scored split: test, or oof for cross-validation of data without a test split.

        ``oof`` is the train split, with each fold predicted by a model of the other folds.
        """
        return str(self.data.get("scored_split", "test"))

    @property
    def input_size(self) -> int | None:
        """Side of the model's input in pixels; None if images are not resized.

        Raises:
            StoreError: If it is invalid, or so large that the model does not fit into memory.
        """
        return self._size("input_size", self.identity.get("input_size"), MOST_SIDE)

    @property
    def num_outputs(self) -> int:
        """Number of output nodes of the model.

        Raises:
            StoreError: As for `input_size`.
        """
        classes = self.data.get("classes")
        stated = self.identity.get("outputs")
        count = len(classes or ()) if stated is None else stated
        return self._size("outputs", count, MOST_CLASSES) or 0

    def _size(self, key: str, value: Any, most: int) -> int | None:
        if value is None or (type(value) is int and 1 <= value <= most):
            return value
        raise StoreError(
            f"The record of {self.run_id} has {key} {shown(value)}; expected 1 to {most:,}.",
            "Remove its folder and run it again.",
        )

    def task_as_run(self, spec: TaskSpec) -> TaskSpec:
        """Task with the bands, channels and sizes of the run, whatever its file says today.

        Args:
            spec: The task by its file or the catalogue; unchanged for records without these fields.

        Raises:
            StoreError: If the record's fields are invalid.
        """
        problems: list[Problem] = []
        omit = {item.name for item in fields(TaskSpec)} - set(READING)
        valid = check(TaskSpec, self.data.get("task", {}), problems, strict=True, omit=omit)
        if problems:
            details = some((problem.message for problem in problems), " ")
            raise StoreError(
                f"The task in the record of {self.run_id} is invalid. {details}", "Run it again."
            )
        return replace(spec, **valid)

    def evaluated(self, **fields: Any) -> "RunRecord":
        """Record of an evaluation of this run: its facts, except for the given fields."""
        own = {"parents": [self.run_id], "schema_version": SCHEMA_VERSION, **fields}
        return replace(self, record_type=EVALUATION, **own)

    def to_json(self) -> str:
        """Write the record as JSON.

        Raises:
            StoreError: If a number is not finite.
        """
        try:
            return json.dumps(to_plain(self), indent=2, allow_nan=False) + "\n"
        except ValueError as error:
            raise StoreError(f"The record of {self.run_id} contains NaN or infinity.") from error

    @classmethod
    def from_json(cls, text: str, where: str) -> "RunRecord":
        """Read a record.

        Args:
            text: JSON.
            where: Path, for messages.

        Raises:
            StoreError: If the text is truncated or of a newer schema, a field is missing, unknown
                or of another type, or the id does not follow from the identity.
        """
        remedy = "Remove its folder and run it again."
        try:
            content = parse_json(text)
        except ValueError as error:
            raise StoreError(f"{where} is not a complete record ({error}).", remedy) from error
        if not isinstance(content, dict):
            raise StoreError(f"{where} is not a record; expected a JSON object.", remedy)
        version = content.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise StoreError(
                f"{where} has schema version {version}; this marsbench reads up to "
                f"{SCHEMA_VERSION}.",
                "Update marsbench.",
            )
        problems: list[Problem] = []
        record = build(cls, content, problems, strict=True)
        if record is None:
            details = some((problem.message for problem in problems), " ")
            raise StoreError(f"{where} is an invalid record. {details}", remedy)
        if odd := [i for i in (record.run_id, *record.parents) if not is_run_id(i)]:
            raise StoreError(
                f"{where} has the run id '{inline(odd[0][:80])}'; expected "
                "task/model/mode/subset/seed-HASH.",
                remedy,
            )
        members = record.identity.get("members", record.parents)
        if not record.run_id.endswith(digest(record.identity)[:10]) or members != record.parents:
            raise StoreError(
                f"{where} was changed: its run_id does not follow from its identity.", remedy
            )
        return record


class Outcome(NamedTuple):
    """Outcome of a request for a run.

    Attributes:
        record: Record.
        was_done: Whether the record existed before.
    """

    record: RunRecord
    was_done: bool
