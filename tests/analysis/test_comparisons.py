from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, hypergeom
from statsmodels.stats.multitest import multipletests

from bench.analysis.statistics.comparisons import TOO_SMALL, UNDECIDED, at_best, compare, holm, solved_p

UPDATES = 3000


def made_up(
    solved: dict[str, list[int]], seeds: dict[str, range] | None = None, clip: str = "1", **columns: object
) -> pd.DataFrame:
    """Runs of each cell, one for each 0 or 1."""
    rows = [
        {
            **{"task": "adding", "cell": cell, "clip": clip, "seed": seed, "task.length": 100, "batch_size": 16},
            **{"cell._target_": cell, "cell.hidden": 64, "outcome": "solved" if met else "stuck", "updates": UPDATES},
            **{"final_skill": 0.99 if met else 0.01 * seed, "solved_at": 1000.0 + 100 * seed if met else np.nan},
            **{key: value[cell] if isinstance(value, dict) else value for key, value in columns.items()},
        }
        for cell, runs in solved.items()
        for met, seed in zip(runs, (seeds or {}).get(cell, range(len(runs))), strict=True)
    ]
    runs = pd.DataFrame(rows)
    return runs.astype(
        {key: pd.CategoricalDtype(list(dict.fromkeys(runs[key])), ordered=True) for key in ("cell", "clip")}
    )


def only(runs: pd.DataFrame) -> dict[str, object]:
    (row,) = compare(runs, 0).to_dict("records")
    return row


def test_holm_is_that_of_statsmodels():
    random = np.random.default_rng(0)
    for p in (random.random(1), random.random(9) ** 4, np.array([0.01, 0.01, 0.02, 1, 1])):
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])


def test_at_best_is_holm_of_a_test_that_came_to_its_least():
    random = np.random.default_rng(0)
    least = random.choice([1e-5, 0.002, 0.004, 0.03], 12)
    p = np.maximum(random.random(12) ** 6, least)
    for k, found in enumerate(at_best(p, least)):
        replaced = p.copy()
        replaced[k] = least[k]
        assert found == pytest.approx(holm(replaced)[k])


def test_solved_is_mcnemars_test_of_discordant_pairs():
    a, b = np.array([1, 1, 1, 1, 1, 0, 1, 0], dtype=bool), np.array([0, 0, 0, 0, 0, 1, 1, 0], dtype=bool)
    assert solved_p(a, b, paired=True) == pytest.approx(binomtest(1, 6).pvalue) == pytest.approx(14 / 64)
    assert solved_p(a, a, paired=True) == 1


def test_solved_is_fishers_test_without_pairs():
    a, b = np.ones(4, dtype=bool), np.zeros(4, dtype=bool)
    assert solved_p(a, b, paired=False) == pytest.approx(2 / 70)
    six_of_eight, one_of_five = np.arange(8) < 6, np.arange(5) < 1
    tables = hypergeom(13, 7, 8).pmf(np.arange(2, 8))  # 7 of 13 solved; of them 2 to 7 among the first eight
    expected = tables[tables <= tables[6 - 2] * (1 + 1e-9)].sum()
    assert solved_p(six_of_eight, one_of_five, paired=False) == pytest.approx(expected)


def test_five_seeds_cannot_decide():
    row = only(made_up({"tanh": [0] * 5, "lstm": [1] * 5}))
    assert row["p_solved"] == row["p_score"] == row["p_time"] == row["least_solved"] == row["least_score"] == 0.0625
    assert row["verdict"] == TOO_SMALL == "n too small to decide"


def test_ten_seeds_decide_and_say_who_is_ahead():
    row = only(made_up({"tanh": [0] * 10, "lstm": [1] * 10}))
    assert row["holm_solved"] == 2**-9
    assert row["verdict"] == "lstm solves more often, scores higher, solves sooner"
    assert row["difference"] == pytest.approx(np.mean(0.01 * np.arange(10)) - 0.99)
    assert row["low"] < row["difference"] < row["high"] < 0


def test_what_is_not_separated_is_not_called_equal():
    row = only(made_up({"tanh": [1] * 10, "lstm": [1] * 10}))
    assert row["p_solved"] == row["p_score"] == row["p_time"] == 1
    assert row["verdict"] == UNDECIDED


def test_who_solves_sooner_is_a_permutation_of_log_rank_scores():
    runs = made_up({"tanh": [1] * 8, "lstm": [1] * 8})
    sooner = runs.assign(solved_at=runs["solved_at"].mask(runs["cell"] == "lstm", 500))
    row = only(sooner)
    assert row["p_time"] == 2**-7
    assert row["p_solved"] == 1
    assert row["verdict"] == "lstm solves sooner"


@pytest.mark.parametrize("n", [1, 2])
def test_a_difference_of_scores_lies_within_what_scores_allow(n):
    row = only(made_up({"tanh": [0] * n, "lstm": [1] * n}, final_skill={"tanh": 0.1, "lstm": 0.9}))
    assert (row["low"], row["high"]) == ((-1, 1) if n == 1 else (pytest.approx(-0.8), pytest.approx(-0.8)))
    unlike = made_up({"tanh": [0, 0], "lstm": [1, 0]})
    assert (only(unlike)["low"], only(unlike)["high"]) == (-1, 1)


def test_a_run_that_diverges_early_does_not_solve_sooner():
    runs = made_up({"tanh": [1] * 10, "lstm": [0] * 10})
    lost = runs["cell"] == "lstm"
    runs = runs.assign(outcome=runs["outcome"].mask(lost, "diverged"), sequences=np.where(lost, 160, UPDATES * 16))
    assert only(runs)["verdict"] == "tanh solves more often, scores higher, solves sooner"


@pytest.mark.parametrize(
    ("columns", "seeds", "label"),
    [
        ({}, {}, "paired (data)"),
        ({"cell._target_": "elman"}, {}, "paired (data)"),  # the name of the yaml tells cells apart
        ({"batch_size": {"tanh": 16, "lstm": 32}}, {}, "unpaired"),
        ({"task.length": {"tanh": 100, "lstm": 200}}, {}, "unpaired"),
        ({}, {"lstm": range(6, 12)}, "unpaired"),
        ({}, {"lstm": range(2, 8)}, "paired (data)"),
        ({}, {"lstm": range(4, 10)}, "unpaired"),
    ],
)
def test_pairing_is_named(columns, seeds, label):
    row = only(made_up({"tanh": [0] * 6, "lstm": [1] * 6}, seeds, **columns))
    assert row["pairing"] == label
    common = len(set(range(6)) & set(seeds.get("lstm", range(6))))
    assert row["n_a"] == row["n_b"] == (common if "data" in label else 6)


def test_one_cell_with_other_settings_shares_the_initial_noise_if_its_size_is_the_same():
    solved = {"lstm, lr=0.1": [0] * 6, "lstm, lr=0.01": [1] * 6}
    assert only(made_up(solved, **{"cell._target_": "lstm"}))["pairing"] == "paired (data+init)"
    hidden = dict(zip(solved, (64, 128), strict=True))
    assert only(made_up(solved, **{"cell._target_": "lstm", "cell.hidden": hidden}))["pairing"] == "paired (data)"


def test_pairs_are_made_by_seed_whatever_the_order():
    runs = made_up({"tanh": [1, 0, 1, 0, 1, 1], "lstm": [1, 0, 1, 0, 1, 1]})
    row = only(runs.sample(frac=1, random_state=0))
    assert row["low"] == row["difference"] == row["high"] == 0
    for more in ({}, {"batch_size": {"tanh": 16, "lstm": 32}}):
        runs = made_up({"tanh": [0, 0, 1, 0, 1, 0], "lstm": [1, 0, 1, 1, 1, 1]}, **more)
        assert only(runs.sample(frac=1, random_state=0)) == only(runs)


def test_the_same_run_measured_twice_counts_once():
    runs = made_up({"tanh": [0] * 6, "lstm": [1] * 6})
    assert only(pd.concat([runs, runs]))["n_a"] == 6


def thresholds(clips: list[str]) -> pd.DataFrame:
    cells = {"tanh": [0] * 5, "irnn": [1] * 5, "lstm": [1] * 5}
    runs = pd.concat([made_up(cells, clip=clip).astype({"clip": str}) for clip in clips], ignore_index=True)
    return runs.astype({"clip": pd.CategoricalDtype(clips, ordered=True)})


def test_families_are_all_pairs_of_cells_and_each_threshold_against_none():
    table = compare(thresholds(["1", "10", "none"]), 0)
    cells, clips = (table[table["kind"] == kind] for kind in ("cells", "thresholds"))
    assert set(zip(cells["within"], cells["a"], cells["b"], strict=True)) == {
        (clip, *pair)
        for clip, pair in product(("1", "10", "none"), (("tanh", "irnn"), ("tanh", "lstm"), ("irnn", "lstm")))
    }
    assert set(zip(clips["within"], clips["a"], clips["b"], strict=True)) == {
        (cell, clip, "none") for cell, clip in product(("tanh", "irnn", "lstm"), ("1", "10"))
    }
    np.testing.assert_allclose(cells["holm_solved"], multipletests(cells["p_solved"], method="holm")[1])
    assert (clips["holm_solved"] == 1).all()


def test_rules_after_none_are_compared_with_it_too():
    table = compare(thresholds(["1", "none", "pascanu"]), 0)
    clips = table[table["kind"] == "thresholds"]
    assert set(zip(clips["a"], clips["b"], strict=True)) == {("1", "none"), ("pascanu", "none")}


def test_without_an_unclipped_run_the_last_threshold_is_compared_with():
    table = compare(thresholds(["1", "10"]), 0)
    clips = table[table["kind"] == "thresholds"]
    assert set(zip(clips["a"], clips["b"], strict=True)) == {("1", "10")}


def test_one_setting_is_compared_with_nothing():
    assert compare(made_up({"tanh": [0] * 5}), 0).empty


def test_a_row_depends_on_the_seed_and_its_own_runs_alone():
    two, three = thresholds(["1", "none"]), thresholds(["1", "10", "none"])
    keys = ["task", "kind", "within", "a", "b"]
    first, more = (compare(runs, 0).set_index(keys) for runs in (two, three))
    own = ["difference", "low", "high", "p_score", "p_time"]
    pd.testing.assert_frame_equal(more.loc[first.index, own], first[own])


def test_settings_of_another_task_do_not_part_pairs(runs):
    """A setting that only copying has is not there in adding, in no run of it."""
    of_copying = runs["task"].astype(str) == "copying"
    both = runs.assign(**{"task.symbols": np.where(of_copying, 5.0, np.nan)})
    cells = compare(both, 0).query("kind == 'cells'")
    assert set(cells["pairing"]) == {"paired (data)"}
