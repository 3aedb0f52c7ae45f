"""Settings of evaluations: the keys of ``marsbench evaluate``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypedDict

from marsbench.base.errors import ConfigError
from marsbench.base.values import Problem, build, keys_of
from marsbench.config.keywords import SourceWord
from marsbench.config.schema import Count, CountOrZero, Positive, SourceName, Text
from marsbench.data.corruptions.table import get_corruption, parse_severities

LISTS = ("corruption", "severity")
"""Keys with several values, separated by commas."""


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
    corruption: Text | None = None
    """Corruptions of the samples, separated by commas, or all; by default none."""
    severity: Text | None = None
    """Severities of the corruptions, from 1 (mild) to 5 (strong), separated by commas; by default
    1,3,5."""
    seed: CountOrZero = 0
    """Seed of the corruptions."""
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
        values = {key: _joined(value) if key in LISTS else value for key, value in values.items()}
        settings = build(cls, values, problems)
        if settings is None:
            raise ConfigError(
                "\n".join(problem.message for problem in problems),
                "`marsbench evaluate --help` lists the keys.",
            )
        settings._check_corruptions()
        return settings

    def _check_corruptions(self) -> None:
        """Refuse unknown corruptions and severities, and severities without a corruption."""
        if self.corruption is None:
            if self.severity is not None or self.seed:
                key = "seed" if self.severity is None else "severity"
                raise ConfigError(
                    f"{key}={getattr(self, key)} is without an effect; expected corruption= too.",
                    "Name corruptions, such as corruption=dust,noise or corruption=all.",
                )
            return
        for word in self.corruption.split(","):
            if word.strip() not in ("", "all"):
                get_corruption(word.strip())
        if self.severity is not None:
            parse_severities(self.severity)


class SettingKeys(TypedDict, total=False):
    """Keys of `Settings` as typed keyword arguments; see `marsbench.config.keywords`."""

    task: str | Path | None
    test_on: str | None
    source: SourceWord | None
    root: str | Path | None
    size: float | None
    revision: str | None
    class_map: str | Path | None
    calibrate: Calibrate | Literal["temperature"] | None
    corruption: str | Sequence[str] | None
    severity: str | int | Sequence[int] | None
    seed: int
    model: str | Path | None
    store: str | Path
    batch_size: int | None
    workers: int | None
    cache: bool
    device: str


def _joined(value: Any) -> Any:
    """Items of a list, or a number, as text."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int) else value


def setting_keys() -> dict[str, type]:
    """All keys, with the types of their values."""
    return keys_of(Settings)
