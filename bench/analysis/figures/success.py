"""When runs solve, up to which length, and how well they end, as figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from bench.analysis import captions
from bench.analysis.figures.panels import BAND_ALPHA, MARKER_DISTANCE, cut, legend, opened, reference, shares
from bench.analysis.figures.plot import NothingToDraw, Plot, need
from bench.analysis.figures.style import DOTTED, Dash, SeriesStyle, in_force, paper
from bench.analysis.statistics.memory_length import LENGTH, by_length, chance_to_solve, memory_lengths, without_length
from bench.analysis.statistics.profiles import performance_profiles
from bench.analysis.statistics.survival import curve, times

APART = 0.03  # between series at one length, of the stretch of lengths
MARGIN = 0.12  # left and right of the tried lengths, likewise


@paper()
def time_to_solve(runs: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task") -> Plot:
    """Share of runs that have solved, by updates (Kaplan-Meier)."""
    need(runs, "runs")
    by = [row, col, hue]
    watched = runs[[*by, "updates"]].assign(**times(runs))
    curves = [
        curve(group["time"], group["solved"], group["updates"].max()).assign(**dict(zip(by, key, strict=True)))
        for key, group in watched.groupby(by, observed=True)
    ]
    data = pd.concat(curves, ignore_index=True).astype({key: runs[key].dtype for key in by})
    data = data[[*by, *data.columns.drop(by)]]

    figure, panels, series = opened(data, row, col, hue, "updates", "solved (share of runs)")
    for panel, part in cut(panels, data, row, col):
        for level, line in part.groupby(hue, observed=True):
            _draw_steps(panel, line, series[level])
    for panel in panels.values():
        shares(panel)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    legend(figure, series, {})
    caption = (
        f"Share of runs that have solved their task ({captions.solved_rule(runs)}) by each update: Kaplan-Meier, by "
        f"{captions.named(row)}. A run that diverged, died or failed stays at risk to its full budget, so that a curve "
        f"ends at the share of all runs that solved. Band: pointwise 95 %, Wilson{_censored(watched['stopped'])}; "
        f"{captions.seeds(runs, *by)}. Times are known to within one evaluation, {_resolution(runs)}. "
        f"{captions.conditions(runs)}"
    )
    alt = captions.alt("Share of runs that have solved by updates", series, panels)
    return Plot("time_to_solve", figure, data, caption, alt)


@paper()
def memory_length(runs: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task") -> Plot:
    """Share of runs that solved by the task's length, with a fitted curve and T50, the length at which half solve.

    Raises NothingToDraw unless a group of runs was tried at two lengths or more.
    """
    need(runs, "runs")
    by = [row, col, hue]
    renamed = runs.assign(task=without_length(runs["task"])) if "task" in by else runs
    rates = by_length(renamed, by)
    if rates.empty:
        raise NothingToDraw(f"these results hold no sweep of {LENGTH}, two lengths of a task at least")
    fits = memory_lengths(rates, by).drop(columns=["n", "lengths"])
    data = rates.merge(fits.rename(columns={"low": "t50_low", "high": "t50_high"}), on=by)
    data = data.astype({key: rates[key].dtype for key in by})

    figure, panels, series = opened(data, row, col, hue, "length of the task (time steps)", "solved (share of runs)")
    for panel, part in cut(panels, data, row, col):
        stretch = np.log(part["longest"].max() / part["shortest"].min()) if len(part) else 0.0
        for k, (level, look) in enumerate(series.items()):
            shift = APART * (k - (len(series) - 1) / 2)
            _draw_fit(panel, part[part[hue] == level], look, stretch * shift, 0.5 + 2 * shift)
    for (_, level), panel in panels.items():
        tried = data.loc[data[col] == level, "length"]
        _lengths(panel, np.unique(tried))
        reference(panel, y=0.5, dash=DOTTED)
        shares(panel)
    half: dict[str, Dash] = {"half": DOTTED}
    legend(figure, series, half)
    caption = (
        f"Share of runs that solved their task ({captions.solved_rule(runs)}) by its length T, with 95 % Wilson "
        f"intervals, {captions.seeds(renamed, *by, LENGTH)} at each length. Line: fit of 1 / (1 + (T / T50)^b); large "
        "mark near one half: T50, with its 95 % interval by profile likelihood over b in [0.1, 100]. Hollow: separated "
        "data, at most one length at which some solve and some do not, so that the slope is only known to be large. "
        "No mark: T50 lies outside of the lengths tried. Points and intervals are moved apart so as not to hide each "
        f"other. {captions.conditions(runs)}"
    )
    alt = captions.alt("Share of runs that solved by length of the task, with fitted curves", series, panels)
    return Plot("memory_length", figure, data, caption, alt)


@paper()
def performance_profile(runs: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task") -> Plot:
    """Share of runs that score at least tau, by tau."""
    need(runs, "runs")
    data = performance_profiles(runs, [row, col, hue])

    figure, panels, series = opened(data, row, col, hue, r"score $\tau$ (skill, 0 to 1)", r"runs with score $\geq\tau$")
    for panel, part in cut(panels, data, row, col):
        for level, line in part.groupby(hue, observed=True):
            look = series[level]
            every = (look.offset, MARKER_DISTANCE)
            panel.plot(line["tau"], line["share"], color=look.color, marker=look.marker, markevery=every)
            panel.fill_between(line["tau"], line["low"], line["high"], color=look.color, alpha=BAND_ALPHA, linewidth=0)
        shares(panel)
    legend(figure, series, {})
    caption = (
        f"Performance profiles: share of runs whose score is at least tau, by {captions.named(row)}. Score: skill on "
        "fresh sequences at the end, clipped to [0, 1]; 0 for a run that diverged, died or failed. Band: pointwise "
        f"95 %, Wilson, {captions.seeds(runs, row, col, hue)}. {captions.conditions(runs)}"
    )
    alt = captions.alt("Share of runs with at least a score, by score", series, panels)
    return Plot("performance_profile", figure, data, caption, alt)


def _draw_steps(panel: Axes, line: pd.DataFrame, look: SeriesStyle) -> None:
    every = (look.offset, MARKER_DISTANCE)
    panel.step(line["update"], line["share"], where="post", color=look.color, marker=look.marker, markevery=every)
    panel.fill_between(
        line["update"], line["low"], line["high"], step="post", color=look.color, alpha=BAND_ALPHA, linewidth=0
    )


def _draw_fit(panel: Axes, points: pd.DataFrame, look: SeriesStyle, shift: float, height: float) -> None:
    """Rates with their intervals, moved by `shift` in ln T; the fitted curve; T50 with its interval at `height`."""
    if points.empty:
        return
    ends = [(points["rate"] - points["low"]).clip(0), (points["high"] - points["rate"]).clip(0)]
    place, scale = points["length"] * np.exp(shift), in_force().scale
    panel.errorbar(
        place,
        points["rate"],
        yerr=ends,
        color=look.color,
        marker=look.marker,
        markersize=2.5 * scale,
        linestyle="none",
        elinewidth=0.5 * scale,
    )
    fit = points.iloc[0]
    left, right = _margins(fit["shortest"], fit["longest"])
    if np.isfinite(fit["slope"]):
        lengths = np.geomspace(fit["shortest"], fit["longest"], 400)
        panel.plot(lengths, chance_to_solve(lengths, fit["t50"], fit["slope"]), color=look.color, linewidth=0.8 * scale)
    panel.plot(np.clip(fit[["t50_low", "t50_high"]].to_list(), left, right), [height, height], color=look.color)
    if not fit["censored"]:
        (mark,) = panel.plot([fit["t50"]], [height], color=look.color, marker=look.marker, markersize=4 * scale)
        mark.set(markeredgewidth=0.8, markerfacecolor="white" if fit["separated"] else look.color)


def _margins(shortest: float, longest: float) -> tuple[float, float]:
    beyond = (longest / shortest) ** MARGIN
    return shortest / beyond, longest * beyond


def _lengths(panel: Axes, tried: np.ndarray) -> None:
    """A logarithmic x axis with the lengths that were tried."""
    panel.set_xscale("log")
    panel.set_xlim(*_margins(tried[0], tried[-1]))
    panel.set_xticks(tried, [f"{length:g}" for length in tried])
    panel.xaxis.set_minor_locator(NullLocator())


def _censored(stopped: pd.Series) -> str:
    if not stopped.any():
        return ""
    return (
        f" up to the first run that was stopped from outside, log-log beyond ({stopped.sum()} were, and are censored)"
    )


def _resolution(runs: pd.DataFrame) -> str:
    """How far apart evaluations are: a sixtieth of the run where its configuration does not say."""
    every = runs.get("evaluation.every", pd.Series(np.nan, runs.index)).astype(float)
    every = every.fillna((runs["updates"] // 60).clip(lower=1))
    least, most = int(every.min()), int(every.max())
    return f"every {least} updates" if least == most else f"every {least} to {most} updates"
