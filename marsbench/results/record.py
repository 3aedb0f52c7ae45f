"""The record of one run: immutable, and enough to repeat it."""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, TypedDict

from marsbench.base.errors import StoreError, some
from marsbench.base.values import Problem, build
from marsbench.config.identity import digest

SCHEMA_VERSION = 1

IMPORTED = "imported"


class DataFields(TypedDict, total=False):
    """What `RunRecord.data` may say, of what others read; it may say more."""

    source: str
    revision: str
    scored_split: str
    classes: list[str]
    num_train: int | None
    train_counts: dict[str, int] | None
    subset_origin: str
    subset_digest: str
    notes: list[str]


class CheckpointFields(TypedDict, total=False):
    """What `RunRecord.checkpoint` may say, of what others read; it may say more."""

    epoch: int
    epochs_trained: int


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Result of one run.

    Attributes:
        run_id: ``task/model/mode/subset/seed-HASH``.
        task: Task name.
        kind: Its kind.
        model: Model name, aliases resolved.
        mode: scratch, frozen or finetune.
        subset: Subset of the train split.
        seed: Seed.
        protocol: How the run met its data; reports never mix two.
        headline: Name of the metric the task is judged by.
        metrics: For val and test, metric name to value.
        config: The resolved configuration.
        identity: What HASH is made of.
        data: Source, revision, class names in the order of their ids, samples per split, and
            origin and digest of the subset.
        weights: What training started from; None if from random weights.
        checkpoint: The epoch tested (from 0), its validation loss, and the epochs trained.
        timing: Seconds for data, train and eval in the process that finished the run, and
            the epoch it resumed from if it did.
        peak_memory: Peak bytes of the process (host) and of the device.
        parameters: Number of parameters, total and trained.
        device: Name of the device.
        environment: Versions of Python and packages, operating system.
        git: Commit of the code and whether it had uncommitted changes; None outside a checkout.
        created: When the record was written, UTC, ISO 8601.
        record_type: run, ensemble, imported (from another code base), or evaluation.
        parents: Ids of the records this one was made from.
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
    record_type: str = "run"
    parents: list[str] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    @property
    def imbalance(self) -> str:
        """How unequal classes were dealt with; none if they were left as they are."""
        return str(self.identity.get("imbalance", "none"))

    @property
    def score(self) -> float | None:
        """The headline metric on the scored split; None where it is not defined there."""
        return self.scores.get(self.headline)

    @property
    def scores(self) -> dict[str, float]:
        """All metrics on the scored split."""
        return self.metrics.get(self.scored_split, {})

    @property
    def scored_split(self) -> str:
        """The split that counts: test, or oof where it lacks and folds stand in for it.

        ``oof`` is the train split, each part predicted by the model of the other parts.
        """
        return str(self.data.get("scored_split", "test"))

    def to_json(self) -> str:
        """Write the record as JSON.

        Raises:
            StoreError: If a number is not finite.
        """
        try:
            return json.dumps(vars(self), indent=2, allow_nan=False) + "\n"
        except ValueError as error:
            raise StoreError(f"The record of {self.run_id} holds NaN or infinity.") from error

    @classmethod
    def from_json(cls, text: str, where: str) -> "RunRecord":
        """Read a record.

        Args:
            text: JSON.
            where: Its place, for messages.

        Raises:
            StoreError: If it is cut short or of a newer schema, a field is missing, unknown or of
                another type, or its id does not follow from its identity.
        """
        remedy = "Remove its folder and run it again."
        try:
            content = json.loads(text)
        except ValueError as error:
            raise StoreError(f"{where} is no whole record ({error}).", remedy) from error
        if not isinstance(content, dict):
            raise StoreError(f"{where} is no record.", remedy)
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
            raise StoreError(f"{where} is no record: {details}", remedy)
        if not record.run_id.endswith(digest(record.identity)[:10]):
            raise StoreError(
                f"{where} was changed: its run_id does not follow from its identity.", remedy
            )
        return record


class Outcome(NamedTuple):
    """What asking for a run gave.

    Attributes:
        record: Its record.
        was_done: Whether the record was there before.
    """

    record: RunRecord
    was_done: bool
