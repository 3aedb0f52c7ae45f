import errno
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.config.resizing import WHOLE, Interpolation, Resizing
from marsbench.config.schema import Bands
from marsbench.data import cache, resized
from marsbench.data.cache import CachedSamples, DirectSamples, cached_samples
from marsbench.data.dataset import Draw, MarsDataset
from marsbench.data.resized import samples_at
from marsbench.data.sources.local import LocalSource
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, write_folder

SIZES = {"train": 6, "val": 4, "test": 2}
CROP = Resizing(Interpolation.BICUBIC, 24)
CLASSES = ("background", "crater", "dune")
SPECS = {
    "labels": make_spec(channels=3),
    "masks": make_spec(Kind.SEGMENTATION, CLASSES, decode=Decode.IMAGE_MASK),
    "boxes": make_spec(Kind.DETECTION, CLASSES[1:], decode=Decode.IMAGE_BOXES),
    "bands": make_spec(Kind.SEGMENTATION, CLASSES, decode=Decode.IMAGE_MASK, channels=7),
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))


def opened(spec: TaskSpec, root: Path, side: int = 48) -> LocalSource:
    return LocalSource(spec, write_folder(spec, root, SIZES, side=side))


def folders() -> list[str]:
    return [path.name for path in (paths.home() / "decoded").glob("toy/*") if path.is_dir()]


def at_side(source: LocalSource, side: int = 20, resizing: Resizing = WHOLE) -> CachedSamples:
    spec = SPECS["labels"]
    return samples_at(spec, source, source.rows("train"), Bands.RGB, side, resizing)


@pytest.mark.parametrize(
    ("name", "resizing"),
    [("labels", WHOLE), ("labels", CROP), ("masks", WHOLE), ("boxes", WHOLE), ("bands", WHOLE)],
)
def test_samples_are_equal_with_and_without_the_cache(
    name: str, resizing: Resizing, tmp_path: Path
) -> None:
    spec = SPECS[name]
    source = opened(spec, tmp_path)
    kwargs: dict[str, Any] = {"side": 20, "resizing": resizing, "bands": Bands.ALL}
    cached = MarsDataset(spec, source, "train", cache=True, **kwargs)
    direct = MarsDataset(spec, source, "train", cache=False, **kwargs)
    assert cached.samples[0].pixels.shape[:2] == (20, 20)
    assert len(folders()) == 1
    for draw in (*range(len(direct)), Draw(1, 7)):
        expected: dict[str, Any] = {**direct[draw]}
        sample: dict[str, Any] = {**cached[draw]}
        assert sample.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, Tensor):
                assert sample[key].dtype == value.dtype, key
                assert torch.equal(sample[key], value), key
            else:
                assert sample[key] == value, key
    assert cached.num_dropped == direct.num_dropped
    assert np.array_equal(cached.original(3).pixels, direct.original(3).pixels)


def test_small_images_are_cached_at_their_own_size(tmp_path: Path) -> None:
    source = opened(SPECS["labels"], tmp_path)
    assert at_side(source, 32)[0].resized_from is None
    assert at_side(source, 31)[0].resized_from == (48, 48)
    own = cached_samples(SPECS["labels"], source, source.rows("train"))
    assert at_side(source, 32).folder == own.folder
    assert len(folders()) == 2


def test_another_resizing_is_another_cache(tmp_path: Path) -> None:
    source = opened(SPECS["labels"], tmp_path)
    choices = [(20, WHOLE), (24, WHOLE), (20, Resizing(Interpolation.BICUBIC)), (20, CROP)]
    assert len({at_side(source, *choice).folder for choice in choices}) == len(choices)


def test_it_is_built_once_from_images_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(SPECS["labels"], tmp_path)
    cached_samples(SPECS["labels"], source, source.rows("train"))
    monkeypatch.setattr(DirectSamples, "__getitem__", lambda *_: pytest.fail("decoded again"))
    first = at_side(source)
    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("built again"))
    assert at_side(source).folder == first.folder
    again = pickle.loads(pickle.dumps(first))
    assert np.array_equal(again[2].pixels, first[2].pixels)
    assert again[2].size == (48, 48)


def test_an_interrupted_build_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(SPECS["labels"], tmp_path)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", interrupt)
        with pytest.raises(KeyboardInterrupt):
            at_side(source)
    assert folders() == []
    # Left by a killed build.
    folder = at_side(source).folder
    partial = folder.rename(folder.with_name(f"{folder.name}.part"))
    (partial / cache.INDEX).unlink()
    direct = MarsDataset(SPECS["labels"], source, "train", side=20, cache=False)
    samples = at_side(source)
    assert folders() == [folder.name]
    for i in range(len(direct)):
        image = samples[i].pixels.transpose(2, 0, 1)
        assert np.array_equal(image, direct[i]["image"].numpy())


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write", full)


def test_a_full_disk_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(SPECS["labels"], tmp_path)
    fill_disk(monkeypatch)
    with pytest.raises(DataError, match=r"No space left on device\.\nFree disk space.*cache=false"):
        at_side(source)
    assert folders() == []


def test_on_a_full_disk_the_images_that_are_there_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = opened(SPECS["labels"], tmp_path)
    own = cached_samples(SPECS["labels"], source, source.rows("train"))
    fill_disk(monkeypatch)
    data = MarsDataset(SPECS["labels"], source, "train", side=20)
    assert data.samples[0].resized_from is None
    assert data[0]["image"].shape == (3, 20, 20)
    assert folders() == [own.folder.name]
    assert "resized at each visit" in capsys.readouterr().err


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    source = opened(SPECS["labels"], tmp_path)
    source.files("train", 1)[0].write_bytes(b"")
    with pytest.raises(DataError, match="train_0001"):
        at_side(source)
    assert folders() == []


def test_images_without_cache_leave_nothing(tmp_path: Path) -> None:
    source = opened(SPECS["labels"], tmp_path)
    data = MarsDataset(SPECS["labels"], source, "train", side=20, cache=False)
    assert data[0]["image"].shape == (3, 20, 20)
    assert folders() == []


def test_images_of_several_sizes_are_large_on_average(tmp_path: Path) -> None:
    from PIL import Image

    source = opened(SPECS["labels"], tmp_path)
    for i, side in enumerate((20, 20, 20, 20, 20, 500)):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(source.files("train", i)[0])
    again = LocalSource(SPECS["labels"], source.folder)
    assert at_side(again, 32)[5].size == (500, 500)
    assert at_side(again, 160)[5].resized_from is None
    direct = DirectSamples(SPECS["labels"], again, again.rows("train"))
    own = cached_samples(SPECS["labels"], again, again.rows("train"))
    for side in (32, 90, 93, 95, 160):
        assert resized._are_large(own, side) == resized._are_large(direct, side)
