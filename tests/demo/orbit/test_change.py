"""Change pairs differ on the ground exactly where something is new."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.orbit import change
from marsbench.demo.orbit.change import CTX, HIRISE, MARGIN, Draw, Event

SIZE = 96 + 2 * MARGIN
EVENTS = tuple(dict.fromkeys((*CTX, *HIRISE)))
MARKS = tuple(kind for kind in EVENTS if kind[1] is not change._moved)


def weather(rng: np.random.Generator) -> change.Weather:
    """Clear, even, sharp and in place."""
    return replace(
        change._weather(rng, SIZE), season=1.0, haze=0.0, glow=np.zeros((SIZE, SIZE)), softness=0.0
    )


def difference(kind: tuple[Draw, Event], label: str, seed: int) -> NDArray[np.float64]:
    """Relative difference of the dates under equal weather, (96, 96)."""
    rng = np.random.default_rng(seed)
    before, after = change._dates(rng, label, SIZE, (kind,))
    sky = weather(rng)
    first, second = change._view(before, sky), change._view(after, sky)
    return np.abs(second - first) / float(first.mean())


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind[0].__name__ + kind[1].__name__)
def test_dates_of_no_change_are_equal_under_equal_weather(kind: tuple[Draw, Event]) -> None:
    for seed in range(3):
        assert not difference(kind, "No change", seed).any()


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind[0].__name__ + kind[1].__name__)
def test_changes_are_wide_enough_to_see(kind: tuple[Draw, Event]) -> None:
    for seed in range(12):
        changed = difference(kind, change.CHANGE, seed) > 0.1
        # Six pixels by six, or a track or a streak of the same area.
        assert changed.sum() > 30, seed
        rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) >= 6


@pytest.mark.parametrize("kind", MARKS, ids=lambda kind: kind[0].__name__ + kind[1].__name__)
def test_pairs_differ_only_under_the_mark(kind: tuple[Draw, Event]) -> None:
    draw, event = kind
    for seed in range(6):
        rng = np.random.default_rng(seed)
        place = draw(rng, SIZE)
        mark = event(rng, SIZE, place.downhill_deg)
        sky = weather(rng)
        before = change._view(place.surface, sky)
        after = change._view(change._marked(place.surface, mark), sky)
        changed = np.abs(after - before) > 0.02 * before.mean()
        # Ejecta thin out for ever, so relief counts from half a hundredth of a pixel.
        touched = (np.abs(mark.factor - 1.0) > 0.005) | (np.abs(mark.relief) > 0.005)
        near = ndimage.binary_dilation(touched, iterations=2)[MARGIN:-MARGIN, MARGIN:-MARGIN]
        assert changed.any()
        assert not (changed & ~near).any()


@pytest.mark.parametrize("kind", MARKS, ids=lambda kind: kind[0].__name__ + kind[1].__name__)
def test_new_marks_lie_mostly_beside_old_ones(kind: tuple[Draw, Event]) -> None:
    _draw, event = kind
    for seed in range(20):
        rng = np.random.default_rng(seed)
        old = event(rng, SIZE, 30.0)
        new = change._beside(rng, event, SIZE, 30.0, old)
        outside = np.abs(old.factor - 1.0) < 0.05
        changed = np.abs(new.factor - 1.0)
        assert changed[outside].sum() > 0.6 * changed.sum(), seed


def test_dunes_move_downwind_over_ground_that_stays() -> None:
    for seed in range(6):
        place = change._dunes(np.random.default_rng(seed), SIZE)
        assert place.later is not None
        before, after = place.surface.height, place.later.height
        x, y = terrain.direction(place.downhill_deg)
        fits = {}
        for pixels in range(-14, 15, 2):
            back = ndimage.shift(after, (y * pixels, -x * pixels), order=1, mode="nearest")
            inner = (slice(16, -16), slice(16, -16))
            fits[pixels] = np.corrcoef(back[inner].ravel(), before[inner].ravel())[0, 1]
        assert 6 <= max(fits, key=lambda pixels: fits[pixels]) <= 14


def test_marks_appear_anywhere() -> None:
    for event in (change._impact, change._streak, change._spots, change._deposit):
        centres = []
        for seed in range(40):
            factor = event(np.random.default_rng(seed), SIZE, 30.0).factor
            rows, columns = np.nonzero(np.abs(factor - 1.0) > 0.2)
            centres.append((rows.mean(), columns.mean()))
        spread = np.ptp(np.array(centres), axis=0)
        assert (spread > 0.4 * SIZE).all(), event.__name__


@pytest.mark.parametrize("event", [change._streak, change._deposit])
def test_streaks_and_deposits_run_downhill_and_widen(event: Event) -> None:
    for seed in range(10):
        weights = np.abs(event(np.random.default_rng(seed), SIZE, 90.0).factor - 1.0) > 0.1
        labels, count = ndimage.label(weights)
        largest = 1 + int(np.argmax(ndimage.sum_labels(weights, labels, range(1, count + 1))))
        rows, columns = np.nonzero(labels == largest)
        assert np.ptp(columns) > np.ptp(rows)
        widths = np.bincount(columns - columns.min())
        assert widths[: len(widths) // 3].mean() < widths[len(widths) // 2 :].mean()


def test_the_next_visit_differs_in_light_and_place() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first = change._weather(rng, 60)
        second = change._next_visit(rng, first, 60)
        assert first.light != second.light
        assert 0 < max(map(abs, second.shift)) <= 1.0
        assert second.light.pole_deg == first.light.pole_deg


def test_the_later_picture_alone_does_not_tell() -> None:
    # Old marks are as frequent without a change: some later pictures of either label have one.
    marked = []
    for seed in range(60):
        before, _ = change._dates(np.random.default_rng(seed), "No change", SIZE, (CTX[0],))
        marked.append(bool((before.tone < 0.75).any() or (before.tone > 1.35).any()))
    assert 0.2 < np.mean(marked) < 0.5
