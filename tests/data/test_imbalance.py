import numpy as np
import pytest

from marsbench.base.errors import ConfigError, DataError
from marsbench.config.schema import Imbalance
from marsbench.data.imbalance import MOST_REPEATS, balance, class_counts

CLASSES = ("crater", "dune", "plain")
TARGETS = np.repeat([0, 1, 2], [4, 30, 200])


def counts_of(strategy: Imbalance, targets: np.ndarray = TARGETS, seed: int = 0) -> list[int]:
    found = balance(targets, strategy, seed, CLASSES[: int(targets.max()) + 1])
    return [int(n) for n in np.bincount(targets[found.draws])]


def test_none_leaves_all_as_it_is() -> None:
    found = balance(TARGETS, Imbalance.NONE, 0, CLASSES)
    assert found.draws.tolist() == list(range(len(TARGETS)))
    assert found.class_weights is None


def test_undersampling_cuts_every_class_to_the_smallest() -> None:
    found = balance(TARGETS, Imbalance.UNDERSAMPLE, 0, CLASSES)
    assert counts_of(Imbalance.UNDERSAMPLE) == [4, 4, 4]
    assert len(set(found.draws.tolist())) == 12
    again = balance(TARGETS, Imbalance.UNDERSAMPLE, 0, CLASSES)
    other = balance(TARGETS, Imbalance.UNDERSAMPLE, 1, CLASSES)
    assert again.draws.tolist() == found.draws.tolist() != other.draws.tolist()


def test_oversampling_cuts_the_largest_and_repeats_the_others_within_bounds() -> None:
    # Half of 200; 30 is repeated up to that; 4 only ten times each.
    assert counts_of(Imbalance.OVERSAMPLE) == [4 * MOST_REPEATS, 100, 100]
    draws = balance(TARGETS, Imbalance.OVERSAMPLE, 0, CLASSES).draws
    times = np.bincount(draws, minlength=len(TARGETS))
    assert set(times[:4]) == {MOST_REPEATS}
    assert set(times[4:34]) == {3, 4}
    assert set(times[34:]) == {0, 1}


def test_oversampling_never_cuts_below_the_second_class() -> None:
    assert counts_of(Imbalance.OVERSAMPLE, np.repeat([0, 1], [90, 100])) == [90, 90]
    assert counts_of(Imbalance.OVERSAMPLE, np.repeat([0, 1, 2], [5, 5, 5])) == [5, 5, 5]


def test_loss_weights_are_inverse_frequencies_with_mean_one() -> None:
    found = balance(TARGETS, Imbalance.LOSS_WEIGHT, 0, CLASSES)
    weights = found.class_weights
    assert weights is not None
    counts = np.array([4, 30, 200])
    assert weights * counts == pytest.approx(len(TARGETS) / 3)
    assert weights[TARGETS].mean() == pytest.approx(1.0)
    assert found.draws.tolist() == list(range(len(TARGETS)))


def test_multilabel() -> None:
    targets = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]])
    assert class_counts(targets, 3).tolist() == [4, 1, 1]
    weights = balance(targets, Imbalance.LOSS_WEIGHT, 0, CLASSES).class_weights
    assert weights is not None
    assert weights.tolist() == [1.0, 3.0, 3.0]
    for strategy in (Imbalance.UNDERSAMPLE, Imbalance.OVERSAMPLE):
        with pytest.raises(ConfigError, match="multilabel tasks"):
            balance(targets, strategy, 0, CLASSES)


@pytest.mark.parametrize("strategy", [s for s in Imbalance if s is not Imbalance.NONE])
def test_a_class_without_samples_is_named(strategy: Imbalance) -> None:
    with pytest.raises(DataError, match="missing: dune"):
        balance(np.array([0, 0, 2]), strategy, 0, CLASSES)
