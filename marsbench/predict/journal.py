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

from marsbench.base.errors import ConfigError, DataError, StoreError
from marsbench.base.locks import locked
from marsbench.data.raster import companion
from marsbench.predict.inputs import Item
from marsbench.predict.outputs import OVERLAYS, replacing

_JOURNAL, _LOCK = ".journal.jsonl", ".lock"

_FIELDS = {
    "source": str,
    "file": str,
    "stem": str,
    "stamp": list,
    "overlay": bool,
    "outputs": list,
    "result": dict,
}
"""Fields of an image's line."""

_CANNOT = "Choose a writable folder with --out."


def check_folder(out: Path, given: Sequence[Path]) -> None:
    """Check that a folder can be written.

    Args:
        out: The folder; it need not exist.
        given: The input files and folders.

    Raises:
        StoreError: If the path is a file, or permissions are missing.
        ConfigError: If the folder is an input.
    """
    for path in given:
        if path.is_dir() and path.resolve() == out.resolve():
            raise ConfigError(f"{path} is an input and the output folder.", "Choose another --out.")
    # Unlike `Path.exists`, this returns False without permissions.
    there = next(p for p in (out, *out.absolute().parents) if os.path.exists(p))  # noqa: PTH110
    if not there.is_dir():
        raise StoreError(f"{there} is a file; --out names a folder.", "Choose another --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StoreError(f"{out} cannot be written: no permission to write into {there}.", _CANNOT)


class Journal:
    """Predictions in a folder, a line of JSON per image; locked by a process.

    Args:
        out: The folder.
        settings: Settings of the predictions besides the image.
        overwrite: Whether to discard earlier predictions.

    Attributes:
        entries: Lines by absolute path of the image (``source``): ``file``, the path relative to
            the given folder, ``stamp``, ``outputs`` relative to the folder, and ``result``.

    Raises:
        StoreError: If the folder cannot be written, is locked by another process, or holds
            predictions of another model or with other settings.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
        self.out, self.path = out, out / _JOURNAL
        self._held = contextlib.ExitStack()
        check_folder(out, ())
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(locked(out / _LOCK, wait=False))
        except BlockingIOError as error:
            raise StoreError(
                f"Another process is writing into {out}.", "Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise StoreError(
                f"{out} cannot be written: {error.strerror or error}.", _CANNOT
            ) from error
        try:
            self.entries = {} if overwrite else self._read(settings)
            # Rewritten without truncated lines, with a line per image.
            with replacing(self.path) as partial:
                lines = [{"settings": dict(settings)}, *self.entries.values()]
                partial.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        except BaseException:
            self._held.close()
            raise
        self._stems = {source: str(entry["stem"]) for source, entry in self.entries.items()}
        # Some file systems ignore case: Grey.png and grey.png are the same file.
        self._folders = {stem.casefold(): Path(s).parent for s, stem in self._stems.items()}

    def close(self) -> None:
        """Release the lock of the folder."""
        self._held.close()

    def _read(self, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        head, *rest = [_parsed(text) for text in lines] or [{}]
        before = head.get("settings")
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
        return {
            line["source"]: line
            for line in rest
            if all(isinstance(line.get(name), kind) for name, kind in _FIELDS.items())
        }

    def is_done(self, item: Item, overlay: bool) -> bool:
        """Whether the current version of an image is predicted and all outputs exist."""
        entry = self.entries.get(source_of(item))
        if entry is None or entry["stamp"] != _stamp(item) or (overlay and not entry["overlay"]):
            return False
        return all((self.out / name).exists() for name in entry["outputs"])

    def reserve(self, items: Iterable[Item]) -> None:
        """Choose the output names of images, independent of their order."""
        for item in sorted(items, key=source_of):
            self.stem(item)

    def stem(self, item: Item) -> str:
        """Output name of an image: the image's own name if unique.

        Otherwise the folder's name is prepended for an image of another folder, and the suffix
        appended for an image of the same folder.
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
        names = (path.as_posix() for path in itertools.chain(choices, numbered))
        name = next(name for name in names if name.casefold() not in self._folders)
        self._stems[source], self._folders[name.casefold()] = name, folder
        return name

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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(entry)}\n")
        self.entries[entry["source"]] = entry

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All entries, sorted by the images' absolute paths."""
        return [self.entries[source] for source in sorted(self.entries)]


def source_of(item: Item) -> str:
    """Absolute path of an image, its key in the journal."""
    return str(item.path.resolve())


def _parsed(text: str) -> dict[str, Any]:
    """Parse a line; a truncated line gives an empty dict."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _stamp(item: Item) -> list[int]:
    """Sizes and times of the files of an image."""
    paths = [item.path] if item.after is None else [item.path, item.after]
    for path in list(paths):
        # A label without its data file is refused on opening.
        with contextlib.suppress(DataError):
            if (pixels := companion(path)) is not None:
                paths.append(pixels)
    stats = [path.stat() for path in paths if path.exists()]
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]
