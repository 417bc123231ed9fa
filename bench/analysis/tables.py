"""The tables of a report, a row for each task, cell and clipping threshold, or for each comparison of two."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd

from bench.analysis import queries
from bench.analysis.settings import NO_CLIPPING, SETTING, THRESHOLD, levels
from bench.analysis.statistics.comparisons import QUESTIONS, TOO_SMALL, compare
from bench.analysis.statistics.memory_length import by_length, memory_lengths, ranked, without_length
from bench.analysis.statistics.resampling import FEWEST, generator, typical_interval
from bench.analysis.statistics.summaries import (
    LEAST_FOR_INTERQUARTILE_MEAN,
    clipping_windows,
    median_norms,
    quartiles,
    score,
    success_rates,
    typical,
)
from bench.analysis.statistics.survival import curve, median, times
from bench.analysis.table import COLUMN, MISSING, Table, as_known, rounded, shortened, two_digits
from bench.runs.tables import Tables

COSTS = ["recurrent_parameters", "parameters", "sequences", "seconds"]
COUNTED = ("relapsed", "hopeless", "diverged", "dead", "failed")
RARE = ("hopeless", "failed")  # outcomes without a column where no run has them
COST_NOTE = "parameters: recurrent / all. sequences, seconds: median of a run."
BEST_NOTE = "Bold: best of its task and threshold, where its interval lies beyond those of all others."
OVERVIEW_NOTE = (
    "solved: runs that met the rule at some time, of all n, with the 95 % Wilson interval; relapsed: those of them "
    "that ended below a skill of .9; hopeless: ended before, because it no longer became better, and not solved. "
    "updates: median time to solve over all n, where a run that never solves takes longer than any. "
    "score: skill clipped to [0, 1], 0 for a run that diverged, died or failed; interquartile mean "
    f"from n = {LEAST_FOR_INTERQUARTILE_MEAN} on, median below, [quartiles]. loss: median on fresh sequences, "
    "infinite where it overflowed. accuracy: median share of right answers there (on the test set of collected data), "
    "of those that need memory. "
    f"{COST_NOTE} {BEST_NOTE}"
)
CLIPPING_NOTE = (
    "Over a whole run, medians over runs [quartiles]. clipped: share of the updates. shrink: mean factor that "
    "clipping applied. cosine: mean, between the gradient and the clipped one. norm: median over updates, before "
    "clipping. threshold / norm: in units of that norm. "
    f"{COST_NOTE}"
)
SOLVED_NOTE = (
    "Runs that solved their task, of all. Bold: where the 95 % Wilson interval lies beyond those of all others at that "
    "task and threshold."
)
AXES = {"cell": "cells", "clip": "clipping thresholds or rules"}
ALL_TASKS = "all tasks"
ESTIMATES_NOTE = (
    "With 95 % intervals. solved: runs that met the rule at some time, of all n (Wilson). score: interquartile mean "
    f"from n = {LEAST_FOR_INTERQUARTILE_MEAN} on, median below (bootstrap over seeds within each task, expanded "
    f"percentiles; below {FEWEST} seeds of a task it may be anything). updates: median time to solve (Kaplan-Meier; a "
    "run that diverged, died, failed or ended as hopeless stays at risk to its full budget; the interval "
    "inverts the band), known to within one evaluation. "
    f"{COST_NOTE} {BEST_NOTE}"
)
COMPARISONS_NOTE = (
    "On each task, all pairs of cells at one clipping threshold, and each threshold with no clipping (with the last "
    "where all are clipped) in one cell. paired: runs of equal seed share data, or data and the noise of initial "
    "weights; a seed without its partner is left out. score: difference of means, first minus second, with its 95 % "
    "interval (Student's of pairs, else Welch's). p, two-sided, and after Holm's correction in brackets: solved, exact "
    "McNemar test, Fisher's if unpaired; score, permutation of signs, of labels if unpaired; time to solve, the same "
    "of log-rank scores. A family: one of these questions, asked of all comparisons of cells on one task, or of all of "
    "thresholds. least p: that a test of so many runs can come to, before the correction; n too small to decide: not "
    "even that would survive it. "
    f"{COST_NOTE}"
)
UNDECIDED = (
    "With so few seeds none of the {} comparisons can be decided: not even the most extreme outcome would survive the "
    "correction for their number. The table holds what was seen."
)
MEMORY_NOTE = (
    "T50: length at which half of the runs solve, by a fit of 1 / (1 + (T / T50)^b), with its 95 % interval by profile "
    "likelihood over b in [0.1, 100]; < and >: outside of the lengths tried. separated: at most one length at which "
    "some solve and some do not, so that b is only known to be large. n: runs at all lengths. rank: of T50 among the "
    "cells of this task and threshold, in brackets as far as the intervals tell it. "
    f"{COST_NOTE} {BEST_NOTE}"
)


class NoSuchTable(ValueError):
    """A name that no table has; the message says which there are."""


def overview(runs: pd.DataFrame) -> Table:
    """How the runs of each setting ended, and what they cost."""
    judged = runs.assign(
        score=score(runs["final_skill"], runs["outcome"]),
        loss=runs["final_loss"].fillna(np.inf),  # of a run that diverged or failed, which is not left out
        final_accuracy=runs["final_accuracy"].fillna(0.0),
        updates_to_solve=runs["solved_at"].fillna(np.inf),
    )
    groups = judged.groupby(SETTING, observed=True)
    parts = [
        success_rates(judged, SETTING).set_index(SETTING),
        *(groups["outcome"].agg(lambda outcome, name=name: (outcome == name).sum()).rename(name) for name in COUNTED),
        groups[["updates_to_solve", "updates"]].median(),
        groups["score"].agg(typical),
        _quartiles(judged, "score"),
        groups["loss"].median(),
        _quartiles(judged, "loss"),
        groups["final_accuracy"].median(),
        _quartiles(judged, "final_accuracy"),
        groups[COSTS].median(),
    ]
    numbers = pd.concat(parts, axis=1).reset_index()
    text = _by_row(numbers, _outcome_text)
    text = text.drop(columns=[name for name in RARE if not numbers[name].any()])
    return Table("overview", numbers, text, OVERVIEW_NOTE, _apart(numbers, "solved", ("low", "high")))


def solved(runs: pd.DataFrame) -> Table:
    """How many runs of each setting solved their task, small enough for a column of a page.

    Cells are the rows and thresholds the columns, or the other way round, or both are rows: the first that fits.
    """
    numbers = success_rates(runs, SETTING)
    best = _apart(numbers, "solved", ("low", "high"))
    numbers["best"] = [(k, "solved") in best for k in numbers.index]
    shown = numbers.astype(dict.fromkeys(SETTING, str)).assign(
        text=numbers["successes"].astype(str) + "/" + numbers["n"].astype(str), setting=_joined_labels(numbers)
    )
    for rows, columns in (("cell", "clip"), ("clip", "cell"), ("setting", None)):
        if columns is None:
            text = shown.rename(columns={"text": "solved"})[["task", rows, "solved"]].reset_index(drop=True)
            best = frozenset((k, "solved") for k in text.index[shown["best"]])
        else:
            order = {name: list(map(str, levels(numbers[name]))) for name in SETTING}
            wide = shown.pivot(index=["task", rows], columns=columns, values=["text", "best"])
            keys = [key for key in product(order["task"], order[rows]) if key in wide.index]
            names = [name for name in order[columns] if name in set(shown[columns])]
            cells = wide["text"].loc[keys, names].fillna(MISSING)
            text = cells.reset_index().rename_axis(columns=None)
            bold = wide["best"].loc[keys, names].eq(True).to_numpy()
            best = frozenset((int(k), names[c]) for k, c in zip(*np.nonzero(bold), strict=True))
        note = SOLVED_NOTE + ("" if columns is None else f" Columns: {AXES[columns]}.")
        table = Table("solved", numbers, text, note, best, labels=2, narrow=True)
        if table.inches <= COLUMN:
            return table
    return table


def _joined_labels(numbers: pd.DataFrame) -> pd.Series:
    several = [name for name in ("cell", "clip") if numbers[name].nunique() > 1] or ["cell"]
    return numbers[several].astype(str).agg(", ".join, axis=1)


def clipping(runs: pd.DataFrame, blocks: pd.DataFrame) -> Table:
    """What clipping did to the runs of each setting."""
    whole = clipping_windows(blocks, runs.set_index("run")["updates"], windows=1).drop(columns="update")
    measured = runs.merge(whole, on="run").merge(median_norms(blocks).rename("norm"), on="run")
    measured["threshold_in_norms"] = _threshold(measured) / measured["norm"]
    groups = measured.groupby(SETTING, observed=True)
    columns = ["clip_fraction", "mean_shrink", "mean_cosine", "norm", "threshold_in_norms"]
    parts = [
        groups.size().rename("n"),
        groups[columns].median(),
        *(_quartiles(measured, column) for column in columns),
        _costs(measured).set_index(SETTING),
    ]
    numbers = pd.concat(parts, axis=1).reset_index()
    return Table("clipping", numbers, _by_row(numbers, _clipping_text), CLIPPING_NOTE)


def estimates(runs: pd.DataFrame, seed: int = 0) -> Table:
    """Success, score and time to solve of each setting with their intervals, and of all tasks together.

    seed: of the bootstrap.
    """
    judged = runs.assign(score=score(runs["final_skill"], runs["outcome"]), **times(runs))
    groups = list(judged.groupby(SETTING, observed=True))
    pooled = judged.groupby(SETTING[1:], observed=True)
    groups += [((ALL_TASKS, *key), part) for key, part in pooled if part["task"].nunique() > 1]
    numbers = pd.DataFrame([_estimates(key, part, seed) for key, part in groups])
    text = _by_row(numbers, _estimates_text)
    best = (
        _apart(numbers, "solved", ("low", "high"))
        | _apart(numbers, "score", ("score_low", "score_high"))
        | _apart(numbers, "updates", ("updates_low", "updates_high"), least=True)
    )
    text = text if numbers["stopped"].any() else text.drop(columns="stopped")
    return Table("estimates", numbers, text, ESTIMATES_NOTE, best)


def comparisons(runs: pd.DataFrame, seed: int = 0) -> Table:
    """The table of tests between cells, and between thresholds: which differ by more than chance.

    It has no row if there is one setting.

    seed: of the tests that draw at random.
    """
    numbers = _with_costs(compare(runs, seed), runs)
    text = pd.DataFrame([_comparison_text(row) for _, row in numbers.iterrows()])
    undecided = len(numbers) and (numbers["verdict"] == TOO_SMALL).all()
    instead = UNDECIDED.format(len(numbers)) if undecided else ""
    return Table("comparisons", numbers, text, COMPARISONS_NOTE, instead=instead)


def _with_costs(comparisons: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """With `diverged` and the costs of both sides, as `diverged_a`, `diverged_b` and so on."""
    if comparisons.empty:
        return comparisons
    costs = _costs(runs).astype(dict.fromkeys(SETTING, str))
    of_cells = comparisons["kind"] == "cells"
    for side in ("a", "b"):
        where = comparisons[["task"]].assign(
            cell=comparisons[side].where(of_cells, comparisons["within"]),
            clip=comparisons["within"].where(of_cells, comparisons[side]),
        )
        own = where.merge(costs, on=SETTING, how="left", validate="many_to_one")[["diverged", *COSTS]]
        comparisons = comparisons.join(own.add_suffix(f"_{side}"))
    return comparisons


def memory(runs: pd.DataFrame) -> Table:
    """T50 of every cell and threshold; no row without a sweep of the task's length."""
    renamed = runs.assign(task=without_length(runs["task"]))
    rates = by_length(renamed, SETTING)
    numbers = memory_lengths(rates, SETTING) if len(rates) else pd.DataFrame()
    if len(rates):
        numbers = ranked(numbers, ["task", "clip"]).merge(_costs(renamed), on=SETTING)
    best = _apart(numbers, "T50", ("low", "high")) if len(rates) else frozenset()
    return Table("memory", numbers, _by_row(numbers, _memory_text), MEMORY_NOTE, best)


OF_RUNS: tuple[Callable[[pd.DataFrame], Table], ...] = (overview, solved, estimates, comparisons, memory)


def named(name: str, runs: pd.DataFrame, results: Tables) -> Table:
    """The table of this name, of runs as `distinguished` has them. Raises NoSuchTable."""
    of_runs = {table.__name__: table for table in OF_RUNS}
    if name == clipping.__name__:
        return clipping(runs, queries.clipping(results))
    if name not in of_runs:
        raise NoSuchTable(f"{name}: there is no such table; there are {', '.join([*of_runs, clipping.__name__])}")
    return of_runs[name](runs)


def _apart(
    numbers: pd.DataFrame, column: str, interval: tuple[str, str], *, least: bool = False
) -> frozenset[tuple[int, str]]:
    """Where `column` has the best of its task and threshold, if its interval lies beyond those of all others.

    interval: columns of its ends. least: the smallest is best, not the largest.
    """
    low, high = (-numbers[end] if least else numbers[end] for end in (interval[::-1] if least else interval))
    found = set()
    for _, group in numbers.groupby(["task", "clip"], observed=True):
        for k in group.index:
            others = group.index.drop(k)
            if len(others) and (low[k] > high[others]).all():
                found.add((k, column))
    return frozenset(found)


def _quartiles(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """`COLUMN_q25` and `COLUMN_q75` of every setting."""
    found = quartiles(table, SETTING, column).set_index(SETTING)[["q25", "q75"]]
    return found.add_prefix(f"{column}_")


def _costs(runs: pd.DataFrame) -> pd.DataFrame:
    """How many runs of each setting diverged, and the median run's parameters, sequences and seconds."""
    groups = runs.assign(diverged=runs["outcome"] == "diverged").groupby(SETTING, observed=True)
    return pd.concat([groups["diverged"].sum(), groups[COSTS].median()], axis=1).reset_index()


def _threshold(runs: pd.DataFrame) -> pd.Series:
    """The threshold where it bounds the norm; infinite without clipping, NaN for other rules."""
    threshold = runs.get(THRESHOLD, pd.Series(np.nan, runs.index))
    return threshold.where((runs["clipping"] == "norm") | np.isinf(threshold))


def _by_row(numbers: pd.DataFrame, text: Callable[[pd.Series], dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame([{**{key: str(row[key]) for key in SETTING}, **text(row)} for _, row in numbers.iterrows()])


def _outcome_text(row: pd.Series) -> dict[str, str]:
    late = np.isinf(row["updates_to_solve"])
    return {
        "n": str(row["n"]),
        "solved": f"{row['successes']}/{row['n']} [{row['low']:.2f}, {row['high']:.2f}]",
        **{name: str(row[name]) for name in COUNTED},
        "updates": f"> {row['updates']:.0f}" if late else f"{row['updates_to_solve']:.0f}",
        "score": _with_quartiles(row, "score", "{:.2f}".format),
        "loss": rounded(row["loss"], row["loss_q75"] - row["loss_q25"]),
        "accuracy": f"{row['final_accuracy']:.1%}",
        **_cost_text(row),
    }


def _cost_text(row: pd.Series) -> dict[str, str]:
    return {
        "parameters": f"{shortened(row['recurrent_parameters'])} / {shortened(row['parameters'])}",
        "sequences": shortened(row["sequences"]),
        "seconds": two_digits(row["seconds"]),
    }


def _clipping_text(row: pd.Series) -> dict[str, str]:
    return {
        "n": str(row["n"]),
        "diverged": str(row["diverged"]),
        "clipped": _with_quartiles(row, "clip_fraction", "{:.2f}".format),
        "shrink": _with_quartiles(row, "mean_shrink", "{:.2f}".format),
        "cosine": _with_quartiles(row, "mean_cosine", "{:.2f}".format),
        "norm": _with_quartiles(row, "norm", two_digits),
        "threshold / norm": two_digits(row["threshold_in_norms"]),
        **_cost_text(row),
    }


def _with_quartiles(row: pd.Series, column: str, written: Callable[[float], str]) -> str:
    value, low, high = (written(row[name]) for name in (column, f"{column}_q25", f"{column}_q75"))
    return f"{value} [{low}, {high}]"


def _estimates(setting: tuple[str, ...], runs: pd.DataFrame, seed: int) -> dict[str, object]:
    strata = [part["score"].to_numpy() for _, part in runs.groupby("task", observed=True)]
    interval = typical_interval(strata, generator(seed, "estimates", *setting))
    score_low, score_high = np.clip(interval, 0.0, 1.0)  # as scores are
    late: tuple[float, float, float] = (np.nan, np.nan, np.nan)
    if setting[0] != ALL_TASKS:  # whose times have no common median
        late = median(curve(runs["time"], runs["solved"], runs["updates"].max()))
    return {
        **dict(zip(SETTING, setting, strict=True)),
        **success_rates(runs.assign(all=0), ["all"]).drop(columns="all").to_dict("records")[0],
        "diverged": int((runs["outcome"] == "diverged").sum()),
        "stopped": int(runs["stopped"].sum()),
        **{"score": typical(runs["score"]), "score_low": score_low, "score_high": score_high},
        **dict(zip(("updates_to_solve", "updates_low", "updates_high"), late, strict=True)),
        "updates": runs["updates"].max(),
        **runs[COSTS].median(),
    }


def _estimates_text(row: pd.Series) -> dict[str, str]:
    low, middle, high = (
        MISSING if np.isnan(value) else f"> {row['updates']:.0f}" if np.isinf(value) else f"{value:.0f}"
        for value in row[["updates_low", "updates_to_solve", "updates_high"]]
    )
    return {
        "n": str(row["n"]),
        **{name: str(row[name]) for name in ("diverged", "stopped")},
        "solved": f"{row['successes']}/{row['n']} [{row['low']:.2f}, {row['high']:.2f}]",
        "score": f"{row['score']:.2f} [{row['score_low']:.2f}, {row['score_high']:.2f}]",
        "updates": MISSING if middle == MISSING else f"{middle} [{low}, {high}]",
        **_cost_text(row),
    }


def _comparison_text(row: pd.Series) -> dict[str, str]:
    clip = "no clipping" if row["within"] == NO_CLIPPING else f"clip {row['within']}"
    paired = row["pairing"] != "unpaired"
    first, second = (_cost_text(pd.Series({of: row[f"{of}_{side}"] for of in COSTS})) for side in "ab")
    return {
        "task": row["task"],
        "within": clip if row["kind"] == "cells" else row["within"],
        "compared": f"{row['a']} vs {row['b']}",
        "verdict": row["verdict"],
        "pairing": row["pairing"],
        "n": f"{row['n_a']}" if paired else f"{row['n_a']}, {row['n_b']}",
        "solved": f"{row['solved_a']} vs {row['solved_b']}",
        "diverged": f"{row['diverged_a']} vs {row['diverged_b']}",
        "score": f"{_signed(row['difference'])} [{_signed(row['low'])}, {_signed(row['high'])}]",
        **{f"p {of} (Holm)": f"{_chance(row[f'p_{of}'])} ({_chance(row[f'holm_{of}'])})" for of in QUESTIONS},
        "least p": _chance(row[[f"least_{of}" for of in QUESTIONS]].min()),
        **{name: f"{one} vs {other}" for (name, one), other in zip(first.items(), second.values(), strict=True)},
    }


def _signed(difference: float) -> str:
    return f"{round(difference, 2) + 0.0:+.2f}"  # + 0.0: -0.0 is 0


def _chance(p: float) -> str:
    return "1" if p == 1 else two_digits(p)


def _memory_text(row: pd.Series) -> dict[str, str]:
    t50, low, high = (as_known(row[end], row["shortest"], row["longest"]) for end in ("t50", "low", "high"))
    return {
        "n": str(row["n"]),
        "diverged": str(row["diverged"]),
        "lengths": f"{row['lengths']}, {row['shortest']:g} to {row['longest']:g}",
        "T50": f"{t50} [{low}, {high}]",
        "rank": f"{row['rank']} of {row['ranked']} [{row['rank_low']}, {row['rank_high']}]",
        "b": MISSING if np.isnan(row["slope"]) or row["separated"] else two_digits(row["slope"]),
        "data": "separated" if row["separated"] else MISSING,
        **_cost_text(row),
    }
