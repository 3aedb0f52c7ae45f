from pathlib import Path

import pytest

from marsbench.base.errors import ConfigError
from marsbench.results.find import find_run
from marsbench.results.ids import matching, short_ids
from marsbench.results.store import Store
from tests.report.fake_store import Fake, fake_record, write

ONE = "frost_cls/vit_l_16/frozen/full/0-2e12558ee6"
ALIKE = [f"{task}/vit_l_16/frozen/full/1-2e12558ee6" for task in ("frost_cls", "mmls")]


def test_short_ids_are_unique_and_name_their_run() -> None:
    ids = [ONE, *ALIKE, *(f"task_{n}/unet/frozen/full/7-0123456789" for n in range(2000))]
    short = short_ids(ids)
    assert short[ONE] == "0-2e12558ee6"
    assert short[ALIKE[0]].startswith("1-2e12558ee6.")
    assert len(set(short.values())) == len(ids)
    # 2,000 runs have no 2,000 different ends of four digits.
    assert len(short[ids[-1]]) > len("7-0123456789.abcd")
    for run_id in (*ids[:20], *ids[-20:]):
        assert matching(short[run_id], ids) == [run_id]


def test_a_short_id_outlives_other_runs() -> None:
    short = short_ids(ALIKE)
    more = [*ALIKE, ONE, "gcms/vit_l_16/frozen/full/1-2e12558ee6"]
    assert [matching(short[run_id], more) for run_id in ALIKE] == [[run_id] for run_id in ALIKE]


def test_hashes_and_their_beginnings() -> None:
    ids = [ONE, *ALIKE]
    assert matching("2e12558ee6", ids) == matching("2e1255", ids) == ids
    assert matching("0-2e1255", ids) == [ONE]
    for word in ("2e125", "0-2e125", "12558ee6", "0", "0-", "", "frost_cls", "1-2e12558ee6.zz"):
        assert matching(word, ids) == []


def test_an_ambiguous_word_lists_its_runs(tmp_path: Path) -> None:
    records = [fake_record(Fake("frost_cls", "resnet101", seed=seed)) for seed in (0, 1, 10)]
    write(Store(tmp_path), records, predictions=False)
    end = records[1].run_id.rpartition("/")[2]
    assert find_run(end, tmp_path)[0] == records[1]
    with pytest.raises(ConfigError) as refused:
        find_run(end.partition("-")[2], tmp_path)
    assert all(record.run_id in refused.value.problem for record in records)
    with pytest.raises(ConfigError, match=f"Did you mean .*{end}"):
        find_run(f"{end[:-1]}x", tmp_path)
