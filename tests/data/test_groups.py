"""Groups of samples, as each source gives them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from marsbench.base.errors import ConfigError
from marsbench.config.schema import SourceName
from marsbench.data.groups import Group, fields_of_rows, find_group, members
from marsbench.data.rows import Source
from marsbench.data.sources import open_source
from marsbench.data.sources.parquet import Table
from marsbench.spectra.spectrum import Spectrum
from tests.challenges import TASK, write_challenge
from tests.fakes import add_column, make_spec, write_folder


def folder_with(root: Path, **columns: list[str]) -> Source:
    spec = make_spec()
    folder = write_folder(spec, root)
    for name, values in columns.items():
        add_column(folder, name, values)
    return open_source(spec, SourceName.LOCAL, str(folder))


def test_columns_of_annotations(tmp_path: Path) -> None:
    source = folder_with(
        tmp_path, region=["Utopia", "Isidis", ""], longitude=["10", "70.5", "119"], site=["Isidis"]
    )
    rows = source.rows("train")
    assert rows.meta is not None
    group = find_group(source, "Utopia")
    assert group == Group("region", "Utopia")
    expected = [i for i, facts in enumerate(rows.meta) if facts["region"] == "Utopia"]
    assert members(rows, group).tolist() == expected
    assert 0 < len(expected) < len(rows)
    assert set(fields_of_rows(rows)["longitude"]) == {"0..60", "60..120"}
    assert str(find_group(source, "longitude:60..120")) == "longitude:60..120"
    with pytest.raises(ConfigError, match="several fields") as several:
        find_group(source, "Isidis")
    assert several.value.remedy == "Give train_on=region:Isidis or train_on=site:Isidis."
    with pytest.raises(ConfigError, match="is not a group") as unknown:
        find_group(source, "Mars", "test_on")
    assert "region:Isidis, region:Utopia" in unknown.value.remedy


def test_samples_without_fields(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="have no fields that group them"):
        find_group(folder_with(tmp_path), "Utopia")


def test_instruments_of_challenges_and_of_demo_spectra(tmp_path: Path) -> None:
    folder = write_challenge(tmp_path / "ega", {"train": 60}, labelled=("train",))
    source = open_source(TASK, SourceName.LOCAL, str(folder))
    rows = source.rows("train")
    assert fields_of_rows(rows) == {"instrument": list(rows.groups or ())}
    assert find_group(source, "sam_testbed") == Group("instrument", "sam_testbed")
    demo = open_source(TASK, SourceName.DEMO, size=0.1)
    rows = demo.rows("test")
    drawn = [demo.read("test", i).spectrum for i in range(len(rows))]
    assert all(isinstance(spectrum, Spectrum) for spectrum in drawn)
    instruments = [str(spectrum.instrument) for spectrum in drawn if spectrum is not None]
    assert list(fields_of_rows(rows)["instrument"]) == instruments
    testbed = members(rows, Group("instrument", "sam_testbed"))
    assert np.array_equal(testbed, [i for i, n in enumerate(instruments) if n == "sam_testbed"])


def test_plain_columns_of_parquet_files(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    table = {"image": [b"x", b"y"], "region": ["A", None], "sol": [3, 600], "boxes": [[1], [2]]}
    pq.write_table(pa.table(table), path)
    columns = Table([path], "org/data", "train").plain_columns({"image"})
    assert columns == {"region": ["A", None], "sol": [3, 600]}
