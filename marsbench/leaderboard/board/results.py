"""Entries of a results repository: a folder of checked submissions, local or on the hub.

::

    RESULTS/
      submissions/
        NAME/                `marsbench.leaderboard.schema`; only submission.json is needed here
      checks/
        NAME.json            `marsbench.leaderboard.schema.Check`, the origin of all scores

Checks are apart from submissions, so that a submission cannot bring its own.
"""

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from marsbench.base import hub, network
from marsbench.base.errors import ConfigError, DataNotFoundError, StoreError, some
from marsbench.base.files import file_state
from marsbench.base.paths import expanded
from marsbench.base.reading import check_regular, is_missing, open_file
from marsbench.base.version import __version__
from marsbench.config.schema import canonical_subset
from marsbench.leaderboard.board.entries import Entry, Origin
from marsbench.leaderboard.board.index import Index
from marsbench.leaderboard.board.sources import Loaded
from marsbench.leaderboard.board.tasksets import Choice, metric_of
from marsbench.leaderboard.schema import SUBMISSION, Badge, Check, Data, Submission
from marsbench.report.statistics.ranges import Pair
from marsbench.tasks.catalog import TASKS

SUBMISSIONS = "submissions"
CHECKS = "checks"

LARGEST = 20_000_000
"""Largest size of a file of a submission, in bytes."""


class Results:
    """Folder of checked submissions; they are read again only if their files change.

    Args:
        place: The folder, or ``hf://datasets/ORG/NAME``, whose latest commit is in the cache of the
            hub's client.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        local = not hub.is_address(place)
        self._index = Index(str(expanded(place).resolve()) if local else place)

    def load(self) -> Loaded:
        """Read all submissions; invalid, refused and unchecked ones are left out and noted.

        Raises:
            StoreError: If the folder is missing.
        """
        root = folder_of(self.place)
        names = names_in(root)
        if names is None and hub.is_address(self.place):
            return Loaded([], [f"{self.place} has no submissions yet."])
        if names is None:
            raise StoreError(
                f"The results {self.place} have no folder {SUBMISSIONS}.",
                "Name a results repository: a folder, or hf://datasets/ORG/NAME.",
            )
        entries: list[Entry] = []
        left: list[str] = []
        for name in names:
            result = self._entry(root, name)
            entries += [result] if isinstance(result, Entry) else []
            left += [result] if isinstance(result, str) else []
        self._index.keep(names)
        count = "1 submission is" if len(left) == 1 else f"{len(left)} submissions are"
        return Loaded(entries, [f"{count} left out: {some(left, '; ')}."] if left else [])

    def checks(self) -> Iterator[Check]:
        """Read the checks of the submissions that were loaded as entries."""
        root = folder_of(self.place)
        for name in self._index.names():
            with contextlib.suppress(OSError, StoreError, UnicodeDecodeError):
                yield read_check(root, name)

    def _entry(self, root: Path, name: str) -> Entry | str:
        """Entry of a submission, or the reason why there is none."""
        try:
            files = [root / SUBMISSIONS / name / SUBMISSION, check_file(root, name)]
            if is_missing(files[1]):
                return f"{name} is not checked yet"
            states = [file_state(check_regular(file)) for file in files]
            known = self._index.get(name, states)
            if known is None:
                known = _entry_in(root, name)
                self._index.put(name, states, known)
            return known
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"


def names_in(root: Path) -> list[str] | None:
    """Names of the submissions of a results repository; None if it has none."""
    folder = root / SUBMISSIONS
    if is_missing(folder):
        return None
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def check_file(root: Path, name: str) -> Path:
    """File of the check of a submission."""
    return root / CHECKS / f"{name}.json"


def read_check(root: Path, name: str) -> Check:
    """Read the check of a submission.

    Raises:
        OSError: If it is missing, or larger than `LARGEST`.
        StoreError: If it is invalid.
        UnicodeDecodeError: If it is not text.
    """
    return Check.from_json(_content(check_file(root, name)).decode(), f"{CHECKS}/{name}.json")


def submission_digest(root: Path, name: str) -> str:
    """SHA-256 of ``submission.json``, as in checks; errors as of `read_check`."""
    return hashlib.sha256(_content(root / SUBMISSIONS / name / SUBMISSION)).hexdigest()


def _entry_in(root: Path, name: str) -> Entry | str:
    try:
        read = read_check(root, name)
    except (StoreError, UnicodeDecodeError) as error:
        problem = getattr(error, "problem", "its check is not UTF-8 text")
        return f"{name}: {problem.rstrip('.')}"
    if read.submission is None or not read.is_valid:
        return f"{name} is refused by its check"
    if read.submission.data is not Data.REAL:
        return f"{name} is on demo data"
    try:
        subset = canonical_subset(read.submission.subset)
    except ConfigError as error:
        return f"{name}: {error.problem.rstrip('.')}"
    if submission_digest(root, name) != read.digest:
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


def folder_of(place: str) -> Path:
    """Folder of the results: local, or of the newest commit in the cache of the hub's client.

    Raises:
        ConfigError: If the address is invalid or of no data set repository.
        DataNotFoundError: If the repository is not found, or not cached without a network.
    """
    if not hub.is_address(place):
        return expanded(place)
    address = results_address(place)
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    silence: OSError | None = None
    with hub.explained(address, DataNotFoundError):
        try:
            network.check_reachable(constants.ENDPOINT)
        except OSError as error:
            silence = error
        try:
            return Path(
                snapshot_download(
                    address.repo,
                    repo_type=address.kind,
                    revision=address.revision,
                    # Without a network, the last commit in the client's cache.
                    local_files_only=silence is not None,
                    allow_patterns=[f"{SUBMISSIONS}/*/{SUBMISSION}", f"{CHECKS}/*.json"],
                    library_name="marsbench",
                    library_version=__version__,
                )
            )
        except LocalEntryNotFoundError as error:
            raise silence or error from None


def results_address(place: str) -> hub.HubAddress:
    """Address of a results repository on the hub.

    Raises:
        ConfigError: If it is invalid or not the address of a data set repository.
    """
    address = hub.parse_address(place)
    if address.kind != "dataset" or address.path:
        raise ConfigError(
            f"{place} is not a data set repository, in which leaderboards keep results.",
            "Write hf://datasets/ORG/NAME.",
        )
    return address


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
    # The head differs with the number of classes.
    parameters = max((run.parameters for run in check.runs if run.parameters), default=None)
    seconds = [run.train_seconds for run in check.runs if run.train_seconds is not None]
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
        parameters=parameters if model.parameters is None else model.parameters,
        train_seconds=fmean(seconds) if seconds else None,
        weights=model.weights,
        pretraining=model.pretraining,
        licence=model.licence,
        links=model.links,
        note=submission.note,
        flags=tuple(finding.problem for finding in check.findings),
        scores=scores,
    )
