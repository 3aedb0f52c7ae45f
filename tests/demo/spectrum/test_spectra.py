"""Demo spectra: exact, reproducible, physical, and of moderate difficulty."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from marsbench.data.sources.demo import DemoSource
from marsbench.demo.spectrum import ega, gc, mixtures
from marsbench.demo.spectrum.peaks import peak
from marsbench.spectra.spectrum import Floats, Instrument, Spectrum
from marsbench.tasks.catalog import get_task

Labels = NDArray[np.uint8]
Drawn = Mapping[str, tuple[list[Spectrum], Labels]]

EGA_KEYS = {
    # Class: its key ion, and between which temperatures it should be above other samples'.
    "basalt": (44, 330, 550),
    "carbonate": (44, 550, 850),
    "chloride": (36, 500, 1000),
    "iron_oxide": (18, 230, 310),
    "oxalate": (28, 350, 550),
    "oxychlorine": (32, 300, 600),
    "phyllosilicate": (18, 450, 850),
    "silicate": (32, 800, 1000),
    "sulfate": (64, 570, 720),
    "sulfide": (34, 400, 560),
}

GC_KEYS = {
    "aromatic": (78, 91, 104, 105, 128, 154, 178),
    "hydrocarbon": (85, 99, 113),
    "carboxylic_acid": (60, 117),
    "nitrogen_bearing_compound": (30, 67, 79, 97, 174),
    "chlorine_bearing_compound": (49, 83, 93, 117, 166),
    "sulfur_bearing_compound": (47, 76, 84, 94, 126, 160),
    "alcohol": (31, 56, 69, 103),
    "other_oxygen_bearing_compound": (42, 58, 68, 74, 87),
    "mineral": (36, 48, 64),
}


@pytest.fixture(scope="module", params=["ega_ms", "gcms"])
def task(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def draw_all(task: str, split: str) -> tuple[list[Spectrum], Labels]:
    source = DemoSource(get_task(task), 1.0)
    targets = source.rows(split).targets.astype(np.uint8)
    drawn = [source.read(split, i).spectrum for i in range(len(targets))]
    return [spectrum for spectrum in drawn if spectrum is not None], targets


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[list[Spectrum], Labels]]:
    return {task: draw_all(task, "train") for task in ("ega_ms", "gcms")}


def test_labels(task: str, drawn: Drawn) -> None:
    labels = drawn[task][1]
    assert {0, 1, 2, 3} <= set(labels.sum(axis=1).tolist())
    assert (labels.mean(axis=0) < 0.5).all()


def test_mixtures_name_classes(task: str) -> None:
    known = set(get_task(task).class_names)
    mixtures_of = mixtures.MINERALS if task == "ega_ms" else mixtures.COMPOUNDS
    assert set().union(*mixtures_of) == known
    assert set(ega.RELEASES if task == "ega_ms" else gc.FAMILIES) == known


def test_points(task: str, drawn: Drawn) -> None:
    for spectrum in drawn[task][0]:
        columns = (spectrum.time, spectrum.axis, spectrum.mz, spectrum.abundance)
        for column in columns:
            assert column.dtype == np.float64
            assert column.shape == (len(spectrum),)
            assert np.isfinite(column).all()
        assert (np.diff(spectrum.time) >= 0).all()
        assert spectrum.time[0] >= 0
        assert spectrum.mz.min() >= 0
        assert 2_000 < len(spectrum) < 60_000
        pairs = np.round(spectrum.time * 1e4) * 1e4 + np.round(spectrum.mz * 10)
        assert len(np.unique(pairs)) == len(spectrum)
        assert spectrum.points.shape == (len(spectrum), 3)
        assert spectrum.where.startswith("demo sample train ")


def test_both_instruments(drawn: Drawn) -> None:
    spectra = drawn["ega_ms"][0]
    testbed = [s for s in spectra if s.instrument is Instrument.SAM_TESTBED]
    commercial = [s for s in spectra if s.instrument is Instrument.COMMERCIAL]
    assert 0.02 < len(testbed) / len(spectra) < 0.1
    for spectrum in testbed:
        assert 8_000 <= len(spectrum) <= 12_000
        assert (np.diff(spectrum.time) > 0).all()
        assert not (np.round(spectrum.mz) == 4).any()
        assert spectrum.abundance.min() == 0
        assert 1e5 < spectrum.abundance.max() < 3e7
        assert np.ptp(np.unique(spectrum.mz, return_counts=True)[1]) > 20
    assert any((s.mz % 1 > 0).any() for s in testbed)
    for spectrum in commercial:
        scans = len(np.unique(spectrum.time))
        assert len(spectrum) == scans * len(np.unique(spectrum.mz))
        assert 110 <= scans <= 200
        assert 1e-9 < spectrum.abundance.max() < 1e-5
        means = np.bincount(spectrum.mz.astype(int), spectrum.abundance)
        assert means.argmax() == 4 or means[4] > 0.2 * means.max()
    assert {len(np.unique(s.mz)) for s in commercial} == {60, 100, 200}
    negative = np.mean([(s.abundance < 0).any() for s in commercial])
    falling = np.mean([(np.diff(s.axis) < 0).any() for s in commercial])
    assert 0.05 < negative < 0.3
    assert 0.1 < falling < 0.6


def test_chromatograms(drawn: Drawn) -> None:
    spectra = drawn["gcms"][0]
    assert 0.2 < np.mean([bool(s.derivatized) for s in spectra]) < 0.4
    for spectrum in spectra:
        assert spectrum.derivatized is not None
        assert spectrum.instrument is Instrument.COMMERCIAL
        np.testing.assert_array_equal(spectrum.time, spectrum.axis)
        assert 23 < spectrum.time[-1] <= 25
        assert 200 < spectrum.mz.max() < 402
        assert (np.round(spectrum.mz) == 4).any()
        assert spectrum.abundance.min() > 0
    assert any((s.mz % 1 > 0).any() for s in spectra)
    assert any((s.mz % 1 == 0).all() for s in spectra)


def test_bleed_rises_late(drawn: Drawn) -> None:
    early, late = 0.0, 0.0
    for spectrum in drawn["gcms"][0]:
        bleed = np.round(spectrum.mz) == 207
        early += spectrum.abundance[bleed & (spectrum.time < 8)].sum()
        late += spectrum.abundance[bleed & (spectrum.time > 20)].sum()
    assert late > 5 * early


def highest(spectrum: Spectrum, mz: int, low: float, high: float) -> float:
    """log10 of an ion's highest rise between two temperatures, relative to helium."""
    ion = spectrum.mz == mz
    inside = ion & (spectrum.axis >= low) & (spectrum.axis <= high)
    rise = spectrum.abundance[inside].max() - np.quantile(spectrum.abundance[ion], 0.05)
    helium = np.median(spectrum.abundance[spectrum.mz == 4])
    return float(np.log10(max(rise / helium, 1e-7)))


@pytest.mark.parametrize("name", EGA_KEYS)
def test_minerals_give_off_their_gas(name: str, drawn: Drawn) -> None:
    spectra, labels = drawn["ega_ms"]
    has = labels[:, get_task("ega_ms").class_names.index(name)].astype(bool)
    rises: dict[bool, list[float]] = {True: [], False: []}
    for spectrum, held, number in zip(spectra, has, labels.sum(axis=1), strict=True):
        commercial = spectrum.instrument is Instrument.COMMERCIAL
        whole = spectrum.axis.max() > 900 and spectrum.mz.max() > 64
        # Mixtures of everything hide what one class does.
        if commercial and whole and number <= 2:
            rises[bool(held)].append(highest(spectrum, *EGA_KEYS[name]))
    assert np.mean(rises[True]) > np.mean(rises[False]) + 0.2


@pytest.mark.parametrize("name", GC_KEYS)
def test_compounds_show_their_ions(name: str, drawn: Drawn) -> None:
    spectra, labels = drawn["gcms"]
    has = labels[:, get_task("gcms").class_names.index(name)].astype(bool)
    tallest = []
    for spectrum in spectra:
        counts = spectrum.abundance[np.isin(np.round(spectrum.mz), GC_KEYS[name])]
        tallest.append(np.log10(counts.max(initial=1.0)))
    assert np.mean(np.array(tallest)[has]) > np.mean(np.array(tallest)[~has]) + 0.3


def test_silylated_acids(drawn: Drawn) -> None:
    spectra, labels = drawn["gcms"]
    acid = labels[:, get_task("gcms").class_names.index("carboxylic_acid")].astype(bool)
    of: dict[bool, list[float]] = {True: [], False: []}
    for spectrum, held in zip(spectra, acid, strict=True):
        if held:
            counts = spectrum.abundance[np.round(spectrum.mz) == 117]
            of[bool(spectrum.derivatized)].append(float(np.log10(counts.max(initial=1.0))))
    assert np.mean(of[True]) > np.mean(of[False]) + 0.5


def test_chlorine_isotopes() -> None:
    # One chlorine in four is two units heavier; two of them make 10 : 6.4 : 1.
    for compound in gc.FAMILIES["chlorine_bearing_compound"].single:
        ions = compound.ions
        ratios = [ions[mz + 2] / ions[mz] for mz in ions if mz + 2 in ions]
        assert any(abs(ratio - n * 0.32) < 0.02 for ratio in ratios for n in (1, 2, 3))


def test_peak() -> None:
    x = np.linspace(0, 100, 1001)
    centre = np.array([30.0, 50.0, 50.0])
    tails = np.array([0.0, 5.0, -5.0])
    shapes = peak(x, centre, np.full(3, 4.0), tails)
    np.testing.assert_allclose(shapes.max(axis=0), 1)
    np.testing.assert_allclose(x[shapes.argmax(axis=0)], centre)
    np.testing.assert_allclose(shapes[:, 0], np.exp(-((x - 30) ** 2) / 32))
    np.testing.assert_allclose(shapes[:, 1], shapes[::-1, 2], atol=1e-12)
    assert (x @ shapes / shapes.sum(axis=0))[1] > 50.5


def binned(task: str, spectrum: Spectrum) -> Floats:
    """Features of the challenges' benchmark: log maximum of each m/z in bins of the axis."""
    mz = np.round(spectrum.mz).astype(int)
    top, low, width, bins = (100, -100, 100, 14) if task == "ega_ms" else (300, 0, 1.0, 25)
    kept = (mz < top) & (mz != 4)
    column = np.clip((spectrum.axis[kept] - low) / width, 0, bins - 1).astype(int)
    image = np.zeros((top, bins))
    np.maximum.at(image, (mz[kept], column), spectrum.abundance[kept])
    floor = 1e-5 if task == "ega_ms" else 1e-4
    if task == "ega_ms":
        seen = np.where(image > 0, image, np.inf).min(axis=1, keepdims=True)
        image = np.maximum(image - np.where(np.isfinite(seen), seen, 0), 0)
    logs: Floats = np.log10(image / image.max() + floor)
    # When a compound leaves the column tells less than which ions it shows.
    return logs.ravel() if task == "ega_ms" else logs.max(axis=1)


def test_can_be_learned(task: str, drawn: Drawn) -> None:
    spectra, labels = drawn[task]
    test_spectra, test_labels = draw_all(task, "test")
    features = np.stack([binned(task, spectrum) for spectrum in spectra])
    test_features = np.stack([binned(task, spectrum) for spectrum in test_spectra])
    one = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=300))
    model = OneVsRestClassifier(one).fit(features, labels)
    predicted = model.predict_proba(test_features)

    def loss(scores: Floats) -> float:
        columns = zip(test_labels.T, scores.T, strict=True)
        return float(np.mean([log_loss(target, s, labels=[0, 1]) for target, s in columns]))

    guess = np.broadcast_to(labels.mean(axis=0), test_labels.shape)
    assert loss(predicted) < 0.75 * loss(guess)
    precision = average_precision_score(test_labels, predicted, average="micro")
    assert 0.65 < precision < 0.995
    assert precision > 2 * average_precision_score(test_labels, guess, average="micro")
