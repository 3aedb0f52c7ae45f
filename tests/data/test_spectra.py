"""The Parquet file of a split's spectra, and what rasters prepare of them."""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marsbench.base import paths
from marsbench.base.errors import DataError
from marsbench.data.cache import INDEX, PIXELS, Samples
from marsbench.data.sources.challenge import ChallengeSource
from marsbench.data.sources.demo import DemoSource
from marsbench.data.spectra import (
    DirectSpectra,
    Spectra,
    StoredSpectra,
    open_spectra,
    prepared_samples,
)
from marsbench.spectra import raster
from marsbench.spectra.presets import PRESETS, Change, RasterSpec, get_preset
from marsbench.spectra.spectrum import Technique
from marsbench.tasks.catalog import get_task
from tests.spectra.helpers import write_challenge

EGA = get_task("ega_ms")
BENCHMARK = get_preset("ega_benchmark")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    return write_challenge(tmp_path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Samples whose CSV was read."""
    found: list[str] = []
    read = ChallengeSource.read_sample

    def counted(self: ChallengeSource, sample_id: str) -> object:
        found.append(sample_id)
        return read(self, sample_id)

    monkeypatch.setattr(ChallengeSource, "read_sample", counted)
    return found


def spectra_of(folder: Path, *, cache: bool = True) -> Spectra:
    source = ChallengeSource(EGA, folder)
    return open_spectra(EGA, source, source.rows("train"), cache=cache)


def samples_of(folder: Path, name: str = "ega_benchmark", *, cache: bool = True) -> Samples:
    source = ChallengeSource(EGA, folder)
    return prepared_samples(EGA, source, source.rows("train"), get_preset(name), cache=cache)


def stored(suffix: str = ".parquet") -> list[Path]:
    return sorted(p for p in (paths.home() / "decoded").rglob("*") if p.name.endswith(suffix))


def assert_same(one: Spectra, two: Spectra) -> None:
    assert len(one) == len(two)
    for i in range(len(one)):
        for name in ("time", "axis", "mz", "abundance"):
            a, b = getattr(one[i], name), getattr(two[i], name)
            assert a.dtype == b.dtype == np.float64
            assert a.tobytes() == b.tobytes()
        assert one[i].instrument is two[i].instrument
        assert one[i].where == two[i].where


def test_stored_spectra_are_the_files_bit_by_bit(folder: Path) -> None:
    path = folder / "train_features" / "S0000.csv"
    # Every bit: signed zeros, the smallest and the largest numbers, all digits.
    odd = ("-0.0", "0.0", "5e-324", "-1.7976931348623157e308", "0.1", "0.30000000000000004")
    rows = [f"0,-0.0,{i}.0,{value}" for i, value in enumerate(odd)]
    path.write_text("\n".join(["time,temp,m/z,abundance", *rows, "1,0.0,0.0,1"]))
    files, kept = spectra_of(folder, cache=False), spectra_of(folder)
    assert isinstance(kept, StoredSpectra)
    assert isinstance(files, DirectSpectra)
    assert_same(files, kept)
    assert np.signbit(kept[0].axis).tolist() == [True] * 6 + [False]
    told = [sample.meta["instrument"] for sample in map(samples_of(folder).__getitem__, range(6))]
    assert told == ["commercial", "commercial", "sam_testbed"] * 2


def test_a_second_opening_reads_no_csv(folder: Path, reads: list[str]) -> None:
    first = samples_of(folder)
    assert set(reads) == {f"S000{i}" for i in range(6)}
    reads.clear()
    again, spectra = samples_of(folder), spectra_of(folder)
    for i in range(6):
        assert (again[i].pixels == first[i].pixels).all()
        assert len(spectra[i]) > 0
    samples_of(folder, "ega_second_place")  # another raster is prepared from the stored points
    assert reads == []


def test_without_the_cache_nothing_is_written(folder: Path) -> None:
    assert_same(spectra_of(folder, cache=False), spectra_of(folder, cache=False))
    assert samples_of(folder, cache=False)[0].pixels.shape == (100, 16, 1)
    assert not paths.home().exists()


@pytest.mark.parametrize(
    "spec", [p for p in PRESETS.values() if p.technique is Technique.EGA], ids=lambda p: p.name
)
def test_what_is_prepared_is_kept_bit_by_bit(folder: Path, spec: RasterSpec) -> None:
    kept = samples_of(folder, spec.name)
    direct = samples_of(folder, spec.name, cache=False)
    for i in range(6):
        assert kept[i].pixels.dtype == np.float32
        assert kept[i].pixels.tobytes() == direct[i].pixels.tobytes()
        assert kept[i].meta == direct[i].meta
        seeds = (np.random.default_rng(3), np.random.default_rng(3))
        one, two = (
            raster.draw(which[i].pixels[:, :, 0], spec, rng)
            for which, rng in zip((kept, direct), seeds, strict=True)
        )
        assert one.tobytes() == two.tobytes()


def test_rasters_share_what_only_chance_tells_apart(folder: Path) -> None:
    source = ChallengeSource(EGA, folder)
    rows = source.rows("train")

    def folder_of(**choices: object) -> Path:
        chosen = replace(BENCHMARK, **choices)  # type: ignore[arg-type]
        found = prepared_samples(EGA, source, rows, chosen)
        return found.folder  # type: ignore[attr-defined,no-any-return]

    there = folder_of()
    assert folder_of(name="mine", change=Change(gain=1.0)) == there
    assert folder_of(width=50.0) != there
    assert folder_of(tolerance=0.3) != there


def test_a_changed_file_is_read_again(folder: Path) -> None:
    before = spectra_of(folder)
    path = folder / "train_features" / "S0001.csv"
    path.write_text("time,temp,m/z,abundance\n0,30,1,5\n0,30,2,6\n")
    os.utime(path, ns=(1, 1))
    after = spectra_of(folder)
    assert len(after[1]) == 2
    assert len(before[1]) == 25 * 30
    assert len(stored()) == 2


def test_splits_have_files_of_their_own(folder: Path) -> None:
    source = ChallengeSource(EGA, folder)
    for split, count in (("train", 6), ("val", 3)):
        assert len(open_spectra(EGA, source, source.rows(split))) == count
    assert [p.name.split("-")[1] for p in stored()] == ["train", "val"]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "half written": lambda content: content[: len(content) // 2],
    "cut": lambda content: content[:-3],
    "another file": lambda content: b"not parquet" * 100,
    "head lost": lambda content: content[100:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_parquet_file_is_made_again(
    folder: Path, damage: Callable[[bytes], bytes]
) -> None:
    spectra_of(folder)
    (path,) = stored()
    path.write_bytes(damage(path.read_bytes()))
    try:
        found = spectra_of(folder)
        assert_same(found, spectra_of(folder, cache=False))
    except DataError as error:
        # What only reading shows names the file to delete.
        assert str(path) in str(error)  # noqa: PT017
        assert "Delete" in str(error)  # noqa: PT017


def test_a_parquet_file_of_another_number_of_samples_is_made_again(folder: Path) -> None:
    source = ChallengeSource(EGA, folder)
    open_spectra(EGA, source, source.rows("val"))
    spectra_of(folder)
    train, val = stored()
    train.write_bytes(val.read_bytes())
    assert_same(spectra_of(folder), spectra_of(folder, cache=False))


@pytest.mark.parametrize("name", [PIXELS, INDEX])
@pytest.mark.parametrize("keep", [0, -5], ids=["emptied", "cut"])
def test_a_damaged_cache_of_images_is_made_again(folder: Path, name: str, keep: int) -> None:
    samples_of(folder)
    (path,) = stored(name)
    path.write_bytes(path.read_bytes()[:keep])
    again, direct = samples_of(folder), samples_of(folder, cache=False)
    for i in range(6):
        assert (again[i].pixels == direct[i].pixels).all()


def test_a_build_that_was_killed_is_no_trouble(folder: Path) -> None:
    spectra_of(folder)
    (path,) = stored()
    content = path.read_bytes()
    path.unlink()
    path.with_name(f".{path.name}.1.part").write_bytes(content[:1000])
    assert_same(spectra_of(folder), spectra_of(folder, cache=False))
    assert stored(".part") == []


def test_a_bad_file_leaves_nothing_half_written(folder: Path) -> None:
    (folder / "train_features" / "S0005.csv").write_text("")
    with pytest.raises(DataError, match=r"S0005\.csv is empty"):
        samples_of(folder)
    assert stored() == stored(".part") == stored(PIXELS) == []


def test_an_unwritable_cache_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv("MARSBENCH_HOME", str(blocked))
    with pytest.raises(DataError, match=r"cannot be written.*\n.*cache=false"):
        spectra_of(folder)
    with pytest.raises(DataError, match=r"cannot be written.*\n.*cache=false"):
        samples_of(folder)


def test_threads_open_and_read_at_once(folder: Path, reads: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: spectra_of(folder), range(4)))
    # One wrote; the others waited. Each may look at the first sample, to see that it is a file.
    assert len(reads) <= 6 + 4
    direct = spectra_of(folder, cache=False)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: opened[0][i % 6].abundance.tobytes(), range(120)))
    assert found == [direct[i % 6].abundance.tobytes() for i in range(120)]


def _child(folder: Path) -> bytes:
    samples, spectra = samples_of(folder), spectra_of(folder)
    return b"".join(samples[i].pixels.tobytes() + spectra[i].points.tobytes() for i in range(6))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_processes_build_it_at_once(folder: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(_child, [folder, folder])
    assert found[0] == found[1] == _child(folder)
    assert len(stored()) == 1
    assert len(stored(PIXELS)) == 1
    assert stored(".part") == []


def test_stored_spectra_travel_to_worker_processes(folder: Path) -> None:
    here = spectra_of(folder)
    assert_same(here, pickle.loads(pickle.dumps(here)))


def test_demo_spectra_are_drawn_and_not_stored(folder: Path) -> None:
    source = DemoSource(EGA, size=0.03)
    rows = source.rows("train")
    spectra = open_spectra(EGA, source, rows)
    assert isinstance(spectra, DirectSpectra)
    assert stored() == []
    samples = prepared_samples(EGA, source, rows, BENCHMARK)
    for i in range(len(rows)):
        wanted = raster.prepare(spectra[i], BENCHMARK)
        assert samples[i].pixels[:, :, 0].tobytes() == wanted.tobytes()
        assert samples[i].meta["instrument"] == str(spectra[i].instrument)


@pytest.fixture
def real(real_data: Path) -> ChallengeSource:
    if not (real_data / "ega_ms").is_dir():
        pytest.skip(f"{real_data} has no ega_ms")
    return ChallengeSource(EGA, real_data / "ega_ms")


COUNTS = (91, 97, 93, 169, 30, 180, 242, 104, 148, 36)
"""Positive samples of each label, in the order of the task's classes."""


@pytest.mark.realdata
def test_the_real_folder_has_its_sizes_and_labels(real: ChallengeSource) -> None:
    rows = real.rows("train")
    assert real.splits == ("train",)
    assert real.unlabelled == {}
    assert len(rows) == 763
    assert tuple(rows.targets.sum(axis=0).tolist()) == COUNTS
    held = np.bincount(rows.targets.sum(axis=1), minlength=8)
    assert held.tolist() == [101, 417, 148, 48, 0, 4, 2, 43]
    found = [real.meta[i]["instrument_type"] for i in rows.sample_ids]
    assert found.count("commercial") == 754
    assert found.count("sam_testbed") == 9


@pytest.mark.realdata
def test_every_real_file_is_read_and_becomes_an_image(
    real: ChallengeSource, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = real.rows("train")
    spectra = open_spectra(EGA, real, rows)
    samples = prepared_samples(EGA, real, rows, BENCHMARK)
    assert capsys.readouterr().err == ""  # every MD5 is right
    assert len(spectra) == len(samples) == 763
    for i in range(763):
        spectrum = spectra[i]
        least = 89_420 if spectrum.instrument == "sam_testbed" else 3_000
        assert len(spectrum) >= least
        image = raster.draw(samples[i].pixels[:, :, 0], BENCHMARK)
        assert image.min() == 0
        assert image.max() == 1
        assert not image[0, 4].any()
