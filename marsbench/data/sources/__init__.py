"""Where a task's bytes come from."""

from pathlib import Path

from marsbench import paths
from marsbench.config import SourceName
from marsbench.data.decode import check_available
from marsbench.data.rows import Source
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.local import LocalSource, find_folder
from marsbench.data.spec import TaskSpec
from marsbench.demo.recipes import RECIPES
from marsbench.errors import ConfigError, DataNotFoundError, NotAvailableError


def open_source(
    spec: TaskSpec,
    source: SourceName = SourceName.AUTO,
    root: str | Path | None = None,
    size: float = 1.0,
) -> Source:
    """Open a task's data: the index is read, the images are not.

    Args:
        spec: The task.
        source: Where to look; auto looks in local folders and the download cache, and never
            makes demo data.
        root: Folder of a local source: the task's own or the one that holds it.
        size: Amount of demo data, as a multiple of the recipe's default.

    Raises:
        DataNotFoundError: If the data are in none of the places searched.
        DataError: If the data found contradict the task or themselves.
        NotAvailableError: If this version cannot read such data yet.
    """
    check_available(spec)
    if source is SourceName.DEMO:
        if root is not None:
            raise ConfigError("source=demo takes no root.", "Leave out root, or source=demo.")
        return DemoSource(spec, size)
    if source in (SourceName.HUGGINGFACE, SourceName.ZENODO):
        raise NotAvailableError(f"This version cannot download from {source} yet.", _ways_out(spec))
    return LocalSource(spec, find_local(spec, root))


def find_local(spec: TaskSpec, root: str | Path | None = None) -> Path:
    """Find a task's folder in or below the places a local source is searched for.

    Raises:
        DataNotFoundError: If it is in none of them; names them all.
    """
    if root is not None and not Path(root).expanduser().is_dir():
        raise DataNotFoundError(f"root={root} is no folder.", _ways_out(spec))
    places = local_places(spec, root)
    folder = find_folder(spec, places)
    if folder is None:
        looked = "\n".join(f"  {place} ({name})" for name, place in places.items())
        raise DataNotFoundError(
            f"No data of {spec.name} found: no annotation.csv in any of these folders, "
            f"nor in {spec.folder}/ below them:\n{looked}",
            _ways_out(spec),
        )
    return folder


def local_places(spec: TaskSpec, root: str | Path | None) -> dict[str, Path]:
    """Folders to search, by what they are; a root that is given is the only one."""
    if root is not None:
        return {"root": Path(root).expanduser()}
    places = {"current folder": Path("data"), "download cache": paths.home() / "data"}
    return places if spec.path is None else {"the task's own": spec.path.parent, **places}


def _ways_out(spec: TaskSpec) -> str:
    ways = []
    if spec.zenodo_title is not None:
        ways.append(
            f"- download '{spec.zenodo_title}' from the community `mars-bench` on Zenodo, unzip "
            "it and add root=FOLDER (or unzip it into ./data);"
        )
    else:
        ways.append("- add root=FOLDER, the folder that holds the data;")
    if spec.name in RECIPES:
        ways.append("- or try the benchmark on built-in demo data: add source=demo.")
    else:
        ways.append(f"- or try a task that has demo data, with source=demo: {', '.join(RECIPES)}.")
    return "Ways out:\n" + "\n".join(ways)
