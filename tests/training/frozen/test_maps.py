"""Decoders of masks on cached maps: as the ordinary loop, encoded once, within disk and memory."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import marsbench
from marsbench.base import paths
from marsbench.base.errors import ConfigError, DataError
from marsbench.config.schema import Protocol, RunConfig
from marsbench.models.encoders.maps import FeatureMaps
from marsbench.plan.resolve import Plan, resolve
from marsbench.predict.load import load
from marsbench.results.record import RunRecord
from marsbench.results.store import MODEL, Store
from marsbench.tasks.kinds import Decode, Kind
from marsbench.training.frozen import features, files
from marsbench.training.frozen.features import Encoder
from marsbench.training.trained import open_split
from tests.fakes import make_spec, write_folder, write_spec

pytestmark = pytest.mark.usefixtures("own_home")

CLASSES = ("background", "crater", "dune")
SIZES = {"train": 4, "val": 2, "test": 2}
NAME = "test_vit"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a task of masks of 40 pixels, and of weights of a small transformer."""
    folder = tmp_path_factory.mktemp("maps")
    spec = make_spec(Kind.SEGMENTATION, CLASSES, decode=Decode.IMAGE_MASK)
    write_spec(spec, write_folder(spec, folder / "data", SIZES, side=40) / "task.yaml")
    torch.manual_seed(1)
    save_file(timm.create_model(NAME).state_dict(), folder / "weights.safetensors")
    return folder


def keys(place: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": str(next(place.rglob("task.yaml"))),
        "model": f"timm:{NAME}",
        "weights": str(place / "weights.safetensors"),
        "decoder": "linear",
        "side": 48,  # padded to 64
        "workers": 0,
        "optim.batch_size": 3,  # and a last batch of one image
        "trainer.max_epochs": 2,
        **more,
    }


def plan(place: Path, **more: Any) -> Plan:
    return resolve(RunConfig.from_dict(keys(place, protocol="cached", **more)))


@pytest.fixture
def images_encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images that pass through the encoder."""
    seen: list[int] = []
    forward = FeatureMaps.forward

    def watched(self: FeatureMaps, image: torch.Tensor) -> list[torch.Tensor]:
        if image.device.type != "meta":
            seen.append(len(image))
        return forward(self, image)

    monkeypatch.setattr(FeatureMaps, "forward", watched)
    return seen


def same(one: RunRecord, other: RunRecord, tolerance: float) -> None:
    for split, metrics in one.metrics.items():
        assert metrics == pytest.approx(other.metrics[split], abs=tolerance, nan_ok=True)
    assert one.checkpoint["value"] == pytest.approx(other.checkpoint["value"], abs=tolerance)


@pytest.mark.parametrize("decoder", ["linear", "upernet"])
def test_a_run_on_cached_maps_equals_the_online_run(
    place: Path, tmp_path: Path, images_encoded: list[int], decoder: str
) -> None:
    values = keys(place, decoder=decoder, store=str(tmp_path))
    cached = marsbench.run(**values, protocol="cached")
    # Two epochs, and the evaluation, encode nothing more.
    assert sum(images_encoded) == sum(SIZES.values())
    online = marsbench.run(**values, augment="none")
    same(cached, online, 1e-5)
    assert (cached.protocol, online.protocol) == (Protocol.CACHED, Protocol.ONLINE)
    assert cached.identity | {"protocol": "online"} == online.identity
    assert cached.weights == online.weights
    facts = cached.data["features"]
    assert facts["encode_s"] > 0
    assert set(facts["sha256"]) == set(SIZES)
    mine, theirs = (load_file(tmp_path / record.run_id / MODEL) for record in (cached, online))
    assert set(mine) == set(theirs)
    # The rebuilt model takes images.
    predictor, image = load(cached.run_id, tmp_path), torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        expected = load(online.run_id, tmp_path).model(image)
        torch.testing.assert_close(predictor.model(image), expected, atol=1e-3, rtol=1e-3)
    table = Store(str(tmp_path)).predictions(cached.run_id)
    assert set(table["split"]) == {"val", "test"}


def test_decoders_seeds_and_settings_share_maps(
    place: Path, tmp_path: Path, images_encoded: list[int]
) -> None:
    more = {"protocol": "cached", "store": str(tmp_path), "trainer.max_epochs": 1}
    marsbench.run(**keys(place, **more))
    images_encoded.clear()
    marsbench.run(**keys(place, **more, seed=1, decoder="upernet"))
    assert not images_encoded
    assert plan(place).identity != plan(place, stored="float16").identity


def test_maps_are_those_of_the_encoder(place: Path) -> None:
    encoder = Encoder(chosen := plan(place))
    rows = encoder.encode("val").images
    dataset = open_split(chosen, "val")
    image = dataset[1]["image"][None] / 255
    padded = torch.nn.functional.pad(image, (0, 16, 0, 16), mode="reflect")
    network: Any = encoder._network
    with torch.no_grad():
        maps = network.model.encoder(network.adapter(padded))
    # Half of the depth, and all of it.
    flat = torch.cat([maps[k].flatten() for k in network.sources]).numpy()
    np.testing.assert_allclose(rows[1], flat, atol=1e-5)
    assert rows.length == network.num_features == len(flat)


def test_half_precision_takes_half_the_bytes(place: Path, tmp_path: Path) -> None:
    whole, half = (Encoder(plan(place, **m)).encode("val") for m in ({}, {"stored": "float16"}))
    assert half.file.name == "features.f16"
    assert 2 * half.file.stat().st_size == whole.file.stat().st_size
    np.testing.assert_allclose(half.features, whole.features, rtol=1e-3, atol=1e-3)
    more = {"store": str(tmp_path), "stored": "float16", "trainer.max_epochs": 1}
    record = marsbench.run(**keys(place, protocol="cached", **more))
    assert record.identity["stored"] == "float16"


def test_values_beyond_half_precision_are_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Encoder._features
    monkeypatch.setattr(Encoder, "_features", lambda self, image: 1e6 * encode(self, image))
    with pytest.raises(DataError, match=r"infinite in float16\.\n.*stored=float32"):
        Encoder(plan(place, stored="float16")).encode("val")
    assert not list(paths.home().rglob("features.*"))


def test_maps_that_exceed_the_disk_are_refused_before_encoding(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images_encoded: list[int]
) -> None:
    encoder = Encoder(chosen := plan(place))
    needed = sum(encoder._size(split) for split in SIZES)
    assert needed == sum(SIZES.values()) * encoder._facts.num_features * 4
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    encoder.check_space(SIZES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    images_encoded.clear()
    with pytest.raises(DataError, match=r"takes 0\.0\d GiB, .* 0\.0\d GiB free") as caught:
        marsbench.run(**keys(place, protocol="cached", store=str(tmp_path)))
    assert "stored=float16" in str(caught.value)
    assert "MARSBENCH_HOME" in str(caught.value)
    assert not images_encoded
    assert not list(paths.home().rglob("features.*"))
    assert chosen.decoder is not None


def test_interrupted_encoding_resumes(
    place: Path, monkeypatch: pytest.MonkeyPatch, images_encoded: list[int]
) -> None:
    monkeypatch.setattr(features, "_MOST_BYTES", 1)  # an image at a time
    monkeypatch.setattr(files, "_SAVED_EVERY", 1)
    expected = Encoder(plan(place)).encode("train")
    folder = expected.file.parent
    # As an interruption after two of four images leaves it.
    row = expected.file.stat().st_size // SIZES["train"]
    content = expected.file.read_bytes()
    (folder / "features.partial").write_bytes(content[: 2 * row].ljust(len(content), b"\0"))
    note = {"shape": list(expected.features.shape), "samples": 2, "seconds": 5.0}
    (folder / "samples.json").write_text(json.dumps(note))
    expected.file.unlink()
    (folder / "features.json").unlink()
    images_encoded.clear()
    resumed = Encoder(plan(place)).encode("train")
    assert sum(images_encoded) == 2
    assert resumed.sha256 == expected.sha256
    assert resumed.seconds > 5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"augment": "d4"}, "augment=d4 changes images at random"),
        ({"augment": "hflip"}, "augment=hflip changes images at random"),
        ({"mode": "finetune"}, "mode=finetune trains the backbone"),
        ({"trainer.devices": 2}, "on a single device"),
        ({"optim.name": "lbfgs"}, "optim.name=lbfgs is for heads on cached features"),
        ({"protocol": "online", "stored": "float16"}, "stored=float16 is for cached feature maps"),
        ({"model": "unet", "decoder": "auto", "weights": None}, "the decoder of unet is not"),
    ],
)
def test_refusals(place: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(RunConfig.from_dict(keys(place, **{"protocol": "cached", **more})))


def test_masks_stay_online_by_default(place: Path) -> None:
    assert resolve(RunConfig.from_dict(keys(place))).protocol is Protocol.ONLINE
