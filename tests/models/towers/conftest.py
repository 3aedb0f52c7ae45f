"""A hub with tiny models of two towers."""

import dataclasses

import pytest

from marsbench.models.zoo.catalog import MODELS
from tests.models.towers.tiny import SIDE, repositories
from tests.server import Server


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A hub with a tiny CLIP and SigLIP, whose inputs are small, too."""
    server.models.update(repositories())
    for name in ("clip_b_16", "siglip_b_16"):
        small = dataclasses.replace(MODELS[name], input_size=SIDE)
        monkeypatch.setitem(MODELS, name, small)
    return server
