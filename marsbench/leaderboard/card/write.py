"""Write a card with the files that use the model again, and publish them."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from marsbench.base.errors import ConfigError, StoreError, some
from marsbench.base.files import replacing_folder, write_text
from marsbench.base.hub import HubAddress
from marsbench.base.paths import expanded
from marsbench.base.reading import check_regular, is_missing
from marsbench.leaderboard.card.metadata import metadata
from marsbench.leaderboard.card.picture import CLASSES, CONFUSION, Picture, draw, kept_samples
from marsbench.leaderboard.card.scores import scores_of
from marsbench.leaderboard.card.subject import Subject, subject_of
from marsbench.leaderboard.card.text import card_text
from marsbench.leaderboard.collect import absolute_paths
from marsbench.leaderboard.pushing import Push, push
from marsbench.results.store import CONFIG, MODEL, RECORD
from marsbench.tasks.spec import TASK_FILE
from marsbench.training.gallery import SAMPLES
from marsbench.training.trained import TABLE

CARD = "README.md"
SEEDS = "seeds"
"""Folder of the records of the other seeds."""

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{1,63}")


class Card(NamedTuple):
    """A written card.

    Attributes:
        folder: Its folder.
        files: Its files, within the folder.
        notes: Remarks for the user.
        push: Its upload, if any.
    """

    folder: Path
    files: list[str]
    notes: list[str]
    push: Push | None = None


def write_card(
    runs: Sequence[str],
    out: Path,
    *,
    store: Path,
    task: str | None = None,
    licence: str | None = None,
    address: HubAddress | None = None,
    private: bool = True,
) -> Card:
    """Write the card of a model, with everything that `marsbench predict` needs beside it.

    Args:
        runs: Ids, short forms of ids, or folders of runs that differ in their seeds; the weights of
            the first are published.
        out: Folder to write; an earlier card in it is replaced.
        store: Folder of records.
        task: File of a custom task that has moved.
        licence: The hub's identifier of the licence of the weights; None leaves it open.
        address: Repository to publish the folder in; None publishes nothing.
        private: Whether a new repository is private.

    Raises:
        ConfigError: If an argument is invalid, or the folder holds other files.
        StoreError: If a file of a run is missing or invalid.
        NotAvailableError: If the upload fails; the folder stays.
    """
    _check_arguments(licence, address)
    subject = subject_of(runs, store, task)
    folder = expanded(out).resolve()
    _check_folder(folder, subject)
    contents = dict(_contents(subject))
    notes: list[str] = []
    if paths := absolute_paths(subject.records):
        notes.append(
            f"The records hold paths of this machine, which readers will see: {some(paths)}."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as partial:
        for name, (path, _) in contents.items():
            _copy(path, partial / name)
        pictures = _pictures(subject, partial, notes)
        files = {name: text for name, (_, text) in contents.items()}
        files |= {picture.file: "picture of this card" for picture in pictures}
        _write_text(subject, partial, pictures, files, address, licence)
    listed = sorted([CARD, *files])
    if address is None:
        return Card(folder, listed, notes)
    message = f"{subject.published.model} on {subject.task.name}"
    return Card(folder, listed, notes, push(address, folder, listed, message, private=private))


def _check_arguments(licence: str | None, address: HubAddress | None) -> None:
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise ConfigError(
            f"The licence '{licence[:100]}' is not an identifier of the hub.",
            "Give one such as mit, apache-2.0 or cc-by-4.0: "
            "https://huggingface.co/docs/hub/repositories-licenses.",
        )
    if address is not None and (address.kind != "model" or address.path or address.revision):
        raise ConfigError(
            f"{address} is not the repository of a model.", "Give --push hf://ORG/NAME."
        )


def _check_folder(folder: Path, subject: Subject) -> None:
    """Check that a folder is new, empty, or an earlier card, and apart from the runs."""
    for run in subject.folders.values():
        place = run.resolve()
        if folder == place or folder in place.parents or place in folder.parents:
            raise ConfigError(
                f"{folder} overlaps with the run {place}.", "Give another folder with --out."
            )
    if is_missing(folder):
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder.", "Give a folder with --out.")
    names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if name not in _NAMES and not _FOLD.fullmatch(name)]
    if others or (names and CARD not in names):
        raise ConfigError(
            f"{folder} is not an earlier card: it holds {some(others or names)}.",
            "Give another folder with --out, or move these files away.",
        )


_FOLD = re.compile(r"fold_\d+")

_NAMES = frozenset(
    {CARD, SEEDS, RECORD, CONFIG, MODEL, TABLE, TASK_FILE, SAMPLES, CONFUSION, CLASSES}
)
"""Names in the folder of a card."""


def _contents(subject: Subject) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Files of a card by name: their source and their content in words."""
    folder, task = subject.folder, subject.task
    yield RECORD, (folder / RECORD, "settings, scores and versions of the run")
    if not is_missing(folder / CONFIG):
        yield CONFIG, (folder / CONFIG, "its configuration")
    if task.path is not None:
        yield TASK_FILE, (task.path, "the task: classes and images")
    for path in _weights(subject):
        name = path.relative_to(folder).as_posix()
        yield name, (path, "weights")
    for record in subject.records:
        if record is not subject.published:
            name = f"{SEEDS}/{record.run_id.rpartition('/')[2]}.json"
            place = subject.folders[record.run_id] / RECORD
            yield name, (place, f"record of seed {record.seed}")


def _weights(subject: Subject) -> list[Path]:
    """Files of the weights of the published run, of each fold.

    Raises:
        StoreError: If they were not saved.
        ConfigError: If an image model has folds, which `marsbench predict` does not average.
    """
    folds = subject.published.config.get("folds")
    if folds and not subject.task.is_spectra:
        raise ConfigError(
            f"{subject.published.run_id} has a model for each fold, which predict does not read.",
            "Publish a run without folds.",
        )
    folders = [subject.folder / f"fold_{k}" for k in range(folds)] if folds else [subject.folder]
    files: list[Path] = []
    for folder in folders:
        table = folder / TABLE
        parts = sorted(path for path in table.rglob("*") if not path.is_dir())
        paths = parts or ([table] if table.is_file() else [])
        if not is_missing(folder / MODEL):
            paths.append(folder / MODEL)
        if not paths:
            raise StoreError(
                f"The weights of run {subject.published.run_id} were not saved.",
                "Run it again with save_model=true --force.",
            )
        files += paths
    return files


def _copy(source: Path, target: Path) -> None:
    """Copy a regular file.

    Raises:
        StoreError: If it is missing or not a regular file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        check_regular(source)
        shutil.copyfile(source, target)
    except OSError as error:
        if error.filename is not None and Path(error.filename) != source:
            raise
        raise StoreError(
            f"{source} cannot be read: {error.strerror or error}.", "Run it again."
        ) from error


def _pictures(subject: Subject, folder: Path, notes: list[str]) -> list[Picture]:
    pictures = []
    try:
        drawn = draw(subject, folder)
    except StoreError as error:
        notes.append(f"No picture was drawn: {error.problem}")
    else:
        pictures = [] if drawn is None else [drawn]
    samples = kept_samples(subject)
    if samples is not None:
        _copy(samples, folder / SAMPLES)
        pictures.append(Picture(SAMPLES, "Test images with true and predicted target."))
    return pictures


def _write_text(
    subject: Subject,
    folder: Path,
    pictures: Sequence[Picture],
    files: dict[str, str],
    address: HubAddress | None,
    licence: str | None,
) -> None:
    from huggingface_hub import ModelCard

    scores = scores_of(subject)
    head = metadata(subject, scores, licence)
    text = card_text(subject, scores, pictures, files, address=address, licence=licence)
    write_text(folder / CARD, str(ModelCard(f"---\n{head}\n---\n\n{text}")))
