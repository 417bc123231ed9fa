from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap, norm, permutation_test, t, trim_mean, ttest_ind, ttest_rel

from bench.analysis.statistics import resampling
from bench.analysis.statistics.resampling import (
    generator,
    least_p,
    mean_difference_interval,
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


def expanded(n: int, strata: int = 1) -> float:
    """The level of the lower end: where a normal sample's bootstrap, which divides by n, meets Student's interval."""
    return norm.cdf(t.ppf(0.025, n - strata) / np.sqrt((n - strata) / n))


def test_interval_of_the_interquartile_mean_is_scipys_bootstrap_at_expanded_levels(random):
    values = random.beta(0.5, 0.5, 20)
    found = typical_interval([values], np.random.default_rng(1))
    iqm = lambda x, axis: trim_mean(x, 0.25, axis=axis)  # noqa: E731
    level = 1 - 2 * expanded(20)
    reference = bootstrap((values,), iqm, confidence_level=level, method="percentile", n_resamples=9999, rng=random)
    np.testing.assert_allclose(found, reference.confidence_interval, atol=0.03)
    assert level == pytest.approx(0.968, abs=1e-3)


def test_from_eight_runs_on_it_is_of_the_interquartile_mean_below_of_the_median(random):
    eight = np.array([0.0, 0, 0, 0.1, 0.2, 0.3, 1, 1])
    drawn = eight[np.random.default_rng(1).integers(0, 8, (resampling.RESAMPLES, 8))]
    expected = np.quantile(trim_mean(drawn, 0.25, axis=1), (expanded(8), 1 - expanded(8)))
    np.testing.assert_array_equal(typical_interval([eight], np.random.default_rng(1)), expected)
    seven = eight[:7]
    low, high = typical_interval([seven], random)
    assert {low, high} <= set(seven)  # a median of an odd number of values is one of them


@pytest.mark.parametrize(("n", "least", "most"), [(5, 0.90, 0.97), (7, 0.95, 1.0), (10, 0.93, 0.99)])
def test_interval_of_scores_that_are_near_0_or_near_1_covers_its_truth(n, least, most, random, monkeypatch):
    """300 simulated sets; plain percentiles would cover .865 to .93 of such sets at n = 6 to 10."""
    monkeypatch.setattr(resampling, "RESAMPLES", 2000)

    def drawn(count: int) -> np.ndarray:
        solved = random.random(count) < 0.5
        return np.where(solved, 1 - 0.02 * random.random(count), 0.3 * random.random(count))

    whole = np.sort(drawn(400_000))
    truth = np.median(whole) if n < 8 else trim_mean(whole, 0.25)
    intervals = [typical_interval([drawn(n)], random) for _ in range(300)]
    assert least <= np.mean([low <= truth <= high for low, high in intervals]) <= most


def test_strata_are_drawn_again_by_themselves(random):
    low, high = typical_interval([np.zeros(10), np.ones(10)], random)
    assert low == high == 0.5  # without strata, some draws would hold more of one task than of the other


def test_levels_are_expanded_by_the_number_of_runs_and_of_tasks(random):
    one, two = np.sort(random.normal(0, 1, 6)), np.sort(random.normal(1, 1, 7))
    again = np.random.default_rng(1)
    drawn = [values[again.integers(0, len(values), (resampling.RESAMPLES, len(values)))] for values in (one, two)]
    tail = expanded(13, strata=2)
    expected = np.quantile(trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1), (tail, 1 - tail))
    np.testing.assert_array_equal(typical_interval([one, two], np.random.default_rng(1)), expected)


def test_of_fewer_than_five_runs_of_a_task_nothing_is_known(random):
    assert typical_interval([np.ones(4)], random) == (-np.inf, np.inf)
    assert typical_interval([np.ones(9), np.ones(4)], random) == (-np.inf, np.inf)
    assert typical_interval([np.ones(5)], random) == (1, 1)


def test_interval_of_a_mean_difference_is_students_of_pairs_and_else_welchs(random):
    a, b = random.normal(0.2, 1, 9), random.normal(0, 3, 9)
    paired, unpaired = (mean_difference_interval(a, b, paired=paired) for paired in (True, False))
    np.testing.assert_allclose(paired, ttest_rel(a, b).confidence_interval())
    np.testing.assert_allclose(unpaired, ttest_ind(a, b, equal_var=False).confidence_interval())
    fewer = mean_difference_interval(a, b[:4], paired=False)
    np.testing.assert_allclose(fewer, ttest_ind(a, b[:4], equal_var=False).confidence_interval())


def test_a_mean_difference_of_single_runs_is_unbounded_and_that_of_equal_ones_exact():
    one, five = np.array([0.9]), np.full(5, 0.5)
    assert mean_difference_interval(one, one, paired=True) == (-np.inf, np.inf)
    assert mean_difference_interval(one, five, paired=False) == (-np.inf, np.inf)
    assert mean_difference_interval(five + 0.25, five, paired=True) == (0.25, 0.25)


def test_a_generator_depends_on_its_purpose_alone():
    first = generator(0, "profile", "adding").random(3)
    np.testing.assert_array_equal(generator(0, "profile", "adding").random(3), first)
    others = (generator(1, "profile", "adding"), generator(0, "profile", "copying"))
    assert all((other.random(3) != first).all() for other in others)
