import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from marsbench.data.corruptions.randomness import Draws, _mixed, sample_seed

CPU = torch.device("cpu")


def lowbias32(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The hash on words without a sign."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def test_hash_is_that_of_words_without_a_sign() -> None:
    words = np.random.default_rng(0).integers(2**32, size=10_001, dtype=np.uint32)
    mixed = _mixed(torch.from_numpy(words.view(np.int32).copy()))
    assert np.array_equal(mixed.numpy().view(np.uint32), lowbias32(words))


def test_numbers_follow_their_distributions() -> None:
    draws = Draws([1, 2**62 + 7], CPU)
    uniform = draws.uniform(0, 100, 100)
    normal = draws.normal(1, 3, 5_001)
    assert uniform.shape == (2, 100, 100)
    assert normal.shape == (2, 3, 5_001)
    for of_sample in uniform:
        assert stats.kstest(of_sample.flatten().numpy(), "uniform").pvalue > 1e-3
    for of_sample in normal:
        assert stats.kstest(of_sample.flatten().numpy(), "norm").pvalue > 1e-3


def test_samples_streams_and_neighbours_are_independent() -> None:
    draws = Draws([4, 5], CPU)
    first, second = draws.uniform(0, 20_000)
    other = draws.uniform(1, 20_000)[0]
    pairs = [(first, second), (first, other), (first[1:], first[:-1])]
    for a, b in pairs:
        assert abs(np.corrcoef(a.numpy(), b.numpy())[0, 1]) < 0.03


def test_numbers_depend_on_their_seed_alone() -> None:
    together = Draws([7, 8, 9], CPU).normal(3, 6, 7)
    alone = torch.cat([Draws([seed], CPU).normal(3, 6, 7) for seed in (9, 8, 7)])
    assert torch.equal(together, alone.flip(0))


def test_ranks_are_an_order() -> None:
    ranks = Draws([1, 2], CPU).ranks(0, 50)
    assert torch.equal(ranks.sort(dim=1).values, torch.arange(50).expand(2, -1))
    assert not torch.equal(ranks[0], ranks[1])


def test_seed_of_a_sample_is_fixed_for_all_time() -> None:
    # Stored scores depend on it.
    assert sample_seed(0, "a.png", "dust") == 5_372_606_850_404_607_466
    others = {sample_seed(*key) for key in ((0, "a.png", "noise"), (1, "a.png", "dust"))}
    assert sample_seed(0, "a.png", "dust") not in others
    assert all(0 <= seed < 2**63 for seed in others)
