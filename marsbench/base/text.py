"""Names from elsewhere as text: on terminals and in spreadsheets."""

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import pandas as pd

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control and format characters, which move the cursor, hide text or reverse its order, bytes that
are not UTF-8, and characters that XML excludes. Joiners stay: scripts need them."""

_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of a formula in spreadsheets."""


def visible(text: str) -> str:
    """Replace control and format characters by escapes; line breaks and tabs stay."""
    return _INVISIBLE.sub(_escaped, text)


def inline(text: str) -> str:
    """Replace control and format characters, line breaks and tabs by escapes."""
    return re.sub("[\n\t]", _escaped, visible(text))


def closed_address(address: str) -> str:
    """Percent-encode the characters of a web address that could end a link of Markdown or HTML.

    Brackets, quotes, backslashes, bars and spaces become ``%XX``, for which servers answer alike.
    """
    return quote(address, safe="%/:?#@!$&+,;=~*")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def spreadsheet_cell(value: Any) -> Any:
    """Quote text that a spreadsheet would compute, such as ``=1+1``; numbers stay."""
    if not isinstance(value, str):
        return value
    value = value.replace("\r", "\\r")  # some readers end a row there
    return f"'{value}" if is_formula(value) else value


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would compute a text; numbers are none."""
    if not text.startswith(_FORMULA):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def spreadsheet_csv(frame: "pd.DataFrame") -> str:
    """CSV of a table without its index; text that a spreadsheet would compute is quoted."""
    import pandas as pd

    safe = {
        number: pd.Series([spreadsheet_cell(v) for v in column], frame.index, object)
        if column.dtype.kind == "O"
        else column
        for number, (_, column) in enumerate(frame.items())
    }
    header = [spreadsheet_cell(str(name)) for name in frame.columns]
    return pd.DataFrame(safe, frame.index).to_csv(index=False, header=header, lineterminator="\n")
