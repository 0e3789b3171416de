"""Bootstrap intervals: coverage on known means, clusters, determinism."""

import numpy as np
import pytest

from pellucid.errors import PellucidError
from pellucid.functional.bootstrap import (
    bootstrap_interval,
    group_names,
    interval_of,
    paired_difference,
    resample_means,
)


def coverage(draw, trials=400):
    """Share of trials whose interval covers a true mean of 0."""
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(trials):
        values, groups = draw(generator)
        interval = bootstrap_interval(values, groups, resamples=500, seed=trial)
        hits += interval.low <= 0 <= interval.high
    return hits / trials


@pytest.mark.parametrize("n", [8, 20, 100])
def test_covers_a_normal_mean_as_often_as_promised(n):
    share = coverage(lambda generator: (generator.normal(size=n), None))
    assert 0.92 <= share <= 0.98  # ± 2.7 standard errors of 400 trials


def test_crops_of_a_photograph_need_their_group():
    def crops(generator):
        photographs = generator.normal(size=15)
        values = np.repeat(photographs, 10) + 0.1 * generator.normal(size=150)
        return values, np.repeat(np.arange(15), 10)

    assert 0.91 <= coverage(crops) <= 0.98
    assert coverage(lambda generator: (crops(generator)[0], None)) < 0.6


def test_matches_a_plain_loop():
    generator = np.random.default_rng(3)
    values, groups = generator.normal(size=12), np.array(list("aaabbcddddee"))
    means, n = resample_means(values[:, None], groups, resamples=40, seed=7)
    draws = np.random.default_rng(7).integers(5, size=(40, 5))
    names = np.unique(groups)
    plain = [np.concatenate([values[groups == names[g]] for g in draw]).mean() for draw in draws]
    assert n == 5
    np.testing.assert_allclose(means[:, 0], plain)


def test_is_deterministic_and_ordered():
    values = np.random.default_rng(0).normal(3, 1, size=50)
    first = bootstrap_interval(values, seed=1)
    assert first == bootstrap_interval(values, seed=1)
    assert first.low != bootstrap_interval(values, seed=2).low
    assert first.low < first.value < first.high
    assert first.n == 50
    narrow = bootstrap_interval(values, confidence=0.5, seed=1)
    assert first.low < narrow.low < narrow.high < first.high


def test_a_ratio_of_means_keeps_its_columns_together():
    generator = np.random.default_rng(0)
    below = generator.uniform(1, 100, size=40)
    columns = np.stack([3 * below, below], axis=1)
    interval = bootstrap_interval(columns, statistic=lambda m: m[..., 0] / m[..., 1])
    assert interval.value == pytest.approx(3)
    assert interval.low == pytest.approx(3)
    assert interval.high == pytest.approx(3)


def test_pairing_removes_what_both_share():
    generator = np.random.default_rng(0)
    difficulty = generator.normal(25, 5, size=60)
    a = difficulty + 0.3 + 0.1 * generator.normal(size=60)
    paired = paired_difference(a, difficulty)
    assert 0.2 < paired.low < 0.3 < paired.high < 0.4
    unpaired = bootstrap_interval(a)
    assert unpaired.high - unpaired.low > 10 * (paired.high - paired.low)


def test_one_group_has_no_interval():
    interval = bootstrap_interval([1.0, 2.0, 3.0], ["a", "a", "a"])
    assert (interval.value, interval.low, interval.high, interval.n) == (2.0, None, None, 1)


def test_large_sets_are_drawn_in_pieces():
    values = np.random.default_rng(0).normal(size=30_000)
    interval = bootstrap_interval(values, resamples=300)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / 30_000**0.5, rel=0.15)


def test_names_for_samples_without_a_group_go_on_counting():
    assert group_names(None, size=2, first=3) == ["sample 3", "sample 4"]
    assert group_names(np.array([4, 4]), size=2, first=0) == ["4", "4"]


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([], None, "nothing to resample"),
        ([1.0, float("nan")], None, "1 of 2 samples"),
        ([1.0, 2.0], ["a"], "one group per sample"),
    ],
)
def test_bad_values(values, groups, message):
    with pytest.raises(PellucidError, match=message):
        bootstrap_interval(values, groups)


def test_bad_arguments():
    with pytest.raises(PellucidError, match="the same samples twice"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(PellucidError, match="inside"):
        interval_of(0.0, np.zeros(3), n=3, confidence=95)
