"""Fonts of figures: the letters of European languages out of fonts that matplotlib ships.

Publishers require embedded TrueType fonts. Subsetting a whole font for every figure takes longer
than drawing it, so each font is subset once a process, without tables of features.
"""

import base64
import io
import tempfile
from functools import cache
from pathlib import Path

_RANGES = ((0x20, 0x17F), (0x370, 0x3FF), (0x2010, 0x2044), (0x2190, 0x2199), (0x2202, 0x2265))
"""Latin, Greek, punctuation, arrows, mathematics."""

_FILES = {
    "sans": ("DejaVuSans", "DejaVuSans-Bold"),
    "serif": ("STIXGeneral", "STIXGeneralBol"),
}
FONTS = tuple(_FILES)
"""Names for ``--font``: DejaVu Sans, and STIX, which looks like Times."""

_FALLBACK = {"sans": "DejaVu Sans", "serif": "STIXGeneral"}
"""The whole fonts, for other letters."""


def families(font: str) -> list[str]:
    """Names of font families for matplotlib; the fonts are registered with it."""
    _register(font)
    return list(dict.fromkeys([_family(font), _FALLBACK[font], "DejaVu Sans"]))


def font_faces(font: str) -> str:
    """CSS that embeds the fonts of figures."""
    return "\n".join(
        f"@font-face {{ font-family: '{_family(font)}'; font-weight: {weight}; "
        f"src: url(data:font/woff;base64,{_packed(name)}) format('woff'); }}"
        for name, weight in zip(_FILES[font], ("normal", "bold"), strict=True)
    )


def _family(font: str) -> str:
    return f"Report {font}"


@cache
def _register(font: str) -> tempfile.TemporaryDirectory[str]:
    """Register the fonts with matplotlib for this process, at whose end their folder goes."""
    from matplotlib import font_manager

    folder = tempfile.TemporaryDirectory(prefix="marsbench-fonts-")
    for name in _FILES[font]:
        path = Path(folder.name, f"{name}.ttf")
        path.write_bytes(_subset(name, _family(font)))
        font_manager.fontManager.addfont(path)
    return folder


@cache
def _packed(name: str) -> str:
    font = next(font for font, names in _FILES.items() if name in names)
    return base64.b64encode(_subset(name, _family(font), "woff")).decode()


def _subset(name: str, family: str, flavor: str | None = None) -> bytes:
    """Subset a font and give it another name, so that it does not replace the whole font."""
    import matplotlib as mpl
    from fontTools import subset

    options = subset.Options(glyph_names=True, layout_features=[], flavor=flavor)
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "kern", "FFTM"]
    font = subset.load_font(f"{mpl.get_data_path()}/fonts/ttf/{name}.ttf", options, lazy=True)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[i for low, high in _RANGES for i in range(low, high + 1)])
    subsetter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 4, 6, 16):
            record.string = family if record.nameID != 6 else f"{family}-{name}".replace(" ", "")
    packed = io.BytesIO()
    subset.save_font(font, packed, options)
    return packed.getvalue()
