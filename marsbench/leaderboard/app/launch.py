"""Start of the app's server."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, NotAvailableError, some
from marsbench.base.progress import tell
from marsbench.base.values import Problem, build
from marsbench.leaderboard.board.live import Live

if TYPE_CHECKING:
    import gradio as gr

LARGEST_UPLOAD = "2gb"
"""Largest upload; the check has limits of its own."""

_RUST = (
    "#fbf3ef",
    "#f6e3da",
    "#ecc5b3",
    "#e0a387",
    "#d27f5b",
    "#bd5f38",
    "#a34a26",
    "#853b1f",
    "#6a301b",
    "#542718",
    "#331609",
)
"""Shades of the accent, from light to dark."""

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "monospace")
"""Fonts of the reader's system, so that none is downloaded."""


@dataclass(frozen=True)
class Settings:
    """Content of a board.

    Attributes:
        results: Results repository: a folder, or ``hf://datasets/ORG/NAME``; None for none.
        labels: Whether the check of uploads reads the test labels, which may download data.
        stores: Folders of local runs.
        root: Folder of the data; None for the download cache, the hub or Zenodo.
    """

    results: str | None = None
    labels: bool = False
    stores: tuple[str, ...] = ()
    root: str | None = None


def read_settings(path: Path) -> Settings:
    """Read the settings of a Space.

    Raises:
        ConfigError: If the file is missing or invalid.
    """
    problems: list[Problem] = []
    values = read_yaml(path).values
    settings = build(Settings, values if isinstance(values, dict) else {}, problems, strict=True)
    if settings is None or not isinstance(values, dict | None):
        details = some((problem.message for problem in problems), " ")
        raise ConfigError(f"{path} is invalid. {details}".strip(), "Export the Space again.")
    return settings


def serve(settings: Settings, port: int | None = None) -> None:
    """Serve a board until it is interrupted, and print its address.

    Args:
        settings: Content of the board.
        port: Port; None for Gradio's settings, or the first free port from 7860.

    Raises:
        NotAvailableError: If gradio is missing.
        MarsbenchError: If a store or the results cannot be read, or the port is taken.
    """
    blocks, address = start(settings, port)
    tell(f"The leaderboard is at {address}; Ctrl-C ends it.")
    try:
        threading.Event().wait()
    finally:
        blocks.close()


def start(settings: Settings, port: int | None = None) -> "tuple[gr.Blocks, str]":
    """Start the server of a board in the background; arguments and errors as of `serve`.

    Returns:
        The app and its address.
    """
    # Gradio reads it when it is imported: no usage statistics, no look for newer versions.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio as gr
    except ImportError as error:
        raise NotAvailableError(
            "The app of the leaderboard needs gradio, which is not installed.",
            "Install it: pip install 'marsbench[leaderboard]'",
        ) from error
    from marsbench.leaderboard.app.build import build as build_app
    from marsbench.leaderboard.app.upload import Labels

    live = Live([Path(store) for store in settings.stores], settings.results)
    root = None if settings.root is None else Path(settings.root)
    blocks = build_app(live, Labels(settings.labels, root))
    live.prepare()
    theme = gr.themes.Base(
        primary_hue=gr.themes.Color(*_RUST, name="rust"),
        neutral_hue=gr.themes.colors.stone,
        font=list(_FONTS),
        font_mono=list(_MONO),
        radius_size=gr.themes.sizes.radius_sm,
    )
    try:
        _, address, _ = blocks.launch(
            server_port=port,
            prevent_thread_lock=True,
            theme=theme,
            css_paths=Path(__file__).with_name("style.css"),
            footer_links=[],
            max_file_size=LARGEST_UPLOAD,
            share=False,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            quiet=True,
        )
    except OSError as error:
        raise ConfigError(
            f"The server cannot start: {str(error).partition('.')[0]}.", "Give another --port."
        ) from error
    return blocks, str(address)
