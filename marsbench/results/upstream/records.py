"""Records of runs of the Mars-Bench code base."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marsbench.config.identity import run_id
from marsbench.config.schema import Mode
from marsbench.results.record import IMPORTED, RunRecord
from marsbench.results.upstream.names import HEADLINES, POSITIVE, PROTOCOL, SEEDS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec

NOTE = "Imported records hold scores of another code base, with its own protocol."
METRIC_NOTES = {
    POSITIVE: "For binary tasks, the F1 of imported records is the F1 of class 1, not "
    "comparable with the weighted F1 of other records.",
    HEADLINES[Kind.SEGMENTATION]: "The IoU of imported records is the mean over images, not "
    "comparable with the IoU over all pixels.",
}
EARTH_NOTE = (
    "The file gives one seed to all runs of an Earth observation model: its rows have the seeds of "
    "the paper in their order. The average of its F1 is not stated, and taken as weighted."
)
SERIES_NOTE = (
    "The file has further runs of the same Earth observation model, task and subset: each seven "
    "rows are a series."
)


@dataclass(frozen=True)
class UpstreamRun:
    """A run of the Mars-Bench code base.

    Attributes:
        task: Task.
        model: Our name of the model, or a name that the zoo lacks.
        mode: Mode.
        subset: Subset of the train split, spelt canonically.
        seed: Seed.
        is_earth: Whether it is a run of `EARTH_MODELS`, with other metrics.
        series: Number of its series, from 1; only Earth observation models have several.
    """

    task: TaskSpec
    model: str
    mode: Mode
    subset: str
    seed: int
    is_earth: bool = False
    series: int = 1

    @property
    def headline(self) -> str:
        """Headline metric."""
        known = {} if self.is_earth else HEADLINES
        return known.get(self.task.kind, self.task.headline_metric)

    def record(
        self, metrics: Mapping[str, float], origin: Mapping[str, Any], created: str
    ) -> RunRecord:
        """Build the record.

        Args:
            metrics: Metrics on the test split, by our names.
            origin: Source of the scores, kept as ``imported`` in the record's data.
            created: Time of writing, UTC, ISO 8601.
        """
        # Without the file, so that importing a run twice gives the same record.
        identity: dict[str, Any] = {
            "kind": str(self.task.kind),
            "protocol": PROTOCOL,
            "origin": "kerner-lab/Mars-Bench",
        }
        identity |= {"series": self.series} if self.series > 1 else {}
        notes = [NOTE, *([METRIC_NOTES[n] for n in (self.headline,) if n in METRIC_NOTES])]
        notes += [EARTH_NOTE] * self.is_earth + [SERIES_NOTE] * (self.series > 1)
        named = (self.task.name, self.model, str(self.mode), self.subset)
        return RunRecord(
            run_id=run_id(*named, self.seed, identity),
            task=self.task.name,
            kind=str(self.task.kind),
            model=self.model,
            mode=str(self.mode),
            subset=self.subset,
            seed=self.seed,
            protocol=PROTOCOL,
            headline=self.headline,
            metrics={"test": dict(metrics)},
            config=dict(zip(("task", "model", "mode", "subset"), named, strict=True)),
            identity=identity,
            data={
                "source": PROTOCOL,
                "num_train": self.task.sizes.get("train") if self.subset == "full" else None,
                "imported": dict(origin),
                "notes": notes,
            },
            weights=None,
            checkpoint={"chosen_by": "unknown"},
            timing={},
            peak_memory={},
            parameters={},
            device="unknown",
            environment={},
            git=None,
            created=created,
            record_type=IMPORTED,
        )


def numbered(count: int) -> tuple[int, int]:
    """Seed and series of row `count` (from 0) of an Earth observation model, task and subset."""
    series, place = divmod(count, len(SEEDS))
    return SEEDS[place], series + 1
