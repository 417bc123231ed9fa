from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import f

from bench.analysis.statistics.memory_length import (
    by_length,
    chance_to_solve,
    memory_length,
    memory_lengths,
    ranked,
    without_length,
)

LENGTHS = (50, 100, 200, 400, 800)


@pytest.mark.parametrize("slope", [2, 5, 10])
def test_interval_covers_its_truth(slope):
    """1000 simulated sets of 10 runs at each length; T50 anywhere between the shortest and the longest."""
    fit = cache(lambda *successes: memory_length(LENGTHS, successes, [10] * 5))
    random = np.random.default_rng(slope)
    covered = 0
    for _ in range(1000):
        t50 = np.exp(random.uniform(*np.log([LENGTHS[0], LENGTHS[-1]])))
        found = fit(*random.binomial(10, chance_to_solve(LENGTHS, t50, slope)))
        covered += found.low <= t50 <= found.high
    assert 0.93 <= covered / 1000 <= 0.995


def test_fit_is_a_logistic_regression_where_that_has_one():
    k, n = np.array([10, 9, 6, 2, 0]), 10
    design = sm.add_constant(-np.log(LENGTHS))
    result = sm.GLM(np.column_stack([k, n - k]), design, family=sm.families.Binomial()).fit()
    found = memory_length(LENGTHS, k, [n] * 5)
    assert found.t50 == pytest.approx(np.exp(result.params[0] / result.params[1]), rel=2e-3)
    assert found.slope == pytest.approx(result.params[1], rel=0.02)
    assert not found.separated


def test_ends_of_the_interval_are_where_the_profile_has_fallen():
    k, n = np.array([10, 9, 6, 2, 0]), 10
    found = memory_length(LENGTHS, k, [n] * 5)

    def greatest(t50: float) -> float:
        p = chance_to_solve(LENGTHS, t50, np.geomspace(0.1, 100, 5001)[:, None]).clip(1e-300, 1 - 1e-16)
        return float((k * np.log(p) + (n - k) * np.log1p(-p)).sum(axis=1).max())

    fall = f.ppf(0.95, 1, 48) / 2
    for end in (found.low, found.high):
        assert greatest(found.t50) - greatest(end) == pytest.approx(fall, abs=2e-3)


def test_separated_data_have_the_geometric_middle_and_a_finite_interval():
    for n in (5, 10, 20):
        found = memory_length(LENGTHS, [n, n, n, 0, 0], [n] * 5)
        assert found.separated
        assert found.t50 == pytest.approx(np.sqrt(200 * 400))
        assert 100 < found.low < 205 < 390 < found.high < 800
        assert not found.censored


def test_one_mixed_length_is_separated_too():
    found = memory_length(LENGTHS, [10, 10, 5, 0, 0], [10] * 5)
    assert found.separated
    assert found.t50 == pytest.approx(200, rel=1e-3)
    assert 100 < found.low < 200 < found.high < 400


def test_where_all_solve_the_memory_is_longer():
    found = memory_length(LENGTHS, [10] * 5, [10] * 5)
    assert (found.t50, found.high, found.censored) == (np.inf, np.inf, "above")
    assert 400 < found.low < 900
    assert np.isnan(found.slope)


def test_where_none_solves_it_is_shorter():
    found = memory_length(LENGTHS, [0] * 5, [10] * 5)
    assert (found.t50, found.low, found.censored) == (0, 0, "below")
    assert 45 < found.high < 100


def test_a_fit_beyond_the_tried_lengths_is_censored():
    found = memory_length(LENGTHS, [10, 10, 10, 9, 8], [10] * 5)
    assert found.censored == "above"
    assert found.t50 > 800 > found.low


def test_more_runs_narrow_the_interval():
    few, many = (memory_length(LENGTHS, [n, n, n // 2, 0, 0], [n] * 5) for n in (4, 40))
    assert few.low < many.low < many.t50 < many.high < few.high


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_runs_are_no_error(n):
    found = memory_length([50, 100], [n, 0], [n, n])
    assert found.low < found.t50 < found.high


def test_one_length_is_refused():
    with pytest.raises(ValueError, match="at least two different ones"):
        memory_length([50, 50], [1, 0], [1, 1])


def test_groups_with_one_length_have_no_memory_length():
    runs = pd.DataFrame(
        {
            "cell": list("aaaabb"),
            "task.length": [10.0, 10, 20, 20, 10, np.nan],
            "outcome": ["solved", "relapsed", "diverged", "stuck", "solved", "solved"],
        }
    )
    rates = by_length(runs, ["cell"])
    assert rates["successes"].tolist() == [2, 0]
    (row,) = memory_lengths(rates, ["cell"]).to_dict("records")
    assert row["t50"] == pytest.approx(np.sqrt(200))
    assert (row["cell"], row["n"], row["lengths"], row["shortest"], row["longest"]) == ("a", 4, 2, 10, 20)
    assert by_length(runs.drop(columns="task.length"), ["cell"]).empty


def test_a_task_is_named_without_its_length():
    names = pd.Series(["adding, length=100", "copying, variant=tcn, length=10", "digits", "adding, length=9, lag=3"])
    assert without_length(names).tolist() == ["adding", "copying, variant=tcn", "digits", "adding, lag=3"]


def test_ranks_are_those_of_t50_and_as_far_as_intervals_tell_them():
    """a and b overlap, c lies below both, d is alone on its task; e and f lie beyond what was tried, however far."""
    fits = pd.DataFrame(
        {
            "task": ["adding"] * 3 + ["copying"] + ["order"] * 2,
            "t50": [100.0, 120, 30, 50, 500, np.inf],
            "low": [80.0, 90, 20, 40, 300, 900],
            "high": [130.0, 150, 40, 60, 700, np.inf],
            "shortest": 10,
            "longest": 400,
        }
    )
    found = ranked(fits, ["task"])
    assert found["rank"].tolist() == [2, 1, 3, 1, 1, 1]
    assert found["rank_low"].tolist() == [1, 1, 3, 1, 1, 1]
    assert found["rank_high"].tolist() == [2, 2, 3, 1, 2, 2]
    assert found["ranked"].tolist() == [3, 3, 3, 1, 2, 2]
