"""Folder of a Space of the Hugging Face hub that shows the board."""

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from marsbench.base.errors import ConfigError, NotAvailableError
from marsbench.base.files import write_text
from marsbench.base.version import __version__
from marsbench.leaderboard.app.launch import Settings
from marsbench.leaderboard.app.texts import TITLE
from marsbench.leaderboard.board.results import results_address

SETTINGS = "settings.yaml"

_APP = f'''"""{TITLE}: app of the Space; settings are in {SETTINGS}."""

from pathlib import Path

from marsbench.leaderboard.app.launch import read_settings, serve

if __name__ == "__main__":
    serve(read_settings(Path(__file__).with_name("{SETTINGS}")))
'''

_README = """---
title: {title}
colorFrom: red
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
license: mit
pinned: false
short_description: Which model works on Mars science?
tags:
  - leaderboard
  - mars
{datasets}---

# {title}

Models on Mars science tasks, shown by `marsbench`. Submissions are in the results repository that
`{settings}` names; without one the board shows the runs of the Mars-Bench paper.
"""


def export_space(
    folder: Path, settings: Settings, *, package: str | None = None, overwrite: bool = False
) -> list[Path]:
    """Write the folder of a Space.

    Args:
        folder: Folder to write; made if it is missing.
        settings: Content of the board: results on the hub, no local store.
        package: Requirement of marsbench, such as ``marsbench[leaderboard] @ git+https://...``;
            None for a compatible release.
        overwrite: Whether to replace existing files.

    Returns:
        The files.

    Raises:
        ConfigError: If the results are no data set repository of the hub, or a file exists.
        NotAvailableError: If gradio is missing, whose version the Space needs.
    """
    datasets = ""
    if settings.results is not None:
        datasets = f"datasets:\n  - {results_address(settings.results).repo}\n"
    try:
        gradio = version("gradio")
    except PackageNotFoundError as error:
        raise NotAvailableError(
            "The Space needs the version of gradio, which is not installed.",
            "Install it: pip install 'marsbench[leaderboard]'",
        ) from error
    requirement = package or f"marsbench[leaderboard]~={__version__}"
    files = {
        "app.py": _APP,
        "requirements.txt": f"{requirement}\ngradio~={gradio}\n",
        "README.md": _README.format(
            title=TITLE,
            gradio=gradio,
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            datasets=datasets,
            settings=SETTINGS,
        ),
        SETTINGS: "".join(
            f"{key}: {json.dumps(getattr(settings, key))}\n" for key in ("results", "labels")
        ),
    }
    paths = [folder / name for name in files]
    if existing := [path for path in paths if path.exists() and not overwrite]:
        raise ConfigError(f"{existing[0]} exists.", "Name an empty folder, or add --overwrite.")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in zip(paths, files.values(), strict=True):
        write_text(path, text)
    return paths
