"""The sentences a report opens with: each is read off a statistic, and changes with the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.analysis import tables as made
from bench.analysis.report.asked import command_lines, question
from bench.analysis.report.differences import differences, values
from bench.analysis.report.findings import TOLERANCE, TOLERANCES, TOLERANT, findings, in_short, share, smallness, words
from bench.analysis.report.groups import GROUPS, HEALTH, LEARNED, WHY, group_of
from bench.analysis.settings import distinguished
from bench.analysis.statistics.mechanism import (
    CLIPPED,
    END,
    FLOOR,
    GRADIENT,
    START,
    WHOLE,
    Estimate,
    measured,
    over_seeds,
)
from bench.analysis.statistics.summaries import wilson
from bench.jobs.compose import example
from bench.runs.tables import Tables, load

SLOPES = {"tanh": -0.4, "irnn": 0.02, "lstm": -0.08}  # of the made-up runs, at the start
KEPT = 0.4  # of a slope at the end


@pytest.fixture(scope="module")
def results(make_up, tmp_path_factory) -> Tables:
    """Adding over 40 steps, 5 seeds."""
    folder = make_up(tmp_path_factory.mktemp("findings") / "few", {"adding": 40}, thresholds=(1.0, np.inf), seeds=5)
    return load(folder)


def of(results: Tables, cell: str):
    runs = distinguished(results.runs)
    (task,) = findings(runs, results, made.estimates(runs).numbers)
    (found,) = (one for one in task.cells if one.cell == cell)
    return task, found


def changed(results: Tables, **columns: object) -> Tables:
    return results.replaced(runs=results.runs.assign(**columns))


# Who solved, how fast, who diverged


def test_a_field_is_the_successes_with_wilsons_interval_and_the_median_time(results):
    runs = distinguished(results.runs)
    task, found = of(results, "lstm")
    field = found.fields[task.clips.index("1")]
    own = runs[(runs["cell"] == "lstm") & (runs["clip"] == "1")]
    assert (field.solved, field.n) == (own["solved_at"].notna().sum(), 5)
    assert (field.low, field.high) == pytest.approx(tuple(map(float, wilson(field.solved, 5))))
    assert field.time.startswith(f"{own['solved_at'].median():.0f} [")


def test_who_diverged_is_told_where(results):
    _, found = of(results, "irnn")
    count = (results.runs["outcome"] == "diverged").sum()
    assert count > 0
    assert f"{count} diverged without clipping" in found.outcome
    _, found = of(changed(results, outcome=results.runs["outcome"].replace("diverged", "dead")), "irnn")
    assert f"{count} died without clipping" in found.outcome


def test_the_outcome_changes_with_the_runs(results):
    assert of(results, "tanh")[1].outcome == "0/5 solved at every threshold"
    runs = results.runs
    solved = (runs["cell"] == "tanh") & (runs["clipping.threshold"] == 1)
    other = changed(
        results, outcome=runs["outcome"].mask(solved, "solved"), solved_at=runs["solved_at"].mask(solved, 300.0)
    )
    task, found = of(other, "tanh")
    assert found.outcome == "5/5 solved clipped at 1; 0/5 solved without clipping"
    assert task.soonest.startswith("Soonest: tanh clipped at 1, half of the runs by update 300 [300, 300]")


def test_where_no_setting_gets_half_of_its_runs_to_solve_nothing_is_soonest(results):
    none = changed(results, outcome="stuck", solved_at=np.nan)
    assert of(none, "lstm")[0].soonest == "At no setting did half of the runs solve it."


def test_in_short_cells_stand_by_how_often_they_solved(results):
    runs = distinguished(results.runs)
    counts = runs["solved_at"].notna().groupby(runs["cell"], observed=True).sum().sort_values(ascending=False)
    first = counts.index[0]
    assert in_short(runs).startswith(f"Runs that solved their task: {first} in {counts[first]} of 10, ")
    assert in_short(runs).endswith("tanh in 0 of 10.")


def test_that_n_is_small_is_said_with_the_intervals_of_all_and_nothing(results):
    runs = distinguished(results.runs)
    assert smallness(runs).startswith(
        "5 seeds of each setting: 5/5 solved is a rate of 0.57 to 1, 0/5 one of 0 to 0.43"
    )
    assert "Below 5 seeds nothing has an interval" in smallness(runs[runs["seed"] < 3])


def test_words_that_would_mislead_are_explained_with_the_tolerance_of_the_task(results):
    told = words(results.runs)
    assert "Accuracy is on adding the share of answers with |error| < 0.04." in told
    assert "Seconds: a run's share of the time of its pack" in told
    assert "(pascanu) the share of answers with |error| < 0.2" in words(
        results.runs.assign(**{"task.variant": "pascanu"})
    )
    assert "Accuracy" not in words(results.runs.assign(task="copying"))


def test_the_tolerances_are_those_of_the_tasks():
    tasks = Path(__file__).parents[2] / "tasks"
    assert {path.stem for path in tasks.glob("*.py") if "def tolerance" in path.read_text()} == set(TOLERANT)
    for name in TOLERANT:
        for variant in ("halves", *TOLERANCES):
            task = example(f"task/{name}", variant=variant)
            assert task.tolerance == TOLERANCES.get(variant, TOLERANCE)


# Why


def test_the_gradient_left_is_ln_gamma_at_the_mean_lag(results):
    """The made-up probe is a line: ln gamma = slope * lag, and the mean lag of 40 steps is 30."""
    numbers = measured(results).merge(results.runs[["run", "cell"]], on="run")
    own = numbers[numbers["quantity"] == GRADIENT].groupby(["cell", "moment"])["value"].median()
    for cell in ("irnn", "lstm"):
        assert own[cell, START] == pytest.approx(SLOPES[cell] * 30, abs=0.7)
        assert own[cell, END] == pytest.approx(KEPT * SLOPES[cell] * 30, abs=0.7)


def test_a_gradient_that_is_gone_at_the_lag_counts_as_nothing(results):
    far = changed(results, mean_lag=38.0)  # the made-up gradient of tanh is 0 beyond lag 35
    numbers = measured(far).merge(results.runs[["run", "cell"]], on="run")
    assert (numbers.loc[(numbers["cell"] == "tanh") & (numbers["quantity"] == GRADIENT), "value"] == FLOOR).all()
    assert (
        "38 steps back the gradient is 0 of what it is at the loss at the start, 0 at the end" in of(far, "tanh")[1].why
    )


def test_the_share_clipped_is_that_of_all_updates(results):
    numbers = measured(results)
    shares = numbers[(numbers["quantity"] == CLIPPED) & (numbers["moment"] == WHOLE)].set_index("run")["value"]
    for run, blocks in results.clipping.groupby("run", observed=True):
        assert shares[run] == pytest.approx(blocks["clipped"].sum() / blocks["count"].sum())


def test_the_sentence_changes_with_the_gradient(results):
    before = of(results, "tanh")[1].why
    assert before.startswith("30 steps back the gradient is 10⁻⁵")
    gradients = results.gradient_through_time.assign(
        log_norm=results.gradient_through_time["log_norm"].mask(results.gradient_through_time["update"] == 0, -1.0)
    )
    after = of(results.replaced(gradient_through_time=gradients), "tanh")[1].why
    assert after.startswith("30 steps back the gradient is 100\u00a0% of what it is at the loss at the start")
    assert before.partition("at the start")[2] == after.partition("at the start")[2]  # nothing else has changed


def test_ends_are_told_apart_where_some_runs_solved_and_some_did_not(results):
    runs = results.runs
    half = (runs["cell"] == "lstm") & (runs["clipping.threshold"] == 1)
    mixed = changed(results, outcome=runs["outcome"].mask(runs["cell"] == "lstm", "stuck").mask(half, "solved"))
    assert "in runs that solved and" in of(mixed, "lstm")[1].why
    assert "in runs that solved" not in of(results, "tanh")[1].why


def test_the_radius_is_that_of_the_jacobian_or_else_of_the_only_weight(results):
    assert "spectral radius of the Jacobian 1." in of(results, "tanh")[1].why
    without = results.replaced(state_jacobian=results.state_jacobian.iloc[:0])
    for directory in without.directories:  # a table that no run has on disk
        assert "state_jacobian" in directory.tables
    assert "spectral radius of the Jacobian" not in of(without, "tanh")[1].why


def test_what_was_not_measured_is_not_told(make_up, tmp_path):
    bare = load(make_up(tmp_path / "bare", {"adding": 20}, ["tanh"], [1.0], seeds=2, only=("evaluations",)))
    assert of(bare, "tanh")[1].why == "Nothing was measured that could say."
    weights = load(make_up(tmp_path / "weights", {"adding": 20}, ["tanh"], [1.0], only=("evaluations", "spectrum")))
    assert of(weights, "tanh")[1].why.startswith("spectral radius of the recurrent weight 0.")


def test_a_seed_counts_once_however_many_runs_it_has():
    values = pd.DataFrame({"seed": [0, 1, 2, 3, 4] + [4] * 20, "value": [1.0, 2, 3, 4, 5] + [5.0] * 20})
    estimate = over_seeds(values, "any")
    assert (estimate.value, estimate.n) == (3.0, 5)
    assert 1 <= estimate.low <= estimate.value <= estimate.high <= 5
    few = over_seeds(values[values["seed"] < 4], "any")
    assert (few.low, few.high) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("logarithm", "written"),
    [
        (np.log(0.67), "67\u00a0%"),
        (np.log(1.4), "140\u00a0%"),
        (np.log(0.004), "0.40\u00a0%"),
        (-26.0, "10⁻¹¹"),
        (9.3, "10⁴"),
        (FLOOR, "0"),
    ],
)
def test_a_share_is_written_in_percent_or_as_a_power_of_ten(logarithm, written):
    assert share(Estimate(logarithm, -np.inf, np.inf, 4)) == written
    assert share(Estimate(logarithm, logarithm - 5, logarithm + 5, 5)).startswith(f"{written} [") or written == "0"


# What was asked


def test_the_question_names_what_was_varied(results):
    runs = distinguished(results.runs)
    assert question(runs) == "Which of tanh, irnn or lstm solves adding, clipped at 1 or not at all?"
    one = runs[(runs["cell"] == "tanh") & (runs["clip"] == "1")]
    assert question(one) == "Does tanh solve adding, clipped at 1?"


class Asked:
    def __init__(self, line: str) -> None:
        self.overrides = {"overrides": line.split()}


def test_runs_are_asked_for_again_by_the_fewest_command_lines():
    lines = [
        f"results=x cell={cell} optimizer.lr={lr} seed={seed}"
        for cell, lr in (("tanh", 0.1), ("lstm", 0.2))
        for seed in (2, 0, 1)
    ]
    assert command_lines(Tables([*map(Asked, lines)])) == [
        "python -m bench -m cell=lstm optimizer.lr=0.2 seed='range(3)'",
        "python -m bench -m cell=tanh optimizer.lr=0.1 seed='range(3)'",
    ]
    grid = [f"cell={cell} clipping.threshold={c} seed=7" for cell in ("tanh", "lstm") for c in ("10", "1", ".inf")]
    assert command_lines(Tables([*map(Asked, grid)])) == [
        "python -m bench -m cell=lstm,tanh clipping.threshold=1,10,.inf seed=7"
    ]
    assert command_lines(Tables([Asked("experiment=quick cell=tanh seed=0")])) == [
        "python -m bench experiment=quick",
        "  cell=tanh seed=0",
    ]
    assert command_lines(Tables([Asked("results=x")])) == ["python -m bench"]


# What else differs


def test_budget_rate_size_and_seeds_are_told_with_both_values_and_other_parts_by_name(results):
    runs = results.runs
    a, b = runs[runs["cell"] == "tanh"], runs[runs["cell"] == "lstm"]
    assert differences(values(a), values(b)) == ""
    other = b[b["seed"] > 1].assign(
        **{"updates": 200, "optimizer.lr": 0.1, "cell.hidden": 8, "initializer/bias": "zeros"}
    )
    told = differences(*map(values, (a.assign(**{"initializer/bias": "pytorch"}), other)))
    assert told == (
        "cell.hidden 64 vs 8; optimizer.lr 0.001 vs 0.1; updates 3000 vs 200; 5 vs 3 seeds, 3 in common; initializer"
    )


# Groups


def test_figures_are_grouped_by_what_they_are_made_from():
    assert [group_of(needs) for needs in ((), ("evaluations",), ("spectrum",), ("evaluations", "clipping"))] == [
        LEARNED,
        LEARNED,
        WHY,
        HEALTH,
    ]
    assert len(set(GROUPS.values())) == 3
