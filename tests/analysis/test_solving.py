"""What the figures of solving draw; what every figure keeps stands in test_figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.analysis.figures.plot import NothingToDraw
from bench.analysis.figures.success import memory_length, performance_profile, time_to_solve
from bench.analysis.report.standing import standing
from bench.analysis.settings import distinguished
from bench.analysis.statistics.memory_length import memory_length as fit
from bench.analysis.table import two_digits
from bench.analysis.tables import comparisons, estimates, memory
from bench.runs.references import StoredRun
from bench.runs.tables import Tables

SOLVED = {25: 10, 50: 10, 100: 4, 200: 0}  # of 10 runs, by length


@pytest.fixture
def ten() -> pd.DataFrame:
    """Runs of one setting: six solved, four diverged at update 100."""
    solved_at = [400.0, 500, 500, 700, 900, 1000, *[np.nan] * 4]
    runs = pd.DataFrame(
        {
            **{"run": [f"r{k}" for k in range(10)], "seed": range(10), "solved_at": solved_at},
            **{"outcome": ["solved"] * 6 + ["diverged"] * 4, "sequences": [48000] * 6 + [1600] * 4},
            **{"final_skill": [0.99] * 6 + [np.nan] * 4, "task": "adding", "cell": "tanh", "clipping": "norm"},
            **{"clipping.threshold": 1.0, "optimizer": "adam", "optimizer.lr": 0.001, "updates": 3000},
            **{"batch_size": 16, "evaluation.every": np.nan, "solved_rule": "skill", "task.length": 50},
            **{"recurrent_parameters": 4096, "parameters": 4353, "seconds": 3.25},
        }
    )
    return runs


@pytest.fixture
def lengths(ten: pd.DataFrame) -> pd.DataFrame:
    """As many runs as `SOLVED` says solve, at each length."""
    return pd.concat(
        [
            ten.assign(**{"task.length": length, "outcome": ["solved"] * solved + ["stuck"] * (10 - solved)})
            for length, solved in SOLVED.items()
        ],
        ignore_index=True,
    )


def results(runs: pd.DataFrame) -> Tables:
    """Results that hold these runs and no other table."""
    return Tables([]).replaced(runs=runs)


def test_a_curve_ends_at_the_share_of_all_runs(ten):
    plot = time_to_solve(results(ten))
    assert plot.data["share"].iloc[-1] == pytest.approx(0.6)
    line, _ = plot.figure.axes[0].lines  # and its marks
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (3000, pytest.approx(0.6))
    assert line.get_drawstyle() == "steps-post"


def test_times_are_told_with_their_resolution(ten):
    assert "known to within one evaluation, every 50 updates." in time_to_solve(results(ten)).text  # a sixtieth of 3000
    some = ten.assign(**{"evaluation.every": [100] * 5 + [125] * 5})
    assert "every 100 to 125 updates." in time_to_solve(results(some)).text


def test_runs_stopped_from_outside_are_counted(ten):
    assert "stopped" not in time_to_solve(results(ten)).text
    stopped = ten.assign(stopped=ten["outcome"] == "diverged")
    assert "log-log beyond (4 were, and are censored)" in time_to_solve(results(stopped)).text
    assert estimates(distinguished(stopped)).text["stopped"].tolist() == ["4"]


def test_lengths_are_one_axis_and_no_longer_part_of_the_task(lengths):
    assert distinguished(lengths)["task"].nunique() == 4
    plot = memory_length(results(lengths))
    assert set(plot.data["task"]) == {"adding"}
    assert plot.data["length"].tolist() == list(SOLVED)
    assert plot.data["successes"].tolist() == list(SOLVED.values())
    assert "n = 10 seeds at each length" in plot.text


def test_the_fitted_curve_and_its_interval_are_drawn(lengths):
    plot = memory_length(results(lengths))
    expected = fit(list(SOLVED), list(SOLVED.values()), [10] * 4)
    assert plot.data["t50"].tolist() == [expected.t50] * 4
    drawn = plot.figure.axes[0].lines
    (curve,) = (line for line in drawn if len(line.get_xdata()) == 400)
    np.testing.assert_allclose(
        np.interp(0.5, curve.get_ydata()[::-1], curve.get_xdata()[::-1]), expected.t50, rtol=0.01
    )
    assert any(
        np.allclose(line.get_xdata(), [expected.low, expected.high]) for line in drawn if len(line.get_xdata()) == 2
    )


def test_where_all_solve_there_is_no_mark_and_no_curve(lengths):
    drawn = memory_length(results(lengths.assign(outcome="solved"))).figure.axes[0].lines
    assert {len(line.get_xdata()) for line in drawn} == {4, 2}  # points; interval and the line at one half


def test_one_length_draws_no_memory_length(ten):
    for runs in (ten, ten.drop(columns="task.length")):
        with pytest.raises(NothingToDraw, match=r"no sweep of task\.length"):
            memory_length(results(runs))


def test_a_profile_falls_from_all_runs_to_none(ten):
    plot = performance_profile(results(ten))
    assert plot.data["share"].iloc[0] == 1
    assert plot.data.set_index("tau").loc[0.5, "share"] == pytest.approx(0.6)


# Tables


def test_estimates_of_a_setting(ten):
    (row,) = estimates(distinguished(ten)).text.to_dict("records")
    assert row["solved"] == "6/10 [0.31, 0.83]"
    assert row["diverged"] == "4"
    assert row["updates"] == "950 [500, > 3000]"  # median of all ten: between the fifth and the sixth
    assert row["score"].startswith("0.66 [")  # (4 * .99 + 2 * 0) / 6


def test_all_tasks_together_have_a_row_where_there_are_several(runs):
    numbers = estimates(runs).numbers
    together = numbers[numbers["task"] == "all tasks"]
    assert len(numbers) == 2 * 9 + 9
    assert (together["n"] == 6).all()
    assert together["updates_to_solve"].isna().all()


def test_tables_are_the_same_when_made_again(runs):
    for table in (estimates, comparisons):
        first, again = table(runs), table(runs)
        pd.testing.assert_frame_equal(first.numbers, again.numbers)
        assert first.latex() == again.latex()


def test_comparisons_say_pairing_least_p_and_verdict(runs):
    text = comparisons(runs).text
    assert len(text) == len(comparisons(runs).numbers) == 2 * 3 * 3 + 2 * 3 * 2
    assert set(text["pairing"]) == {"paired (data)", "paired (data+init)"}
    assert set(text["least p"]) == {"0.25"}  # of three pairs
    assert set(text["verdict"]) == {"n too small to decide"}
    assert set(text["within"]) == {"clip 1", "clip 10", "no clipping", "tanh", "irnn", "lstm"}


def test_memory_table_tells_t50_with_its_interval(lengths):
    (row,) = memory(distinguished(lengths)).text.to_dict("records")
    expected = fit(list(SOLVED), list(SOLVED.values()), [10] * 4)
    assert (row["task"], row["n"], row["lengths"]) == ("adding", "40", "4, 25 to 200")
    assert row["T50"] == "{} [{}, {}]".format(*map(two_digits, (expected.t50, expected.low, expected.high)))
    assert row["data"] == "separated"


def test_a_cell_beside_a_reference_is_told_its_memory_and_rank(lengths):
    """`mine` solves fewer lengths than tanh does, and its interval lies below."""
    mine = lengths.assign(
        cell="mine", run="m" + lengths["run"], outcome=np.where(lengths["task.length"] > 25, "stuck", "solved")
    )
    runs = distinguished(pd.concat([lengths, mine], ignore_index=True))
    stored = [StoredRun(run, Path("known") / run, *({} for _ in range(5))) for run in lengths["run"]]
    (said,) = standing([estimates(runs), memory(runs)], runs, Tables(stored))
    t50 = memory(runs).text.set_index("cell").loc["mine", "T50"]
    found = f"that half of its runs solve: {t50} steps, rank 2 of 2 [2, 2]."
    assert said == f"mine, clipped at 1: T50, the length of adding {found}"
    assert standing([memory(runs)], runs, Tables([])) == []  # no reference


def test_beyond_the_lengths_the_table_says_no_number(lengths):
    (all_solve,) = memory(distinguished(lengths.assign(outcome="solved"))).text.to_dict("records")
    assert all_solve["T50"] == "> 200 [> 200, > 200]"
    (none_solves,) = memory(distinguished(lengths.assign(outcome="stuck"))).text.to_dict("records")
    assert none_solves["T50"] == "< 25 [< 25, < 25]"


def test_new_tables_print_in_latex(runs, lengths):
    for table in (
        estimates(runs),
        replace(comparisons(runs), instead=""),  # of three seeds: else a sentence
        memory(distinguished(lengths)),
        memory(distinguished(lengths.assign(outcome="stuck"))),
    ):
        body = table.latex()[table.latex().index("\\begin{tabular}") :]
        assert body.isascii()
        assert not {"& > ", "& < "} & {body[k : k + 4] for k in range(len(body))}
