"""Prithvi: fixed positions in three dimensions, a kernel of image series, six bands."""

from typing import Any

import numpy as np
import pytest
import torch

import marsbench
from marsbench.base.errors import WeightsError
from marsbench.models.foundation.positions import encoded
from marsbench.models.zoo.catalog import MODELS
from tests.models.foundation.checkpoints import (
    WIDTH,
    State,
    built,
    decoder_state,
    encoder_state,
    mean_of,
    random,
    repo_and_file,
    saved,
    shrink,
    tokens_of,
)
from tests.server import Repo, Server

MEAN = (1087, 1342, 1433, 2734, 1958, 1363)
STD = (2248, 2179, 2178, 1850, 1242, 1049)


def by_hand(times: int, rows: int, columns: int, width: int) -> Any:
    """Positions number by number: column, row and time have 6, 6 and 4 sixteenths of the width."""
    table = np.zeros((1 + times * rows * columns, width))
    sizes = (width * 6 // 16, width * 6 // 16, width * 4 // 16)
    for t in range(times):
        for r in range(rows):
            for c in range(columns):
                numbers = []
                for at, size in zip((c, r, t), sizes, strict=True):
                    angles = [at / 10000 ** (2 * k / size) for k in range(size // 2)]
                    numbers += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
                table[1 + (t * rows + r) * columns + c] = numbers
    return table


@pytest.mark.parametrize("grid", [(1, 14, 14), (3, 2, 5)])
@pytest.mark.parametrize("width", [32, 1280])
def test_positions_are_sines_and_cosines(grid: tuple[int, int, int], width: int) -> None:
    positions = encoded(grid, width)
    assert positions.dtype == torch.float32
    np.testing.assert_allclose(positions[0], by_hand(*grid, width), atol=1e-6)


def published(version: int, images: int) -> State:
    """Tensors of a version, trained on series of so many images."""
    kernel = (6, 1, 14 if version == 3 else 16)
    side = 224 // kernel[2]
    patches = images * side**2
    encoder = encoder_state(patches, (*kernel, kernel[2]))
    decoder = decoder_state(patches, 6 * kernel[2] ** 2)
    if version == 1:
        return encoder | decoder
    return {f"encoder.{k}": v for k, v in encoder.items()} | {
        f"decoder.{k}": v for k, v in decoder.items()
    }


@pytest.mark.parametrize(
    ("name", "version", "images"),
    [("prithvi", 1, 3), ("prithvi_300m", 2, 4), ("prithvi_600m", 3, 4)],
)
def test_every_version_equals_its_reference(
    name: str, version: int, images: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(version)
    shrink(monkeypatch, name)
    state = published(version, images)
    repo, file = repo_and_file(name)
    server.models[repo] = Repo({file: saved(state)})
    model = built(name)
    image = torch.rand(2, 6, 224, 224)
    if version == 1:
        mean, std = MODELS[name].mean, MODELS[name].std
        assert mean[0] == pytest.approx(0.0775229, abs=1e-7)
    else:
        mean, std = tuple(m / 10000 for m in MEAN), tuple(s / 10000 for s in STD)
    normal = (image - torch.tensor(mean).view(1, 6, 1, 1)) / torch.tensor(std).view(1, 6, 1, 1)
    plain = {k.removeprefix("encoder."): v for k, v in state.items()}
    plain["patch_embed.proj.weight"] = plain["patch_embed.proj.weight"].squeeze(2)
    side = 224 // plain["patch_embed.proj.weight"].shape[-1]
    positions = torch.from_numpy(by_hand(1, side, side, WIDTH)).float()[None]
    with torch.no_grad():
        features = model.features(image)
        expected = mean_of(tokens_of(plain, normal, positions))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    trained = {k for k, p in model.named_parameters() if p.requires_grad}
    assert "backbone.pos_embed" not in trained
    assert "backbone.cls_token" in trained


def test_encodings_of_date_and_place_are_left_out(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    shrink(monkeypatch, "prithvi_300m")
    state = published(2, 4)
    scale = {
        "encoder.temporal_embed_enc.scale": random(1),
        "encoder.location_embed_enc.scale": random(1),
    }
    (tmp_path / "tl.pt").write_bytes(
        saved(state | scale | {"decoder.temporal_embed_dec.scale": random(1)})
    )
    built("prithvi_300m", checkpoint=tmp_path / "tl.pt")
    (tmp_path / "two.pt").write_bytes(
        saved(state | {"encoder.patch_embed.proj.weight": random(WIDTH, 6, 2, 16, 16)})
    )
    with pytest.raises(
        WeightsError, match=r"patch_embed\.proj\.weight \(32, 6, 2, 16, 16\) instead"
    ):
        built("prithvi_300m", checkpoint=tmp_path / "two.pt")


def test_grey_images_end_in_a_record(
    server: Server, toy: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, "prithvi")
    repo, file = repo_and_file("prithvi")
    server.models[repo] = Repo({file: saved(published(1, 3))})
    keys: dict[str, Any] = {"task": toy, "model": "prithvi", "side": 32, "workers": 0}
    record = marsbench.run(**keys, store=str(tmp_path / "runs"))
    assert np.isfinite(record.metrics["test"]["f1_weighted"])
    assert record.pretraining is not None
    assert record.pretraining.overlaps == ()
