"""The table of the documents is that of the zoo."""

from pathlib import Path

from marsbench.config.schema import Normalisation
from marsbench.models.spec import ModelSpec
from marsbench.models.zoo.foundation import ENTRIES

PAGE = Path(__file__).parents[3] / "docs" / "foundation.md"

HEAD = [
    "| model | pre-trained on | images | licence | input | statistics | parameters |",
    "| --- | --- | --- | --- | --- | --- | --- |",
]


def row(entry: ModelSpec) -> str:
    facts = entry.pretraining
    images = "" if facts.images is None else f"{facts.images:,}"
    scale = entry.normalisation
    cells = [
        " ".join(f"`{name}`" for name in (entry.name, *entry.aliases)),
        facts.data,
        images,
        facts.licence,
        f"{entry.input_size} x {entry.in_channels}",
        "own" if scale is Normalisation.PRETRAINING else f"`{scale}`",
        f"{entry.parameters:g} M",
    ]
    return f"| {' | '.join(cells)} |"


def test_the_table_of_the_page_is_that_of_the_zoo() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    start = lines.index(HEAD[0])
    assert lines[start : start + 2 + len(ENTRIES)] == [*HEAD, *map(row, ENTRIES)]
