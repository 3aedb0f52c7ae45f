"""Cost of a run: seconds of a worker and device memory, from similar records.

Without records, the seconds are those of a rough model and the memory is unknown.

The rough model counts floating-point operations per parameter and input pixel, threefold for
trained weights, over half the epochs, since training stops early. Only ratios of its seconds are
meaningful.
"""

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

from marsbench.base.errors import StoreError
from marsbench.config.identity import slug
from marsbench.config.schema import Mode, Protocol, RunConfig, SourceName, parse_subset
from marsbench.models.spec import Library, ModelSpec
from marsbench.plan.resolve import Plan
from marsbench.results.record import EVALUATION
from marsbench.results.store import RECORD, read_record
from marsbench.sweep.memory import Need, device_bytes, like_of
from marsbench.tasks.spec import TaskSpec

OPERATIONS = 340.0
"""Floating-point operations per parameter in a forward pass of 224 x 224 pixels; between 170
(EfficientNet) and 580 (SqueezeNet) in the zoo."""

SPEED = {"cpu": 5e10, "gpu": 5e12}
"""Assumed operations per second of a worker."""

STARTED = 8.0
"""Seconds to start a worker."""

HEAD = 0.02
"""Seconds for one head on cached features."""

REQUEST = 2.0
"""Seconds of a request to an endpoint."""

RECORDS = 12
"""Records read per (task, model, mode) at most."""


@dataclass(frozen=True)
class Sizes:
    """Sizes for the cost of a run.

    Attributes:
        train: Train samples of the subset.
        evaluated: Samples of val and test.
        full: Samples of the full train split.
        side: Side of the model's input in pixels.
        parameters: Parameters in millions.
    """

    train: int
    evaluated: int
    full: int
    side: int
    parameters: float


def sizes_of(plan: Plan) -> Sizes:
    """Sizes of a resolved run."""
    counts = plan.num_samples
    evaluated = sum(n for split, n in counts.items() if split != "train")
    full = len(plan.source.rows("train")) if plan.trains else 0
    side = plan.side or plan.model.input_size
    return Sizes(counts.get("train", 0), evaluated, full, side, plan.model.parameters or 25.0)


def published_sizes(config: RunConfig, task: TaskSpec, model: ModelSpec) -> Sizes:
    """Sizes of a run from published figures, without its data."""
    full = task.sizes.get("train") or 1000
    evaluated = sum(task.sizes.get(split) or 0 for split in ("val", "test"))
    if config.source is SourceName.DEMO:
        # Demo recipes have about equal sizes.
        full, evaluated = int(400 * config.size), int(320 * config.size)
    if config.mode is Mode.ZERO_SHOT:
        full, evaluated = 0, min(evaluated, config.test_samples or evaluated)
    subset = parse_subset(config.subset)
    train = full
    if subset.fraction is not None:
        train = int(subset.fraction * full)
    elif subset.shots is not None:
        train = min(full, subset.shots * max(len(task.classes), 1))
    side = config.side or model.input_size
    return Sizes(train, evaluated, full, side, model.parameters or 25.0)


@lru_cache(maxsize=4096)
def rough_seconds(sizes: Sizes, epochs: int, mode: Mode, speed: float) -> float:
    """Estimate seconds of an online run."""
    one = OPERATIONS * sizes.parameters * 1e6 * (sizes.side / 224) ** 2 / speed
    if mode is Mode.ZERO_SHOT:
        return one * sizes.evaluated
    times = 1 if mode is Mode.FROZEN else 3
    return one * ((epochs / 2) * (times * sizes.train + sizes.evaluated / 2) + sizes.evaluated)


def asking_seconds(sizes: Sizes, config: RunConfig) -> float:
    """Estimate seconds of a run behind an endpoint."""
    per_second = config.api.concurrency / REQUEST
    if config.api.requests_per_minute is not None:
        per_second = min(per_second, config.api.requests_per_minute / 60)
    return sizes.evaluated / per_second


def encoding_seconds(sizes: Sizes, speed: float) -> float:
    """Estimate seconds of encoding all samples once."""
    one = OPERATIONS * sizes.parameters * 1e6 * (sizes.side / 224) ** 2 / speed
    return one * (sizes.full + sizes.evaluated)


def rough(config: RunConfig, sizes: Sizes, speed: float, *, is_cached: bool) -> tuple[float, float]:
    """Estimate seconds of a run and of encoding its shared features."""
    if config.model.startswith(f"{Library.API}:"):
        return asking_seconds(sizes, config), 0.0
    if is_cached:
        return HEAD, encoding_seconds(sizes, speed)
    return rough_seconds(sizes, config.trainer.max_epochs, config.mode, speed), 0.0


@dataclass(frozen=True)
class _Seen:
    """Cost of a finished run: train samples, subset, protocol, seconds, and device memory."""

    num_train: int
    subset: str
    protocol: str
    train: float
    evaluated: float
    like: str
    memory: int | None


class Measured:
    """Costs of finished runs; a few records are read per (task, model, mode).

    Args:
        root: Folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[tuple[str, str, str], list[_Seen]] = {}
        self._tasks: list[str] | None = None

    def seconds(
        self, task: str, model: str, config: RunConfig, protocol: Protocol, num_train: int
    ) -> float | None:
        """Estimate a run from finished runs of its task, model and mode, or of model and mode.

        Returns:
            Seconds; None without finished runs.
        """
        near = [s for s in self._of(task, model, config.mode) if s.protocol == protocol]
        if same := [s for s in near if s.subset == config.subset]:
            return median(s.train + s.evaluated for s in same)
        if near:
            return median(s.evaluated + s.train * num_train / max(s.num_train, 1) for s in near)
        others = [
            seen
            for other in self._others()
            for seen in self._of(other, model, config.mode)
            if seen.protocol == protocol
        ]
        if others:
            return median((s.train + s.evaluated) * num_train / max(s.num_train, 1) for s in others)
        return None

    def need(self, task: str, model: str, config: RunConfig, like: str) -> Need:
        """Device memory of a run: the largest of finished runs that are alike.

        Runs of other tasks count only if none of the run's own task is alike.
        """
        for tasks in ([task], self._others()):
            seen = [s for t in tasks for s in self._of(t, model, config.mode) if s.like == like]
            if sizes := [s.memory for s in seen if s.memory is not None]:
                return Need(like, max(sizes), len(sizes))
        return Need(like)

    def _others(self) -> list[str]:
        if self._tasks is None:
            self._tasks = _entries(self.root)
        return self._tasks

    def _of(self, task: str, model: str, mode: Mode) -> list[_Seen]:
        key = (slug(task), slug(model), str(mode))
        if key not in self._seen:
            self._seen[key] = self._read(self.root.joinpath(*key))
        return self._seen[key]

    def _read(self, folder: Path) -> list[_Seen]:
        seen: list[_Seen] = []
        subsets = _entries(folder)
        each = max(1, RECORDS // max(len(subsets), 1))
        for subset in subsets:
            had = 0
            for run in _entries(folder / subset):
                if had == each:
                    break
                with contextlib.suppress(StoreError, KeyError, TypeError):
                    record = read_record(folder / subset / run / RECORD)
                    timing = record.timing
                    if record.record_type == EVALUATION:
                        continue
                    if "resumed_from_epoch" in timing:
                        continue  # its seconds cover the last process alone
                    evaluated = timing.get("data", 0.0) + timing.get("eval", 0.0)
                    train, num_train = timing["train"], record.data.get("num_train", 0)
                    seen.append(
                        _Seen(
                            num_train,
                            subset,
                            record.protocol,
                            train,
                            evaluated,
                            like_of(record),
                            device_bytes(record.peak_memory),
                        )
                    )
                    had += 1
        return seen


def _entries(folder: Path) -> list[str]:
    """Sorted names in a folder without leading dot; empty if the folder is missing."""
    with contextlib.suppress(OSError):
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return []
