from pathlib import Path

import numpy as np
import pytest
import torch

import marsbench
from marsbench.config import Augment
from marsbench.data.datamodule import EpochSampler
from marsbench.data.dataset import Draw, MarsDataset
from marsbench.data.sources.local import LocalSource
from marsbench.data.transforms import eval_transform, train_transform
from marsbench.errors import ConfigError, UnknownNameError
from marsbench.kinds import Kind
from tests.fakes import make_spec, write_folder, write_spec


@pytest.mark.parametrize("kind", [Kind.MULTICLASS, Kind.MULTILABEL])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cache", [True, False])
def test_samples_keep_the_contract(kind: Kind, channels: int, cache: bool, tmp_path: Path) -> None:
    spec = make_spec(kind, channels=channels)
    source = LocalSource(spec, write_folder(spec, tmp_path))
    data = MarsDataset(spec, source, "val", transform=eval_transform(20), cache=cache)
    sample = data[4]
    assert sample["image"].shape == (channels, 20, 20)
    assert sample["image"].dtype == torch.float32
    assert 0 <= sample["image"].min() < sample["image"].max() <= 1
    assert sample["sample_id"] == data.sample_ids[4]
    assert sample["index"] == 4
    if kind is Kind.MULTILABEL:
        assert sample["label"].dtype == torch.float32
        assert sample["label"].tolist() == data.targets[4].tolist()
    else:
        assert sample["label"].dtype == torch.int64
        assert sample["label"].shape == ()
        assert sample["label"].item() == data.targets[4]


@pytest.fixture
def data(tmp_path: Path) -> MarsDataset:
    spec = make_spec()
    source = LocalSource(spec, write_folder(spec, tmp_path))
    return MarsDataset(spec, source, "train", transform=train_transform(32, Augment.D4))


def test_a_draw_fixes_the_augmentation_whatever_the_global_state(data: MarsDataset) -> None:
    torch.manual_seed(1)
    first = data[Draw(3, 99)]["image"]
    torch.rand(7)
    state = torch.get_rng_state()
    assert torch.equal(first, data[Draw(3, 99)]["image"])
    assert torch.equal(state, torch.get_rng_state())
    others = [data[Draw(3, seed)]["image"] for seed in range(40)]
    assert len({o.numpy().tobytes() for o in others}) == 8  # all of D4, nothing else


def test_augmentation_moves_pixels_only(data: MarsDataset) -> None:
    plain = np.sort(data.images[int(data.indices[3])].ravel()) / 255
    moved = np.sort(data[Draw(3, 5)]["image"].numpy().ravel())
    assert moved == pytest.approx(plain, abs=1e-6)


def test_hflip_keeps_the_sky_up(data: MarsDataset) -> None:
    image = torch.arange(16, dtype=torch.uint8).view(1, 4, 4)
    flip = train_transform(None, Augment.HFLIP)
    seen = {tuple(flip(image)[0, :, 0].mul(255).round().int().tolist()) for _ in range(30)}
    assert seen == {(0, 4, 8, 12), (3, 7, 11, 15)}


def test_epoch_sampler_draws_everything_once_by_seed_and_epoch() -> None:
    sampler = EpochSampler(50, seed=3)
    first = list(sampler)
    assert sorted(d.position for d in first) == list(range(50))
    assert first == list(EpochSampler(50, seed=3))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(EpochSampler(50, seed=4)) != first


def test_load_dataset(tmp_path: Path) -> None:
    spec = make_spec()
    folder = write_folder(spec, tmp_path)
    task = str(write_spec(spec, folder / "task.yaml"))
    data = marsbench.load_dataset(task, split="test")
    assert len(data) == 12
    assert data.class_names == ("plain", "dune", "crater")
    assert len(marsbench.load_dataset(str(folder), subset="few_shot_2")) == 6
    with pytest.raises(ConfigError, match="never changes"):
        marsbench.load_dataset(task, split="val", subset="few_shot_2")
    with pytest.raises(UnknownNameError, match="train"):
        marsbench.load_dataset(task, split="trian")
    with pytest.raises(ConfigError, match="local"):
        marsbench.load_dataset(task, source="locl")
    with pytest.raises(ConfigError, match="size"):
        marsbench.load_dataset(task, size=-3)


def test_demo_dataset() -> None:
    data = marsbench.load_dataset("frost_cls", split="val", source="demo", size=0.1)
    assert data.class_names == ("Frost", "Non Frost")
    assert len(data) >= 4
    assert data[0]["image"].shape[0] == 1
