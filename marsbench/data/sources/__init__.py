"""Where a task's bytes come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.base import paths
from marsbench.base.errors import ConfigError, DataError, DataNotFoundError
from marsbench.base.progress import tell
from marsbench.config.schema import SourceName, Subset
from marsbench.data.download.roots import fetch_root
from marsbench.data.rows import Source
from marsbench.data.sources import hub_files, zenodo
from marsbench.data.sources.annotations import ANNOTATIONS
from marsbench.data.sources.challenge import METADATA, ChallengeSource
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.hub_files import Listing
from marsbench.data.sources.huggingface import HubSource
from marsbench.data.sources.local import LocalSource, find_folder
from marsbench.demo.recipes import RECIPES
from marsbench.tasks.spec import SPLITS, Decode, TaskSpec


def open_source(
    spec: TaskSpec,
    source: SourceName = SourceName.AUTO,
    root: str | Path | None = None,
    size: float = 1.0,
    *,
    subset: Subset | None = None,
    splits: Sequence[str] = SPLITS,
    revision: str | None = None,
    download: bool = True,
    strict: bool = True,
) -> Source:
    """Open a task's data: the index is read, the images are not.

    Args:
        spec: The task.
        source: Where to look; auto looks in local folders, then among the downloads, then on the
            Hugging Face hub, then on Zenodo, and never makes demo data.
        root: Of a local source: the task's own folder or the one that holds it, an archive of
            either, or an fsspec URL.
        size: Amount of demo data, as a multiple of the recipe's default.
        subset: Subset of the train split that is wanted; None is the whole split. Where a hub
            publishes it, nothing else of the train split is downloaded.
        splits: Which of train, val and test are wanted; others need not be downloaded.
        revision: Commit, tag or branch of hub data; None is what is downloaded, else the newest.
        download: Whether data that are not on this machine may be downloaded.
        strict: Whether measurements that are listed but absent are an error.

    Raises:
        DataNotFoundError: If the data are in none of the places searched.
        DataError: If the data found contradict the task or themselves.
        NotAvailableError: If this version cannot read such data yet.
    """
    _check_keys(source, root, revision)
    if spec.decode is Decode.SPECTRUM:
        return _open_spectra(spec, source, root, size, strict=strict)
    hub = _Hub(spec, Subset() if subset is None else subset, splits, revision)
    if source is SourceName.DEMO:
        return DemoSource(spec, size)
    if source is SourceName.ZENODO:
        return _open_zenodo(spec, download=download)
    if source is SourceName.LOCAL or root is not None:
        return _open_folder(spec, find_local(spec, root))
    if source is SourceName.HUGGINGFACE or revision is not None:
        return hub.open(download=download)
    return _open_first(hub, download=download)


def _open_spectra(
    spec: TaskSpec, source: SourceName, root: str | Path | None, size: float, *, strict: bool
) -> Source:
    """Open the data of a task of spectra, which are in folders or generated."""
    if source is SourceName.DEMO:
        return DemoSource(spec, size)
    if source not in (SourceName.AUTO, SourceName.LOCAL):
        raise DataNotFoundError(
            f"{spec.name} is neither on the hub nor on Zenodo: the challenge's site gives its data "
            "to those who log in.",
            "Download it there, and add root=FOLDER (or an archive or URL of it).",
        )
    return ChallengeSource(spec, find_local(spec, root), strict=strict)


def _check_keys(source: SourceName, root: str | Path | None, revision: str | None) -> None:
    """Refuse keys that the source has no use for, which a user would think are heeded."""
    if root is not None and source not in (SourceName.AUTO, SourceName.LOCAL):
        raise ConfigError(f"source={source} takes no root.", f"Leave out root, or source={source}.")
    if revision is not None and (
        root is not None or source not in (SourceName.AUTO, SourceName.HUGGINGFACE)
    ):
        raise ConfigError(
            f"revision={revision} is of the Hugging Face hub.",
            "Leave out revision, or set source=huggingface without root.",
        )


@dataclass(frozen=True)
class _Hub:
    """What is wanted of the hub."""

    spec: TaskSpec
    subset: Subset
    splits: Sequence[str]
    revision: str | None

    @property
    def known(self) -> Listing | None:
        """The repository as it was when it was last asked."""
        return hub_files.known_listing(self.spec.hub_id or "", self.revision)

    def open(self, *, download: bool) -> HubSource:
        """Open what is here, or download it first."""
        spec = self.spec
        if spec.hub_id is None:
            raise DataNotFoundError(
                f"Task {spec.name} is on no hub: it names no repository.",
                "Give the hub_id in a task of your own, or choose another source.",
            )
        listing = self.known
        if download:
            listing = hub_files.fetch(spec.hub_id, self.revision, [self.subset], splits=self.splits)
        if listing is None or not listing.serves([self.subset], self.splits):
            raise DataNotFoundError(
                f"{spec.hub_id} is not among the downloads, or not all that is wanted of it.",
                f"Run `marsbench data download {spec.word} --subset {self.subset}`.",
            )
        return HubSource(spec, listing, self.subset)


def _open_first(hub: _Hub, *, download: bool) -> Source:
    """Open the first of: a local folder, a download, the hub, Zenodo.

    It goes on to the next only where data cannot be had. Once something of the hub is here it
    stays with that: a bad minute of the network must not move runs to another revision.
    """
    spec = hub.spec
    places = local_places(spec, None)
    if (folder := find_folder(spec, places)) is not None:
        return _open_folder(spec, folder)
    refused: list[DataError] = []
    if spec.hub_id is not None:
        try:
            return hub.open(download=download)
        except DataNotFoundError as error:
            if download and hub.known is not None:
                raise
            refused.append(error)
    if spec.zenodo_title is not None and download:
        try:
            found = _open_zenodo(spec)
        except DataNotFoundError as error:
            refused.append(error)
        else:
            if refused:
                tell(f"{refused[0].problem} Its record on Zenodo is used.")
            return found
    raise _not_found(spec, places, ANNOTATIONS, refused)


def _open_folder(spec: TaskSpec, folder: Path) -> LocalSource:
    source = LocalSource(spec, folder)
    if zenodo.is_ours(folder):
        source.name = SourceName.ZENODO
    return source


def _open_zenodo(spec: TaskSpec, *, download: bool = True) -> LocalSource:
    if not download and not zenodo.is_ours(zenodo.folder(spec)):
        raise DataNotFoundError(
            f"The Zenodo record of {spec.name} is not among the downloads.",
            f"Run `marsbench data download {spec.word} --source zenodo`.",
        )
    return _open_folder(spec, zenodo.download(spec))


def find_local(spec: TaskSpec, root: str | Path | None = None) -> Path:
    """Find a task's folder in or below the places a local source is searched for.

    Raises:
        DataNotFoundError: If it is in none of them; names them all.
        DataError: If an archive or URL cannot be read.
    """
    places = local_places(spec, root)
    table = METADATA if spec.decode is Decode.SPECTRUM else ANNOTATIONS
    folder = find_folder(spec, places, table)
    if folder is None:
        raise _not_found(spec, places, table)
    return folder


def local_places(spec: TaskSpec, root: str | Path | None) -> dict[str, Path]:
    """Folders to search, by what they are; a root that is given is the only one."""
    if root is not None:
        return {"root": fetch_root(str(root))}
    places = {"current folder": Path("data"), "download cache": paths.home() / "data"}
    return places if spec.path is None else {"the task's own": spec.path.parent, **places}


def _not_found(
    spec: TaskSpec, places: dict[str, Path], table: str, refused: Sequence[DataError] = ()
) -> DataNotFoundError:
    """Error that names the searched folders, the refused downloads and the remedies."""
    lines = [f"  {place} ({name})" for name, place in places.items()]
    if refused:
        lines += ["Downloads:", *(f"  {error.problem}" for error in refused)]
    ways = []
    if spec.hub_id is not None or spec.zenodo_title is not None:
        ways.append(
            f"- run `marsbench data download {spec.word}` where there is a network, with the same "
            "HF_HOME and MARSBENCH_HOME;"
        )
    ways.append("- add root=FOLDER, the folder that holds the data (or an archive or URL of it);")
    if spec.name in RECIPES:
        ways.append("- or try the benchmark on built-in demo data: add source=demo.")
    else:
        ways.append(
            f"- or try a task that has demo data, with source=demo: {', '.join(sorted(RECIPES))}."
        )
    return DataNotFoundError(
        f"No data of {spec.name} found. {table} is missing in these folders, and in "
        f"{spec.folder}/ below them:\n" + "\n".join(lines),
        "Ways out:\n" + "\n".join(ways),
    )
