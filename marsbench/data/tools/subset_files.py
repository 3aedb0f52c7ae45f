"""Few-shot and partition lists of a folder, written in the published layout."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from marsbench.base.errors import ConfigError, DataError
from marsbench.base.files import write_text
from marsbench.config.schema import Subset
from marsbench.data.sources.annotations import ANNOTATIONS, csv_text, sample_rows, second_of_pair
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import generate


@dataclass
class Written:
    """Result of `write_subsets`.

    Attributes:
        files: Lists written, with their number of train samples.
        skipped: Impossible subsets, with the reason.
        kept: Existing lists, not overwritten.
    """

    files: dict[Path, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)


def write_subsets(
    source: LocalSource, subsets: Sequence[Subset], *, overwrite: bool = False
) -> Written:
    """Write the lists of subsets: fewer train rows, val and test rows unchanged.

    The samples are the same as in a run on the subset without a list: nested, seeded, equal on
    every machine. With a list they also stay when the folder grows.

    Args:
        source: The folder, opened.
        subsets: The subsets.
        overwrite: Whether to replace existing lists.

    Raises:
        DataError: If the folder cannot be read or written.
    """
    rows = source.rows("train")
    lines = [row for _, row in sample_rows(source.folder / ANNOTATIONS, ("split",))]
    header = list(lines[0])
    done = Written()
    for subset in subsets:
        path = source.subset_path(subset)
        if path is None:
            raise ConfigError(
                "subset=full has no list; expected a partition or few-shot subset.",
                "Name partitions or few-shot subsets.",
            )
        if path.exists() and not overwrite:
            done.kept.append(path)
            continue
        try:
            indices = generate(rows.targets, subset, source.class_names)
        except DataError as error:
            done.skipped[str(subset)] = str(error).replace("\n", " ")
            continue
        keep = {rows.sample_ids[int(i)] for i in indices}
        if source.spec.is_pairs:
            # Files may list the second image of a pair beside the first.
            keep |= {str(second_of_pair(Path(name))) for name in keep}
        chosen = [r for r in lines if r["split"] != "train" or r["file_id"] in keep]
        try:
            path.parent.mkdir(exist_ok=True)
            write_text(path, csv_text(header, chosen))
        except OSError as error:
            raise DataError(
                f"{path} cannot be written: {error.strerror}.", "Choose a writable folder."
            ) from error
        done.files[path] = len(indices)
    return done
