"""Answers: every rule against an independent computation, and an answer that changes with the data."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from bench import answer as command
from bench.analysis.answers.answer import Question, answer, question, questions, shipped
from bench.analysis.answers.behind import figures
from bench.analysis.answers.quantities import quantities
from bench.analysis.answers.rules import FAILS, HOLDS, RULES, UNDECIDED, NoSuchRule, rule
from bench.analysis.figures.figure import all_figures
from bench.analysis.report.claims import claims
from bench.analysis.statistics.memory_length import memory_length as t50
from bench.analysis.statistics.resampling import FEWEST, generator, rank_correlation
from bench.analysis.statistics.summaries import share_difference, wilson
from bench.runs.tables import load
from tests.conftest import CONF

SEEDS = 12


def table(**columns):
    """Runs of two cells with twelve seeds each; a column is a number for each cell, or a list for each."""
    rows = []
    for cell in ("tanh", "lstm"):
        for seed in range(SEEDS):
            own = {name: of[cell][seed] if isinstance(of[cell], list) else of[cell] for name, of in columns.items()}
            rows.append({"run": f"{cell}{seed}", "cell": cell, "seed": seed, **own})
    return pd.DataFrame(rows)


def read(runs, kind, **fields):
    return rule({"rule": kind, "says": "so", **fields}).read(runs)


TANH, LSTM = {"cell": "tanh"}, {"cell": "lstm"}


@pytest.mark.parametrize(
    ("a", "b", "published"),
    [  # Newcombe 1998, table II
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ],
)
def test_the_interval_of_a_difference_of_shares_is_the_published_one(a, b, published):
    assert share_difference(a, b) == pytest.approx(published, abs=5e-5)


def test_a_rank_correlation_is_scipys_and_its_interval_covers_it():
    random = np.random.default_rng(0)
    x = random.standard_normal(20)
    y = x + 0.5 * random.standard_normal(20)
    value, low, high = rank_correlation(x, y, generator(0, "test"))
    assert value == pytest.approx(spearmanr(x, y).statistic)
    assert low < value < high <= 1
    assert rank_correlation(x, -y, generator(0, "test"))[0] == pytest.approx(-value)
    y[0] = np.inf  # has a rank: the greatest
    assert rank_correlation(x, y, generator(0, "test"))[0] == pytest.approx(spearmanr(x, np.minimum(y, 99)).statistic)
    assert rank_correlation(x[: FEWEST - 1], y[: FEWEST - 1], generator(0, "test"))[1:] == (-np.inf, np.inf)
    assert np.isnan(rank_correlation(np.ones(9), x[:9], generator(0, "test"))[0])


def test_a_level_of_shares_is_wilsons():
    solved = [1.0] * 10 + [0.0] * 2
    found = read(table(solved={"tanh": 0.0, "lstm": solved}), "level", quantity="solved", of=LSTM, above=0.5)
    low, high = wilson(10, 12)
    assert (found.estimate.low, found.estimate.high) == (low, high)
    assert found.verdict == HOLDS
    assert "lstm 10/12" in found.sentence


def test_a_seeds_share_of_several_settings_is_a_number():
    """4 against 1 of ten settings diverge at a seed, one more at every other: as yeses and noes that is undecided."""
    rows = [
        {"cell": cell, "seed": seed, "diverged": float(setting < count + seed % 2)}
        for cell, count in (("tanh", 1), ("lstm", 4))
        for seed in range(SEEDS)
        for setting in range(10)
    ]
    found = read(pd.DataFrame(rows), "difference", quantity="diverged", of=LSTM, less=TANH, above=0)
    assert found.verdict == HOLDS
    assert (found.estimate.value, found.estimate.low) == pytest.approx((0.3, 0.3))
    assert found.sentence.startswith("diverged: lstm 45% less tanh 15%: 0.30 ")
    level = read(pd.DataFrame(rows), "level", quantity="diverged", of=LSTM, above=0.3, below=0.6)
    assert 0.39 <= level.estimate.low <= 0.45 <= level.estimate.high <= 0.51


def test_a_difference_of_numbers_is_paired_by_seed():
    """Groups that lie far apart seed by seed and overlap as a whole; shuffled, the difference is drowned."""
    base = [float(k) for k in range(SEEDS)]
    runs = table(score={"tanh": base, "lstm": [value + 0.5 for value in base]})
    found = read(runs, "difference", quantity="score", of=LSTM, less=TANH, above=0.4, below=0.6)
    assert found.estimate.value == found.estimate.low == found.estimate.high == 0.5
    assert found.verdict == HOLDS
    rolled = table(score={"tanh": base, "lstm": [value + 0.5 for value in base[::-1]]})
    wide = read(rolled, "difference", quantity="score", of=LSTM, less=TANH, above=0.4, below=0.6)
    assert wide.estimate.low < 0 < wide.estimate.high
    assert wide.verdict == UNDECIDED


def test_a_ratio_is_exp_of_the_difference_of_logarithms():
    times = [100.0 * 1.1**k for k in range(SEEDS)]
    runs = table(**{"updates to solve": {"tanh": times, "lstm": [3 * time for time in times]}})
    found = read(runs, "ratio", quantity="updates to solve", of=LSTM, over=TANH, above=2.9)
    assert (found.estimate.value, found.estimate.low) == pytest.approx((3, 3))
    assert found.verdict == HOLDS
    never = table(**{"updates to solve": {"tanh": times, "lstm": [np.inf] * 3 + times[3:]}})
    assert (
        read(never, "ratio", quantity="updates to solve", of=LSTM, over=TANH, above=0.5).verdict == UNDECIDED
    )  # n = 9


def test_a_growth_exponent_is_that_of_the_power_law_it_was_made_from():
    rows = [
        {"cell": "tanh", "seed": seed, "task.length": length, "updates to solve": (2 + seed) * length**1.5}
        for seed in range(SEEDS)
        for length in (25, 35, 50)
    ]
    rows[0]["updates to solve"] = np.inf  # never: no point
    runs = pd.DataFrame(rows)
    exponent = {"quantity": "updates to solve", "of": TANH, "along": "task.length", "logarithmic": True}
    found = read(runs, "slope", **exponent, above=1.4, below=1.6)
    assert asdict(found.estimate) == pytest.approx({"value": 1.5, "low": 1.5, "high": 1.5, "n": SEEDS})
    assert found.verdict == HOLDS
    assert read(runs, "slope", **exponent, above=2.0).verdict == FAILS


def test_a_rank_correlation_over_groups_is_that_of_their_medians():
    random = np.random.default_rng(1)
    rows = [
        {
            "initializer": f"start {k}",
            "seed": seed,
            "decay rate at start": -k,
            "score": -0.1 * k + 0.01 * random.random(),
        }
        for k in range(8)
        for seed in range(SEEDS)
    ]
    asked = {"between": "decay rate at start", "quantity": "score", "of": {}, "over": ["initializer"]}
    found = read(pd.DataFrame(rows), "rank_correlation", **asked, above=0.5)
    assert (found.estimate.value, found.estimate.n, found.verdict) == (pytest.approx(1.0), 8, HOLDS)
    assert read(pd.DataFrame(rows), "rank_correlation", **asked, absolute=True, above=0).verdict == FAILS


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.9, HOLDS), (-0.5, 0.0, FAILS), (1.0, 1.5, FAILS), (-0.1, 0.5, UNDECIDED), (0.5, 1.1, UNDECIDED)],
)
def test_a_verdict_is_where_the_interval_lies(low, high, verdict):
    """Predicted: between 0 and 1. An interval that ends on a bound from outside lies outside."""
    one = rule({"rule": "level", "says": "so", "quantity": "score", "of": {}, "above": 0, "below": 1})
    estimate = read(table(score={"tanh": 0.0, "lstm": 0.0}), "level", quantity="score", of=TANH, above=0).estimate
    assert one.verdict(type(estimate)((low + high) / 2, low, high, 10)) == verdict
    assert one.verdict(type(estimate)((low + high) / 2, low, high, 9)) == UNDECIDED


def test_settings_are_chosen_on_tuning_seeds_and_reported_on_others():
    """On the tuning seeds .1 is best, on the others .01: what is reported is .1."""
    rows = [
        {"cell": "tanh", "seed": seed, "optimizer.lr": lr, "score": (lr if seed >= 100 else 1 - lr) + 1e-4 * seed}
        for lr in (0.01, 0.1)
        for seed in (*range(SEEDS), 100, 101, 102)
    ]
    found = read(pd.DataFrame(rows), "level", quantity="score", of=TANH, choose=["optimizer.lr"], above=0.8)
    assert found.estimate.value == pytest.approx(0.9, abs=0.01)
    assert "at lr=0.1" in found.sentence
    untuned = pd.DataFrame(rows)[lambda runs: runs["seed"] < 100]
    with pytest.raises(NoSuchRule, match="no run has a seed from 100 on"):
        read(untuned, "level", quantity="score", of=TANH, choose=["optimizer.lr"], above=0.8)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"rule": "levle"}, "rule=levle: must be one of level, difference"),
        ({"rule": "level", "says": "so", "quantity": "solved", "of": {}}, "so: predicts nothing"),
        ({"rule": "level", "says": "so", "quantity": "solved", "above": 0}, "rule=level: missing 1 required"),
        ({"rule": "level", "says": "so", "quantity": "solved", "of": {}, "abov": 0}, "rule=level: got an unexpected"),
    ],
)
def test_a_rule_that_is_none_is_one_line(node, said):
    with pytest.raises(NoSuchRule, match=said):
        rule(node)


def lengths_of(cell, successes, half_life=10.0):
    """Twelve runs at each of five lengths, of which so many solve."""
    return [
        {"cell": cell, "seed": seed, "task.length": length, "solved": float(seed < k), "half-life at start": half_life}
        for length, k in zip((25, 50, 100, 200, 400), successes, strict=True)
        for seed in range(SEEDS)
    ]


def test_a_ratio_of_memory_lengths_is_that_of_t50_and_its_interval_theirs():
    """Against one cell whose T50 is known as exactly as may be, the interval is the other's own, divided."""
    own, sharp = (12, 11, 6, 1, 0), (12, 12, 6, 0, 0)
    runs = pd.DataFrame(lengths_of("lstm", own) + lengths_of("tanh", sharp))
    fit, other = (t50([25, 50, 100, 200, 400], k, [SEEDS] * 5) for k in (own, sharp))
    found = read(runs, "memory_ratio", quantity="solved", of=LSTM, over=TANH, above=0.5).estimate
    assert found.value == pytest.approx(fit.t50 / other.t50)
    assert found.low < fit.low / fit.t50
    assert found.high > fit.high / fit.t50
    assert np.log(found.high / found.value) == pytest.approx(
        np.hypot(np.log(fit.high / fit.t50), np.log(other.t50 / other.low))
    )
    assert np.log(found.value / found.low) == pytest.approx(
        np.hypot(np.log(fit.t50 / fit.low), np.log(other.high / other.t50))
    )
    one = pd.DataFrame(lengths_of("lstm", (12,) * 5) + lengths_of("tanh", (12, 0, 0, 0, 0)))
    all_solve = read(one, "memory_ratio", quantity="solved", of=LSTM, over=TANH, above=2)
    assert all_solve.verdict == HOLDS
    assert all_solve.estimate.high == np.inf
    assert read(one, "memory_ratio", quantity="solved", of=TANH, over=LSTM, above=1).verdict == FAILS


def test_a_correlation_with_memory_is_that_of_t50_and_medians():
    rows = [
        row
        for k in range(8)
        for row in lengths_of(f"cell {k}", [12] * (k // 2) + [2 + 7 * (k % 2)] + [0] * (4 - k // 2), 10.0 * k)
    ]
    asked = {"quantity": "half-life at start", "over": ["cell"]}
    found = read(pd.DataFrame(rows), "memory_correlation", **asked, above=0.5)
    assert (found.estimate.value, found.estimate.n, found.verdict) == (pytest.approx(1.0), 8, HOLDS)
    assert read(pd.DataFrame(rows), "memory_correlation", **asked, below=0).verdict == FAILS
    with pytest.raises(NoSuchRule, match="fewer than 10 seeds"):
        read(pd.DataFrame(rows)[lambda runs: runs["seed"] < 9], "memory_correlation", **asked, above=0)


# --- whole answers, of made-up results


@pytest.fixture(scope="module")
def twelve(make_up, tmp_path_factory):
    """Adding at one threshold, twelve seeds of tanh, which forgets, and of LSTM, which learns."""
    return make_up(tmp_path_factory.mktemp("answers") / "mine", {"adding": 40}, ["tanh", "lstm"], [1.0], seeds=SEEDS)


ASKED = Question(
    "mine",
    "Does an LSTM solve what tanh does not?",
    "it solves it more often",
    {"success": {}, "scores": {"hue": "cell"}},
    (
        rule({"rule": "difference", "says": "more", "quantity": "solved", "of": LSTM, "less": TANH, "above": 0.3}),
        rule({"rule": "level", "says": "decays", "quantity": "decay rate at start", "of": TANH, "below": -0.2}),
    ),
)


def test_an_answer_changes_with_the_data(twelve):
    results = load(twelve)
    found = answer(ASKED, results)
    assert (found.verdict, found.n) == (HOLDS, 2 * SEEDS)
    assert found.lines()[:2] == [ASKED.question, "holds: it solves it more often"]
    assert "lstm 12/12 less tanh 0/12: 1.0 [0.66, 1.0], n = 12 seeds, predicted above 0.3" in found.lines()[2]
    runs = results.runs
    swapped = runs.assign(outcome=runs["outcome"].map({"solved": "stuck", "stuck": "solved"}))
    assert answer(ASKED, results.replaced(runs=swapped)).verdict == FAILS
    half = runs.assign(outcome=runs["outcome"].mask((runs["cell"] == "lstm") & (runs["seed"] >= 5), "hopeless"))
    assert answer(ASKED, results.replaced(runs=half)).verdict == UNDECIDED
    few = results.of(set(runs.loc[runs["seed"] < 9, "run"]))
    assert answer(ASKED, few).verdict == UNDECIDED
    assert "9 of at least 10 seeds decide nothing" in answer(ASKED, few).lines()[2]
    alone = results.of(set(runs.loc[runs["cell"] == "tanh", "run"]))
    assert answer(ASKED, alone).parts[0] == ("more", UNDECIDED, "no run with lstm has solved")


def test_quantities_are_those_that_the_results_were_made_with(twelve):
    """tanh was made with -.4 nats a step, LSTM with -.08, and radii 1.5 times smaller than norms."""
    results = load(twelve)
    found = quantities(results).join(results.runs.set_index("run")[["cell", "mean_lag"]])
    tanh, lstm = (found[found["cell"] == cell] for cell in ("tanh", "lstm"))
    assert tanh["decay rate at start"].median() == pytest.approx(-0.4, abs=0.02)
    assert lstm["decay rate at start"].median() == pytest.approx(-0.08, abs=0.02)
    assert lstm["gradient left at start"].median() == pytest.approx(-0.08 * 30, abs=0.5)
    assert tanh["radius at start"].between(0.58, 0.6).all()
    assert tanh["largest radius"].between(0.92, 0.95).all()
    bound = np.log(1.5 * tanh["radius at start"] / 4)
    pd.testing.assert_series_equal(
        tanh["excess over sigmoid bound at start"], tanh["decay rate at start"] - bound, check_names=False
    )
    assert lstm[["radius at start", "excess over sigmoid bound at start"]].isna().all(axis=None)  # four weights
    assert np.isinf(tanh["updates to solve"]).all()


def test_the_figures_behind_an_answer_are_of_the_reported_runs(twelve, make_up, tmp_path):
    results = load(twelve)
    drawn, without = figures(ASKED, results)
    assert [plot.name for plot in drawn] == ["success", "scores"]
    assert without == []
    tuning = results.replaced(runs=results.runs.assign(seed=results.runs["seed"].replace(11, 100)))
    assert figures(ASKED, tuning)[0][0].data["n"].tolist() == [SEEDS - 1] * 2


def test_a_figure_shows_each_group_at_the_settings_chosen_on_tuning_seeds(make_up, tmp_path):
    """tanh never learns, LSTM always; on the tuning seed the higher rate is made the better one for tanh alone."""
    results = load(make_up(tmp_path, {"adding": 40}, ["tanh", "lstm"], [1.0], seeds=3, lrs=[0.001, 0.01]))
    runs = results.runs.assign(seed=results.runs["seed"].replace(2, 100))
    tuning, higher = runs["seed"] == 100, (runs["cell"] == "tanh") == (runs["optimizer.lr"] == 0.01)
    runs.loc[tuning, "final_skill"] = higher[tuning].astype(float)
    asked = replace(ASKED, figures={"scores": {"hue": "cell", "at_best": ["optimizer.lr"]}, "success": {}})
    (best, every), without = figures(asked, results.replaced(runs=runs))
    chosen = runs[~tuning & higher]
    assert set(best.data["run"]) == set(chosen["run"])
    assert every.data["n"].sum() == 2 * len(chosen)
    assert without == []
    _, said = figures(asked, results)
    assert said == ["no figure scores: no run has a seed from 100 on, by which optimizer.lr would be chosen"]


# --- the command and the experiments of the suite


def test_the_command_prints_the_answer_and_what_is_missing(twelve, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "question", lambda name: ASKED)
    assert command.main(["mine", "--results", str(twelve)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "holds: it solves it more often"
    assert said[-2:] == [str(twelve / "report" / "figures" / f"{name}.png") for name in ("success", "scores")]
    assert (twelve / "report" / "figures" / "success.png").exists()
    assert command.main(["mine", "--results", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path / 'nowhere'}: holds no finished run; python -m bench experiment=mine trains them\n"
    )


def test_an_experiment_that_asks_nothing_is_one_line(capsys):
    assert command.main(["transport"]) == 2
    assert capsys.readouterr().err.startswith("transport: asks nothing; these do: claim_")


@pytest.mark.parametrize("name", questions())
def test_a_question_of_the_suite_can_be_read(name):
    """A question's rules are rules and name quantities that there are, its figures are figures, its groups differ."""
    asked = question(name)
    assert asked.question.endswith("?")
    assert asked.rules
    assert set(asked.figures) <= {figure.name for figure in all_figures()}
    documented = quantities.__doc__
    for one in asked.rules:
        assert one.quantity.replace("at end", "at start") in documented or one.quantity in documented
        assert asdict(one).get("of") != asdict(one).get("less", asdict(one).get("over", "none"))


def test_every_claim_asks_something():
    assert {path.stem for path in (CONF / "experiment").glob("claim_*.yaml")} <= set(questions())


def test_what_is_shipped_is_every_question_and_every_small_recipe_once():
    names = shipped()
    assert set(names) >= {name for name in questions() if name.startswith("claim_")} | {
        "memory_length",
        "collins2017_cpu",
    }
    assert "collins2017" not in names
    assert not [name for name in names if f"{name}_cpu" in names]
    assert {path.stem for path in (CONF / "experiment").glob("*_cpu.yaml")} <= set(names)


def test_a_small_recipe_asks_and_claims_what_the_large_one_does():
    assert question("collins2017_cpu").rules == question("collins2017").rules
    runs = pd.DataFrame({"experiment": ["bai2018_adding_cpu"], "task": "adding", "cell": "lstm", "final_loss": 0.2})
    (told,) = claims(runs)
    assert told["got"] == "lstm: loss 0.2 (median of 1, 0.2 to 0.2)"
    assert told["differs"].endswith("; made as small as two cores train in minutes")


def test_every_kind_of_rule_is_used():
    assert {type(one) for name in questions() for one in question(name).rules} == set(RULES.values())
