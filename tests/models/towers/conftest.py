"""A hub with tiny models of two towers."""

import pytest

from tests.models.towers.tiny import serve
from tests.server import Server


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    return serve(server, monkeypatch)
