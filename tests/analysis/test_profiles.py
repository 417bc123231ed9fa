from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.profiles import LEVELS, performance_profiles


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
    profile = performance_profiles(four, ["cell"], 0).set_index("tau")["share"]
    assert profile[0.0] == 1
    assert profile[0.01] == profile[0.5] == 0.5
    assert profile[0.51] == profile[0.99] == 0.25
    assert profile[1.0] == 0


def test_area_under_a_profile_is_the_mean_score(runs):
    judged = runs[(runs["cell"] == "lstm") & (runs["task"] == "adding")]
    profile = performance_profiles(judged, ["cell"], 0)
    assert profile["share"].mean() == pytest.approx(judged["final_skill"].clip(0, 1).mean(), abs=0.01)
    assert len(profile) == len(LEVELS)


def test_band_holds_the_share_and_depends_on_the_seed_alone(four):
    first, again, other = (performance_profiles(four, ["cell"], seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert (first["low"] <= first["share"]).all()
    assert (first["share"] <= first["high"]).all()
    assert (first["high"] - first["low"]).max() > 0.5
    assert other["share"].equals(first["share"])


def test_tasks_are_drawn_again_by_themselves(four):
    two = pd.concat(
        [
            four.assign(outcome="solved", final_skill=0.9),
            four.assign(task="copying", outcome="stuck", final_skill=0.1),
        ]
    )
    profile = performance_profiles(two, ["cell"], 0).set_index("tau")
    assert (profile.loc[0.5, ["low", "share", "high"]] == 0.5).all()
    np.testing.assert_array_equal(profile.index, LEVELS)
