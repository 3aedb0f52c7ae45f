import itertools
import re
import subprocess
import sys

import pytest

from marsbench.base.errors import ConfigError, UnknownNameError
from marsbench.data.corruptions.table import (
    CORRUPTIONS,
    SEVERITIES,
    Corruption,
    Subject,
    get_corruption,
    names_of,
    parse_names,
    parse_severities,
)

IMAGES, SPECTRA = Subject.IMAGES, Subject.SPECTRA


@pytest.mark.parametrize("entry", CORRUPTIONS.values(), ids=lambda entry: entry.name)
def test_severities_go_one_way_and_have_a_source(entry: Corruption) -> None:
    for name, values in entry.parameters.items():
        assert len(values) == len(SEVERITIES)
        steps = [b - a for a, b in itertools.pairwise(values)]
        assert all(s >= 0 for s in steps) or all(s <= 0 for s in steps), name
    assert len({tuple(entry.at(s).values()) for s in SEVERITIES}) == len(SEVERITIES)
    # Authors, a year in brackets and a place.
    assert re.search(r"[A-Z]\w+ (et al\.|and \w+)? ?\((19|20)\d\d\), .{20,}", entry.source)


def test_corruptions_are_listed_in_order() -> None:
    assert names_of(IMAGES) == (
        *("dust", "low_sun", "noise", "striping", "missing_lines", "jpeg", "wavelet"),
        *("defocus", "smear", "resolution", "gain", "bit_depth", "dead_pixels"),
    )
    assert names_of(SPECTRA) == (
        *("baseline_drift", "mass_shift", "row_gain", "dropped_scans", "instrument_background"),
    )


def test_names_and_severities_are_read_from_words() -> None:
    assert parse_severities("5, 1,3,1") == (1, 3, 5)
    assert parse_names("noise,dust", IMAGES) == ("dust", "noise")
    assert parse_names("all", IMAGES) == names_of(IMAGES)
    assert parse_names("all", SPECTRA) == names_of(SPECTRA)


@pytest.mark.parametrize("text", ["0", "6", "1,x", "", "1.5"])
def test_other_severities_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="from 1"):
        parse_severities(text)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean dust"):
        parse_names("dusty", IMAGES)
    with pytest.raises(UnknownNameError, match="corruption of images 'row_gain'"):
        parse_names("row_gain", IMAGES)
    with pytest.raises(ConfigError, match="is empty"):
        parse_names(" ,", SPECTRA)
    with pytest.raises(ConfigError, match="severity=7"):
        get_corruption("dust").at(7)


def test_table_loads_no_torch() -> None:
    code = "import sys, marsbench.data.corruptions.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
