"""Style of figures: print sizes, colour-blind palette, reproducible files.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), without black and yellow, followed
by Tol's muted scheme (https://personal.sron.nl/~pault/). Each colour has a marker of its own.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsbench.base.text import inline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.4
"""Width of a column of a journal's page, in inches."""

PAGE = 7.0
"""Width of the whole page, in inches."""

DPI = 220

INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#e3e3e3"

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MORE = ("#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#6B6B6B")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h", "d")
_DASHES = ("-", "--", "-.", ":")

_SETTINGS: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib, equal on all machines
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # embedded TrueType fonts, required by publishers
    "ps.fonttype": 42,
    "pdf.compression": 6,
    "image.interpolation": "nearest",
    # Names of tasks and classes may contain dollar signs.
    "text.parse_math": False,
}


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw in the style of reports, ignoring the user's settings."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = _SETTINGS
        mpl.rcParams.update(settings)
        yield


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Assign a colour, marker and line style to each name.

    Args:
        names: Names, the most important first.

    Returns:
        Keywords of matplotlib's ``plot`` by name.
    """
    colours = (*_COLOURS, *_MORE)
    return {
        name: {
            "color": colours[i % len(colours)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": _DASHES[(i // len(_COLOURS)) % len(_DASHES)],
        }
        for i, name in enumerate(dict.fromkeys(names))
    }


def hollow(look: Mapping[str, Any]) -> dict[str, Any]:
    """Look in the same colour and marker for other runs of the same model: an open marker."""
    return {**look, "markerfacecolor": "white", "linestyle": (0, (3, 1.5)), "linewidth": 0.9}


def canvas(width: float, height: float) -> "Figure":
    """Create an empty figure of a size in inches with constrained layout."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: "Figure", folder: Path, name: str) -> Path:
    """Write a figure as PDF and PNG; equal figures give equal bytes.

    Returns:
        Path of the PNG; the PDF has the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pdf, png = folder / f"{name}.pdf", folder / f"{name}.png"
    # Laid out once for both files, the slowest step.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    # Without date and versions, for reproducible files.
    figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": "marsbench"})
    figure.savefig(png, dpi=DPI, metadata={"Software": None})
    return png


def shorten(name: str, length: int = 26) -> str:
    """Abbreviate a long name in the middle; control characters become escapes."""
    name = inline(name)
    if len(name) <= length:
        return name
    head = (length - 1) * 2 // 3
    return f"{name[:head]}\N{HORIZONTAL ELLIPSIS}{name[-(length - 1 - head) :]}"
