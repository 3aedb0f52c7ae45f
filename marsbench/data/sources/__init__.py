"""Where a task's bytes come from."""

from collections.abc import Callable
from pathlib import Path

from marsbench import paths
from marsbench.config import SourceName, Subset
from marsbench.data.decode import check_available
from marsbench.data.rows import Source
from marsbench.data.sources import archives, hub_files, zenodo
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.hub_files import Listing
from marsbench.data.sources.huggingface import HubSource
from marsbench.data.sources.local import ANNOTATIONS, LocalSource, find_folder
from marsbench.data.sources.web import TransferError
from marsbench.data.spec import Decode, TaskSpec
from marsbench.demo.recipes import RECIPES
from marsbench.errors import ConfigError, DataError, DataNotFoundError


def open_source(
    spec: TaskSpec,
    source: SourceName = SourceName.AUTO,
    root: str | Path | None = None,
    size: float = 1.0,
    *,
    subset: Subset | None = None,
    revision: str | None = None,
    download: bool = True,
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
        revision: Commit, tag or branch of hub data; None is what is downloaded, else the newest.
        download: Whether data that are not on this machine may be downloaded.

    Raises:
        DataNotFoundError: If the data are in none of the places searched.
        DataError: If the data found contradict the task or themselves.
        NotAvailableError: If this version cannot read such data yet.
    """
    if spec.decode is Decode.SPECTRUM:
        check_available(spec)
    _check_keys(source, root, revision)
    subset = Subset() if subset is None else subset
    if source is SourceName.DEMO:
        return DemoSource(spec, size)
    if source is SourceName.HUGGINGFACE:
        return _open_hub(spec, subset, revision, download=download)
    if source is SourceName.ZENODO:
        return _open_zenodo(spec, download=download)
    if source is SourceName.LOCAL or root is not None:
        return LocalSource(spec, find_local(spec, root))
    if revision is not None:
        return _open_hub(spec, subset, revision, download=download)
    return _open_first(spec, subset, download=download)


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


def _open_first(spec: TaskSpec, subset: Subset, *, download: bool) -> Source:
    """Open the first of: a local folder, a download, the hub, Zenodo."""
    places = local_places(spec, None)
    if (folder := find_folder(spec, places)) is not None:
        return LocalSource(spec, folder)
    ways: list[Callable[[], Source]] = []
    if spec.hub_id is not None:
        ways.append(lambda: _open_hub(spec, subset, None, download=download))
    if spec.zenodo_title is not None and download:
        ways.append(lambda: _open_zenodo(spec))
    refused: list[DataError] = []
    for way in ways:
        try:
            return way()
        except (DataNotFoundError, TransferError) as error:
            refused.append(error)
    looked = [f"  {place} ({name})" for name, place in places.items()]
    said = [f"  {error.problem}" for error in refused]
    raise DataNotFoundError(
        f"No data of {spec.name} found. No {ANNOTATIONS} in any of these folders, nor in "
        f"{spec.folder}/ below them:\n" + "\n".join([*looked, *(said and ["Downloads:"]), *said]),
        _ways_out(spec),
    )


def _open_hub(
    spec: TaskSpec, subset: Subset, revision: str | None, *, download: bool = True
) -> HubSource:
    if spec.hub_id is None:
        raise DataNotFoundError(
            f"Task {spec.name} is on no hub: it names no repository.",
            "Give the hub_id in a task of your own, or choose another source.",
        )
    if download:
        listing: Listing | None = hub_files.fetch(spec.hub_id, revision, [subset])
    else:
        listing = hub_files.known_listing(spec.hub_id, revision)
    if listing is None or (
        not download and listing.missing(hub_files.wanted(subset, list(listing.splits)))
    ):
        raise DataNotFoundError(
            f"{spec.hub_id} is not among the downloads.",
            f"Run `marsbench data download {spec.name}`.",
        )
    return HubSource(spec, listing, subset)


def _open_zenodo(spec: TaskSpec, *, download: bool = True) -> LocalSource:
    if not download and zenodo.read_manifest(zenodo.folder(spec)) is None:
        raise DataNotFoundError(
            f"The Zenodo record of {spec.name} is not among the downloads.",
            f"Run `marsbench data download {spec.name} --source zenodo`.",
        )
    source = LocalSource(spec, zenodo.download(spec))
    source.name = SourceName.ZENODO
    return source


def find_local(spec: TaskSpec, root: str | Path | None = None) -> Path:
    """Find a task's folder in or below the places a local source is searched for.

    Raises:
        DataNotFoundError: If it is in none of them; names them all.
        DataError: If an archive or URL cannot be read.
    """
    places = local_places(spec, root)
    folder = find_folder(spec, places)
    if folder is None:
        looked = "\n".join(f"  {place} ({name})" for name, place in places.items())
        raise DataNotFoundError(
            f"No data of {spec.name} found: no {ANNOTATIONS} in any of these folders, "
            f"nor in {spec.folder}/ below them:\n{looked}",
            _ways_out(spec),
        )
    return folder


def local_places(spec: TaskSpec, root: str | Path | None) -> dict[str, Path]:
    """Folders to search, by what they are; a root that is given is the only one."""
    if root is not None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            if "://" not in str(root) and not folder.exists():
                raise DataNotFoundError(f"root={root} is no folder.", _ways_out(spec))
            folder = archives.fetch_root(str(root))
        return {"root": folder}
    places = {"current folder": Path("data"), "download cache": paths.home() / "data"}
    return places if spec.path is None else {"the task's own": spec.path.parent, **places}


def _ways_out(spec: TaskSpec) -> str:
    ways = []
    if spec.hub_id is not None or spec.zenodo_title is not None:
        ways.append(
            f"- run `marsbench data download {spec.name}` where there is a network, with the same "
            "MARSBENCH_HOME;"
        )
    ways.append("- add root=FOLDER, the folder that holds the data (or an archive or URL of it);")
    if spec.name in RECIPES:
        ways.append("- or try the benchmark on built-in demo data: add source=demo.")
    else:
        ways.append(f"- or try a task that has demo data, with source=demo: {', '.join(RECIPES)}.")
    return "Ways out:\n" + "\n".join(ways)
