"""Specification of a task, importable without torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from marsbench.base.errors import some
from marsbench.base.text import inline
from marsbench.base.values import Limit, NotBlank, to_plain
from marsbench.tasks.kinds import DECODES, KINDS, Decode, DecodeInfo, Kind, Technique

SPLITS = ("train", "val", "test")


class Platform(StrEnum):
    """Place of the instrument; only rover images have an upright orientation."""

    ORBITER = "orbiter"
    ROVER = "rover"
    LABORATORY = "laboratory"


class Landform(StrEnum):
    """Landform, or other subject, among the classes of a task."""

    AEOLIAN = "dunes and ripples"
    CHANGE = "surface change"
    CONES = "volcanic cones"
    CRATERS = "impact craters"
    DUST = "airborne dust"
    ICE = "frost and ice"
    RELIEF = "ridges, channels and terrain"
    ROCKS = "rocks and boulders"
    ROVER = "rover parts"
    SLOPES = "slopes and landslides"
    SOIL = "sand and soil"


@dataclass(frozen=True)
class ClassInfo:
    """Class of a task.

    Attributes:
        name: The class's name as published.
        description: Visible features of the class, in a sentence.
        aliases: Other spellings and acronyms in published mappings.
    """

    name: str
    description: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class BandInfo:
    """Band of an image.

    Attributes:
        name: Name, such as red, elevation or B8A; models with bands of these names take them.
        wavelength: Centre in micrometres; None if unknown, or for a band that is not light.
    """

    name: Annotated[str, NotBlank]
    wavelength: Annotated[float, Limit(above=0)] | None = None


MOST_BANDS = 10_000
"""Largest number of bands of an image, each with filters in a model."""

Side = Annotated[int, Limit(low=1)]
Band = Annotated[int, Limit(low=0)]


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """Data set with its target and headline metric.

    The spec fixes the set of class names. The data (``mapping.json`` or hub features) assign the
    ids, and are checked against this set when opened.

    Attributes:
        name: Name in commands, files and plots.
        collection: Collection of data sets, such as mars_bench; custom for tasks of users.
        title: Title in one line.
        kind: Kind of target.
        decode: Decoding of raw files.
        classes: Classes in the order of the source's documentation.
        sizes: Samples per split as published; empty if unknown (custom tasks).
        channels: Number of bands of an image.
        rgb_bands: Indices of the red, green and blue bands of images with more than three.
        bands: The bands in their order; empty if they have no names.
        technique: Technique of spectra, ega or gc; None for images.
        image_size: (height, width) in pixels if equal for all images, else None.
        platform: Place of the instrument.
        mission: Spacecraft, or campaign of a laboratory.
        sensor: Instruments, separated by commas; a remark follows ", with".
        landforms: Landforms and other subjects of the classes; empty for spectra or if unknown.
        folder: Name of the task's folder in the published layout.
        hub_id: Repository on the Hugging Face hub, or None.
        zenodo_title: Title of the Zenodo record, or None.
        headline: Headline metric; None for the default of the kind.
        min_partition: Smallest published partition.
        few_shot: Whether few-shot subsets are published.
        citation: Paper to cite for the data.
        licence: Licence of the data.
        notes: Peculiarities of the data.
        path: File of a custom task; None for tasks of the catalogue.
    """

    name: str
    collection: str = "custom"
    title: str = ""
    kind: Kind
    classes: tuple[ClassInfo, ...]
    decode: Decode = Decode.IMAGE_LABEL
    sizes: Mapping[str, Annotated[int, Limit(low=0)]] = field(default_factory=dict)
    channels: Annotated[int, Limit(low=1, high=MOST_BANDS)] = 1
    rgb_bands: tuple[Band, Band, Band] | None = None
    bands: tuple[BandInfo, ...] = ()
    technique: Technique | None = None
    image_size: tuple[Side, Side] | None = None
    platform: Platform = Platform.ORBITER
    mission: str = ""
    sensor: str = ""
    landforms: tuple[Landform, ...] = ()
    folder: str = ""
    hub_id: str | None = None
    zenodo_title: str | None = None
    headline: str | None = None
    min_partition: Annotated[float, Limit(above=0, high=1)] = 0.01
    few_shot: bool = True
    citation: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
    path: Path | None = None

    def __repr__(self) -> str:
        """Name, kind, classes, metric and sizes, in two or three lines."""
        sizes = ", ".join(f"{count:,} {split}" for split, count in self.sizes.items())
        lines = [
            f"TaskSpec {self.name}: {self.kind}, {self.headline_metric}",
            f"  {len(self.classes)} classes: {some(self.class_names)}",
        ]
        facts = "; ".join(filter(None, (self.sensor, sizes)))
        return "\n".join(map(inline, [*lines, f"  {facts}"] if facts else lines))

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the instruments."""
        return tuple(filter(None, self.sensor.partition(", with ")[0].split(", ")))

    @property
    def headline_metric(self) -> str:
        """Name of the headline metric."""
        return self.headline or KINDS[self.kind].headline

    @property
    def files(self) -> DecodeInfo:
        """Files and target of the samples."""
        return DECODES[self.decode]

    @property
    def is_pairs(self) -> bool:
        """Whether samples are pairs of images."""
        return self.decode is Decode.PAIR_LABEL

    @property
    def has_masks(self) -> bool:
        """Whether samples have masks."""
        return self.decode is Decode.IMAGE_MASK

    @property
    def has_boxes(self) -> bool:
        """Whether samples have boxes."""
        return self.decode is Decode.IMAGE_BOXES

    @property
    def is_spectra(self) -> bool:
        """Whether samples are spectra, not images."""
        return self.decode is Decode.SPECTRUM

    @property
    def reading(self) -> dict[str, Any]:
        """Plain values of the fields in `READING`."""
        values = {name: value for name, value in to_plain(self).items() if name in READING}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @property
    def word(self) -> str:
        """Name of the task on a command line: its name, or the path of a custom task."""
        return self.name if self.path is None else str(self.path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in documentation order (not by id)."""
        return tuple(c.name for c in self.classes)


READING = ("decode", "channels", "rgb_bands", "technique", "image_size")
"""Fields that say how an image or spectrum becomes a model's input; they stand in records."""


TASK_FILE = "task.yaml"
"""File name of a custom task inside its data folder."""


BACKGROUND = "background"
"""Name of the background class: class 0 of masks, absent from boxes."""


def normalise(name: str) -> str:
    """Fold case and punctuation: ``Non Frost`` and ``non_frost`` are equal."""
    return re.sub(r"[\W_]+", " ", name).strip().casefold()


def recast(task: TaskSpec) -> TaskSpec:
    """Task of masks as a task of the labels of an image (Mars-Bench paper, section 5.4).

    A class is a label of an image if any pixel of the mask has it. The background is no label: it
    is in nearly every image. Other tasks are returned unchanged.
    """
    if not task.has_masks:
        return task
    classes = tuple(c for c in task.classes if normalise(c.name) != BACKGROUND)
    return replace(task, kind=Kind.MULTILABEL, classes=classes, headline=None)
