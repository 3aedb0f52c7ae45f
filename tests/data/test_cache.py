import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.data import cache
from marsbench.data.cache import DirectSamples, cached_samples
from marsbench.data.sources.local import LocalSource
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import make_spec, write_folder


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSource:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    return LocalSource(make_spec(), write_folder(make_spec(), tmp_path))


def test_cache_equals_the_files(source: LocalSource) -> None:
    rows = source.rows("train")
    cached = cached_samples(make_spec(), source, rows)
    direct = DirectSamples(make_spec(), source, rows)
    assert len(cached) == len(direct) == len(rows)
    for i in range(len(rows)):
        assert (cached[i].pixels == direct[i].pixels).all()
        assert cached[i].pixels.dtype == np.uint8


def test_images_may_differ_in_size(source: LocalSource) -> None:
    from PIL import Image

    path = source.files("train", 4)[0]
    Image.fromarray(np.full((9, 13), 7, np.uint8)).save(path)
    again = LocalSource(make_spec(), source.folder)
    images = cached_samples(make_spec(), again, again.rows("train"))
    assert images[4].pixels.shape == (9, 13, 1)
    assert images[5].pixels.shape == (32, 32, 1)


def test_it_is_built_once(source: LocalSource, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached_samples(make_spec(), source, source.rows("val"))
    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("built again"))
    second = cached_samples(make_spec(), source, source.rows("val"))
    assert first.folder == second.folder


def test_a_changed_file_is_another_cache(source: LocalSource) -> None:
    first = cached_samples(make_spec(), source, source.rows("val"))
    path = source.files("val", 0)[0]
    os.utime(path, ns=(1, 1))
    again = LocalSource(make_spec(), source.folder)
    assert cached_samples(make_spec(), again, again.rows("val")).folder != first.folder


@pytest.mark.parametrize("keep", [0, -5], ids=["emptied", "cut"])
@pytest.mark.parametrize("name", [cache.PIXELS, cache.INDEX])
def test_a_damaged_cache_is_built_again(source: LocalSource, name: str, keep: int) -> None:
    rows = source.rows("val")
    folder = cached_samples(make_spec(), source, rows).folder
    path = folder / name
    path.write_bytes(path.read_bytes()[:keep])
    images = cached_samples(make_spec(), source, rows)
    assert (images[0].pixels == DirectSamples(make_spec(), source, rows)[0].pixels).all()


@pytest.mark.parametrize("kind", ["pixels", "mask"])
def test_a_flipped_bit_is_found_and_the_cache_built_again(kind: str, tmp_path: Path) -> None:
    spec = make_spec(Kind.SEGMENTATION, ("background", "cone"), decode=Decode.IMAGE_MASK)
    source = LocalSource(spec, write_folder(spec, tmp_path))
    rows = source.rows("val")
    good = cached_samples(spec, source, rows)
    path = good.folder / (cache.PIXELS if kind == "pixels" else cache.MASKS)
    content = bytearray(path.read_bytes())
    content[2 * 32 * 32 + 5] ^= 1
    path.write_bytes(content)
    samples = cached_samples(spec, source, rows)
    samples[0], samples[1]
    with pytest.raises(DataError, match=r"checksum of sample 2 differs.\nRun again"):
        samples[2]
    direct = DirectSamples(spec, source, rows)
    samples = cached_samples(spec, source, rows)
    for i in range(len(rows)):
        assert (samples[i].pixels == direct[i].pixels).all()
        assert np.array_equal(np.asarray(samples[i].mask), np.asarray(direct[i].mask))


def test_checksums_are_computed_once_per_process(
    source: LocalSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = cached_samples(make_spec(), source, source.rows("val"))
    samples[0]
    monkeypatch.setattr(cache, "_checksum", lambda *_: pytest.fail("computed again"))
    samples[0]


def test_a_bad_image_leaves_nothing_half_built(source: LocalSource) -> None:
    source.files("val", 3)[0].write_bytes(b"")
    with pytest.raises(DataError, match="val_0003"):
        cached_samples(make_spec(), source, source.rows("val"))
    left = [p for p in (paths.home() / "decoded").rglob("*") if p.is_dir()]
    assert [p.name for p in left] == ["toy"]


def test_an_unwritable_cache_says_so(
    source: LocalSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(DataError) as caught:
        cached_samples(make_spec(), source, source.rows("val"))
    assert "MARSBENCH_HOME" in str(caught.value)
    assert "cache=false" in str(caught.value)


def test_it_travels_without_its_pixels(source: LocalSource) -> None:
    images = cached_samples(make_spec(), source, source.rows("train"))
    images[0]
    assert len(pickle.dumps(images)) < 5000
    assert (pickle.loads(pickle.dumps(images))[1].pixels == images[1].pixels).all()


def _open(folder: Path, barrier: Any, queue: Any) -> None:
    source = LocalSource(make_spec(), folder)
    barrier.wait()
    images = cached_samples(make_spec(), source, source.rows("train"))
    queue.put(sum(int(images[i].pixels.sum()) for i in range(len(images))))


def test_processes_that_build_at_once_agree(source: LocalSource) -> None:
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()
    workers = [
        context.Process(target=_open, args=(source.folder, barrier, queue)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    sums = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    images = DirectSamples(make_spec(), source, source.rows("train"))
    assert set(sums) == {sum(int(images[i].pixels.sum()) for i in range(len(images)))}
