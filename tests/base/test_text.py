import csv
import io

import pandas as pd
import pytest

from marsbench.base.names import file_stem
from marsbench.base.text import inline, spreadsheet_cell, spreadsheet_csv, visible

HIDDEN = {
    "colour": "\x1b[31m",
    "title": "\x1b]0;x\x07",
    "carriage return": "\r",
    "backspace": "\b",
    "C1": "\x9b31m",
    "override": "\u202e",
    "isolate": "\u2066",
    "zero width": "\u200b",
    "mark": "\u200f",
    "line separator": "\u2028",
    "tag": "\U000e0041",
    "byte order": "\ufeff",
    "not UTF-8": "\udce9",
    "delete": "\x7f",
    "not of XML": "\ufffe",
}


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_control_characters_are_shown(text: str) -> None:
    shown = visible(f"a{text}b\tc\n")
    assert shown.isprintable() or shown.replace("\t", "").replace("\n", "").isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b\tc\n")
    shown.encode()
    assert inline(f"a{text}\n\t") == visible(f"a{text}") + "\\n\\t"


def test_ordinary_text_stays() -> None:
    # Joiners are part of words and of signs.
    for text in ("Krater-Größe", "\u0645\u06cc\u200c\u062e", "👩\u200d🚀", "[/] $x$ =1", "雪"):
        assert visible(text) == inline(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "-", "\uff1d1"])
def test_formulas_are_quoted(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"
    written = spreadsheet_csv(pd.DataFrame({text: ["a", text], "n": [1, 2]}))
    assert next(csv.reader(io.StringIO(written)))[0] == f"'{text}"
    assert list(csv.reader(io.StringIO(written)))[2] == [f"'{text}", "2"]


def test_numbers_and_words_are_not_quoted() -> None:
    for value in (-1.5, 2, None, "-1.5", "+3e-4", "-inf", "a=b", "x-y", ""):
        assert spreadsheet_cell(value) == value
    assert spreadsheet_cell("a\r=1") == r"a\r=1"
    frame = pd.DataFrame({"a": ["x", None], "b": [1, 2], "c": [1.5, None]})
    assert spreadsheet_csv(frame) == frame.to_csv(index=False, lineterminator="\n")
    assert spreadsheet_csv(frame.astype({"a": "category"})) == spreadsheet_csv(frame)


def test_a_formula_among_categories_is_kept() -> None:
    frame = pd.DataFrame({"a": pd.Categorical(["=1", "x"])})
    assert spreadsheet_csv(frame) == "a\n'=1\nx\n"
    assert spreadsheet_cell("\n=1") == "'\n=1"


def test_names_of_files() -> None:
    usual = "classification frozen imbalance=oversample partition_0.01"
    assert file_stem(usual) == "classification-frozen-imbalance-oversample-partition_0.01"
    odd = ["a/b", "a-b", "a b/", "..", "../a", "x" * 260, "x" * 261, "", "\x1b", "\udce9", "é"]
    stems = [file_stem(text) for text in odd]
    assert len(set(stems)) == len(odd)
    for stem in stems:
        assert stem.isascii()
        assert 0 < len(stem) < 100
        assert "/" not in stem
        assert not stem.startswith(".")
