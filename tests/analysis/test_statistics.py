from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.statistics.summaries import (
    clipping_windows,
    median_norms,
    most,
    quartiles,
    score,
    success,
    success_rates,
    typical,
    wilson,
)


@pytest.mark.parametrize(("solved", "low", "high"), [(5, 0.57, 1.0), (2, 0.12, 0.77), (0, 0.0, 0.43)])
def test_wilson_interval_of_five_runs_is_the_published_one(solved, low, high):
    found = wilson(solved, 5)
    assert [round(float(end), 2) for end in found] == [low, high]


def test_wilson_interval_is_its_closed_form():
    k, n, z = 7, 20, 1.959963984540054
    middle, half = (k + z**2 / 2) / (n + z**2), z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    np.testing.assert_allclose(wilson(k, n), (middle - half, middle + half), rtol=1e-12)


def test_interquartile_mean_cuts_a_quarter_at_each_end():
    assert typical(pd.Series([100.0, 0, 1, 2, 0, 3, 4, 100])) == (1 + 2 + 3 + 4) / 4


def test_below_eight_runs_the_median_stands_for_the_interquartile_mean():
    assert typical(pd.Series([100.0, 0, 1, 2, 0, 3, 4])) == 2


def test_score_is_skill_in_bounds_and_0_for_a_run_that_came_to_nothing():
    skill = pd.Series([0.4, 1.2, -5, 0.9, 0.9, np.nan])
    outcome = pd.Series(["partial", "solved", "stuck", "dead", "diverged", "failed"])
    assert score(skill, outcome).tolist() == [0.4, 1, 0, 0, 0, 0]


def test_a_relapsed_run_has_solved_its_task():
    outcomes = pd.Series(["solved", "relapsed", "partial", "stuck", "dead", "diverged", "failed"])
    assert success(outcomes).tolist() == [True, True, False, False, False, False, False]


def test_success_rates_count_every_run():
    runs = pd.DataFrame({"cell": list("aaabb"), "outcome": ["solved", "failed", "relapsed", "stuck", "diverged"]})
    found = success_rates(runs, ["cell"]).set_index("cell")
    assert found["n"].tolist() == [3, 2]
    assert found["successes"].tolist() == [2, 0]
    np.testing.assert_allclose(found.loc["a", ["low", "high"]].astype(float), np.ravel(wilson(2, 3)))


def test_quartiles_are_numpys_in_groups_of_any_size():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.integers(3, size=60), "b": random.choice(list("xyz"), 60)})
    table["value"] = random.standard_normal(60)
    for _, row in quartiles(table, ["a", "b"], "value").iterrows():
        values = table.loc[(table["a"] == row["a"]) & (table["b"] == row["b"]), "value"]
        assert row["n"] == len(values)
        np.testing.assert_allclose(row[["q25", "median", "q75"]].astype(float), np.quantile(values, (0.25, 0.5, 0.75)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, np.inf, np.inf], (2, 3, np.inf)),
        ([1, 2, np.inf, np.inf], (1.75, np.inf, np.inf)),
        ([-np.inf, -np.inf, 1, 3], (-np.inf, -np.inf, 1.5)),
        ([np.inf, np.inf], (np.inf, np.inf, np.inf)),
        ([1, np.nan, 3], (1.5, 2, 2.5)),
    ],
)
def test_infinities_count_and_nan_does_not(values, expected):
    (row,) = quartiles(pd.DataFrame({"key": 0, "value": values}), ["key"], "value").to_dict("records")
    assert (row["q25"], row["median"], row["q75"]) == expected


def test_a_point_with_few_survivors_is_left_out():
    band = pd.DataFrame({"cell": "a", "update": [0, 1, 2], "n": [5, 3, 2]})
    assert most(band, ["cell"])["update"].tolist() == [0, 1]


@pytest.fixture
def blocks() -> pd.DataFrame:
    """Four blocks of a run of 8 updates; the gradients of the third were not finite."""
    return pd.DataFrame(
        {
            "run": "r",
            "update": [1, 4, 6, 8],
            "count": [1, 3, 0, 2],
            "clipped": [1, 1, 0, 0],
            "shrink_sum": [0.5, 2.8, 0, 2],
            "cosine_sum": [0.5, 2.9, 0, 2],
            "norm_log_mean": np.log([2.0, 4.0, 1.0, 1.0]),
        }
    )


def test_a_window_weighs_each_block_by_its_updates(blocks):
    found = clipping_windows(blocks, pd.Series({"r": 8}), windows=2)
    assert found["update"].tolist() == [4, 8]
    np.testing.assert_allclose(found["clip_fraction"], [2 / 4, 0])
    np.testing.assert_allclose(found["mean_shrink"], [3.3 / 4, 1])
    np.testing.assert_allclose(found["mean_cosine"], [3.4 / 4, 1])
    np.testing.assert_allclose(found["norm_q50"], [3, 1])  # of the blocks 2 and 4, and of the block 1


def test_windows_are_of_the_whole_budget_also_for_a_run_that_stopped(blocks):
    found = clipping_windows(blocks, pd.Series({"r": 80}), windows=10)
    assert found["update"].tolist() == [8]


def test_norms_beyond_float32_are_numbers(blocks):
    """The largest float32 number is 3.4e38, and the least 1.4e-45; logarithms are stored as float32."""
    blocks["norm_log_mean"] = np.log([1e60, 1e60, 1.0, 1e-60]).astype(np.float32)
    found = clipping_windows(blocks, pd.Series({"r": 8}), windows=2)
    np.testing.assert_allclose(found["norm_q50"], [1e60, 1e-60], rtol=1e-4)
    assert median_norms(blocks)["r"] == pytest.approx(1e60, rel=1e-4)


def test_median_norm_is_over_what_was_seen(blocks):
    assert median_norms(blocks)["r"] == pytest.approx(2)
