"""Names of images in files of boxes, which other tools write relative to any folder."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

from marsbench.base.errors import DataError, some


def match_images(images: Mapping[str, str], names: Iterable[str], where: str) -> dict[str, str]:
    """Name in a file of boxes of each image: equal file names, and most equal folders.

    Args:
        images: Path of each image by sample id, with ``/``.
        names: Names of images in the file.
        where: Path of the file, for messages.

    Returns:
        Name by sample id, without the images that the file does not name.

    Raises:
        DataError: If two images have the same name, or an image several.
    """
    candidates: dict[str, list[str]] = {}
    for name in names:
        candidates.setdefault(_parts(name)[0], []).append(name)
    matched: dict[str, str] = {}
    owners: dict[str, str] = {}
    problems = []
    for sample_id, path in images.items():
        own = candidates.get(_parts(path)[0], [])
        equal = [_num_equal(_parts(path), _parts(name)) for name in own]
        best = [name for name, count in zip(own, equal, strict=True) if count == max(equal)]
        if len(best) > 1:
            problems.append(f"{path} may be {some(best, ' or ')}")
        elif best and (owner := owners.setdefault(best[0], path)) != path:
            problems.append(f"{owner} and {path} may both be {best[0]}")
        elif best:
            matched[sample_id] = best[0]
    if problems:
        raise DataError(
            f"{where}: {len(problems)} name(s) of images are ambiguous: {some(problems, '; ')}.",
            "Name images in the file by their path below the task's folder.",
        )
    return matched


def _parts(path: str) -> list[str]:
    """Parts of a path from its end, of any system."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")][::-1]


def _num_equal(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
