"""Sources of a task's data: folders, the Hugging Face hub, Zenodo, demo data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.base import paths
from marsbench.base.errors import ConfigError, DataError, DataNotFoundError, some
from marsbench.base.progress import tell
from marsbench.config.schema import SourceName, Subset
from marsbench.data.download.roots import fetch_root
from marsbench.data.rows import Source
from marsbench.data.sources import hub_files, zenodo
from marsbench.data.sources.annotations import ANNOTATIONS
from marsbench.data.sources.challenge import METADATA, ChallengeSource
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.holdings import task_of, tasks_in
from marsbench.data.sources.hub_files import Listing
from marsbench.data.sources.huggingface import HubSource
from marsbench.data.sources.layout import find_folder
from marsbench.data.sources.local import LocalSource
from marsbench.demo.recipes import RECIPES
from marsbench.tasks.spec import SPLITS, TaskSpec


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
    """Open a task's data and read the index; images are read on demand.

    Args:
        spec: The task.
        source: Source of the data. auto tries local folders, downloads, the Hugging Face hub and
            Zenodo in this order, and never demo data.
        root: For a local source the task's folder or its parent, an archive of either, or an fsspec
            URL.
        size: Amount of demo data, as a multiple of the recipe's default.
        subset: Subset of the train split; None is the full split. For a subset published on the
            hub, no other part of the train split is downloaded.
        splits: Splits of train, val and test to download.
        revision: Commit, tag or branch of the hub; None is the pinned commit, else the newest.
        download: Whether missing data are downloaded.
        strict: Whether listed but missing measurements are an error.

    Raises:
        DataNotFoundError: If no source has the data.
        DataError: If the data contradict the task or themselves.
        NotAvailableError: If this version cannot read such data yet.
    """
    _check_keys(source, root, revision)
    if spec.is_spectra:
        return _open_spectra(spec, source, root, size, strict=strict)
    hub = _Hub(spec, Subset() if subset is None else subset, splits, revision)
    if source is SourceName.DEMO:
        return DemoSource(spec, size)
    if source is SourceName.ZENODO:
        return _open_zenodo(spec, download=download)
    if source is SourceName.LOCAL or root is not None:
        folder = find_local(spec, root)
        try:
            return _open_folder(spec, folder)
        except DataError as error:
            word = task_of(folder)
            if root is None or spec.path is not None or word in (None, spec.name):
                raise
            raise DataError(
                f"{error.problem} The folder seems to hold another task, {word}.",
                f"Use task={word}, or another root. {error.remedy}",
            ) from error
    if source is SourceName.HUGGINGFACE or revision is not None:
        return hub.open(download=download)
    return _open_first(hub, download=download)


def _open_spectra(
    spec: TaskSpec, source: SourceName, root: str | Path | None, size: float, *, strict: bool
) -> Source:
    """Open spectra of a local folder or a demo recipe."""
    if source is SourceName.DEMO:
        return DemoSource(spec, size)
    if source not in (SourceName.AUTO, SourceName.LOCAL):
        raise DataNotFoundError(
            f"{spec.name} is not on the hub or Zenodo; its challenge's site needs a login.",
            "Download the data there, and add root=FOLDER (or an archive or URL).",
        )
    return ChallengeSource(spec, find_local(spec, root), strict=strict)


def _check_keys(source: SourceName, root: str | Path | None, revision: str | None) -> None:
    """Refuse keys without effect on the source."""
    if root is not None and source not in (SourceName.AUTO, SourceName.LOCAL):
        raise ConfigError(
            f"root={root} has no effect with source={source}.",
            f"Remove root, or remove source={source}.",
        )
    if revision is not None and (
        root is not None or source not in (SourceName.AUTO, SourceName.HUGGINGFACE)
    ):
        raise ConfigError(
            f"revision={revision} applies to the Hugging Face hub only.",
            "Remove revision, or set source=huggingface without root.",
        )


@dataclass(frozen=True)
class _Hub:
    """Requested splits of a hub repository."""

    spec: TaskSpec
    subset: Subset
    splits: Sequence[str]
    revision: str | None

    @property
    def known(self) -> Listing | None:
        """Listing of the pinned or cached commit."""
        return hub_files.known_listing(self.spec.hub_id or "", self.revision)

    def open(self, *, download: bool) -> HubSource:
        """Open the cached files; missing files are downloaded first."""
        spec = self.spec
        if spec.hub_id is None:
            raise DataNotFoundError(
                f"Task {spec.name} is not on the hub: it has no hub_id.",
                "Add hub_id to a task of your own, or choose another source.",
            )
        listing = self.known
        if download:
            listing = hub_files.fetch(spec.hub_id, self.revision, [self.subset], splits=self.splits)
        if listing is None or not listing.serves([self.subset], self.splits):
            raise DataNotFoundError(
                f"{spec.hub_id} is not downloaded completely.",
                f"Run `marsbench data download {spec.word} --subset {self.subset}`.",
            )
        return HubSource(spec, listing, self.subset)


def _open_first(hub: _Hub, *, download: bool) -> Source:
    """Open the first available source: a local folder, a download, the hub, Zenodo.

    Only missing data lead to the next source. Once a hub commit is known, an unreachable hub is
    an error: a network failure must not move runs to another revision.
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
            source = _open_zenodo(spec)
        except DataNotFoundError as error:
            refused.append(error)
        else:
            if refused:
                tell(f"{refused[0].problem} The Zenodo record is used instead.")
            return source
    raise _not_found(spec, places, ANNOTATIONS, refused)


def _open_folder(spec: TaskSpec, folder: Path) -> LocalSource:
    source = LocalSource(spec, folder)
    if zenodo.is_ours(folder):
        source.name = SourceName.ZENODO
    return source


def _open_zenodo(spec: TaskSpec, *, download: bool = True) -> LocalSource:
    if not download and not zenodo.is_ours(zenodo.folder(spec)):
        raise DataNotFoundError(
            f"The Zenodo record of {spec.name} is not downloaded.",
            f"Run `marsbench data download {spec.word} --source zenodo`.",
        )
    return _open_folder(spec, zenodo.download(spec))


def find_local(spec: TaskSpec, root: str | Path | None = None) -> Path:
    """Find a task's folder in or below `local_places`.

    Raises:
        DataNotFoundError: If the folder is missing.
        DataError: If an archive or URL cannot be read.
    """
    places = local_places(spec, root)
    table = METADATA if spec.is_spectra else ANNOTATIONS
    folder = find_folder(spec, places, table)
    if folder is None:
        raise _not_found(spec, places, table)
    return folder


def local_places(spec: TaskSpec, root: str | Path | None) -> dict[str, Path]:
    """Folders searched for local data, by description; `root` replaces the defaults."""
    if root is not None:
        return {"root": fetch_root(str(root))}
    places = {"current folder": Path("data"), "download cache": paths.home() / "data"}
    return places if spec.path is None else {"the task's own": spec.path.parent, **places}


def _not_found(
    spec: TaskSpec, places: dict[str, Path], table: str, refused: Sequence[DataError] = ()
) -> DataNotFoundError:
    """Build the error for missing data, with searched folders, failed downloads and remedies."""
    lines = [f"  {place} ({name})" for name, place in places.items()]
    if refused:
        lines += ["Downloads:", *(f"  {error.problem}" for error in refused)]
    ways = []
    for place in [places["root"]] if "root" in places else []:
        if words := tasks_in(place):
            lines.append(f"{place} holds the data of: {some(words, count=30)}")
            ways.append("- add task=NAME of a task that the folder holds, or another root;")
    if spec.hub_id is not None or spec.zenodo_title is not None:
        ways.append(
            f"- run `marsbench data download {spec.word}` on a machine with a network and the same "
            "HF_HOME and MARSBENCH_HOME;"
        )
    ways.append("- add root=FOLDER, the folder of the data (or an archive or URL);")
    ways.append("- make a task of a folder of your own images: `marsbench data init FOLDER`;")
    if spec.name in RECIPES:
        ways.append("- or try the benchmark on built-in demo data: add source=demo.")
    else:
        ways.append(
            f"- or try a task with demo data and source=demo: {', '.join(sorted(RECIPES))}."
        )
    return DataNotFoundError(
        f"No data of {spec.name} found. {table} is missing in these folders, and in "
        f"{spec.folder}/ below them:\n" + "\n".join(lines),
        "Remedies:\n" + "\n".join(ways),
    )
