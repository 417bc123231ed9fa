from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap, permutation_test, trim_mean, ttest_ind

from bench.analysis import resampling
from bench.analysis.resampling import (
    generator,
    least_p,
    mean_difference_interval,
    share_band,
    sign_flip,
    two_sample,
    typical_interval,
)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("n", [1, 2, 5, 9, 12, 16])
def test_sign_flip_is_exact(n, random):
    for differences in (random.normal(0.4, 1, n), random.integers(-2, 4, n).astype(float)):
        signs = np.array(list(product((-1, 1), repeat=n)))
        brute = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean()
        assert sign_flip(differences, random) == pytest.approx(brute, abs=1e-15)


def test_sign_flip_is_scipys_permutation_of_pairs(random):
    a, b = random.normal(0.5, 1, 10), random.normal(0, 1, 10)
    mean_difference = lambda x, y, axis: (x - y).mean(axis=axis)  # noqa: E731
    reference = permutation_test((a, b), mean_difference, permutation_type="samples", n_resamples=2**10)
    assert sign_flip(a - b, random) == pytest.approx(reference.pvalue)


def test_sign_flip_samples_beyond_what_it_can_go_through(random, monkeypatch):
    differences = random.normal(0.35, 1, 20)
    exact = sign_flip(differences, random)
    monkeypatch.setattr(resampling, "EXACT_PAIRS", 10)
    sampled = sign_flip(differences, random)
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact / resampling.PERMUTATIONS))


@pytest.mark.parametrize(("n", "least"), [(5, 0.0625), (6, 0.03125), (10, 2**-9)])
def test_least_p_of_pairs_is_reached_where_all_differ_one_way(n, least, random):
    assert least_p(n, n, paired=True) == sign_flip(np.arange(1.0, n + 1), random) == least


@pytest.mark.parametrize(("n_a", "n_b", "least"), [(5, 5, 2 / 252), (3, 4, 1 / 35)])
def test_least_p_of_groups_is_reached_where_they_do_not_overlap(n_a, n_b, least, random):
    assert least_p(n_a, n_b, paired=False) == pytest.approx(least)
    assert two_sample(np.arange(n_a), 100.0 + np.arange(n_b), random) == pytest.approx(least)


def test_least_p_of_a_sampled_test_is_bounded_by_its_draws():
    assert least_p(20, 20, paired=False) == 1e-5
    assert least_p(20, 20, paired=False, exact=True) == pytest.approx(1.45e-11, rel=1e-2)


def test_two_sample_is_scipys_permutation_of_labels(random):
    a, b = random.normal(0.9, 1, 7), random.normal(0, 1, 7)
    mean_difference = lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis)  # noqa: E731
    reference = permutation_test((a, b), mean_difference, n_resamples=10_000)
    assert two_sample(a, b, random) == pytest.approx(reference.pvalue)


def test_two_sample_samples_where_there_are_many(random):
    a, b = random.normal(0.5, 1, 30), random.normal(0, 1, 25)
    assert two_sample(a, b, random) == pytest.approx(ttest_ind(a, b).pvalue, abs=0.01)


def test_equal_groups_have_p_1(random):
    assert sign_flip(np.zeros(6), random) == 1
    assert two_sample(np.ones(6), np.ones(5), random) == 1


def test_under_no_difference_p_is_at_most_its_level_that_often(random):
    p = np.array([sign_flip(random.normal(0, 1, 10), random) for _ in range(2000)])
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_interval_of_the_interquartile_mean_is_scipys_bootstrap(random):
    values = random.beta(0.5, 0.5, 20)
    found = typical_interval([values], np.random.default_rng(1))
    iqm = lambda x, axis: trim_mean(x, 0.25, axis=axis)  # noqa: E731
    reference = bootstrap((values,), iqm, method="percentile", n_resamples=9999, rng=random).confidence_interval
    np.testing.assert_allclose(found, reference, atol=0.03)


def test_from_eight_runs_on_it_is_of_the_interquartile_mean_below_of_the_median(random):
    eight = np.array([0.0, 0, 0, 0.1, 0.2, 0.3, 1, 1])
    drawn = eight[np.random.default_rng(1).integers(0, 8, (resampling.RESAMPLES, 8))]
    expected = np.quantile(trim_mean(drawn, 0.25, axis=1), (0.025, 0.975))
    np.testing.assert_array_equal(typical_interval([eight], np.random.default_rng(1)), expected)
    seven = eight[:7]
    low, high = typical_interval([seven], random)
    assert {low, high} <= set(seven)  # a median of an odd number of values is one of them


def test_strata_are_drawn_again_by_themselves(random):
    low, high = typical_interval([np.zeros(10), np.ones(10)], random)
    assert low == high == 0.5  # without strata, some draws would hold more of one task than of the other


def test_interval_of_a_paired_difference_is_narrower_where_pairs_agree(random):
    a = random.normal(0, 1, 15)
    b = a - 0.5 + 0.01 * random.normal(0, 1, 15)
    paired = mean_difference_interval(a, b, random, paired=True)
    unpaired = mean_difference_interval(a, b, random, paired=False)
    assert paired[0] < 0.5 < paired[1]
    assert paired[1] - paired[0] < 0.1 < unpaired[1] - unpaired[0]


def test_band_of_a_share_is_the_binomial_one(random):
    held = np.repeat([[1.0], [0.0]], [6, 14], axis=0)
    low, high = share_band([held], random)
    assert (low[0], high[0]) == pytest.approx((0.1, 0.5), abs=0.051)
    assert share_band([np.ones((5, 1))], random) == (1, 1)


def test_a_generator_depends_on_its_purpose_alone():
    first = generator(0, "profile", "adding").random(3)
    np.testing.assert_array_equal(generator(0, "profile", "adding").random(3), first)
    others = (generator(1, "profile", "adding"), generator(0, "profile", "copying"))
    assert all((other.random(3) != first).all() for other in others)
