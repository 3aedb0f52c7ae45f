"""Remarks on a new task: what a person should look at."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from marsbench.base.errors import some
from marsbench.data.tools.init.facts import Facts
from marsbench.data.tools.init.samples import Samples
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import BACKGROUND, SPLITS, normalise

FEW = 20
"""Number of train images below which a class is named as small."""


def notes_of(
    samples: Samples,
    facts: Mapping[str, Facts],
    splits: Mapping[str, str],
    counts: Mapping[str, Counter[str]],
    groups: Mapping[str, str],
) -> list[str]:
    """Remarks on images left out, small classes, sizes, bands, and equal images.

    Args:
        samples: The images.
        facts: Facts of each image.
        splits: Split of each image.
        counts: Number of images of each class by split.
        groups: Group of each image; empty without groups.
    """
    notes = []
    if samples.left_out:
        what = "mask" if samples.kind is Kind.SEGMENTATION else "file of boxes"
        notes.append(
            f"{len(samples.left_out)} image(s) without a {what} are left out: "
            f"{some(samples.left_out)}"
            + (
                " (an image without an object needs an empty file, or an entry of the COCO file)"
                if samples.kind is Kind.DETECTION
                else ""
            )
        )
    small = [
        f"{name} ({counts[name]['train']})"
        for name in samples.classes
        if counts[name]["train"] < FEW and normalise(name) != BACKGROUND
    ]
    if small:
        notes.append(f"classes with fewer than {FEW} train images: {some(small, count=20)}")
    groups_of: defaultdict[str, set[str]] = defaultdict(set)
    for path in samples.paths if groups and samples.labels else ():
        groups_of[samples.labels[path]].add(groups[path])
    for split in SPLITS:
        absent = [name for name in samples.classes if not counts[name][split]]
        if groups and samples.labels:
            absent = [f"{name} (all in {len(groups_of[name])} group(s))" for name in absent]
        if absent:
            notes.append(f"no image in {split} of: {some(absent, count=20)}")
    shapes = Counter(f"{f.size[0]} x {f.size[1]}" for f in facts.values()).most_common()
    listed = ", ".join(f"{shape}: {count}" for shape, count in shapes[:5])
    more = f", and {len(shapes) - 5} other sizes" if len(shapes) > 5 else ""
    notes.append(f"image sizes (height x width): {listed}{more}")
    bands = Counter(f.bands for f in facts.values())
    if max(bands) > 3:
        notes.append(
            f"images have {max(bands)} bands: name them in task.yaml (bands), so that models can "
            "take red, green and blue"
        )
    elif len(bands) > 1:
        notes.append(f"{bands[1]} grey and {bands[3]} colour images; grey ones are read as colour")
    return [*notes, *_copies(facts, splits, samples)]


def _copies(facts: Mapping[str, Facts], splits: Mapping[str, str], samples: Samples) -> list[str]:
    """Remarks on images with equal pixels."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, fact in facts.items():
        places[fact.digest].append(path)
    copies = [paths for paths in places.values() if len(paths) > 1]
    across = [paths for paths in copies if len({splits[path] for path in paths}) > 1]
    differing = [paths for paths in copies if len({samples.labels.get(p) for p in paths}) > 1]
    notes = []
    for groups, text in (
        (copies, "image(s) occur more than once"),
        (across, "image(s) occur in more than one split, so scores are too high"),
        (differing, "image(s) occur with different labels"),
    ):
        if groups:
            shown = (some(paths, " = ", 4) for paths in groups)
            notes.append(f"{len(groups)} {text}: {some(shown, '; ', 3)}")
    return notes
