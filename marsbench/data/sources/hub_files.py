"""Files of a dataset repository on the Hugging Face hub, in the cache of the hub's own client.

The client downloads, locks and stores the files below ``HF_HOME`` or ``HF_HUB_CACHE``, shared with
other tools. A repository is resolved to a commit once and stays pinned until an update: data do not
change during a study, and a run with all its files in the cache makes no request.
``MARSBENCH_HOME/hub/ORG--NAME`` holds the pin, ``refs/main``, and a listing per commit,
``COMMIT.json``: files by split, with sizes and checksums.
"""

import contextlib
import fnmatch
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from marsbench.base import network, paths
from marsbench.base.documents import parse_json, read_front_matter
from marsbench.base.errors import ConfigError, DataError, DataNotFoundError, some
from marsbench.base.files import cached_facts, once, write_text
from marsbench.base.hub import COMMIT, HubAddress, endpoint, refusal_of
from marsbench.base.paths import expanded
from marsbench.base.version import __version__
from marsbench.config.schema import Subset
from marsbench.data.download.disk import digest_of, other_digest, writing
from marsbench.data.download.unpacking import safe_name
from marsbench.data.download.web import IDLE, UnreachableError, check_online
from marsbench.tasks.spec import SPLITS

MAPPING = "mapping.json"
"""File of the class names; optional."""

CARD = "README.md"

MAIN = "main"

_SPELLINGS = {"validation": "val", "valid": "val", "dev": "val"}
"""Alternative names of splits."""


@dataclass(frozen=True)
class HubFile:
    """File of a repository: path, bytes, and ``sha256:HEX`` or ``git-sha1:HEX`` if known."""

    path: str
    size: int | None
    digest: str | None


@dataclass(frozen=True)
class Listing:
    """Files of a repository at a commit.

    Attributes:
        repo: ``ORG/NAME``.
        revision: The commit.
        splits: Split to its parquet files, in order.
        mapping: File of the class names, if any.
        complete: True for a listing of the hub, False for a listing of the client's cache.
    """

    repo: str
    revision: str
    splits: Mapping[str, tuple[HubFile, ...]]
    mapping: HubFile | None = None
    complete: bool = True

    @property
    def folder(self) -> Path:
        """Folder of this commit in the client's cache."""
        return cache_folder(self.repo) / "snapshots" / self.revision

    @property
    def size(self) -> int:
        """Bytes of this commit in the client's cache."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def files(self, splits: Iterable[str]) -> list[HubFile]:
        """Files of some splits, and the file of the class names; unknown splits are ignored."""
        files = [file for split in splits for file in self.splits.get(split, ())]
        return files if self.mapping is None else [*files, self.mapping]

    def missing(self, splits: Iterable[str]) -> list[HubFile]:
        """Files of some splits missing in the cache."""
        return [file for file in self.files(splits) if not self.has(file)]

    def has(self, file: HubFile) -> bool:
        """Whether a file is in the cache with the listed size."""
        try:
            return (self.folder / file.path).stat().st_size == file.size or file.size is None
        except OSError:
            return False

    def changed(self, splits: Iterable[str]) -> list[str]:
        """Files of some splits in the cache that differ from their listed checksums.

        Checksums are computed only if a file changed since the last call, of any process.
        """
        listed: defaultdict[str, list[HubFile]] = defaultdict(list)
        for file in self.files(splits):
            if file.digest is not None:
                listed[file.digest.partition(":")[0]].append(file)
        changed: list[str] = []
        for algorithm, files in listed.items():
            places = [self.folder / file.path for file in files]
            compute = partial(digest_of, algorithm=algorithm)
            digests = cached_facts(places, f"digests-{algorithm}", compute)
            pairs = zip(files, digests, strict=True)
            changed += [file.path for file, digest in pairs if digest != file.digest]
        return changed

    def serves(self, subsets: Iterable[Subset], splits: Iterable[str] = SPLITS) -> bool:
        """Whether all files of some subsets and splits are in the cache.

        False for a split missing in an incomplete listing, since the hub may publish it.
        """
        names = [name for subset in subsets for name in wanted(subset, self.splits, splits)]
        if not self.complete and (
            any(split_name(subset, self.splits) is None for subset in subsets)
            or not self.splits.keys() >= set(names)
        ):
            return False
        return not self.missing(names)


def cache_folder(repo: str) -> Path:
    """Folder of a repository in the client's cache."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.file_download import repo_folder_name

    try:
        name = repo_folder_name(repo_id=repo, repo_type="dataset")
    except HFValidationError as error:
        raise ConfigError(f"hub_id {repo} is invalid: {error}", "Give ORG/NAME.") from error
    return expanded(constants.HF_HUB_CACHE) / name


def pin_folder(repo: str) -> Path:
    """Folder of a repository's pin and listings."""
    return paths.home() / "hub" / repo.replace("/", "--")


def split_name(subset: Subset, splits: Iterable[str]) -> str | None:
    """Name of a published subset's split, or None."""
    if subset.shots is not None:
        names = [f"few_shot_train_{subset.shots}_shot"]
    elif subset.fraction is not None:
        # Detection repositories omit the prefix.
        name = f"{subset.fraction:.2f}x_partition"
        names = [f"partition_train_{name}", name]
    else:
        names = ["train"]
    return next((name for name in names if name in set(splits)), None)


def wanted(subset: Subset, published: Collection[str], splits: Iterable[str]) -> list[str]:
    """Names of the splits to download for train, val and test.

    Args:
        subset: Subset of train; a published subset replaces the train split.
        published: All splits of the repository.
        splits: Requested splits of train, val and test.
    """
    train = split_name(subset, published) or "train"
    return [train if split == "train" else split for split in splits]


def known_listing(repo: str, revision: str | None) -> Listing | None:
    """Listing of the pinned or cached commit, without a request."""
    commit = _pinned(repo, revision)
    return None if commit is None else _read(repo, commit) or _cached(repo, commit)


def held(repo: str) -> list[Listing]:
    """Listings of all commits in the client's cache."""
    snapshots = cache_folder(repo) / "snapshots"
    commits = sorted(p.name for p in snapshots.iterdir()) if snapshots.is_dir() else []
    listings = [known_listing(repo, commit) for commit in commits if COMMIT.fullmatch(commit)]
    return [listing for listing in listings if listing is not None]


def delete(repo: str) -> None:
    """Delete a repository from the client's cache, and its pins."""
    from huggingface_hub import scan_cache_dir

    folder = cache_folder(repo)
    if folder.is_dir():
        cache = scan_cache_dir()
        for cached in cache.repos:
            if cached.repo_path == folder.resolve():
                cache.delete_revisions(*(r.commit_hash for r in cached.revisions)).execute()
    for path in (folder, pin_folder(repo)):
        if path.is_dir():
            shutil.rmtree(path)


def fetch(
    repo: str,
    revision: str | None,
    subsets: Sequence[Subset],
    *,
    splits: Sequence[str] = SPLITS,
    update: bool = False,
    every_split: bool = False,
) -> Listing:
    """Download the missing files of some subsets, and return the listing of their commit.

    Concurrent processes wait for each other's downloads (locks of the client).

    Args:
        repo: ``ORG/NAME``.
        revision: Commit, tag or branch; None is the pinned commit, else main in the client's
            cache, else main on the hub.
        subsets: Subsets of the train split.
        splits: Splits of train, val and test.
        update: Resolve the revision again, and also download all splits held of the old commit.
        every_split: Download all published splits.

    Raises:
        DataNotFoundError: If the repository, the revision or its data are not found.
        UnreachableError: If the hub does not answer.
        DataError: If the request is refused, or a file differs from the listing.
    """
    old = known_listing(repo, revision)
    try:
        listing = _resolve(repo, revision) if update else _listing(repo, revision)
    except UnreachableError:
        if update or every_split or old is None or not old.serves(subsets, splits):
            raise
        return old
    names = list(listing.splits)
    if not every_split:
        names = [name for subset in subsets for name in wanted(subset, listing.splits, splits)]
    if update and old is not None:
        names += [name for name in old.splits if not old.missing([name])]
    if files := listing.missing(dict.fromkeys(names)):
        check_online(str(HubAddress(repo, "dataset")))
        _download(listing, files)
    # Last: until all files are in the cache, the old commit stays usable.
    _pin(repo, revision, listing)
    return listing


def _listing(repo: str, revision: str | None) -> Listing:
    """Listing of the pinned commit; an unpinned revision is resolved and pinned."""

    def read() -> Listing | None:
        commit = _pinned(repo, revision)
        return None if commit is None else _read(repo, commit)

    def build() -> Listing:
        listing = _resolve(repo, _pinned(repo, revision) or revision)
        _pin(repo, revision, listing)
        return listing

    if (listing := read()) is not None:
        return listing
    check_online(str(HubAddress(repo, "dataset")))
    with writing(pin_folder(repo)):
        return once(_pin_path(repo, revision), read, build)


def _pinned(repo: str, revision: str | None) -> str | None:
    """Commit of a revision: pinned, or last resolved by another tool, or None."""
    name = revision or MAIN
    if COMMIT.fullmatch(name):
        return name
    for path in (_pin_path(repo, name), cache_folder(repo) / "refs" / name):
        with contextlib.suppress(OSError, ValueError):
            commit = path.read_text(encoding="utf-8").strip()
            if COMMIT.fullmatch(commit):
                return commit
    return None


def _pin(repo: str, revision: str | None, listing: Listing) -> None:
    path = _pin_path(repo, revision)
    pinned = path.is_file() and path.read_text(encoding="utf-8") == listing.revision
    if not pinned and not COMMIT.fullmatch(revision or MAIN):
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, listing.revision)


def _pin_path(repo: str, revision: str | None) -> Path:
    """Pin file of a branch or tag; names such as ``refs/pr/1`` are escaped."""
    return pin_folder(repo) / "refs" / quote(revision or MAIN, safe="").replace(".", "%2E")


def _read(repo: str, commit: str) -> Listing | None:
    """Stored listing of a commit; None if missing or damaged."""
    try:
        values = parse_json((pin_folder(repo) / f"{commit}.json").read_text(encoding="utf-8"))
        files = {path: HubFile(path, **facts) for path, facts in values["files"].items()}
        return _build(repo, commit, files, values["splits"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _cached(repo: str, commit: str) -> Listing | None:
    """Listing of a commit's files in the client's cache, such as downloads of other tools."""
    folder = cache_folder(repo) / "snapshots" / commit
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")]
    files = {
        name: HubFile(name, None, _digest_of(folder / name))
        for name in (*names, MAPPING)
        if (folder / name).is_file()
    }
    card = None
    with contextlib.suppress(ConfigError):
        card = read_front_matter(folder / CARD)
    splits = {name: paths for name, paths in _splits(files, card).items() if _is_whole(paths)}
    return replace(_build(repo, commit, files, splits), complete=False) if splits else None


def _digest_of(path: Path) -> str | None:
    """Checksum of a cached file, from the name of its blob."""
    name = path.readlink().name if path.is_symlink() else ""
    return {64: f"sha256:{name}", 40: f"git-sha1:{name}"}.get(len(name))


def _is_whole(names: Sequence[str]) -> bool:
    """Whether the number of files agrees with their names, as in ``00000-of-00002``."""
    count = re.search(r"-of-(\d{5})", names[0])
    return count is None or int(count[1]) == len(names)


def _build(
    repo: str, commit: str, files: Mapping[str, HubFile], splits: Mapping[str, Sequence[str]]
) -> Listing:
    by_split = {name: tuple(files[path] for path in paths) for name, paths in splits.items()}
    return Listing(repo, commit, by_split, files.get(MAPPING))


def _resolve(repo: str, revision: str | None) -> Listing:
    """Request the commit and the files of a revision, and store the listing."""
    from huggingface_hub import HfApi, constants

    with _explained(repo, revision):
        network.check_reachable(constants.ENDPOINT)
        info = HfApi().dataset_info(repo, revision=revision, files_metadata=True, timeout=IDLE)
    files = {
        sibling.rfilename: HubFile(sibling.rfilename, sibling.size, _digest(sibling))
        for sibling in info.siblings or ()
        if sibling.rfilename.endswith(".parquet") or sibling.rfilename == MAPPING
    }
    commit = info.sha or ""
    if bad := [name for name in files if safe_name(name) != name]:
        raise DataError(
            f"{repo} at {commit[:8]} holds files outside its folder: {some(bad)}.",
            "Do not use this repository or mirror.",
        )
    card: Any = info.card_data
    splits = _splits(files, None if card is None else card.to_dict())
    if not splits or not COMMIT.fullmatch(commit):
        raise DataNotFoundError(
            f"{repo} at {commit[:8]} holds no parquet files of a train, val or test split.",
            "Expected data/SPLIT-00000-of-00001.parquet, as `datasets` writes (push_to_hub).",
        )
    facts = {path: {"size": file.size, "digest": file.digest} for path, file in files.items()}
    path = pin_folder(repo) / f"{commit}.json"
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"splits": splits, "files": facts}, indent=1))
    return _build(repo, commit, files, splits)


def _digest(sibling: Any) -> str | None:
    """Checksum of a listed file: SHA-256 of large files, git's SHA-1 of small files."""
    if sibling.lfs is not None:
        return f"sha256:{sibling.lfs['sha256']}"
    return None if sibling.blob_id is None else f"git-sha1:{sibling.blob_id}"


def _splits(names: Iterable[str], card: Any) -> dict[str, list[str]]:
    """Parquet files by split, from the repository's card, else from the file names."""
    parquet = sorted(name for name in names if name.endswith(".parquet"))
    by_split: dict[str, list[str]] = {}
    for entry in _card_entries(card):
        path = entry.get("path")
        patterns = path if isinstance(path, list) else [path]
        for pattern in [p for p in patterns if isinstance(p, str)]:
            matching = [name for name in parquet if fnmatch.fnmatch(name, pattern)]
            by_split.setdefault(str(entry.get("split")), []).extend(matching)
    if not any(by_split.values()):
        by_split = {}
        for name in parquet:
            match = re.search(r"(?:^|/)([^/]+?)(?:-\d{5}-of-\d{5}(?:-\w+)?|/\d{4})\.parquet$", name)
            if match:
                by_split.setdefault(match[1], []).append(name)
    renamed = {name: _SPELLINGS.get(name, name) for name in by_split}
    return {
        # Keep "validation" where "val" exists too.
        name if renamed[name] in by_split else renamed[name]: list(dict.fromkeys(files))
        for name, files in by_split.items()
        if files
    }


def _card_entries(card: Any) -> list[dict[str, Any]]:
    """Entries of ``data_files`` in the default config of a card; invalid parts are ignored."""
    configs = card.get("configs") if isinstance(card, dict) else None
    configs = [c for c in configs if isinstance(c, dict)] if isinstance(configs, list) else []
    default = [c for c in configs if c.get("config_name") == "default"] or configs or [{}]
    entries = default[0].get("data_files")
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _download(listing: Listing, files: Iterable[HubFile]) -> None:
    """Download files into the client's cache and compare their checksums."""
    from huggingface_hub import hf_hub_download

    for file in files:
        with _explained(listing.repo, listing.revision):
            target = hf_hub_download(
                listing.repo,
                file.path,
                repo_type="dataset",
                revision=listing.revision,
                library_name="marsbench",
                library_version=__version__,
                # A cached file with a wrong size was changed on this machine.
                force_download=(listing.folder / file.path).exists() and not listing.has(file),
            )
        path = Path(target)
        if file.digest is not None and (actual := other_digest(path, file.digest)):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise DataError(
                f"{file.path} of {listing.repo} has the checksum {actual}; expected {file.digest}.",
                "The file was deleted: try again. If the error persists, a proxy or mirror "
                "changes the file.",
            )


@contextlib.contextmanager
def _explained(repo: str, revision: str | None) -> Iterator[None]:
    """Translate errors of the client."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        yield
    except Exception as error:  # of the client, its web library and the disk
        refusal, hub = refusal_of(error), endpoint()
        if isinstance(refusal.cause, RevisionNotFoundError):
            raise DataNotFoundError(
                f"Revision '{revision}' of {repo} was not found.", "Give a commit, tag or branch."
            ) from error
        if refusal.status in (401, 403, 404):
            raise DataNotFoundError(
                f"Dataset {repo} not found on {hub}, or it is private or gated ({refusal.reason}).",
                f"Check the name. For private or gated data, accept the terms on "
                f"{hub}/datasets/{repo} and set HF_TOKEN. The hub refuses an expired token for "
                "public data too.",
            ) from error
        if refusal.is_unreachable:
            raise UnreachableError(
                f"{hub} does not answer for {repo}: {refusal.reason}.",
                "Check the network, the proxy (https_proxy) and HF_ENDPOINT, or try again later.",
            ) from error
        raise DataError(
            f"{repo} cannot be downloaded from {hub}: {refusal.reason}: "
            f"{str(refusal.cause)[:200]}.",
            "Check the disk, the proxy, and that HF_ENDPOINT is a hub.",
        ) from error
