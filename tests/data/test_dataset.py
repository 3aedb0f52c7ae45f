import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import marsbench
from marsbench.base.errors import ConfigError, UnknownNameError
from marsbench.data.datamodule import EpochSampler, ShareSampler
from marsbench.data.dataset import Draw, MarsDataset
from marsbench.data.sources.local import LocalSource
from marsbench.tasks.kinds import Kind
from tests.fakes import make_spec, write_folder, write_spec


@pytest.mark.parametrize("kind", [Kind.MULTICLASS, Kind.MULTILABEL])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cache", [True, False])
def test_samples_keep_the_contract(kind: Kind, channels: int, cache: bool, tmp_path: Path) -> None:
    spec = make_spec(kind, channels=channels)
    source = LocalSource(spec, write_folder(spec, tmp_path))
    data = MarsDataset(spec, source, "val", cache=cache)
    sample = data[4]
    assert sample["image"].shape == (channels, 32, 32)
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
    return MarsDataset(spec, source, "train", side=20)


def test_a_draw_carries_its_seed_to_the_device(data: MarsDataset) -> None:
    sample = data[Draw(3, 99)]
    assert sample["seed"] == 99
    assert sample["image"].dtype == torch.uint8
    assert torch.equal(sample["image"], data[3]["image"])
    assert "seed" not in data[3]


def test_epoch_sampler_draws_everything_once_by_seed_and_epoch() -> None:
    sampler = EpochSampler(np.arange(50), seed=3)
    first = list(sampler)
    assert sorted(d.position for d in first) == list(range(50))
    assert first == list(EpochSampler(np.arange(50), seed=3))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(EpochSampler(np.arange(50), seed=4)) != first


def test_a_sample_drawn_twice_is_changed_in_two_ways() -> None:
    draws = list(EpochSampler(np.repeat([4, 7], 5), seed=0))
    assert sorted(d.position for d in draws) == [4] * 5 + [7] * 5
    assert len({d.seed for d in draws}) == 10


@pytest.mark.parametrize("num_samples", [1, 7, 16, 17, 23, 24])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_devices_share_out_the_batches_of_one(num_samples: int, world_size: int) -> None:
    batch = 4
    alone = [d.position for d in EpochSampler(np.arange(num_samples), 1, batch * world_size)]
    shares = [
        [d.position for d in EpochSampler(np.arange(num_samples), 1, batch, rank, world_size)]
        for rank in range(world_size)
    ]
    lengths = [
        len(EpochSampler(np.arange(num_samples), 1, batch, rank, world_size))
        for rank in range(world_size)
    ]
    assert [len(share) for share in shares] == lengths
    # As many batches on each device, or some would wait for the others for ever.
    assert len({-(-n // batch) for n in lengths}) == 1
    for step in range(-(-num_samples // (batch * world_size))):
        whole = alone[step * batch * world_size :][: batch * world_size]
        parts = [share[step * batch :][:batch] for share in shares]
        counted = [p[: len(range(r, len(whole), world_size))] for r, p in enumerate(parts)]
        assert sorted(itertools.chain(*counted)) == sorted(whole)
        assert all(parts)


@pytest.mark.parametrize("world_size", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 3, 10])
def test_devices_share_out_a_split_in_order(length: int, world_size: int) -> None:
    shares = [list(ShareSampler(length, rank, world_size)) for rank in range(world_size)]
    assert all(shares)
    assert set(itertools.chain(*shares)) == set(range(length))
    assert all(len(s) == len(ShareSampler(length, r, world_size)) for r, s in enumerate(shares))


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
