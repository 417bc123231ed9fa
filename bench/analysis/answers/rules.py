"""How a prediction is read off runs: a statistic, its 95 % interval, and where the interval must lie.

A rule holds where its whole interval lies within what is predicted, does not hold where it lies outside, and is
undecided in between, or where there are too few seeds.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import linregress

from bench.analysis.answers.quantities import SHARES
from bench.analysis.settings import NO_CLIPPING, matching, text_of
from bench.analysis.statistics.mechanism import Estimate, over_seeds
from bench.analysis.statistics.memory_length import LENGTH, MemoryLength, memory_length
from bench.analysis.statistics.resampling import generator, rank_correlation
from bench.analysis.statistics.summaries import share_difference, typical, wilson
from bench.analysis.table import as_known, two_digits

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
LEAST_SEEDS = 10  # with fewer nothing is decided
TUNING = 100  # seeds from here on choose settings, and are not reported
Where = Mapping[str, Any]


class NoSuchRule(ValueError):
    """A rule that makes no sense of these runs; the message says what is wrong."""


@dataclass(frozen=True)
class Found:
    """What a rule came to: its estimate, its verdict, and both in words with the groups."""

    estimate: Estimate
    verdict: str
    sentence: str


@dataclass(frozen=True)
class Sample:
    """Runs of one group, brought down to one number for each seed; a yes or no of several settings to its share.

    chosen: the settings that were chosen on tuning seeds, in words.
    """

    name: str
    values: pd.Series
    chosen: str

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def yes_or_no(self) -> bool:
        """Whether each seed has one answer; the share of several is a number like any other."""
        return bool(self.values.isin([0, 1]).all())

    def share(self) -> str:
        """`irnn 9/10`, or the share where several runs of a seed count as one."""
        count = self.values.sum()
        told = f"{count:.0f}/{self.n}" if count == round(count) else f"{count / self.n:.0%}"
        return f"{self.name} {told}{self.chosen}"

    def number(self) -> str:
        """`irnn 0.98 (n = 10)`."""
        return f"{self.name} {_rounded(typical(self.values))}{self.chosen}"


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """A statistic of runs, and where it is predicted to lie: above one number, below another, or both.

    says: the prediction in words. quantity: one of `quantities`. where: keys of the configuration with one value or
    several, that all runs of the rule have. choose: settings of which each group takes those with the best typical
    score on seeds from 100 on; it is reported on the others.
    """

    says: str
    quantity: str
    where: Where = dataclasses.field(default_factory=dict)
    choose: Sequence[str] = ()
    above: float | None = None
    below: float | None = None

    least, of_what = LEAST_SEEDS, "seeds"  # n below which nothing is decided, and what n counts

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise NoSuchRule(f"{self.says}: predicts nothing; give above or below, or both")

    @abstractmethod
    def estimate(self, runs: pd.DataFrame) -> tuple[Estimate, str]:
        """The statistic with its interval, n in seeds (or groups), and a sentence on what it is made from.

        runs: one row per run, its settings and its quantities. Raises NoSuchRule.
        """

    def read(self, runs: pd.DataFrame) -> Found:
        """What the rule comes to on these runs."""
        estimate, made_from = self.estimate(runs[having(runs, self.where)])
        verdict = self.verdict(estimate)
        few = f"; {estimate.n} of at least {self.least} {self.of_what} decide nothing" if self.too_few(estimate) else ""
        interval = f"{_rounded(estimate.value)} [{_rounded(estimate.low)}, {_rounded(estimate.high)}]"
        sentence = f"{made_from}: {interval}, n = {estimate.n} {self.of_what}, predicted {self.predicted}{few}"
        return Found(estimate, verdict, sentence)

    def too_few(self, estimate: Estimate) -> bool:
        """Whether n is so small that nothing is decided."""
        return estimate.n < self.least

    def verdict(self, estimate: Estimate) -> str:
        """By the interval alone."""
        if self.too_few(estimate) or np.isnan(estimate.value):
            return UNDECIDED
        if (self.above is None or estimate.low > self.above) and (self.below is None or estimate.high < self.below):
            return HOLDS
        too_low = self.above is not None and estimate.high <= self.above
        too_high = self.below is not None and estimate.low >= self.below
        return FAILS if too_low or too_high else UNDECIDED

    @property
    def predicted(self) -> str:
        bounds = {"above": self.above, "below": self.below}
        return " and ".join(f"{word} {value:g}" for word, value in bounds.items() if value is not None)

    def sample(self, runs: pd.DataFrame, where: Where) -> Sample:
        """The runs of a group, one number for each seed. Raises NoSuchRule if there are none."""
        own = runs[having(runs, where)]
        chosen = ""
        if self.choose:
            own, best = at_best(own, self.choose)
            chosen = f" at {named(best)}"
        own = own[own["seed"] < TUNING] if len(own) else own
        values = own.assign(value=_column(own, self.quantity)).dropna(subset=["value"])
        if values.empty:
            raise NoSuchRule(f"no run with {named(where) or 'these settings'} has {self.quantity}")
        by_seed = values.groupby("seed")["value"]
        return Sample(named(where), by_seed.mean() if self.quantity in SHARES else by_seed.median(), chosen)


@dataclass(frozen=True, kw_only=True)
class Level(Rule):
    """The typical value of a group over seeds, with its bootstrap interval; of a yes or no its share, with Wilson's.

    Where several settings are taken together, a seed's share of them is a number.
    """

    of: Where

    def estimate(self, runs: pd.DataFrame) -> tuple[Estimate, str]:
        sample = self.sample(runs, self.of)
        if self.quantity in SHARES:
            told = f"{self.quantity}: {sample.share()}"
            if not sample.yes_or_no:
                return _over(sample.values, self), told
            count = sample.values.sum()
            low, high = (float(end) for end in wilson(count, sample.n))
            return Estimate(count / sample.n, low, high, sample.n), told
        return _over(sample.values, self), f"{self.quantity}: {sample.name}{sample.chosen}"


@dataclass(frozen=True, kw_only=True)
class Difference(Rule):
    """One group less another: of shares, with Newcombe's interval; of numbers, the typical difference of pairs.

    of, less: the two groups. Numbers are paired by seed, and the interval is a bootstrap over these pairs; so are a
    seed's shares of several settings that are taken together.
    """

    of: Where
    less: Where

    def estimate(self, runs: pd.DataFrame) -> tuple[Estimate, str]:
        a, b = self.sample(runs, self.of), self.sample(runs, self.less)
        pairs = (a.values - b.values).dropna()
        if self.quantity in SHARES:
            told = f"{self.quantity}: {a.share()} less {b.share()}"
            if not (a.yes_or_no and b.yes_or_no):
                return _over(pairs, self), told
            low, high = share_difference((a.values.sum(), a.n), (b.values.sum(), b.n))
            found = Estimate(a.values.mean() - b.values.mean(), low, high, min(a.n, b.n))
            return found, told
        return _over(pairs, self), f"{self.quantity}: {a.number()} less {b.number()}"


@dataclass(frozen=True, kw_only=True)
class Ratio(Rule):
    """One group over another, of numbers > 0: exp of the typical difference of logarithms, paired by seed.

    of, over: the two groups. A seed on which one of both is infinite, such as a time to solve, has no ratio.
    """

    of: Where
    over: Where

    def estimate(self, runs: pd.DataFrame) -> tuple[Estimate, str]:
        a, b = self.sample(runs, self.of), self.sample(runs, self.over)
        found = _over(_finite(np.log(a.values) - np.log(b.values)), self)
        value, low, high = (float(np.exp(end)) for end in (found.value, found.low, found.high))
        return Estimate(value, low, high, found.n), f"{self.quantity}: {a.number()} over {b.number()}"


@dataclass(frozen=True, kw_only=True)
class Slope(Rule):
    """How a quantity grows with a setting: the typical slope over seeds, each by least squares.

    along: the setting. logarithmic: of ln quantity over ln setting, which is an exponent. Infinities are left out, and
    a seed with fewer than two points has no slope.
    """

    of: Where
    along: str
    logarithmic: bool = False

    def estimate(self, runs: pd.DataFrame) -> tuple[Estimate, str]:
        own = runs[having(runs, self.of) & (runs["seed"] < TUNING)]
        points = pd.DataFrame({"x": own[self.along], "y": _column(own, self.quantity), "seed": own["seed"]})
        points = points.astype(float)
        if self.logarithmic:
            points[["x", "y"]] = np.log(points[["x", "y"]])
        points = points[np.isfinite(points[["x", "y"]]).all(axis=1)]
        slopes = {
            seed: float(linregress(part["x"], part["y"]).slope)
            for seed, part in points.groupby("seed")
            if part["x"].nunique() > 1
        }
        power = "exponent of" if self.logarithmic else "slope of"
        name = named(self.of)
        return _over(pd.Series(slopes, dtype=float), self), f"{power} {self.quantity} over {self.along}: {name}"


@dataclass(frozen=True, kw_only=True)
class RankCorrelation(Rule):
    """Spearman's correlation over groups of runs, between the typical values of two quantities; bootstrap over groups.

    between: the other quantity. of: which runs. over: settings; runs that agree in them are one group. absolute:
    whether the size of `between` is meant, without its sign.
    """

    between: str
    of: Where
    over: Sequence[str]
    absolute: bool = False
    least, of_what = 6, "groups"

    def estimate(self, runs: pd.DataFrame) -> tuple[Estimate, str]:
        own = runs[having(runs, self.of) & (runs["seed"] < TUNING)]
        x = _column(own, self.between)
        pairs = own.assign(x=x.abs() if self.absolute else x, y=_column(own, self.quantity)).dropna(subset=["x", "y"])
        if pairs["seed"].nunique() < LEAST_SEEDS:
            raise NoSuchRule(f"{pairs['seed'].nunique()} of at least {LEAST_SEEDS} seeds decide nothing")
        groups = pairs.groupby(list(self.over), dropna=False)[["x", "y"]].median()
        random = generator(0, "rank correlation", self.says)
        value, low, high = rank_correlation(groups["x"].to_numpy(), groups["y"].to_numpy(), random)
        size = "size of " if self.absolute else ""
        what = f"rank correlation of {self.quantity} with {size}{self.between} over {', '.join(self.over)}"
        return Estimate(value, low, high, len(groups)), what


@dataclass(frozen=True, kw_only=True)
class MemoryRatio(Rule):
    """How many times as far back one group learns as another: the ratio of their T50, over the lengths of the task.

    of, over: the two groups. The interval of ln T50_a - ln T50_b takes the distance of each estimate from the ends of
    its profile likelihood interval: d - sqrt((a - l_a)^2 + (u_b - b)^2) and d + sqrt((u_a - a)^2 + (b - l_b)^2). An
    estimate beyond the lengths tried is taken at the last of them; an end of an interval beyond them bounds nothing.
    Source: Zou & Donner 2008 (Stat. Med. 27:1693).
    """

    of: Where
    over: Where

    def estimate(self, runs: pd.DataFrame) -> tuple[Estimate, str]:
        (a, told_a, n_a), (b, told_b, n_b) = (self._t50(runs, where) for where in (self.of, self.over))
        with np.errstate(divide="ignore"):
            logs_a, logs_b = np.log(a), np.log(b)
        low = logs_a[1] - logs_b[1] - np.hypot(logs_a[1] - logs_a[0], logs_b[2] - logs_b[1])
        high = logs_a[1] - logs_b[1] + np.hypot(logs_a[2] - logs_a[1], logs_b[1] - logs_b[0])
        value, low, high = (float(np.exp(end)) for end in (logs_a[1] - logs_b[1], low, high))
        return Estimate(value, low, high, min(n_a, n_b)), f"T50: {told_a} over {told_b}"

    def _t50(self, runs: pd.DataFrame, where: Where) -> tuple[list[float], str, int]:
        """Low, T50 and high as far as the lengths tell, and in words; seeds at a length."""
        own = runs[having(runs, where) & (runs["seed"] < TUNING)]
        if own.empty or own[LENGTH].nunique() < 2:
            raise NoSuchRule(f"no runs with {named(where)} at two lengths or more")
        found, tried = _t50(own), (own[LENGTH].min(), own[LENGTH].max())
        t50, low, high = (as_known(length, *tried) for length in (found.t50, found.low, found.high))
        known = [
            0.0 if found.low < tried[0] else min(found.low, tried[1]),
            _clipped(found.t50, own),
            np.inf if found.high > tried[1] else max(found.high, tried[0]),
        ]
        return known, f"{named(where)} {t50} [{low}, {high}]", int(own.groupby(LENGTH)["seed"].nunique().min())


@dataclass(frozen=True, kw_only=True)
class MemoryCorrelation(Rule):
    """Spearman's correlation over groups of runs, between T50 and the median of a quantity; bootstrap over groups.

    A T50 beyond the lengths tried is taken at the last of them.

    over: settings; runs that agree in them are one group, tried at several lengths of the task.
    """

    over: Sequence[str]
    least, of_what = 6, "groups"

    def estimate(self, runs: pd.DataFrame) -> tuple[Estimate, str]:
        own = runs[runs["seed"] < TUNING].assign(x=lambda all_runs: _column(all_runs, self.quantity))
        if own.groupby(LENGTH)["seed"].nunique().min() < LEAST_SEEDS:
            raise NoSuchRule(f"fewer than {LEAST_SEEDS} seeds at a length decide nothing")
        groups = [part for _, part in own.groupby(list(self.over), dropna=False) if part[LENGTH].nunique() > 1]
        x = np.array([part["x"].median() for part in groups])
        y = np.array([_clipped(_t50(part).t50, part) for part in groups])
        value, low, high = rank_correlation(x, y, generator(0, "memory", self.says))
        return Estimate(value, low, high, len(groups)), f"rank correlation of T50 with {self.quantity}"


RULES: dict[str, type[Rule]] = {
    "level": Level,
    "difference": Difference,
    "ratio": Ratio,
    "slope": Slope,
    "rank_correlation": RankCorrelation,
    "memory_ratio": MemoryRatio,
    "memory_correlation": MemoryCorrelation,
}


def rule(node: Mapping[str, Any]) -> Rule:
    """A rule from an experiment's yaml: `rule` names its kind, the rest are its fields. Raises NoSuchRule."""
    given = dict(node)
    kind = RULES.get(given.pop("rule", ""))
    if kind is None:
        raise NoSuchRule(f"rule={node.get('rule')}: must be one of {', '.join(RULES)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise NoSuchRule(f"rule={node['rule']}: {str(error).rpartition('__init__() ')[2]}") from None


def at_best(runs: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The runs with the settings of the greatest typical score on tuning seeds, and these settings.

    Raises NoSuchRule if there are no tuning seeds.
    """
    tuned = runs[runs["seed"] >= TUNING]
    if tuned.empty:
        raise NoSuchRule(f"no run has a seed from {TUNING} on, by which {', '.join(keys)} would be chosen")
    scores = tuned.groupby(list(keys), dropna=False)["score"].agg(typical)
    best = scores.index[int(scores.to_numpy().argmax())]
    values = dict(zip(keys, best if isinstance(best, tuple) else (best,), strict=True))
    return runs[having(runs, values)], values


def having(runs: pd.DataFrame, where: Where) -> pd.Series:
    """Whether each run has these settings (`settings.matching`). Raises NoSuchRule for a key that no run has."""
    for key in where:
        if key not in runs:
            raise NoSuchRule(f"{key}: these runs have no such setting")
    return matching(runs, where)


def named(where: Where) -> str:
    """Settings in words: `irnn, clipped at 1`."""
    return ", ".join(_named(key, value) for key, value in where.items())


def _named(key: str, value: Any) -> str:
    told = " or ".join(map(text_of, value)) if isinstance(value, list) else text_of(value)
    if key == "cell":
        return told
    if value is None:
        return f"no {key.rpartition('.')[2]}"
    if key == "clipping.threshold":
        return "no clipping" if told == "inf" else f"clipped at {told}"
    return f"{key.rpartition('.')[2]}={told}" if key != "clipping" or told != NO_CLIPPING else "no clipping"


def _t50(runs: pd.DataFrame) -> MemoryLength:
    """T50 of runs of one group."""
    solved = runs.groupby(LENGTH)["solved"]
    return memory_length([*solved.groups], solved.sum().tolist(), solved.size().tolist())


def _clipped(t50: float, runs: pd.DataFrame) -> float:
    """T50, or the last length that was tried where it lies beyond."""
    return float(np.clip(t50, runs[LENGTH].min(), runs[LENGTH].max()))


def _over(values: pd.Series, rule: Rule) -> Estimate:
    """The typical value of one number for each seed."""
    return over_seeds(pd.DataFrame({"seed": values.index, "value": values.to_numpy()}), rule.says)


def _finite(values: pd.Series) -> pd.Series:
    return values[np.isfinite(values)]


def _column(runs: pd.DataFrame, quantity: str) -> pd.Series:
    if quantity not in runs:
        raise NoSuchRule(f"these runs have no {quantity}")
    return runs[quantity].astype(float)


def _rounded(value: float) -> str:
    if np.isnan(value):
        return "unknown"
    return two_digits(value).replace("–", "-∞") if np.isfinite(value) else ("∞" if value > 0 else "-∞")
