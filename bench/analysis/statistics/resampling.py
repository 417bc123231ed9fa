"""Permutation tests and 95 % intervals over seeds; what draws at random has a generator of its own.

Tests are two-sided.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from scipy.stats import norm, rankdata, t, trim_mean

from bench.analysis.statistics.summaries import LEAST_FOR_INTERQUARTILE_MEAN

RESAMPLES = 10_000
PERMUTATIONS = 99_999  # where there are too many to go through
EXACT_PAIRS = 30  # 2^15 sums on each side
EXACT_SPLITS = 50_000
TAIL = 0.025  # of what an interval leaves out, at each end
FEWEST = 5  # values; the range of fewer holds their median in at most 1 - 2 / 2^4 = .875 of all sets
ROUNDING = 1e-12


def generator(seed: int, *names: object) -> np.random.Generator:
    """Random numbers for one purpose: the same whatever else is drawn, in whatever order."""
    digest = hashlib.blake2b("/".join(map(str, (seed, *names))).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def sign_flip(differences: Sequence[float] | np.ndarray, random: np.random.Generator) -> float:
    """p of pairs whose members may be swapped: how often |sum +-d_i| >= |sum d_i|.

    differences: a number for each pair. All 2^n signs up to n = 30, by adding the sums of one half of the pairs to
    those of the other; beyond, 99 999 random ones and the signs that were observed.
    Source: Fisher 1935, The Design of Experiments, section 21; Phipson & Smyth 2010 (arXiv:1603.05766).
    """
    d = np.asarray(differences, dtype=float)
    least = abs(d.sum()) - ROUNDING * np.abs(d).sum()
    if least <= 0:
        return 1.0
    if len(d) > EXACT_PAIRS:
        sums = (random.integers(0, 2, (PERMUTATIONS, len(d)), dtype=np.int8) * 2 - 1) @ d
        return float((1 + (np.abs(sums) >= least).sum()) / (1 + PERMUTATIONS))
    one, other = _signed_sums(d[: len(d) // 2]), np.sort(_signed_sums(d[len(d) // 2 :]))
    above = len(other) - np.searchsorted(other, least - one, side="left")
    below = np.searchsorted(other, -least - one, side="right")
    return float((above + below).sum() / 2.0 ** len(d))


def _signed_sums(d: np.ndarray) -> np.ndarray:
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def two_sample(a: np.ndarray, b: np.ndarray, random: np.random.Generator) -> float:
    """p of two groups that may be mixed: how often a group as large as `a` has a sum as far from its expected one.

    All splits up to 50 000, which is 9 against 9; beyond, 99 999 random ones and the one that was observed.
    Source: Pitman 1937 (J. R. Stat. Soc. Suppl. 4:119); Phipson & Smyth 2010 (arXiv:1603.05766).
    """
    pooled = np.concatenate([a, b]).astype(float)
    centred = pooled - pooled.mean()
    least = abs(centred[: len(a)].sum()) - ROUNDING * np.abs(pooled).sum()
    if least <= 0:
        return 1.0
    if comb(len(pooled), len(a)) <= EXACT_SPLITS:
        splits = np.array(list(combinations(range(len(pooled)), len(a))))
        return float((np.abs(centred[splits].sum(axis=1)) >= least).mean())
    mixed = random.permuted(np.tile(centred, (PERMUTATIONS, 1)), axis=1)[:, : len(a)]
    return float((1 + (np.abs(mixed.sum(axis=1)) >= least).sum()) / (1 + PERMUTATIONS))


def least_p(n_a: int, n_b: int, *, paired: bool, exact: bool = False) -> float:
    """The least p that a test of so many runs can come to, whatever they do: 2 / 2^n of n pairs.

    exact: of McNemar's and Fisher's tests, which never sample.
    """
    if paired:
        return max(2 / 2.0**n_a, 0.0 if exact or n_a <= EXACT_PAIRS else 1 / (1 + PERMUTATIONS))
    splits = comb(n_a + n_b, n_a)
    return max((2 if n_a == n_b else 1) / splits, 0.0 if exact or splits <= EXACT_SPLITS else 1 / (1 + PERMUTATIONS))


def mean_difference_interval(a: np.ndarray, b: np.ndarray, *, paired: bool) -> tuple[float, float]:
    """Interval of mean(a) - mean(b): Student's of the differences of pairs, else Welch's; unbounded from one run.

    difference -+ t s, s^2 = sum of var_g / n_g and t the 97.5 % quantile at s^4 / sum of (var_g / n_g)^2 / (n_g - 1)
    degrees of freedom, over the groups g: the differences of pairs, or a and b. No width where no group varies.
    Coverage, simulated from n = 5 on with scores that are spread out, or near 0 and 1: .90 to .98, where bootstrap
    percentiles have .79 to .95. No interval knows of what was not seen: where all runs of one group score 1, and one
    in ten of the other fails, .42 at n = 5 and .87 at n = 20.
    Source: Student 1908 (Biometrika 6:1); Welch 1938 (Biometrika 29:350).
    """
    groups = [a - b] if paired else [a, b]
    if min(map(len, groups)) < 2:
        return -np.inf, np.inf
    n = np.array([len(group) for group in groups])
    squares = np.array([group.var(ddof=1) for group in groups]) / n
    difference, square = a.mean() - b.mean(), squares.sum()
    half = 0.0
    if square > 0:
        half = np.sqrt(square) * t.ppf(1 - TAIL, 1 / ((squares / square) ** 2 / (n - 1)).sum())
    return float(difference - half), float(difference + half)


def typical_interval(strata: Sequence[np.ndarray], random: np.random.Generator) -> tuple[float, float]:
    """Interval of the interquartile mean of all values together, of their median if there are fewer than 8.

    strata: the values of each task, whose seeds are drawn again among themselves (stratified bootstrap). Unbounded
    where there are fewer than 5 values of a task.
    Expanded percentiles: at Phi(-t sqrt(n / (n - k))) and at 1 minus that, for n values in k strata, t the 97.5 %
    quantile at n - k degrees of freedom. Plain ones are too narrow, for a bootstrap divides by n where n - 1 is due.
    Coverage, simulated with scores that are spread out, or near 0 and 1: .92 to .99 of one task (plain: .87 to .95);
    of two or three tasks together .85 to .95 with 5 seeds of each (.84 to .94), .91 to .95 with 10 (.88 to .93).
    Sources: Agarwal et al. 2021, section 4 (arXiv:2108.13264); Hesterberg 2015 (Am. Stat. 69:371, arXiv:1411.5279).
    Differs from the first: below 8 runs a median, and expanded percentiles.
    """
    if min(map(len, strata)) < FEWEST:
        return -np.inf, np.inf
    drawn = np.concatenate([_drawn(np.sort(values), random) for values in strata], axis=1)
    n, degrees = drawn.shape[1], drawn.shape[1] - len(strata)
    tail = norm.cdf(t.ppf(TAIL, degrees) * np.sqrt(n / degrees))
    few = n < LEAST_FOR_INTERQUARTILE_MEAN
    low, high = np.quantile(np.median(drawn, axis=1) if few else trim_mean(drawn, 0.25, axis=1), (tail, 1 - tail))
    return float(low), float(high)


def rank_correlation(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> tuple[float, float, float]:
    """Spearman's correlation of pairs and its 95 % interval, by percentiles of a bootstrap over the pairs.

    Infinities have a rank like any number. NaN where x or y does not vary; no interval below 5 pairs.
    Coverage, simulated with normal pairs at n = 8, 12 and 20: .95 to .98, and .89 to .99 at a correlation of .95.
    Source: Spearman 1904 (Am. J. Psychol. 15:72); Efron & Tibshirani 1993, chapter 13.
    """
    found = float(_spearman(x[None], y[None])[0])
    if len(x) < FEWEST or np.isnan(found):
        return found, -np.inf, np.inf
    pairs = random.integers(0, len(x), (RESAMPLES, len(x)))
    drawn = _spearman(x[pairs], y[pairs])
    low, high = np.nanquantile(drawn, (TAIL, 1 - TAIL))  # a sample of one pair alone has no correlation
    return found, float(low), float(high)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Row by row; NaN where one of both does not vary."""
    a, b = (rankdata(values, axis=1) for values in (x, y))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return found


def _drawn(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[RESAMPLES, n]: the values drawn again with replacement."""
    n = len(values)
    return values[random.integers(0, n, (RESAMPLES, n))]
