"""The figures of how far back cells learn draw the numbers that they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench.analysis.figures.memory import OUTSIDE, memory_foretold, memory_growth, memory_map, memory_ranking
from bench.analysis.figures.plot import NothingToDraw
from bench.runs.tables import Tables, load

SLOPES = {"tanh": -0.4, "irnn": 0.02, "lstm": -0.08}  # with which results are made up


@pytest.fixture(scope="module")
def lengths(make_up, tmp_path_factory) -> Tables:
    """Adding at three lengths; tanh never solves, IRNN solves all at the shorter two, LSTM at all three."""
    folder = tmp_path_factory.mktemp("lengths") / "mine"
    for length in (25, 50, 100):
        make_up(folder, {"adding": length}, thresholds=[1.0, np.inf], seeds=5, only=("gradient_through_time",))
    results = load(folder)
    runs = results.runs.sort_values(["cell", "task.length", "seed"])
    solves = (runs["cell"] == "lstm") | ((runs["cell"] == "irnn") & (runs["task.length"] < 100))
    times = (20 + runs["seed"]) * runs["task.length"] ** 1.5
    return results.replaced(
        runs=runs.assign(outcome=np.where(solves, "solved", "stuck"), solved_at=times.where(solves))
    )


def test_the_ranking_has_the_longest_memory_on_top_and_marks_at_t50(lengths):
    plot = memory_ranking(lengths)
    (panel,) = plot.figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["tanh", "irnn", "lstm"]
    marks = [tuple(line.get_data()) for line in panel.lines if line.get_marker() not in ("None", "none")]
    clipped, free = (dict(zip(map(round, y), x, strict=True)) for x, y in marks)
    t50 = plot.data.set_index("cell")["t50"].groupby("cell", observed=True).first()
    assert clipped == free == pytest.approx({0: 25 / OUTSIDE, 1: t50["irnn"], 2: 100 * OUTSIDE})
    assert all(y != other for y, other in zip(marks[0][1], marks[1][1], strict=True))  # none hides another


def test_growth_is_the_power_law_that_the_times_follow(lengths):
    data = memory_growth(lengths).data
    assert set(data["cell"].astype(str)) == {"irnn", "lstm"}
    assert data["exponent"].to_numpy() == pytest.approx(1.5)
    at = data[(data["cell"] == "lstm") & (data["length"] == 50)]
    assert at["median"].to_numpy() == pytest.approx(22 * 50**1.5)


def test_what_is_foretold_is_t50_by_half_life(lengths):
    """tanh, whose gradient decays fastest, is censored below; LSTM above; IRNN, which does not decay, between."""
    plot = memory_foretold(lengths)
    data = plot.data[plot.data["clip"].astype(str) == "1"].set_index("cell")
    assert data.loc["tanh", "half_life"] == pytest.approx(np.log(2) / 0.4, rel=0.05)
    assert data.loc["tanh", "t50"] == 0
    assert np.isinf(data.loc["lstm", "t50"])
    assert 50 < data.loc["irnn", "t50"] < 100
    expected = spearmanr(data["half_life"].replace(np.inf, 1e9), data["t50"].replace(np.inf, 1e9)).statistic
    assert data["correlation"].to_numpy() == pytest.approx(expected)
    assert np.isinf(data[["correlation_low", "correlation_high"]]).all(axis=None)  # of three cells no interval


def test_the_map_is_black_where_all_solve_and_has_a_number_where_some_do(lengths):
    plot = memory_map(lengths)
    assert len(plot.data) == 3 * 3 * 2
    drawn = np.concatenate([np.ravel(panel.collections[0].get_array()) for panel in plot.figure.axes])
    assert sorted(drawn.tolist()) == pytest.approx(sorted(plot.data["rate"].tolist()))
    some = plot.data["rate"][plot.data["rate"].between(0, 1, inclusive="neither")]
    numbers = [text.get_text() for panel in plot.figure.axes for text in panel.texts if text.get_text().isdigit()]
    assert sorted(numbers) == sorted(f"{100 * rate:.0f}" for rate in some)


@pytest.mark.parametrize("figure", [memory_ranking, memory_growth, memory_foretold, memory_map], ids=repr)
def test_without_a_sweep_of_lengths_there_is_none(figure, tables):
    with pytest.raises(NothingToDraw, match=r"hold no (sweep of task.length|task)"):
        figure(tables)
