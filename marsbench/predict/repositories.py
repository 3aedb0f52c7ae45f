"""Models in repositories of the Hugging Face hub: runs of this package, and checkpoints."""

import contextlib
import glob
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from marsbench.base import hub, network
from marsbench.base.errors import WeightsError
from marsbench.base.files import is_name
from marsbench.base.hub import HubAddress
from marsbench.base.paths import expanded
from marsbench.data.sources.annotations import MAPPING
from marsbench.results.store import MODEL, RECORD
from marsbench.tasks.spec import TASK_FILE

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Suffixes of checkpoint files."""

_CHECKPOINTS = (MODEL, "pytorch_model.bin", "model.pt", "model.pth", "model.ckpt")
"""Names of checkpoints in repositories, most likely first."""

_LARGEST = {RECORD: 10_000_000, TASK_FILE: 1_000_000, MAPPING: 1_000_000}
"""Largest sizes of texts in bytes."""

_TIMEOUT = 30.0
"""Timeout of a request in seconds."""


@dataclass(frozen=True)
class Repository:
    """Repository with its files at a revision.

    Attributes:
        address: Its address.
        sizes: Bytes of each of its files; 0 if unknown.
        folder: Folder of the commit in the cache of the hub's client, if the hub did not answer.
    """

    address: HubAddress
    sizes: dict[str, int]
    folder: Path | None = None

    @property
    def is_run(self) -> bool:
        """Whether it holds a run, as `marsbench card` publishes it."""
        return RECORD in self.sizes

    def run(self) -> Path:
        """Download a run; returns its folder.

        Raises:
            WeightsError: If a file is missing or too large, or the download fails.
        """
        return self._download([RECORD, *(n for n in (TASK_FILE, MODEL) if n in self.sizes)])

    def checkpoint(self) -> Path:
        """Download the named checkpoint, or the likeliest of all, and its class names.

        Raises:
            WeightsError: If there is no checkpoint, or the download fails.
        """
        known = [name for name in _CHECKPOINTS if name in self.sizes]
        others = [name for name in self.sizes if name.endswith(SUFFIXES)]
        known += sorted(others, key=lambda name: (name.count("/"), name))
        name = self.address.path or next(iter(known), None)
        if name is None:
            raise WeightsError(
                f"No checkpoint was found in {self.address}.",
                f"Give a repository with a file ending in {', '.join(SUFFIXES)}.",
            )
        mapping = str(PurePosixPath(name).with_name(MAPPING))
        return self._download([name, *([mapping] if mapping in self.sizes else [])]) / name

    def _download(self, names: list[str]) -> Path:
        """Download files of one commit; returns its folder in the client's cache."""
        from huggingface_hub import snapshot_download

        for name in names:
            size, limit = self.sizes.get(name), _LARGEST.get(PurePosixPath(name).name)
            if size is None:
                raise WeightsError(
                    f"{name} was not found in {self.address.repository}.",
                    f"{self.address.page}/tree/main lists its files.",
                )
            if limit is not None and size > limit:
                raise WeightsError(
                    f"{name} of {self.address} has {size} bytes; at most {limit} are read.",
                    "Do not use this repository.",
                )
        if self.folder is not None:
            return self.folder
        with hub.explained(self.address, WeightsError):
            folder = snapshot_download(
                self.address.repo,
                revision=self.address.revision,
                allow_patterns=[glob.escape(name) for name in names],
            )
        return Path(folder)


def open_repository(address: HubAddress) -> Repository:
    """Look up the files of a repository, at its newest commit unless the address names one.

    If the hub does not answer, or ``HF_HUB_OFFLINE`` is set, the commit in the client's cache is
    used.

    Raises:
        WeightsError: If the repository or revision is not found, and not cached either.
    """
    from huggingface_hub import HfApi, constants

    if address.kind != "model":
        raise WeightsError(
            f"{address} is a {address.kind}, not a model.", f"Write {hub.PREFIX}ORG/NAME."
        )
    try:
        with hub.explained(address.repository, WeightsError):
            if not constants.HF_HUB_OFFLINE:
                network.check_reachable(constants.ENDPOINT)
            info = HfApi().model_info(
                address.repo, revision=address.revision, files_metadata=True, timeout=_TIMEOUT
            )
    except WeightsError as error:
        if not hub.refusal_of(error.__cause__ or error).is_unreachable:
            raise
        if (cached := _cached(address)) is None:
            raise
        return cached
    files = [file for file in info.siblings or () if is_name(file.rfilename)]
    return Repository(address, {file.rfilename: file.size or 0 for file in files})


def _cached(address: HubAddress) -> Repository | None:
    """Files of a repository in the client's cache; None if it holds no commit of the revision."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=address.repo, repo_type=address.kind)
    store = expanded(constants.HF_HUB_CACHE) / name
    commit = address.revision or "main"
    if not hub.COMMIT.fullmatch(commit):
        with contextlib.suppress(OSError, ValueError):
            commit = (store / "refs" / commit).read_text(encoding="utf-8").strip()
    folder = store / "snapshots" / commit
    if not hub.COMMIT.fullmatch(commit) or not folder.is_dir():
        return None
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    sizes = {name: path.stat().st_size for name, path in files.items() if path.is_file()}
    return Repository(address, sizes, folder)
