"""Permutation tests and bootstrap intervals over seeds, each with a generator of its own.

Percentile intervals, 95 %; tests are two-sided.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from scipy.stats import trim_mean

from bench.analysis.statistics import LEAST_FOR_INTERQUARTILE_MEAN

RESAMPLES = 2000
PERMUTATIONS = 99_999  # where there are too many to go through
EXACT_PAIRS = 30  # 2^15 sums on each side
EXACT_SPLITS = 50_000
QUANTILES = (0.025, 0.975)
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


def mean_difference_interval(
    a: np.ndarray, b: np.ndarray, random: np.random.Generator, *, paired: bool
) -> tuple[float, float]:
    """Interval of mean(a) - mean(b): pairs are drawn again, or the runs of each group by themselves."""
    if paired:
        return _interval(_drawn(a - b, random).mean(axis=1))
    return _interval(_drawn(a, random).mean(axis=1) - _drawn(b, random).mean(axis=1))


def typical_interval(strata: Sequence[np.ndarray], random: np.random.Generator) -> tuple[float, float]:
    """Interval of the interquartile mean of all values together, of their median if there are fewer than 8.

    strata: the values of each task, whose seeds are drawn again among themselves (stratified bootstrap).
    Source: Agarwal et al. 2021, section 4 (arXiv:2108.13264). Differs: below 8 runs, a median.
    """
    drawn = np.concatenate([_drawn(np.sort(values), random) for values in strata], axis=1)
    if drawn.shape[1] < LEAST_FOR_INTERQUARTILE_MEAN:
        return _interval(np.median(drawn, axis=1))
    return _interval(trim_mean(drawn, 0.25, axis=1))


def share_band(strata: Sequence[np.ndarray], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise band of the share of runs for which something holds, at each of K points.

    strata: for each task, [n, K] of 0 and 1. Only how often each run is drawn matters.
    """
    counts = [random.multinomial(len(held), np.full(len(held), 1 / len(held)), RESAMPLES) @ held for held in strata]
    low, high = np.quantile(np.sum(counts, axis=0) / sum(map(len, strata)), QUANTILES, axis=0)
    return low, high


def _drawn(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[RESAMPLES, n]: the values drawn again with replacement."""
    n = len(values)
    return values[random.integers(0, n, (RESAMPLES, n))]


def _interval(estimates: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(estimates, QUANTILES)
    return float(low), float(high)
