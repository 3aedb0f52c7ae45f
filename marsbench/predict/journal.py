"""Journal of the predictions in a folder, to resume interrupted work.

The line of an image is appended when all its files are written.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from marsbench.base import reading
from marsbench.base.errors import ConfigError, DataError, MarsbenchError, StoreError, some
from marsbench.base.files import is_name
from marsbench.base.locks import locked
from marsbench.base.names import display_name, output_name
from marsbench.data.formats import files_beside
from marsbench.predict.outputs import JOURNAL, LOCK, MAPS, NAMES, OVERLAYS, replacing
from marsbench.predict.walk import Item

_FIELDS = {
    "source": str,
    "file": str,
    "stem": str,
    "stamp": list,
    "overlay": bool,
    "outputs": list,
    "result": dict,
}
"""Fields of the line of a predicted image."""

_SUFFIXES = (".png", ".tif")
"""Suffixes of class maps and overlays."""

_CANNOT = "Choose a writable folder with --out."


def check_folder(out: Path, given: Sequence[Path]) -> None:
    """Check that a folder can be written without replacing files of others.

    Args:
        out: The folder; it need not exist.
        given: The input files and folders.

    Raises:
        StoreError: If the path is a file, permissions are missing, the folder holds files with
            names of outputs that no prediction wrote, or its folders of pictures are links.
        ConfigError: If the folder is an input.
    """
    for path in given:
        if path.is_dir() and os.path.realpath(path) == os.path.realpath(out):
            raise ConfigError(f"{path} is an input and the output folder.", "Choose another --out.")
    # Unlike `Path.exists`, this returns False without permissions.
    there = next(p for p in (out, *out.absolute().parents) if os.path.exists(p))  # noqa: PTH110
    if not there.is_dir():
        raise StoreError(f"{there} is a file; --out names a folder.", "Choose another --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StoreError(f"{out} cannot be written: no permission to write into {there}.", _CANNOT)
    foreign = [name for name in NAMES if os.path.lexists(out / name)]
    if foreign and not os.path.lexists(out / JOURNAL):
        raise StoreError(
            f"{out} holds {some(foreign)}, which this command did not write: {JOURNAL} is missing.",
            "Choose another --out.",
        )
    if linked := [name for name in (MAPS, OVERLAYS) if (out / name).is_symlink()]:
        raise StoreError(
            f"{out / linked[0]} is a link; expected a folder, since pictures are replaced there.",
            "Choose another --out; --out itself may be a link.",
        )


class Journal:
    """Predictions in a folder, a line of JSON per image; locked by a process.

    Args:
        out: The folder.
        settings: Settings of the predictions besides the image.
        overwrite: Whether to discard earlier predictions.

    Attributes:
        entries: Lines by absolute path of the image (``source``): ``file``, the path relative to
            the given folder, ``stamp``, ``outputs`` relative to the folder, and ``result``; of
            failed images ``file`` and ``error``.

    Raises:
        StoreError: If the folder cannot be written, is locked by another process, or holds
            predictions of another model or with other settings.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
        self.out, self.path = out, out / JOURNAL
        self._held = contextlib.ExitStack()
        check_folder(out, ())
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(locked(out / LOCK, wait=False))
        except BlockingIOError as error:
            raise StoreError(
                f"Another process is writing into {out}.", "Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise StoreError(
                f"{out} cannot be written: {error.strerror or error}.", _CANNOT
            ) from error
        # Output names by source. A name is the image's own as soon as it is written here.
        self._stems: dict[str, str] = {}
        try:
            self.entries = self._read(settings, overwrite)
            if overwrite:
                self._discard()
            # Rewritten without truncated lines, with a line per image.
            with replacing(self.path) as partial:
                planned = [{"source": s, "stem": stem} for s, stem in self._stems.items()]
                lines = [{"settings": dict(settings)}, *planned, *self.entries.values()]
                partial.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        except BaseException:
            self._held.close()
            raise
        # Some file systems ignore case: Grey.png and grey.png are the same file.
        self._folders = {stem.casefold(): Path(s).parent for s, stem in self._stems.items()}

    def close(self) -> None:
        """Release the lock of the folder."""
        self._held.close()

    def _read(self, settings: Mapping[str, Any], overwrite: bool) -> dict[str, dict[str, Any]]:
        """Read the entries and the output names; settings are not compared to overwrite."""
        try:
            lines = reading.read_text(self.path, errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be read: {error.strerror}.", "Choose another --out."
            ) from error
        head, *rest = [_parsed(text) for text in lines] or [{}]
        if not overwrite:
            self._compare(head.get("settings"), settings)
        entries: dict[str, dict[str, Any]] = {}
        for line in rest:
            source, stem = line.get("source"), line.get("stem")
            if not isinstance(source, str):
                continue
            # A journal from elsewhere must not lead out of the folder.
            if isinstance(stem, str) and output_name(stem) == stem and self._is_inside(stem):
                self._stems[source] = stem
            is_done = all(isinstance(line.get(name), kind) for name, kind in _FIELDS.items())
            has_failed = all(isinstance(line.get(name), str) for name in ("file", "error"))
            if is_done:
                is_done = source in self._stems and all(map(_is_output, line["outputs"]))
            if is_done or has_failed:
                entries[source] = line
        return entries

    def _compare(self, before: Any, settings: Mapping[str, Any]) -> None:
        """Refuse predictions with other settings."""
        if not isinstance(before, dict):
            raise StoreError(
                f"{self.path} is damaged: the settings of its predictions are missing.",
                "Choose another --out, or --overwrite to start again.",
            )
        wanted = json.loads(json.dumps(settings))
        odd = [k for k in {**wanted, **before} if before.get(k) != wanted.get(k)]
        if odd:
            raise StoreError(
                f"{self.out} holds predictions with other settings: {', '.join(odd)} differ.",
                "Choose another --out, or --overwrite to start again.",
            )

    def _discard(self) -> None:
        """Delete the maps and overlays of earlier predictions; other files stay."""
        for stem in self._stems.values():
            for path in self._places(stem):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        self.entries.clear()
        self._stems.clear()

    def _is_inside(self, stem: str) -> bool:
        """Whether no link leads the outputs of a name out of the folder."""
        top = os.path.realpath(self.out)
        return all(Path(os.path.realpath(p.parent)).is_relative_to(top) for p in self._places(stem))

    def _places(self, stem: str) -> list[Path]:
        """Possible paths of a class map and an overlay."""
        return [self.out / f / f"{stem}{suffix}" for f in (MAPS, OVERLAYS) for suffix in _SUFFIXES]

    def is_done(self, item: Item, overlay: bool) -> bool:
        """Whether the current version of an image is predicted and all outputs exist."""
        entry = self.entries.get(source_of(item))
        if entry is None or "error" in entry or entry["stamp"] != _stamp(item):
            return False
        if overlay and not entry["overlay"]:
            return False
        return all((self.out / name).exists() for name in entry["outputs"])

    def reserve(self, items: Iterable[Item]) -> None:
        """Choose and note the output names of images, independent of their order."""
        with self.path.open("a", encoding="utf-8") as file:
            for item in sorted(items, key=source_of):
                line = {"source": source_of(item), "stem": self.stem(item)}
                file.write(f"{json.dumps(line)}\n")

    def stem(self, item: Item) -> str:
        """Output name of an image: the image's own name if unique, made safe for a file.

        Otherwise the folder's name is prepended for an image of another folder, and the suffix
        appended for an image of the same folder. Names of files that no prediction wrote are left
        alone.
        """
        source = source_of(item)
        if source in self._stems:
            return self._stems[source]
        plain, folder = Path(item.name).with_suffix(""), Path(source).parent
        suffix = item.path.suffix.removeprefix(".")
        below = plain.with_name(f"{folder.name}_{plain.name}")
        if self._folders.get(plain.as_posix().casefold()) == folder:
            choices = [plain, plain.with_name(f"{plain.name}_{suffix}")]
        else:
            choices = [plain, below, below.with_name(f"{below.name}_{suffix}")]
        numbered = (plain.with_name(f"{choices[1].name}_{n}") for n in itertools.count(2))
        names = (output_name(p.as_posix()) for p in itertools.chain(choices, numbered))
        name = next(name for name in names if self._is_free(name))
        self._stems[source], self._folders[name.casefold()] = name, folder
        return name

    def _is_free(self, stem: str) -> bool:
        is_used = stem.casefold() in self._folders
        return not is_used and not any(os.path.lexists(path) for path in self._places(stem))

    def add(self, item: Item, stem: str, outputs: list[str], result: dict[str, Any]) -> None:
        """Append the line of a predicted image."""
        entry: dict[str, Any] = {
            "source": source_of(item),
            "file": item.name,
            "stem": stem,
            "stamp": _stamp(item),
            "overlay": any(name.startswith(f"{OVERLAYS}/") for name in outputs),
            "outputs": outputs,
            "result": result,
        }
        self._append(entry)

    def fail(self, item: Item, error: MarsbenchError) -> None:
        """Append the line of a failed image."""
        self._append({"source": source_of(item), "file": item.name, "error": error.problem})

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(entry)}\n")
        self.entries[entry["source"]] = entry

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All entries, sorted by the images' absolute paths; names and errors as valid UTF-8."""
        rows = [self.entries[source] for source in sorted(self.entries)]
        return [
            row | {k: display_name(row[k]) for k in ("source", "file", "error") if k in row}
            for row in rows
        ]


def source_of(item: Item) -> str:
    """Absolute path of an image, its key in the journal."""
    # Unlike `Path.resolve`, this raises nothing on circular links.
    return os.path.realpath(item.path)


def _is_output(name: object) -> bool:
    """Whether a journal's name is a class map or an overlay."""
    is_inside = isinstance(name, str) and is_name(name)
    return is_inside and str(name).partition("/")[0] in (MAPS, OVERLAYS)


def _parsed(text: str) -> dict[str, Any]:
    """Parse a line; a truncated line gives an empty dict."""
    try:
        line = json.loads(text)  # `parse_json` refuses names of bytes that are not UTF-8
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def _stamp(item: Item) -> list[int]:
    """Sizes and times of the files of an image."""
    paths = [item.path] if item.after is None else [item.path, item.after]
    for path in list(paths):
        # A label without its data file is refused on opening.
        with contextlib.suppress(DataError):
            paths += files_beside(str(path))
    stats = []
    for path in paths:
        with contextlib.suppress(OSError):  # refused on opening
            stats.append(path.stat())
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]
