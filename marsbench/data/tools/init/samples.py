"""Samples of a user's folder: labels of class folders, masks, and boxes of any form."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from marsbench.base import reading
from marsbench.base.errors import ConfigError, DataError, some, unknown_name
from marsbench.data.boxes.files import CocoFile, read_coco, voc_names, yolo_ids
from marsbench.data.boxes.forms import BoxFormat
from marsbench.data.boxes.matching import match_images
from marsbench.data.sources.annotations import read_bytes
from marsbench.data.tools.init.listing import Listing, without_split
from marsbench.data.tools.init.names import named_classes
from marsbench.tasks.kinds import Kind

_IMAGE_FOLDERS = {"image", "images", "img", "imgs", "jpegimages"}
_MASK_FOLDERS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations"),
    *("segmentation", "segmentationclass", "gt", "ground_truth", "groundtruth"),
}
_BOX_FOLDERS = {"label", "labels", "annotation", "annotations", "pascal_voc", "voc", "xml", "yolo"}
"""Folders for images and targets, in lower case; they stand beside each other."""

_MASK_NAME = re.compile(r"(.+?)[_-](?:mask|masks|gt|seg|segmentation|label|labels)")
"""Stem of a mask beside its image, such as ``a_mask.png``."""


@dataclass
class Samples:
    """Images of a task with their targets.

    Attributes:
        kind: Kind of the task.
        paths: Paths of the images.
        target: Path of the mask or the file of boxes, by image.
        detected: The form of the data, in words.
        classes: Names of the classes by id; empty for masks whose ids are not named.
        labels: Class of each image, for classification.
        left_out: Images without a target.
        notes: Remarks for the user.
        coco: COCO files by path.
    """

    kind: Kind
    paths: list[str]
    detected: str
    target: dict[str, str] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    coco: dict[str, CocoFile] = field(default_factory=dict)


TITLES = {BoxFormat.COCO: "COCO", BoxFormat.YOLO: "YOLO", BoxFormat.VOC: "Pascal VOC"}
"""Names of the forms of boxes in messages."""

CLASSIFICATION = "classification"
KINDS = (CLASSIFICATION, Kind.SEGMENTATION.value, Kind.DETECTION.value)
"""Values of ``--kind``."""


def find_samples(listing: Listing, kind: str | None, classes: Sequence[str]) -> Samples:
    """Find the samples of a folder.

    Args:
        listing: Its files.
        kind: A value of `KINDS`; None detects the kind.
        classes: Names of the classes by id; empty takes them from the data.

    Raises:
        ConfigError: If `kind` is unknown, or the folder fits several kinds.
        DataError: If the folder fits no kind, or targets and images do not fit.
    """
    if kind in (Kind.BINARY, Kind.MULTICLASS):
        kind = CLASSIFICATION
    if kind is not None and kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    masks = _mask_paths(listing)
    boxes = _box_files(listing, set(masks))
    fits = []
    if masks:
        fits.append(Kind.SEGMENTATION.value)
    if any(boxes.values()):
        fits.append(Kind.DETECTION.value)
    if kind is None and len(fits) > 1:
        raise ConfigError(
            f"{listing.folder} holds masks, such as {next(iter(masks))}, and boxes.",
            f"Add --kind {' or --kind '.join(fits)}.",
        )
    kind = kind or (fits[0] if fits else CLASSIFICATION)
    if kind == Kind.SEGMENTATION:
        return _of_masks(listing, masks, classes)
    if kind == Kind.DETECTION:
        return _of_boxes(listing, [p for p in listing.images if p not in masks], boxes, classes)
    return _of_class_folders(listing, classes)


def _of_class_folders(listing: Listing, names: Sequence[str]) -> Samples:
    # Without folders for splits, a folder named test is a class like any other.
    parted = without_split if listing.splits else lambda path: path.split("/")
    parts = {path: parted(path)[:-1] for path in listing.images}
    depth = 0  # of the folders that all images share
    shallowest = min(map(len, parts.values()))
    while depth < shallowest and len({folders[depth] for folders in parts.values()}) == 1:
        depth += 1
    # The last shared folder is a class, if the only one.
    bare = [path for path, folders in parts.items() if len(folders) <= depth]
    if bare:
        only = f" (all are in {'/'.join(parts[bare[0]])}/)" if depth else ""
        raise DataError(
            f"{len(bare)} of {len(parts)} images of {listing.folder} are in no class folder"
            f"{only}: {some(bare)}. No masks and no boxes were found either.",
            "Expected are two or more folders named after classes (CLASS/*.jpg), images/ with "
            "masks/, or boxes in COCO, Pascal VOC or YOLO form (docs/custom_task.md).",
        )
    labels = {path: folders[depth] for path, folders in parts.items()}
    classes = named_classes(
        sorted(set(labels.values())), names, f"class folders of {listing.folder}"
    )
    kind = Kind.BINARY if len(classes) == 2 else Kind.MULTICLASS
    detected = f"{len(classes)} class folders"
    return Samples(kind, list(listing.images), detected, classes=classes, labels=labels)


Key = tuple[str, ...]


def _key(path: str, folders: set[str], stem: Callable[[str], str] = lambda stem: stem) -> Key:
    """Parts of a path without its suffix and without folders for images and targets."""
    *parts, name = path.split("/")
    kept = [part for part in parts if part.lower() not in folders | _IMAGE_FOLDERS]
    return *kept, stem(Path(name).stem)


def _mask_paths(listing: Listing) -> dict[str, Key]:
    """Keys of the masks: images in folders of masks, or beside an image with their stem."""
    masks: dict[str, Key] = {}
    stems = {path.rpartition(".")[0] for path in listing.images}
    is_paired = any(
        part.lower() in _IMAGE_FOLDERS for path in listing.images for part in path.split("/")[:-1]
    )
    for path in listing.images:
        *parts, _ = path.split("/")
        stem, place = Path(path).stem, path.rpartition("/")[0]
        match = _MASK_NAME.fullmatch(stem)
        beside = f"{place}/{match[1]}" if match and place else match[1] if match else None
        if (is_paired and any(part.lower() in _MASK_FOLDERS for part in parts)) or beside in stems:
            masks[path] = _key(path, _MASK_FOLDERS, _stem_of_image)
    return masks


def _stem_of_image(stem: str) -> str:
    """Stem of the image of a mask."""
    match = _MASK_NAME.fullmatch(stem)
    return (match[1] if match else stem).replace("Mask", "Image")


def _of_masks(listing: Listing, masks: Mapping[str, Key], names: Sequence[str]) -> Samples:
    images: dict[Key, list[str]] = {}
    for path in listing.images:
        if path not in masks:
            images.setdefault(_key(path, _MASK_FOLDERS), []).append(path)
    target: dict[str, str] = {}
    problems = []
    for mask, key in masks.items():
        own = images.get(key, [])
        if len(own) != 1:
            problems.append(f"{mask} ({some(own, ' and ') or 'no image'})")
        elif own[0] in target:
            problems.append(f"{mask} and {target[own[0]]} (both of {own[0]})")
        else:
            target[own[0]] = mask
    if not masks:
        raise DataError(
            f"No masks found in {listing.folder}.",
            "Expected are images/ with masks/ beside it, whose files have equal names, or "
            "NAME_mask.png beside NAME.jpg.",
        )
    if problems:
        raise DataError(
            f"{len(problems)} mask(s) of {listing.folder} do not belong to a single image: "
            f"{some(problems)}.",
            "Give image and mask the same name and subfolder, or remove the masks.",
        )
    paths = sorted(target)
    left_out = [path for own in images.values() for path in own if path not in target]
    classes = list(names) or _names_file(listing)
    detected = f"images with masks, such as {paths[0]} and {target[paths[0]]}"
    return Samples(Kind.SEGMENTATION, paths, detected, target, classes, left_out=left_out)


def _names_file(listing: Listing) -> list[str]:
    """Names of classes of ``classes.txt``, a line each in the order of their ids."""
    for name in ("classes.txt", "labels.txt", "obj.names"):
        path = listing.folder / name
        if path.is_file():
            text = read_bytes(path).decode("utf-8-sig", "replace")
            return [line.strip() for line in text.splitlines() if line.strip()]
    return []


def _box_files(listing: Listing, masks: set[str]) -> dict[BoxFormat, dict[str, str]]:
    """Files of boxes by image in YOLO and Pascal VOC form, and COCO files by their own path."""
    found: dict[BoxFormat, dict[str, str]] = {form: {} for form in BoxFormat}
    images = {_key(path, _BOX_FOLDERS): path for path in listing.images if path not in masks}
    for path in listing.texts:
        start = _start_of(listing.folder / path)
        if path.endswith(".json"):
            if '"images"' in start and '"annotations"' in start:
                found[BoxFormat.COCO][path] = path
            continue
        image = images.get(_key(path, _BOX_FOLDERS))
        if image is None:
            continue
        if path.endswith(".xml") and "<annotation" in start:
            found[BoxFormat.VOC][image] = path
        elif path.endswith(".txt") and (not start.strip() or _is_yolo(start)):
            found[BoxFormat.YOLO][image] = path
    return found


def _start_of(path: Path) -> str:
    """Beginning of a text; all of a JSON file, whose keys may have any order."""
    size = None if path.suffix.lower() == ".json" else 4096
    try:
        with reading.open_file(path) as file:
            return file.read(size).decode("utf-8", "replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check it.") from error


def _is_yolo(start: str) -> bool:
    fields = start.strip().splitlines()[0].split()
    return len(fields) >= 5 and all(re.fullmatch(r"[-+.\deE]+", field) for field in fields)


def _of_boxes(
    listing: Listing,
    images: Sequence[str],
    found: Mapping[BoxFormat, Mapping[str, str]],
    names: Sequence[str],
) -> Samples:
    form = next((form for form in BoxFormat if found[form]), None)
    if form is None:
        raise DataError(
            f"No boxes found in {listing.folder}.",
            "Expected are a COCO file (.json), or a Pascal VOC (.xml) or YOLO file (.txt) with the "
            "name of each image, beside it or in labels/ beside images/.",
        )
    samples = Samples(Kind.DETECTION, [], f"images with boxes in {TITLES[form]} form")
    if others := [other for other in BoxFormat if other != form and found[other]]:
        samples.notes.append(
            f"boxes in {TITLES[form]} form are used; those in "
            f"{' and '.join(TITLES[other] for other in others)} form are not read"
        )
    if form is BoxFormat.COCO:
        _add_coco(samples, listing, images, found[form], names)
    else:
        samples.target = dict(found[form])
        samples.classes = (_voc_classes if form is BoxFormat.VOC else _yolo_classes)(
            listing, list(samples.target.values()), names
        )
    samples.paths = sorted(samples.target)
    samples.left_out = [path for path in images if path not in samples.target]
    return samples


def _add_coco(
    samples: Samples,
    listing: Listing,
    images: Sequence[str],
    files: Mapping[str, str],
    names: Sequence[str],
) -> None:
    used: dict[str, None] = {}
    unused: dict[str, None] = {}
    for path in files:
        coco = read_coco(read_bytes(listing.folder / path), str(listing.folder / path))
        # A file of a split's folder names images of that folder.
        below = [image for image in images if _is_near(image, path, files)]
        matched = match_images({image: image for image in below}, coco.sizes, coco.where)
        if missing := sorted(coco.sizes.keys() - set(matched.values())):
            raise DataError(
                f"{coco.where} lists {len(missing)} image(s) that are not in {listing.folder}: "
                f"{some(missing)}.",
                "Add the images, or remove them from the file.",
            )
        if twice := [image for image in matched if image in samples.target]:
            raise DataError(
                f"{len(twice)} image(s) are listed in {samples.target[twice[0]]} and {path}: "
                f"{some(twice)}.",
                "Keep one of the files.",
            )
        samples.target |= dict.fromkeys(matched, path)
        samples.coco[path] = coco
        held = {category for boxes in coco.annotations.values() for category, _ in boxes}
        if nameless := sorted(held - coco.categories.keys()):
            raise DataError(
                f"{coco.where} has boxes of categories without a name: {some(nameless)}.",
                'List them in "categories", with "id" and "name".',
            )
        for category, name in coco.categories.items():
            (used if category in held else unused)[name] = None
    if left := [name for name in unused if name not in used]:
        samples.notes.append(f"categories without a box are left out: {some(left)}")
    samples.classes = named_classes(list(used), names, f"COCO files of {listing.folder}")


def _is_near(image: str, coco: str, files: Mapping[str, str]) -> bool:
    """Whether a COCO file may list an image: of several files, those of its split alone."""
    return len(files) == 1 or _split_in(coco) in (None, _split_in(image))


def _split_in(path: str) -> str | None:
    """Split in the names of a path's folders, or in its own, such as instances_val2017.json."""
    words = re.split(r"[/_.-]", path.lower())
    matches = (re.fullmatch(r"(train|val|test)(?:ing|id|idation)?\d*", word) for word in words)
    return next((match[1] for match in matches if match), None)


def _voc_classes(listing: Listing, files: Sequence[str], names: Sequence[str]) -> list[str]:
    held: set[str] = set()
    for path in files:
        file = listing.folder / path
        held |= set(voc_names(read_bytes(file), str(file)))
    return named_classes(sorted(held), names, f"Pascal VOC files of {listing.folder}")


def _yolo_classes(listing: Listing, files: Sequence[str], names: Sequence[str]) -> list[str]:
    known = list(names) or _yolo_names(listing) or _names_file(listing)
    last = -1
    for path in files:
        file = listing.folder / path
        for text in yolo_ids(read_bytes(file), str(file)):
            if not text.isdecimal():
                raise DataError(
                    f"{file}: class '{text[:80]}' is not a whole number.",
                    "A line of a YOLO file is class, centre and size: 0 0.5 0.5 0.1 0.2.",
                )
            last = max(last, int(text))
    if last < 0:
        raise DataError(f"The YOLO files of {listing.folder} hold no box.", "Add boxes.")
    if not known and last < _MOST_NAMELESS:
        return [f"class_{i}" for i in range(last + 1)]
    if last >= len(known):
        raise DataError(
            f"The YOLO files of {listing.folder} have boxes of class {last}, but {len(known)} "
            f"class(es) are named.",
            "Name all classes in the order of their ids: --classes a,b,c, or classes.txt.",
        )
    return named_classes(known, known, f"YOLO files of {listing.folder}")


_MOST_NAMELESS = 100
"""Largest number of classes that get numbers for names."""


def _yolo_names(listing: Listing) -> list[str]:
    """Names of classes in ``data.yaml``, the file of ultralytics."""
    from marsbench.base.documents import read_yaml

    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        path = listing.folder / name
        if not path.is_file():
            continue
        values = read_yaml(path).values
        names = values.get("names") if isinstance(values, dict) else None
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names)]
        if isinstance(names, list):
            return [str(name) for name in names]
    return []
