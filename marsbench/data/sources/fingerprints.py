"""Fingerprints of the files of a local folder."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from marsbench.base.errors import DataError
from marsbench.base.files import cached_digests, cached_facts, file_state
from marsbench.data.changed import KIND, mark_of
from marsbench.data.sources.annotations import cannot_read


class Print(NamedTuple):
    """Fingerprint of a file.

    Attributes:
        content: Part of the revision, equal for equal data on every machine.
        state: Part of the cache's key.
    """

    content: str
    state: str


def prints_by_content(
    files: Mapping[str, os.stat_result], problems: list[DataError] | None
) -> dict[str, Print]:
    """Fingerprint files by their content.

    Args:
        files: Size and times by path.
        problems: List to collect errors in; unreadable files then have an empty print. None raises
            the first error.
    """
    digests = dict(zip(files, _digests(files, problems), strict=True))
    return {file: Print(digest, digest) for file, digest in digests.items()}


def prints_by_state(files: Mapping[str, os.stat_result]) -> dict[str, Print]:
    """Fingerprint files by their size and times."""
    marks = cached_facts([*files], KIND, mark_of, [*files.values()])
    return {
        # Files read as by earlier versions have no mark, and keep their ids.
        file: Print(f"{info.st_size}{mark}", f"{file} {file_state(info)}{mark}")
        for (file, info), mark in zip(files.items(), marks, strict=True)
    }


def _digests(files: Mapping[str, os.stat_result], problems: list[DataError] | None) -> list[str]:
    """Digests of the content of files; empty for unreadable files if problems are collected."""
    try:
        return cached_digests(list(files), list(files.values()))
    except OSError as error:
        problem = cannot_read(error.filename, error)
        if problems is None:
            raise problem from error
        if len(files) > 1:
            return [text for file in files for text in _digests({file: files[file]}, problems)]
        problems.append(problem)
        return [""]
