"""Tests of differences between settings: paired where runs share seeds, and corrected for their number.

Compared are, on each task, all pairs of cells at the same clipping threshold, and each threshold with no clipping in
the same cell (with the last threshold or rule, where all runs are clipped). Each comparison asks three questions: who
solves more often, who scores higher, who solves sooner. A family, within which Holm's correction holds, is one of
these questions, asked of all comparisons of cells on one task, or of all comparisons of thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact
from statsmodels.stats.contingency_tables import mcnemar

from bench.analysis.settings import NO_CLIPPING, levels
from bench.analysis.statistics.resampling import generator, least_p, mean_difference_interval, sign_flip, two_sample
from bench.analysis.statistics.summaries import score
from bench.analysis.statistics.survival import logrank_scores, times

LEVEL = 0.05
QUESTIONS = {"solved": "solves more often", "score": "scores higher", "time": "solves sooner"}
TOO_SMALL, UNDECIDED = "n too small to decide", "not separated"


def compare(runs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every comparison of the families, a row each.

    runs: as `settings.distinguished` returns them. seed: of the tests that draw at random.
    Columns: task; kind (`cells`, `thresholds`); within (the threshold or the cell that both share); a, b; pairing;
    n_a, n_b (equal where paired), solved_a, solved_b; difference of the mean score, a - b, with its interval low, high
    (Student's or Welch's, within [-1, 1]); and for each question (`solved`, `score`, `time`) p_, holm_ and least_: p, p
    after Holm's correction, and the least p that so many runs can come to; verdict, in words.
    """
    rows = [
        {"task": task, "kind": kind, "within": within, "a": str(a), "b": str(b)}
        | compared(one, other, generator(seed, kind, task, within, a, b))
        for kind, task, within, (a, one), (b, other) in _pairs(_prepared(runs))
    ]
    if not rows:
        return pd.DataFrame()
    table = pd.concat([_corrected(same) for _, same in pd.DataFrame(rows).groupby(["task", "kind"], sort=False)])
    return table.drop(columns=["sooner"]).reset_index(drop=True)


def every_pair(runs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Any two settings of a task compared, a row each, as if it were the only comparison: without correction.

    runs: as `settings.distinguished` returns them. seed: of the tests that draw at random.
    Columns: task, cell, clip, cell_b, clip_b, and those of `compared`.
    """
    rows = []
    for task, same in _prepared(runs).groupby("task", observed=True):
        groups = list(same.groupby(["cell", "clip"], observed=True))
        for (a, one), (b, other) in combinations(groups, 2):
            names = dict(zip(("cell", "clip", "cell_b", "clip_b"), map(str, (*a, *b)), strict=True))
            found = compared(one, other, generator(seed, "pair", task, *names.values()))
            rows.append({"task": str(task), **names, **found})
    return pd.DataFrame(rows)


def pairing(a: pd.DataFrame, b: pd.DataFrame) -> str:
    """What runs of equal seed have in common: `paired (data+init)`, `paired (data)` or `unpaired`.

    They share the data if task and batch size are equal, and the noise that initial weights are made from if the cell
    and its size are too. A pair takes a common seed; where less than half of either group has one, it is `unpaired`.
    """
    common = len(set(a["seed"]) & set(b["seed"]))
    if a["of_data"].iloc[0] != b["of_data"].iloc[0] or 2 * common < max(len(a), len(b)):
        return "unpaired"
    return "paired (data+init)" if a["of_noise"].iloc[0] == b["of_noise"].iloc[0] else "paired (data)"


def compared(a: pd.DataFrame, b: pd.DataFrame, random: np.random.Generator) -> dict[str, object]:
    """One comparison, as far as it needs no other; `sooner` is > 0 where a solves sooner."""
    how = pairing(a, b)
    paired = how != "unpaired"
    if paired:
        a, b = (runs.set_index("seed") for runs in (a, b))
        common = a.index.intersection(b.index)
        a, b = a.loc[common], b.loc[common]
    solved_a, solved_b = a["solved"].to_numpy(), b["solved"].to_numpy()
    score_a, score_b = a["score"].to_numpy(), b["score"].to_numpy()
    log_rank = logrank_scores(*(pd.concat([a[name], b[name]]) for name in ("time", "solved")))
    early_a, early_b = log_rank[: len(a)], log_rank[len(a) :]
    if paired:
        p_score, p_time = sign_flip(score_a - score_b, random), sign_flip(early_a - early_b, random)
    else:
        p_score, p_time = two_sample(score_a, score_b, random), two_sample(early_a, early_b, random)
    low, high = np.clip(mean_difference_interval(score_a, score_b, paired=paired), -1.0, 1.0)  # as scores allow
    least = least_p(len(a), len(b), paired=paired)
    return {
        "pairing": how,
        **{"n_a": len(a), "n_b": len(b), "solved_a": int(solved_a.sum()), "solved_b": int(solved_b.sum())},
        **{"difference": float(score_a.mean() - score_b.mean()), "low": low, "high": high},
        **{"p_solved": solved_p(solved_a, solved_b, paired=paired), "p_score": p_score, "p_time": p_time},
        "least_solved": least_p(len(a), len(b), paired=paired, exact=True),
        **{"least_score": least, "least_time": least},
        "sooner": float(early_a.sum()),
    }


def solved_p(a: np.ndarray, b: np.ndarray, *, paired: bool) -> float:
    """Exact p that as many of `a` as of `b` solve: McNemar's test of pairs, else Fisher's.

    a, b: booleans, pair by pair where paired.
    Sources: McNemar 1947 (Psychometrika 12:153); Fisher 1935 (J. R. Stat. Soc. 98:39).
    """
    if paired:
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        return float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)
    return float(fisher_exact([[a.sum(), (~a).sum()], [b.sum(), (~b).sum()]]).pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusted p: rejecting where they are at most 5 % gives a false alarm among all tests with at most that chance.

    The k-th smallest of m, times m - k + 1, and at least those of the smaller ones.
    Source: Holm 1979 (Scand. J. Stat. 6:65).
    """
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, _steps(p[order]))
    return adjusted


def at_best(p: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Holm's adjusted p of each test, had it come to its least and all others been as they are."""
    ordered = np.sort(p)
    before = np.searchsorted(ordered, least)  # so many have a smaller one
    steps = np.concatenate([[0.0], _steps(ordered)])
    best: np.ndarray = np.minimum(1.0, np.maximum(steps[before], (len(p) - before) * least))
    return best


def _steps(ordered: np.ndarray) -> np.ndarray:
    steps: np.ndarray = np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))
    return steps


def _prepared(runs: pd.DataFrame) -> pd.DataFrame:
    """By seed: score, time, whether it solved, and what the data and the initial noise of a run depend on."""
    setting = ["task", "cell", "clip", "seed"]
    prepared = runs[setting].assign(
        score=score(runs["final_skill"], runs["outcome"]),
        **times(runs),
        of_data=_joined(runs, "task", runs["batch_size"]),
        of_noise=_joined(runs, "cell", runs["cell"].astype(str).str.partition(",")[0]),  # its name
    )
    once = prepared.drop_duplicates(setting)  # a run may have been measured in several ways
    return once.sort_values("seed")


def _joined(runs: pd.DataFrame, part: str, more: pd.Series) -> pd.Series:
    """All settings of a part of the configuration, and one more, as a text."""
    keys = [key for key in runs if str(key).startswith(f"{part}.")]
    return more.astype(str).str.cat([runs[key].map(repr) for key in keys], sep=" ")  # NaN, not of this task, is a value


def _pairs(
    runs: pd.DataFrame,
) -> Iterator[tuple[str, str, str, tuple[object, pd.DataFrame], tuple[object, pd.DataFrame]]]:
    """Kind, task, what both share, and the two groups of runs with their names."""
    for (task, clip), same in runs.groupby(["task", "clip"], observed=True):
        groups = [(cell, same[same["cell"] == cell]) for cell in levels(same["cell"])]
        for one, other in combinations(groups, 2):
            yield "cells", str(task), str(clip), one, other
    for (task, cell), same in runs.groupby(["task", "cell"], observed=True):
        found = levels(same["clip"])
        reference = NO_CLIPPING if NO_CLIPPING in found else found[-1]
        control = (reference, same[same["clip"] == reference])
        for clip in found:
            if clip != reference:
                yield "thresholds", str(task), str(cell), (clip, same[same["clip"] == clip]), control


def _corrected(comparisons: pd.DataFrame) -> pd.DataFrame:
    """With Holm's correction over the families of one task and kind, and verdicts."""
    decidable = np.zeros(len(comparisons), dtype=bool)
    for question in QUESTIONS:
        p, least = (comparisons[f"{part}_{question}"].to_numpy() for part in ("p", "least"))
        comparisons = comparisons.assign(**{f"holm_{question}": holm(p)})
        decidable |= at_best(p, least) <= LEVEL
    rows = zip(decidable.tolist(), comparisons.iterrows(), strict=True)
    return comparisons.assign(verdict=[_verdict(row, able) for able, (_, row) in rows])


def _verdict(row: pd.Series, decidable: bool) -> str:
    """Who is ahead in what; never that there is no difference."""
    ahead = {
        "solved": row["solved_a"] / row["n_a"] - row["solved_b"] / row["n_b"],
        "score": row["difference"],
        "time": row["sooner"],
    }
    found: dict[str, list[str]] = {}
    for question, words in QUESTIONS.items():
        if row[f"holm_{question}"] <= LEVEL:
            found.setdefault(row["a"] if ahead[question] > 0 else row["b"], []).append(words)
    if not found:
        return UNDECIDED if decidable else TOO_SMALL
    return "; ".join(f"{name} {', '.join(words)}" for name, words in found.items())
