"""Entries of a results repository: a folder of checked submissions, local or on the hub.

::

    RESULTS/
      submissions/
        NAME/
          submission.json
          check.json         `marsbench.leaderboard.schema.Check`, the origin of all scores
"""

import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from marsbench.base.errors import ConfigError, DataNotFoundError, StoreError, some
from marsbench.base.files import file_state
from marsbench.base.paths import expanded
from marsbench.base.reading import check_regular, is_missing, open_file
from marsbench.base.version import __version__
from marsbench.config.schema import canonical_subset
from marsbench.leaderboard.board.entries import Entry, Origin
from marsbench.leaderboard.board.sources import Loaded
from marsbench.leaderboard.board.tasksets import Choice, metric_of
from marsbench.leaderboard.schema import CHECK, SUBMISSION, Badge, Check, Data, Submission
from marsbench.report.statistics.ranges import Pair
from marsbench.tasks.catalog import TASKS

SUBMISSIONS = "submissions"

_HUB = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)")

LARGEST = 20_000_000
"""Largest size of a file of a submission, in bytes."""


class Results:
    """Folder of checked submissions; submissions are read again only if their files change.

    Args:
        place: The folder, or ``hf://datasets/ORG/NAME``, whose latest commit is in the cache of the
            hub's client.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._known: dict[str, tuple[list[list[int]], Entry | str]] = {}

    def load(self) -> Loaded:
        """Read all submissions; invalid, refused and unchecked ones are left out and noted.

        Raises:
            StoreError: If the folder is missing.
        """
        root = _folder(self.place) / SUBMISSIONS
        if is_missing(root) and "://" in self.place:
            return Loaded([], [f"{self.place} has no submissions yet."])
        if is_missing(root):
            raise StoreError(
                f"The results {self.place} have no folder {SUBMISSIONS}.",
                "Name a results repository: a folder, or hf://datasets/ORG/NAME.",
            )
        entries: list[Entry] = []
        left: list[str] = []
        for folder in sorted(root.iterdir()):
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            result = self._entry(folder)
            entries += [result] if isinstance(result, Entry) else []
            left += [result] if isinstance(result, str) else []
        count = "1 submission is" if len(left) == 1 else f"{len(left)} submissions are"
        return Loaded(entries, [f"{count} left out: {some(left, '; ')}."] if left else [])

    def _entry(self, folder: Path) -> Entry | str:
        """Entry of a submission, or the reason why there is none."""
        try:
            files = [folder / SUBMISSION, folder / CHECK]
            if is_missing(files[1]):
                return f"{folder.name} is not checked yet"
            states = [file_state(check_regular(file)) for file in files]
            known = self._known.get(folder.name)
            if known is None or known[0] != states:
                known = states, self._read(folder.name, *files)
                self._known[folder.name] = known
            return known[1]
        except OSError as error:
            return f"{folder.name} cannot be read ({error.strerror or error})"

    def _read(self, name: str, submission: Path, check: Path) -> Entry | str:
        try:
            read = Check.from_json(_content(check).decode(), f"{name}/{CHECK}")
        except (StoreError, UnicodeDecodeError) as error:
            return getattr(error, "problem", f"{name}/{CHECK} is not UTF-8 text").rstrip(".")
        if read.submission is None or not read.is_valid:
            return f"{name} is refused by its check"
        if read.submission.data is not Data.REAL:
            return f"{name} is on demo data"
        try:
            subset = canonical_subset(read.submission.subset)
        except ConfigError as error:
            return f"{name}: {error.problem.rstrip('.')}"
        if hashlib.sha256(_content(submission)).hexdigest() != read.digest:
            return f"{name} was changed after its check"
        scores: defaultdict[Pair, dict[int, float]] = defaultdict(dict)
        for run in read.runs:
            if run.task not in TASKS:
                continue
            for metric in {metric_of(run.task, choice) for choice in Choice}:
                if run.seed in scores.get((run.task, metric), ()):
                    return f"{name} has two runs of {run.task} with seed {run.seed}"
                if metric in run.metrics:
                    scores[run.task, metric][run.seed] = run.metrics[metric]
        if not scores:
            return f"{name} has no score"
        return _entry(name, read, replace(read.submission, subset=subset), dict(scores))


def _folder(place: str) -> Path:
    """Folder of the results: local, or of the newest commit in the cache of the hub's client."""
    if "://" not in place:
        return expanded(place)
    if (match := _HUB.fullmatch(place)) is None:
        raise ConfigError(
            f"The results {place} are not a place; expected a folder or hf://datasets/ORG/NAME.",
            "Give the data set repository of the submissions.",
        )
    from huggingface_hub import snapshot_download

    try:
        # Without a network the client gives the last commit in its cache.
        return Path(
            snapshot_download(
                match[1],
                repo_type="dataset",
                allow_patterns=[f"{SUBMISSIONS}/*/{name}" for name in (SUBMISSION, CHECK)],
                library_name="marsbench",
                library_version=__version__,
            )
        )
    except Exception as error:  # of the client, its web library and the disk
        raise DataNotFoundError(
            f"The results {place} cannot be downloaded: {type(error).__name__}: "
            f"{str(error).partition(chr(10))[0][:200]}",
            "Check the name and the network; for a private repository set HF_TOKEN.",
        ) from error


def _content(file: Path) -> bytes:
    """Content of a file of limited size."""
    with open_file(file) as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(f"larger than {LARGEST / 1e6:g} MB")
    return content


def _entry(
    name: str, check: Check, submission: Submission, scores: dict[Pair, dict[int, float]]
) -> Entry:
    model = submission.model
    badges = Counter(run.badge for run in check.runs)
    return Entry(
        name=f"{Origin.SUBMISSION}/{name}",
        origin=Origin.SUBMISSION,
        model=model.name,
        mode=submission.mode,
        protocol=submission.protocol,
        subset=submission.subset,
        imbalance=submission.imbalance,
        views=submission.views,
        author=submission.author,
        badge=Badge.CONSISTENT if set(badges) == {Badge.CONSISTENT} else Badge.NOT_RESCORED,
        created=submission.created[:10],
        partial=submission.partial,
        parameters=model.parameters,
        weights=model.weights,
        pretraining=model.pretraining,
        licence=model.licence,
        links=model.links,
        note=submission.note,
        flags=tuple(finding.problem for finding in check.findings),
        scores=scores,
    )
