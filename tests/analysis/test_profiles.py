from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.statistics.profiles import LEVELS, performance_profiles
from bench.analysis.statistics.summaries import wilson


@pytest.fixture
def four() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": "adding",
            "cell": "tanh",
            "outcome": ["solved", "partial", "diverged", "stuck"],
            "final_skill": [0.99, 0.5, 0.8, -3],
        }
    )


def test_share_counts_every_run_and_what_came_to_nothing_as_0(four):
    profile = performance_profiles(four, ["cell"]).set_index("tau")["share"]
    assert profile[0.0] == 1
    assert profile[0.01] == profile[0.5] == 0.5
    assert profile[0.51] == profile[0.99] == 0.25
    assert profile[1.0] == 0


def test_area_under_a_profile_is_the_mean_score(runs):
    judged = runs[(runs["cell"] == "lstm") & (runs["task"] == "adding")]
    profile = performance_profiles(judged, ["cell"])
    assert profile["share"].mean() == pytest.approx(judged["final_skill"].clip(0, 1).mean(), abs=0.01)
    assert len(profile) == len(LEVELS)


def test_band_is_wilsons_of_all_runs_whatever_their_task(four):
    two = pd.concat([four, four.assign(task="copying", outcome="solved", final_skill=0.9)])
    profile = performance_profiles(two, ["cell"]).set_index("tau")
    assert profile.loc[0.51, "share"] == (1 + 4) / 8
    np.testing.assert_allclose(profile.loc[0.51, ["low", "high"]].astype(float), wilson(5, 8))
    assert profile.loc[0.0, "low"] < 1 == profile.loc[0.0, "share"]  # that all eight agree does not settle it
    np.testing.assert_array_equal(profile.index, LEVELS)
