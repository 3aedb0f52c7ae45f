"""The old key ``views`` gives the runs and the ids that it always gave."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from marsbench.base.errors import ConfigError
from marsbench.cli.compose import compose
from marsbench.config.identity import identity, run_id
from marsbench.config.schema import Augment, Protocol, RunConfig
from marsbench.sweep.suites import expand, load_suite
from marsbench.sweep.words import read_words, unit_command

BASE = {"task": "frost_cls", "model": "vit_tiny"}
D4 = {"protocol": "cached", "augment": "d4"}


@pytest.mark.parametrize(
    ("old", "new", "augment", "protocol", "expected"),
    [
        ({"views": "d4"}, D4, Augment.D4, Protocol.CACHED, "22a2493266"),
        ({"views": 5}, {"draws": 5}, Augment.SPECTRAL, Protocol.ONLINE, "04fd367e6e"),
        ({"views": "1"}, {}, Augment.NONE, Protocol.CACHED, "9f23457a55"),
        ({"views": 1, "augment": "d4"}, {"augment": "d4"}, Augment.D4, "online", "a5cec5bab8"),
    ],
)
def test_old_and_new_keys_have_the_old_id(
    old: dict[str, Any], new: dict[str, Any], augment: Augment, protocol: Protocol, expected: str
) -> None:
    facts: dict[str, Any] = {
        "kind": "binary",
        "data_revision": "r1",
        "subset_digest": "d1",
        "architecture": "timm:x",
        "weights": "w1",
        "input_size": 224,
    }
    for values in (old, new):
        config = RunConfig.from_dict({**BASE, **values})
        choices = identity(config, **facts, augment=augment, protocol=Protocol(protocol))
        assert run_id("t", "m", "frozen", "full", 0, choices) == f"t/m/frozen/full/0-{expected}"
    assert RunConfig.from_dict({**BASE, **old}) == RunConfig.from_dict({**BASE, **new})


def test_words_and_records_of_before() -> None:
    words = [f"{key}={value}" for key, value in BASE.items()]
    assert compose([*words, "views=d4"]) == RunConfig.from_dict({**BASE, **D4})
    assert compose([*words, "views=3"]).draws == 3
    of_a_record = {**RunConfig.from_dict(BASE).to_dict(), "views": "d4"}
    del of_a_record["draws"]
    assert RunConfig.from_dict(of_a_record) == RunConfig.from_dict({**BASE, **D4})


@pytest.mark.parametrize("word", ["views=d5", "views=0", "views=d4 protocol=online"])
def test_views_that_cannot_be_used(word: str) -> None:
    with pytest.raises(ConfigError, match=word.rsplit(maxsplit=1)[-1].replace("=", "=|' is ")):
        compose(["task=t", "model=m", *word.split()])


def test_suites_of_before(tmp_path: Path) -> None:
    grid = {**BASE, "seed": [0, 1], "optim.lr": [0.1, 0.2], "views": ["1", "d4"]}
    suite = _write(
        tmp_path / "old.yaml", {"grids": [grid | {"exclude": [{"views": "d4", "optim.lr": 0.1}]}]}
    )
    runs = expand(load_suite(suite), {})
    assert set(runs) == {
        RunConfig.from_dict({**BASE, "seed": seed, "optim.lr": lr, **keys})
        for seed in (0, 1)
        for lr, keys in ((0.1, {}), (0.2, {}), (0.2, D4))
    }


def _write(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


def _views(suite: str, *words: tuple[str, str]) -> list[str | int | None]:
    return [run.views for run in read_words([("suite", suite), *words], [], {}).runs]


def test_words_narrow_the_views_of_a_suite(tmp_path: Path) -> None:
    suite = _write(tmp_path / "mine.yaml", {"grids": [{**BASE, "views": [1, "d4"]}]})
    assert _views(suite) == [None, "d4"]
    assert _views(suite, ("views", "1")) == [None]
    assert _views(suite, ("views", "d4")) == ["d4"]
    assert _views(suite, ("views", "1,d4")) == [None, "d4"]
    with pytest.raises(ConfigError, match="has no views=8; it has 1, d4"):
        _views(suite, ("views", "8"))
    with pytest.raises(ConfigError, match="'views' is d5"):
        _views(suite, ("views", "1,d5"))
    asked = read_words([("suite", suite)], [], {})
    for run, word in zip(asked.runs, ("views=1", "views=d4"), strict=True):
        assert word in unit_command([run], asked).split()


def test_later_views_replace_earlier_ones(tmp_path: Path) -> None:
    grids = [BASE, {**BASE, "views": "1"}, {**BASE, "set": {"views": 1}}]
    for at, grid in enumerate(grids):
        content = {"set": {"views": "d4"}, "grids": [grid]}
        suite = _write(tmp_path / f"{at}.yaml", content)
        assert _views(suite) == (["d4"] if grid is BASE else [None])
        assert _views(suite, ("views", "1")) == [None]
    suite = str(tmp_path / "0.yaml")
    assert _views(suite, ("views", "5")) == [5]
    # Words in new keys as well.
    assert _views(suite, ("augment", "none")) == [None]
    assert _views(suite, ("draws", "3"), ("augment", "none")) == [3]
    several = _write(tmp_path / "draws.yaml", {"set": {"draws": 4}, "grids": [BASE]})
    assert _views(several, ("views", "8")) == [8]
    wrong = _write(tmp_path / "wrong.yaml", {"set": {"views": "d5"}, "grids": [BASE]})
    with pytest.raises(ConfigError, match="is invalid:\n- 'views' is d5"):
        load_suite(wrong)


def test_a_sweep_of_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"set": {"views": 4}, "grids": [{**BASE, "mode": "scratch"}]}))
    assert [run.draws for run in expand(load_suite(str(path)), {})] == [4]
    asked = read_words([("suite", str(path)), ("views", "8")], [], {})
    assert [run.draws for run in asked.runs] == [8]
