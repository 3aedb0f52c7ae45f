"""Settings of evaluations: the keys of ``marsbench evaluate``."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from marsbench.base.errors import ConfigError
from marsbench.base.values import Problem, build, keys_of
from marsbench.config.schema import Count, CountOrZero, Positive, SourceName, Text


class Calibrate(StrEnum):
    """Calibration of probabilities."""

    TEMPERATURE = "temperature"


TEMPERATURE = Calibrate.TEMPERATURE


@dataclass(frozen=True)
class Settings:
    """Settings of evaluations."""

    task: Text | None = None
    """Task to evaluate on; by default the run's own."""
    test_on: Text | None = None
    """Group of the samples to evaluate: VALUE or FIELD:VALUE, such as sam_testbed."""
    source: SourceName | None = None
    """Source of its data: auto (default), local, huggingface, zenodo or demo."""
    root: Text | None = None
    """Folder, parent folder, archive or fsspec URL of local data."""
    size: Positive | None = None
    """Amount of demo data relative to the recipe; by default 1."""
    revision: Text | None = None
    """Commit, tag or branch of hub data."""
    class_map: Text | None = None
    """YAML of matching classes; by default the shipped one of the two tasks, else by name."""
    calibrate: Calibrate | None = None
    """temperature: scale the run's own test predictions by a temperature fitted to val."""
    model: Text | None = None
    """Own encoder of the runs, which records do not name."""
    store: Text = "runs"
    """Folder of records, also for the new ones."""
    batch_size: Count | None = None
    """Images per batch; by default as in the run."""
    workers: CountOrZero | None = None
    """Data loading processes; by default 0 on one or two cores, else up to 8."""
    cache: bool = True
    """Keep decoded images in a memory-mapped cache."""
    device: Text = "auto"
    """auto (a GPU if available), cpu, cuda or cuda:1."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Settings":
        """Build settings from plain values.

        Raises:
            ConfigError: If keys or values are invalid; the message lists all problems.
        """
        problems: list[Problem] = []
        settings = build(cls, values, problems)
        if settings is None:
            raise ConfigError(
                "\n".join(problem.message for problem in problems),
                "`marsbench evaluate --help` lists the keys.",
            )
        return settings


def setting_keys() -> dict[str, type]:
    """All keys, with the types of their values."""
    return keys_of(Settings)
