"""When runs solve, up to which length, and how well they end, as figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from bench.analysis import captions
from bench.analysis.figures.facets import ONE_ROW, Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.labels import width_of, wrapped
from bench.analysis.figures.panels import BAND_ALPHA, MARKER_DISTANCE, reference, shares
from bench.analysis.figures.plot import NothingToDraw, Plot
from bench.analysis.figures.style import DOTTED, Dash, SeriesStyle, in_force
from bench.analysis.settings import column_of, levels
from bench.analysis.statistics.memory_length import LENGTH, by_length, chance_to_solve, memory_lengths
from bench.analysis.statistics.profiles import performance_profiles
from bench.analysis.statistics.summaries import success_rates
from bench.analysis.statistics.survival import curve, times

MOST_LETTERS = 40  # of all tick labels side by side on the x axis; more of them stand upright
LONGEST = 1.2  # inches, at a size of 8 points, of a line of those
SPREAD = 0.8  # of the series at one threshold, of the distance between thresholds
APART = 0.03  # between series at one length, of the stretch of lengths
MARGIN = 0.12  # left and right of the tried lengths, likewise


@figure(place=30)
def success(facets: Facets) -> Plot:
    """Share of runs that solved their task, with Wilson intervals, by clipping threshold or what else `x` is.

    It has rows of panels only where `row` is something else than `x`.
    """
    along = facets.along(facets.layout.x)
    row, col, hue, x = along.row, along.col, along.hue, column_of(along.layout.x)
    by = [*([] if row == x else [row]), col, hue, x]
    rates = success_rates(along.runs, by)
    places = {level: place for place, level in enumerate(levels(rates[x]))}
    upright = sum(len(str(level)) for level in places) * rates[col].nunique() > MOST_LETTERS
    ticks = [wrapped(str(level), LONGEST * in_force().scale, lines=2) if upright else str(level) for level in places]

    height = 1.5 + (max(width_of(line) for tick in ticks for line in tick.split("\n")) / in_force().scale) * upright
    x_label = "clipping" if x == "clip" else captions.named(x)
    rows = ONE_ROW if row == x else None
    panels = along.panels(rates, x_label, "solved (share of runs)", row=rows, row_height=height)
    for panel, own in panels.cut(rates):
        for k, (name, style) in enumerate(panels.series.items()):
            points = own[own[hue] == name]
            shift = SPREAD / max(len(panels.series), 4) * (k - (len(panels.series) - 1) / 2)
            _draw_intervals(panel, points[x].map(places).astype(float) + shift, points, style)
        panel.set_xticks(list(places.values()), ticks, rotation=90 if upright else 0)
        panel.set_xlim(-0.5, len(places) - 0.5)
        shares(panel)
    panels.legend({})
    caption = (
        f"Share of runs that solved their task at some time ({captions.solved_rule(along.runs)}), by "
        f"{captions.named(x)}. Bars: 95 % Wilson intervals, {captions.seeds(along.runs, *by)}. {along.conditions}"
    )
    alt = panels.alt(f"Success rate with its interval by {captions.named(x)}")
    return Plot("success", (panels.figure,), rates, caption, alt)


@figure(place=160)
def time_to_solve(facets: Facets) -> Plot:
    """Share of runs that have solved, by updates (Kaplan-Meier)."""
    runs, by = facets.runs, facets.by
    watched = runs[[*by, "updates"]].assign(**times(runs))
    curves = [
        curve(group["time"], group["solved"], group["updates"].max()).assign(**dict(zip(by, key, strict=True)))
        for key, group in watched.groupby(by, observed=True)
    ]
    data = pd.concat(curves, ignore_index=True).astype({key: runs[key].dtype for key in by})
    data = data[[*by, *data.columns.drop(by)]]

    panels = facets.panels(data, "updates", "solved (share of runs)")
    for panel, part in panels.cut(data):
        for level, line in part.groupby(facets.hue, observed=True):
            _draw_steps(panel, line, panels.series[level])
        shares(panel)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    panels.legend({})
    caption = (
        f"Share of runs that have solved their task ({captions.solved_rule(runs)}) by each update: Kaplan-Meier, by "
        f"{facets.row_name}. A run that diverged, died or failed stays at risk to its full budget, so that a curve "
        f"ends at the share of all runs that solved. Band: pointwise 95 %, Wilson{_censored(watched['stopped'])}; "
        f"{facets.seeds()}. Times are known to within one evaluation, {_resolution(runs)}. "
        f"{facets.conditions}"
    )
    alt = panels.alt("Share of runs that have solved by updates")
    return Plot("time_to_solve", (panels.figure,), data, caption, alt)


@figure(place=170)
def memory_length(facets: Facets) -> Plot:
    """Share of runs that solved by the task's length, with a fitted curve and T50, the length at which half solve.

    Raises NothingToDraw unless a group of runs was tried at two lengths or more.
    """
    absent = NothingToDraw(f"these results hold no sweep of {LENGTH}, two lengths of a task at least")
    if LENGTH not in facets.runs:
        raise absent
    facets = facets.along(LENGTH)
    by = facets.by
    rates = by_length(facets.runs, by)
    if rates.empty:
        raise absent
    fits = memory_lengths(rates, by).drop(columns=["n", "lengths"])
    data = rates.merge(fits.rename(columns={"low": "t50_low", "high": "t50_high"}), on=by)
    data = data.astype({key: rates[key].dtype for key in by})

    panels = facets.panels(data, "length of the task (time steps)", "solved (share of runs)")
    for panel, part in panels.cut(data):
        stretch = np.log(part["longest"].max() / part["shortest"].min()) if len(part) else 0.0
        for k, (level, style) in enumerate(panels.series.items()):
            shift = APART * (k - (len(panels.series) - 1) / 2)
            _draw_fit(panel, part[part[facets.hue] == level], style, stretch * shift, 0.5 + 2 * shift)
    for (_, level), panel in panels.axes.items():
        tried = data.loc[data[facets.col] == level, "length"]
        _lengths(panel, np.unique(tried))
        reference(panel, y=0.5, dash=DOTTED)
        shares(panel)
    half: dict[str, Dash] = {"half": DOTTED}
    panels.legend(half)
    caption = (
        f"Share of runs that solved their task ({captions.solved_rule(facets.runs)}) by its length T, with 95 % Wilson "
        f"intervals, {facets.seeds(LENGTH)} at each length. Line: fit of 1 / (1 + (T / T50)^b); large "
        "mark near one half: T50, with its 95 % interval by profile likelihood over b in [0.1, 100]. Hollow: separated "
        "data, at most one length at which some solve and some do not, so that the slope is only known to be large. "
        "No mark: T50 lies outside of the lengths tried. Points and intervals are moved apart so as not to hide each "
        f"other. {facets.conditions}"
    )
    alt = panels.alt("Share of runs that solved by length of the task, with fitted curves")
    return Plot("memory_length", (panels.figure,), data, caption, alt)


@figure(place=180)
def performance_profile(facets: Facets) -> Plot:
    """Share of runs that score at least tau, by tau."""
    data = performance_profiles(facets.runs, facets.by)

    panels = facets.panels(data, r"score $\tau$ (skill, 0 to 1)", r"runs with score $\geq\tau$")
    for panel, part in panels.cut(data):
        for level, line in part.groupby(facets.hue, observed=True):
            style = panels.series[level]
            every = (style.offset, MARKER_DISTANCE)
            panel.plot(line["tau"], line["share"], color=style.color, marker=style.marker, markevery=every)
            panel.fill_between(line["tau"], line["low"], line["high"], color=style.color, alpha=BAND_ALPHA, linewidth=0)
        shares(panel)
    panels.legend({})
    caption = (
        f"Performance profiles: share of runs whose score is at least tau, by {facets.row_name}. Score: skill on "
        "fresh sequences at the end, clipped to [0, 1]; 0 for a run that diverged, died or failed. Band: pointwise "
        f"95 %, Wilson, {facets.seeds()}. {facets.conditions}"
    )
    alt = panels.alt("Share of runs with at least a score, by score")
    return Plot("performance_profile", (panels.figure,), data, caption, alt)


def _draw_intervals(panel: Axes, x: pd.Series, rates: pd.DataFrame, style: SeriesStyle) -> None:
    below, above = rates["rate"] - rates["low"], rates["high"] - rates["rate"]
    ends = [below.clip(0), above.clip(0)]  # rounding leaves -1e-17
    panel.errorbar(x, rates["rate"], yerr=ends, color=style.color, marker=style.marker, linestyle="none")


def _draw_steps(panel: Axes, line: pd.DataFrame, style: SeriesStyle) -> None:
    every = (style.offset, MARKER_DISTANCE)
    panel.step(line["update"], line["share"], where="post", color=style.color, marker=style.marker, markevery=every)
    panel.fill_between(
        line["update"], line["low"], line["high"], step="post", color=style.color, alpha=BAND_ALPHA, linewidth=0
    )


def _draw_fit(panel: Axes, points: pd.DataFrame, style: SeriesStyle, shift: float, height: float) -> None:
    """Rates with their intervals, moved by `shift` in ln T; the fitted curve; T50 with its interval at `height`."""
    if points.empty:
        return
    ends = [(points["rate"] - points["low"]).clip(0), (points["high"] - points["rate"]).clip(0)]
    place, scale = points["length"] * np.exp(shift), in_force().scale
    panel.errorbar(
        place,
        points["rate"],
        yerr=ends,
        color=style.color,
        marker=style.marker,
        markersize=2.5 * scale,
        linestyle="none",
        elinewidth=0.5 * scale,
    )
    fit = points.iloc[0]
    left, right = _margins(fit["shortest"], fit["longest"])
    if np.isfinite(fit["slope"]):
        lengths = np.geomspace(fit["shortest"], fit["longest"], 400)
        panel.plot(
            lengths, chance_to_solve(lengths, fit["t50"], fit["slope"]), color=style.color, linewidth=0.8 * scale
        )
    panel.plot(np.clip(fit[["t50_low", "t50_high"]].to_list(), left, right), [height, height], color=style.color)
    if not fit["censored"]:
        (mark,) = panel.plot([fit["t50"]], [height], color=style.color, marker=style.marker, markersize=4 * scale)
        mark.set(markeredgewidth=0.8, markerfacecolor="white" if fit["separated"] else style.color)


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
