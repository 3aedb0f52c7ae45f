"""Style of figures: print sizes, colour-blind palette, reproducible files.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), without black and yellow, followed
by Tol's muted scheme (https://personal.sron.nl/~pault/). Each colour has a marker of its own.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsbench.base.text import inline
from marsbench.report.figures import fonts

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure, FigureBase

COLUMN = 3.4
"""Width of a column of a journal's page, in inches."""

PAGE = 7.0
"""Width of the whole page, in inches."""

DPI = 220

SMALLEST = 7
"""Size of the smallest text, in points."""

INK = "#222222"
QUIET = "#6a6a6a"
"""Colour of side notes, dark enough to read in print."""

FAINT = "#8a8a8a"
GRID = "#e3e3e3"

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MORE = ("#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#6B6B6B")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h", "d")
_DASHES = ("-", "--", "-.", ":")

_SETTINGS: Mapping[str, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "legend.fontsize": SMALLEST,
    "figure.labelsize": 7.5,
    "legend.frameon": False,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # not above other things, the search for which is slow
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
    "svg.fonttype": "none",  # text stays text; the page embeds the fonts
    "image.interpolation": "nearest",
    # Names of tasks and classes may contain dollar signs.
    "text.parse_math": False,
}


@contextlib.contextmanager
def drawing(font: str = "sans") -> Iterator[None]:
    """Draw in the style of reports, ignoring the user's settings.

    Args:
        font: ``sans`` or ``serif``, of `fonts.FONTS`.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = {**_SETTINGS, "font.family": fonts.families(font)}
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


def save(figure: "Figure", folder: Path, name: str, is_photo: bool = False) -> Path:
    """Write a figure as PDF, PNG and, without pictures, SVG; equal figures give equal bytes.

    Returns:
        Path of the PNG; the other files have the same name.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    folder.mkdir(parents=True, exist_ok=True)
    png = folder / f"{name}.png"
    figure.set_dpi(DPI)
    _lay_out(figure)
    # The canvases write at once; `savefig` would draw everything twice. Files are without date and
    # versions, and so reproducible.
    pdf: Any = FigureCanvasPdf(figure)
    none = dict.fromkeys(("CreationDate", "Producer"))
    pdf.print_pdf(str(png.with_suffix(".pdf")), metadata={**none, "Creator": "marsbench"})
    if not is_photo:
        # Ids within the page are those of this figure alone.
        with mpl.rc_context({"svg.hashsalt": name}):
            svg: Any = FigureCanvasSVG(figure)
            bare = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            svg.print_svg(str(png.with_suffix(".svg")), metadata=bare)
    figure.set_dpi(DPI)  # the other canvases leave 72
    pixels: Any = FigureCanvasAgg(figure)
    pixels.print_png(str(png), metadata={"Software": None})
    return png


def _lay_out(figure: "Figure") -> None:
    """Lay a figure out once for all files, and fix the places of labels, which is slow too."""
    if (engine := figure.get_layout_engine()) is None:
        return
    engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            if axes.get_visible() and axis.label.get_text():
                place = axis.label.get_transform().transform(axis.label.get_position())
                axis.set_label_coords(*axes.transAxes.inverted().transform(place))
            else:
                axis.set_label_coords(0, 0)


_TIP, _NEXT = "tip:", "\N{LINE SEPARATOR}"


def tip(artist: "Artist", *texts: str) -> None:
    """Give an artist the values that a reader sees under the mouse.

    Args:
        artist: Artist.
        texts: A text for each of its marks, or one for all of them.
    """
    artist.set_gid(_TIP + _NEXT.join(map(inline, texts)))


def tips_of(name: str | None) -> list[str]:
    """Texts of an artist by its id in an SVG; empty without any."""
    return name.removeprefix(_TIP).split(_NEXT) if name and name.startswith(_TIP) else []


def legend(figure: "FigureBase", handles: Sequence[Any], names: Sequence[str], across: int) -> None:
    """Draw a legend below the panels."""
    figure.legend(handles, names, loc="outside lower center", ncols=across)


def shorten(name: str, length: int = 26) -> str:
    """Abbreviate a long name in the middle; control characters become escapes."""
    name = inline(name)
    if len(name) <= length:
        return name
    head = (length - 1) * 2 // 3
    return f"{name[:head]}\N{HORIZONTAL ELLIPSIS}{name[-(length - 1 - head) :]}"
