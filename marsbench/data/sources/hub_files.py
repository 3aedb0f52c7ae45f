"""Files of a dataset repository on the Hugging Face hub: listed once, fetched split by split.

A repository is resolved to a commit once and stays there until somebody asks for an update: what
a study trained on does not change under it, and a run whose files are here makes no request.
Below ``MARSBENCH_HOME/hub/ORG--NAME`` lie ``refs/main`` (the commit a name stood for), and for
each commit ``COMMIT/files.json`` (its files by split, with sizes and checksums) and the files
themselves, which appear by rename and only when their checksum is right.

The hub's own client lists and signs; it does not carry the bytes, since it throws away what an
interrupted download had.
"""

import fnmatch
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from marsbench.base import paths
from marsbench.base.errors import ConfigError, DataError, DataNotFoundError, some
from marsbench.base.progress import bar
from marsbench.config.schema import Subset
from marsbench.data.download import transfer, web
from marsbench.data.download.archives import locked
from marsbench.data.download.transfer import writing
from marsbench.data.download.unpacking import safe_name
from marsbench.data.download.web import shown
from marsbench.tasks.spec import SPLITS

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

LISTING = "files.json"
MAPPING = "mapping.json"
"""Class names, where a repository has them in a file of their own."""

COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"

_SPELLINGS = {"validation": "val", "valid": "val", "dev": "val"}
"""What other repositories call the splits."""


@dataclass(frozen=True)
class HubFile:
    """One file: its path in the repository, bytes and checksum (as of `Remote`) where stated."""

    path: str
    size: int | None
    digest: str | None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit.

    Attributes:
        repo: ``ORG/NAME``.
        revision: The commit.
        splits: Split to its parquet files, in order.
        mapping: The file that names the classes, if there is one.
    """

    repo: str
    revision: str
    splits: Mapping[str, tuple[HubFile, ...]]
    mapping: HubFile | None = None

    @property
    def folder(self) -> Path:
        """Where the files of this commit lie."""
        return repo_folder(self.repo) / self.revision

    def files(self, splits: Iterable[str]) -> list[HubFile]:
        """Files of some splits and the class names; splits that do not exist are left out."""
        found = [file for split in splits for file in self.splits.get(split, ())]
        return found if self.mapping is None else [*found, self.mapping]

    def missing(self, splits: Iterable[str]) -> list[HubFile]:
        """Files of some splits that are not here."""
        return [file for file in self.files(splits) if not self.has(file)]

    def has(self, file: HubFile) -> bool:
        """Whether a file is here; one that is has been checked when it came."""
        try:
            return (self.folder / file.path).stat().st_size == file.size or file.size is None
        except OSError:
            return False


def repo_folder(repo: str) -> Path:
    """Where everything of a repository lies."""
    return paths.home() / "hub" / repo.replace("/", "--")


def split_name(subset: Subset, splits: Iterable[str]) -> str | None:
    """Name of the split that holds a published subset; None if it is not published."""
    if subset.shots is not None:
        names = [f"few_shot_train_{subset.shots}_shot"]
    elif subset.fraction is not None:
        # Detection repositories leave out the first part.
        name = f"{subset.fraction:.2f}x_partition"
        names = [f"partition_train_{name}", name]
    else:
        names = ["train"]
    return next((name for name in names if name in set(splits)), None)


def wanted(subset: Subset, published: Collection[str], splits: Iterable[str]) -> list[str]:
    """Published splits behind train, val and test: of train a subset's own part where there is one.

    Args:
        subset: The subset.
        published: All splits of the repository.
        splits: Which of train, val and test are wanted.
    """
    train = split_name(subset, published) or "train"
    return [train if split == "train" else split for split in splits]


def known_listing(repo: str, revision: str | None) -> Listing | None:
    """The listing of a repository as it was when it was last resolved; makes no request."""
    folder = repo_folder(repo)
    commit = revision or MAIN
    try:
        if not COMMIT.fullmatch(commit):
            commit = (folder / "refs" / _ref(commit)).read_text().strip()
        values = json.loads((folder / commit / LISTING).read_text())
        splits = {name: tuple(map(_file, files)) for name, files in values["splits"].items()}
        mapping = values["mapping"]
        return Listing(repo, commit, splits, _file(mapping) if mapping else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or changed by something else: it is made anew


def _file(values: Mapping[str, Any]) -> HubFile:
    """Read one file of a listing; ValueError if it is not what `_resolve` writes."""
    file = HubFile(values["path"], values["size"], values["digest"])
    if not _is_plain(file.path) or not isinstance(file.size, int | None):
        raise ValueError(file.path)
    return file


def _is_plain(name: object) -> bool:
    """Whether a name leads to a file below the commit's folder, and to no other of ours."""
    return isinstance(name, str) and safe_name(name) == name and not name.endswith(".part")


def fetch(
    repo: str,
    revision: str | None,
    subsets: Sequence[Subset],
    *,
    splits: Sequence[str] = SPLITS,
    update: bool = False,
    every_split: bool = False,
) -> Listing:
    """Make sure that the splits of some subsets are here; requests only what is not.

    Several processes may ask for the same at once: one works, the others wait.

    Args:
        repo: ``ORG/NAME``.
        revision: Commit, tag or branch; None is the commit that is here, else that of main.
        subsets: Subsets of the train split wanted.
        splits: Which of train, val and test are wanted.
        update: Whether to resolve the revision anew, and to bring what is here of the old commit.
        every_split: Whether all published splits are wanted.

    Raises:
        DataNotFoundError: If there is no such repository or revision, or it has no such data.
        TransferError: If it cannot be reached, or what came is not what was promised.
    """

    def missing(listing: Listing, more: Iterable[str] = ()) -> list[HubFile]:
        names = list(listing.splits)
        chosen = names if every_split else [s for u in subsets for s in wanted(u, names, splits)]
        return listing.missing(dict.fromkeys([*chosen, *more]))

    old = known_listing(repo, revision)
    # Without the lock, which a cache that is shared and read-only could not have.
    if old is not None and not update and not missing(old):
        return old
    with locked(repo_folder(repo)):
        old = known_listing(repo, revision)
        listing = _resolve(repo, revision) if old is None or update else old
        here = [] if old is None else [name for name in old.splits if not old.missing([name])]
        if files := missing(listing, here):
            _download(listing, files)
        # Last: until all is here, the old commit is the one that works.
        ref = _ref(revision or MAIN)
        if not COMMIT.fullmatch(ref) and (old is None or old.revision != listing.revision):
            _write(repo_folder(repo) / "refs" / ref, listing.revision)
    return listing


def _download(listing: Listing, files: Sequence[HubFile]) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    with bar(listing.repo, sum(file.size or 0 for file in files)) as advance:
        for file in files:
            url = hf_hub_url(
                listing.repo,
                file.path,
                repo_type="dataset",
                revision=listing.revision,
                endpoint=_endpoint(),
            )
            path = listing.folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            for token in _tokens():
                remote = transfer.Remote(url, file.size, file.digest, build_hf_headers(token=token))
                try:
                    transfer.download(remote, path, advance)
                    break
                except web.TransferError as error:
                    if token is False or error.status not in (401, 403):
                        raise


def _tokens() -> tuple[bool | None, ...]:
    """Ways to ask, in turn: with the user's token if there is one, then as anybody.

    An old token that the hub refuses must not stand between a user and public data.
    """
    from huggingface_hub import get_token

    # None, not True: a user may forbid that a token is sent unasked.
    return (False,) if get_token() is None else (None, False)


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


def _resolve(repo: str, revision: str | None) -> Listing:
    """Ask the hub which commit a revision is and what it holds, and write that down."""
    info = _ask(repo, revision)
    if info.sha is None or not COMMIT.fullmatch(info.sha):
        raise DataError(f"{shown(_endpoint())} names no commit of {repo}.", "Try again later.")
    files = {
        sibling.rfilename: HubFile(sibling.rfilename, sibling.size, _digest(sibling))
        for sibling in info.siblings or ()
        if sibling.rfilename.endswith(".parquet") or sibling.rfilename == MAPPING
    }
    if odd := [name for name in files if not _is_plain(name)]:
        raise DataError(
            f"{repo} at {info.sha[:8]} holds files that would be written elsewhere: {some(odd)}.",
            "Do not use this repository, or this mirror of it.",
        )
    splits = _splits(sorted(files), info.card_data)
    if not splits:
        raise DataNotFoundError(
            f"{repo} at {info.sha[:8]} holds no parquet files of a train, val or test split.",
            "A hub repository has them as data/SPLIT-00000-of-00001.parquet, which is how "
            "`datasets` writes them (push_to_hub).",
        )
    listing = Listing(
        repo,
        info.sha,
        {name: tuple(files[path] for path in found) for name, found in splits.items()},
        files.get(MAPPING),
    )
    values = {
        "splits": {name: [asdict(f) for f in found] for name, found in listing.splits.items()},
        "mapping": None if listing.mapping is None else asdict(listing.mapping),
    }
    _write(listing.folder / LISTING, json.dumps(values, indent=1))
    return listing


def _ref(name: str) -> str:
    """File name of a branch or tag, such as ``refs/pr/1``."""
    return quote(name, safe="").replace(".", "%2E")


def _write(path: Path, text: str) -> None:
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.part")
        partial.write_text(text)
        partial.replace(path)


def _digest(sibling: Any) -> str | None:
    """Checksum of a file: of a large one its content's, of a small one git's."""
    if sibling.lfs is not None:
        return f"sha256:{sibling.lfs['sha256']}"
    return None if sibling.blob_id is None else f"git-sha1:{sibling.blob_id}"


def _splits(names: Sequence[str], card: Any) -> dict[str, list[str]]:
    """Parquet files by split: as the repository's card says, else as their names do."""
    parquet = [name for name in names if name.endswith(".parquet")]
    found: dict[str, list[str]] = {}
    for entry in _card_files(card):
        patterns = entry.get("path") or []
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            matching = [name for name in parquet if fnmatch.fnmatch(name, pattern)]
            found.setdefault(str(entry.get("split")), []).extend(matching)
    if not any(found.values()):
        found = {}
        for name in parquet:
            match = re.search(r"(?:^|/)([^/]+?)(?:-\d{5}-of-\d{5}(?:-\w+)?|/\d{4})\.parquet$", name)
            if match:
                found.setdefault(match[1], []).append(name)
    renamed = {name: _SPELLINGS.get(name, name) for name in found}
    return {
        # A repository that has both calls something else validation.
        name if renamed[name] in found else renamed[name]: list(dict.fromkeys(files))
        for name, files in found.items()
        if files
    }


def _card_files(card: Any) -> list[dict[str, Any]]:
    configs = (card.to_dict() if card is not None else {}).get("configs") or []
    if not isinstance(configs, list) or not configs:
        return []
    default = [c for c in configs if c.get("config_name") == "default"] or configs
    files = default[0].get("data_files") or []
    return [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []


def _ask(repo: str, revision: str | None) -> "DatasetInfo":
    """List a repository, with retries, and as anybody where the user's token is refused."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo):
        raise ConfigError(f"'{repo}' is no repository of the hub.", "Its hub_id is ORG/NAME.")
    if revision is not None and (".." in revision or not re.fullmatch(r"\w[\w./-]*", revision)):
        raise ConfigError(f"'{revision}' is no revision.", "Name a commit, a tag or a branch.")
    if web.offline():
        raise DataNotFoundError(
            f"{repo} is not on this machine, and HF_HUB_OFFLINE keeps it from being downloaded.",
            "Run `marsbench data download TASK` once where there is a network, with the same "
            "MARSBENCH_HOME, or unset HF_HUB_OFFLINE.",
        )
    api, address = HfApi(endpoint=_endpoint(), library_name="marsbench"), shown(_endpoint())
    tokens = list(_tokens())

    def attempt() -> "DatasetInfo":
        try:
            return api.dataset_info(
                repo, revision=revision, files_metadata=True, token=tokens[0], timeout=web.IDLE
            )
        except RevisionNotFoundError as error:
            raise DataNotFoundError(
                f"{repo} has no revision '{revision}'.", "Name a commit, a tag or a branch."
            ) from error
        except HfHubHTTPError as error:
            status = getattr(error.response, "status_code", None)
            if status in web.RETRIED:
                wait = web.retry_after(error.response.headers)
                raise web.Passing(f"HTTP {status}", wait, status) from error
            if status not in (401, 403, 404):
                raise web.TransferError(
                    f"{address} does not list {repo}: HTTP {status}.", "Try again later.", status
                ) from error
            if len(tokens) > 1:
                tokens.pop(0)
                return attempt()
            raise DataNotFoundError(
                f"{address} shows no dataset {repo} (HTTP {status}): there is none, or it is not "
                "public.",
                "Check its name. For a private one set HF_TOKEN to a token that may read it.",
            ) from error
        except Exception as error:
            if _is_network(error):
                raise web.Passing(str(error) or type(error).__name__) from error
            if isinstance(error, (ValueError, KeyError, TypeError)):
                # The client expects a listing of what is a proxy's page, or not the hub's.
                raise web.TransferError(
                    f"The answer of {address} for {repo} is no listing: {error}.",
                    "Does a proxy or login page stand between? Is HF_ENDPOINT a hub?",
                ) from error
            raise

    return web.patiently(f"{address}/datasets/{repo}", attempt)


def _is_network(error: Exception) -> bool:
    """Whether an error is one of the hub client's web library, which changes between versions."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or library in ("httpx", "httpx2", "requests", "urllib3")
