from dataclasses import fields

import pytest

from marsbench.base import lazy
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import Library
from marsbench.models.tables.base import TABLES
from marsbench.models.zoo.catalog import MODELS
from marsbench.training.trainers import TRAINERS

FUNCTIONS = [
    value
    for table in (LIBRARIES, TRAINERS)
    for info in table.values()
    for field in fields(info)
    if ":" in str(value := getattr(info, field.name))
]


@pytest.mark.parametrize("path", [*FUNCTIONS, *TABLES.values()])
def test_functions_of_tables_exist(path: str) -> None:
    assert callable(lazy.load(path))


def test_every_library_has_a_trainer() -> None:
    assert set(LIBRARIES) == set(Library)
    assert {info.trainer for info in LIBRARIES.values()} <= set(TRAINERS)


def test_table_models_have_a_class() -> None:
    tables = [m.id for m in MODELS.values() if LIBRARIES[m.library].trainer == "table"]
    assert set(tables) == set(TABLES)
