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
from marsbench.sweep.words import read_words

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
    grid = {"task": "frost_cls", "model": "vit_tiny", "seed": [0, 1], "optim.lr": [0.1, 0.2]}
    old = {**grid, "views": ["1", "d4"], "exclude": [{"views": "d4", "optim.lr": 0.1}]}
    new = {**grid, "augment": ["none", "d4"], "exclude": [{"augment": "d4", "optim.lr": 0.1}]}
    runs = []
    for name, entry in (("old", old), ("new", new | {"set": {"protocol": "cached"}})):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"grids": [{"name": "a", **entry}]}))
        runs.append(expand(load_suite(str(path)), {}))
    assert runs[0] == runs[1]
    assert [config.views for config in runs[0]].count("d4") == 2


def test_a_sweep_of_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"set": {"views": 4}, "grids": [{**BASE, "mode": "scratch"}]}))
    assert [run.draws for run in expand(load_suite(str(path)), {})] == [4]
    asked = read_words([("suite", str(path)), ("views", "8")], [], {})
    assert [run.draws for run in asked.runs] == [8]
