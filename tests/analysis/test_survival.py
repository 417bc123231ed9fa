from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import CensoredData, ecdf, logrank
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from bench.analysis.statistics.summaries import wilson
from bench.analysis.statistics.survival import curve, logrank_scores, median, times

BUDGET = 3000
# Ties, events and censorings at one time, and a last run that is censored (Kalbfleisch & Prentice style toy data)
TIME = np.array([100, 100, 200, 300, 300, 300, 500, 800, 800, 900, 1200, 3000])
SOLVED = np.array([1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0], dtype=bool)


@pytest.fixture
def ten() -> pd.DataFrame:
    """Six runs that solved, and four that diverged at update 100."""
    solved_at = [400, 500, 500, 700, 900, 3000, *[np.nan] * 4]
    outcome = ["solved"] * 6 + ["diverged"] * 4
    sequences = [BUDGET * 16] * 6 + [1600] * 4
    return pd.DataFrame(
        {"solved_at": solved_at, "outcome": outcome, "updates": BUDGET, "sequences": sequences, "batch_size": 16}
    )


def curve_of(runs: pd.DataFrame) -> pd.DataFrame:
    watched = times(runs)
    return curve(watched["time"], watched["solved"], BUDGET)


def test_six_solved_and_four_diverged_early_end_the_curve_at_six_tenths(ten):
    steps = curve_of(ten)
    assert steps["share"].iloc[-1] == pytest.approx(0.6)
    assert steps["update"].iloc[-1] == BUDGET
    dropped = curve_of(ten[ten["outcome"] == "solved"])
    assert dropped["share"].iloc[-1] == pytest.approx(1)  # what leaving them out by mistake would claim


def test_runs_stopped_from_outside_are_censored(ten):
    stopped = ten.assign(stopped=ten["outcome"] == "diverged")
    assert times(stopped)["time"].tolist()[6:] == [100] * 4
    assert curve_of(stopped)["share"].iloc[-1] == pytest.approx(1)
    one = ten.assign(stopped=[*[False] * 9, True])
    assert times(one)["time"].tolist()[6:] == [BUDGET] * 3 + [100]


def test_a_run_that_solved_before_it_was_stopped_counts_as_solved(ten):
    watched = times(ten.assign(stopped=True))
    assert watched["time"].tolist()[:6] == [400, 500, 500, 700, 900, 3000]
    assert watched["stopped"].tolist() == [False] * 6 + [True] * 4


def test_without_censoring_the_curve_is_the_plain_share_with_wilsons_interval(ten):
    steps = curve_of(ten)
    for _, step in steps.iterrows():
        solved = int((ten["solved_at"] <= step["update"]).sum())
        assert step["share"] == pytest.approx(solved / 10)
        np.testing.assert_allclose([step["low"], step["high"]], wilson(solved, 10), atol=1e-12)


def test_curve_with_ties_and_censoring_is_scipys():
    steps = curve(TIME, SOLVED, BUDGET)
    censored = CensoredData.right_censored(TIME, ~SOLVED)
    np.testing.assert_allclose(steps["share"], ecdf(censored).cdf.evaluate(steps["update"]), rtol=1e-12)


def test_product_by_hand():
    steps = curve(TIME, SOLVED, BUDGET).set_index("update")
    assert steps.loc[500, "share"] == pytest.approx(1 - (10 / 12) * (7 / 9) * (5 / 6))
    assert steps["at_risk"].tolist() == [12, 12, 9, 6, 5, 3, 1]


def test_band_is_wilsons_before_the_first_censoring_and_log_log_after_it():
    steps = curve(TIME, SOLVED, BUDGET).set_index("update")
    np.testing.assert_allclose(steps.loc[100, ["low", "high"]].astype(float), wilson(2, 12))
    reference = ecdf(CensoredData.right_censored(TIME, ~SOLVED)).sf
    interval = reference.confidence_interval(0.95, method="log-log")
    for update in (300, 500, 800, 900):
        low, high = (1 - end.evaluate(update) for end in (interval.high, interval.low))
        np.testing.assert_allclose(steps.loc[update, ["low", "high"]].astype(float), [low, high], rtol=1e-6)


def test_band_reaches_one_where_all_that_were_watched_have_solved():
    steps = curve([100, 200, 300], [True, False, True], 300)
    assert steps["share"].tolist() == pytest.approx([0, 1 / 3, 1])
    assert steps["high"].iloc[-1] == 1
    assert steps["low"].iloc[-1] == steps["low"].iloc[-2]


@pytest.mark.parametrize("solved", [0, 5])
def test_all_or_none_solved_has_a_band(solved):
    time = np.full(5, 700) if solved else np.full(5, BUDGET)
    steps = curve(time, np.full(5, bool(solved)), BUDGET)
    last = steps.iloc[-1]
    np.testing.assert_allclose([last["share"], last["low"], last["high"]], [solved / 5, *wilson(solved, 5)])
    assert (last["low"], last["high"]) == pytest.approx((0.566, 1) if solved else (0, 0.434), abs=1e-3)


@pytest.mark.parametrize("solved", [3, 4, 5, 6, 8])
def test_median_without_censoring_is_that_of_all_runs(solved):
    when = np.array([100.0, 200, 300, 400, 500, 600, 700, 800])
    time, ended = np.where(np.arange(8) < solved, when, BUDGET), np.arange(8) < solved
    assert median(curve(time, ended, BUDGET))[0] == np.median(np.where(ended, when, np.inf))


def test_median_and_its_interval_with_censoring_are_those_of_statsmodels():
    time, solved = np.array([50, *TIME]), np.array([False, *SOLVED])  # log-log from the start
    reference = SurvfuncRight(time, solved)
    middle, low, high = median(curve(time, solved, BUDGET))
    assert middle == reference.quantile(0.5) == 800
    assert (low, high) == reference.quantile_ci(0.5, method="cloglog")


def test_an_interval_may_be_open_above():
    middle, low, high = median(curve([100, 200, 300, BUDGET, BUDGET], [True] * 3 + [False] * 2, BUDGET))
    assert (middle, low, high) == (300, 100, np.inf)


def test_log_rank_scores_are_observed_less_expected():
    scores = logrank_scores([1, 2, 2, 3], [True, True, False, False])
    np.testing.assert_allclose(scores, [1 - 1 / 4, 1 - 1 / 4 - 1 / 3, -1 / 4 - 1 / 3, -1 / 4 - 1 / 3])
    assert logrank_scores(TIME, SOLVED).sum() == pytest.approx(0, abs=1e-12)


def test_their_sum_over_a_group_is_the_numerator_of_scipys_log_rank_test():
    group = np.arange(12) % 2 == 0
    numerator = logrank_scores(TIME, SOLVED)[group].sum()
    one, other = (CensoredData.right_censored(TIME[which], ~SOLVED[which]) for which in (group, ~group))
    variance = 0.0
    for t in np.unique(TIME[SOLVED]):
        n, first, d = (t <= TIME).sum(), (t <= TIME[group]).sum(), SOLVED[t == TIME].sum()
        variance += d * first / n * (1 - first / n) * (n - d) / (n - 1) if n > 1 else 0
    assert abs(logrank(one, other).statistic) == pytest.approx(abs(numerator) / np.sqrt(variance))
    assert survdiff(TIME, SOLVED, group)[0] == pytest.approx(numerator**2 / variance)
