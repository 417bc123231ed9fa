"""Numbers of decay against profiles whose decay is known."""

import math

import numpy as np
import pandas as pd
import pytest

from bench.analysis.statistics.decay import decay


def profile(log_norm, zero_share=0.0, kind="probe"):
    """Gradients of one run, lag 0 first."""
    lags = np.arange(len(log_norm))
    return pd.DataFrame(
        {"run": "a", "update": 0, "state": "h", "kind": kind, "lag": lags, "log_norm": log_norm}
    ).assign(zero_share=zero_share)


def numbers(*args, **kwargs):
    (row,) = decay(profile(*args, **kwargs)).to_dict("records")
    return row


@pytest.mark.parametrize("rate", [0.9, 0.25])
def test_a_geometric_decay_has_its_rate_half_life_and_horizons(rate):
    found = numbers((math.log(3) + np.arange(2000) * math.log(rate)).astype(np.float32))
    assert found["decay_rate"] == pytest.approx(math.log(rate), rel=1e-6)
    assert found["half_life"] == pytest.approx(math.log(2) / -math.log(rate), rel=1e-6)
    for epsilon in (0.1, 0.001):
        assert found[f"horizon_{epsilon}"] == math.ceil(math.log(epsilon) / math.log(rate))
        assert not found[f"censored_{epsilon}"]
    assert found["vanishing_share"] == 1 - found["horizon_0.001"] / 2000


@pytest.mark.parametrize("rate", [1.0, 1.02])
def test_what_does_not_fall_has_no_half_life_and_a_censored_horizon(rate):
    found = numbers(np.arange(30) * math.log(rate))
    assert found["decay_rate"] == pytest.approx(math.log(rate))
    assert found["half_life"] == math.inf
    assert (found["horizon_0.1"], found["censored_0.1"]) == (30, True)
    assert found["vanishing_share"] == 0


def test_the_rate_is_not_moved_by_a_third_of_wild_lags():
    log_norm = -0.1 * np.arange(60)
    log_norm[50:] += np.linspace(3, 40, 10)
    assert numbers(log_norm)["decay_rate"] == pytest.approx(-0.1, abs=0.03)
    assert np.polyfit(np.arange(60), log_norm, 1)[0] > 0


def test_lags_at_which_most_sequences_have_no_gradient_are_vanished_and_not_fitted():
    found = numbers([0.0, -1.0, -2.0, -3.0, -0.5], zero_share=[0.0, 0.0, 0.2, 0.6, 1.0])
    assert found["lags"] == 3
    assert found["decay_rate"] == pytest.approx(-1)
    assert found["horizon_0.001"] == 3
    assert found["vanishing_share"] == pytest.approx(0.4)


def test_a_probe_without_any_gradient_has_no_rate():
    found = numbers([np.nan, np.nan], zero_share=1.0)
    assert math.isnan(found["decay_rate"])
    assert math.isnan(found["half_life"])
    assert found["lags"] == 0


def test_underflow_is_that_of_the_training_gradient():
    both = pd.concat([profile([0.0, -1.0]), profile([0.0, np.nan, np.nan], [0.0, 0.5, 1.0], kind="training")])
    assert decay(both)["underflow_share"].tolist() == [0.5]
    assert decay(profile([0.0, -1.0]))["underflow_share"].isna().all()


def test_a_row_for_every_run_update_and_part_of_the_state(tables):
    probes = tables.gradient_through_time.query("kind == 'probe'")
    assert len(decay(tables.gradient_through_time)) == len(probes.drop_duplicates(["run", "update", "state"]))
    assert decay(pd.DataFrame({"run": []})).empty
