"""When runs solve, up to which length, and how well they end, as figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis import captions
from bench.analysis.figures.facets import ONE_ROW, Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.labels import width_of, wrapped
from bench.analysis.figures.memory import rates_by_length
from bench.analysis.figures.panels import BAND_ALPHA, MARKER_DISTANCE, Panels, log_lengths, reference, shares
from bench.analysis.figures.plot import Plot
from bench.analysis.figures.style import DOTTED, Dash, SeriesStyle, in_force
from bench.analysis.settings import column_of, levels
from bench.analysis.statistics.memory_length import LENGTH, chance_to_solve, memory_lengths
from bench.analysis.statistics.profiles import performance_profiles
from bench.analysis.statistics.summaries import success_rates
from bench.analysis.statistics.survival import curve, times

MOST_LETTERS = 40  # of all tick labels side by side on the x axis; more of them stand upright
LONGEST = 1.2  # inches, at a size of 8 points, of a line of those
SPREAD = 0.8  # of the series at one threshold, of the distance between thresholds
FEW = 10  # runs, from which on there is a band
HIDDEN = 0.018  # share by which lines of fewer are moved apart
APART = 0.03  # between series at one length, of the stretch of lengths, at most
TOGETHER = 0.6  # of the distance between lengths, what all series at one length take at most
MOST_INTERVALS = 5  # series at one length; of more, points stand without their intervals
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
    last = len(places) - 1
    for panel, own in panels.cut(rates):
        for k, (name, style) in enumerate(panels.series.items()):
            points = own[own[hue] == name]
            shift = SPREAD / max(len(panels.series), 4) * (k - (len(panels.series) - 1) / 2)
            _draw_intervals(panel, points[x].map(places).astype(float) + shift, points, style)
        panel.set_xticks(list(places.values()), ticks, rotation=90 if upright else 0)
        panel.set_xlim(-0.5, last + 0.5)
        shares(panel)
    caption = (
        f"Share of runs that solved their task at some time, by {captions.named(x)}, with its 95 % Wilson interval "
        f"({captions.seeds(along.runs, *by)})."
    )
    details = f"Solved: {captions.solved_rule(along.runs)}. {along.conditions}"
    alt = panels.alt(f"Success rate with its interval by {captions.named(x)}")
    return Plot("success", panels.figures, rates, caption, alt, "Who solves the task?", details)


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

    few = int(data["at_risk"].max()) < FEW
    panels = facets.panels(data, "updates", "solved (share of runs)")
    for panel, part in panels.cut(data):
        for level, line in part.groupby(facets.hue, observed=True):
            _draw_steps(panel, line, panels.series[level], _shift(panels, level) * few, banded=not few)
        shares(panel, int(part["at_risk"].max()) if few else 0)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    caption = "Share of runs that have solved their task by each update (Kaplan-Meier). " + (
        "A mark is a run that solves; lines are moved apart by a little where they would hide each other."
        if few
        else "Band: pointwise 95 %."
    )
    details = (
        f"Solved: {captions.solved_rule(runs)}; by {facets.row_name}. A run that diverged, died or failed stays at "
        "risk to its full budget, so that a curve ends at the share of all runs that solved. Intervals in the CSV "
        f"file: pointwise 95 %, Wilson{_censored(watched['stopped'])}; {facets.seeds()}. Times are known to within one "
        f"evaluation, {_resolution(runs)}. {facets.conditions}"
    )
    alt = panels.alt("Share of runs that have solved by updates")
    title = "When do runs solve the task?"
    return Plot("time_to_solve", panels.figures, data, caption, alt, title, details)


@figure(place=170, along=LENGTH)
def memory_length(facets: Facets) -> Plot:
    """Share of runs that solved by the task's length, with a fitted curve and T50, the length at which half solve.

    Raises NothingToDraw unless a group of runs was tried at two lengths or more.
    """
    by = facets.by
    rates = rates_by_length(facets)
    fits = memory_lengths(rates, by).drop(columns=["n", "lengths"])
    data = rates.merge(fits.rename(columns={"low": "t50_low", "high": "t50_high"}), on=by)
    data = data.astype({key: rates[key].dtype for key in by})

    many = data[facets.hue].nunique() > MOST_INTERVALS
    half: dict[str, Dash] = {"half": DOTTED}
    panels = facets.panels(data, "length of the task (time steps)", "solved (share of runs)", dashes=half)
    for panel, part in panels.cut(data):
        stretch = np.log(part["longest"].max() / part["shortest"].min()) if len(part) else 0.0
        apart = min(APART, TOGETHER / (max(part["length"].nunique() - 1, 1) * len(panels.series)))
        for k, (level, style) in enumerate(panels.series.items()):
            place = k - (len(panels.series) - 1) / 2
            own = part[part[facets.hue] == level]
            _draw_fit(panel, own, style, stretch * apart * place, 0.5 + 2 * APART * place, intervals=not many)
    for (_, level), panel in panels.axes.items():
        tried = data.loc[data[facets.col] == level, "length"]
        _lengths(panel, np.unique(tried))
        reference(panel, y=0.5, dash=DOTTED)
        shares(panel)
    caption = (
        f"Share of runs that solved their task by its length T{'' if many else ', with 95 % Wilson intervals'}. "
        "Line: fit of 1 / (1 + (T / T50)^b); large mark near one half: T50, with its 95 % interval, hollow where the "
        "data are separated. No mark: T50 lies outside of the lengths tried."
    )
    details = (
        f"Solved: {captions.solved_rule(facets.runs)}; {facets.seeds(LENGTH)} at each length. The interval of T50 is "
        "by profile likelihood over b in [0.1, 100]. Separated: at most one length at which some solve and some do "
        "not, so that the slope is only known to be large. Points and intervals are moved apart so as not to hide "
        f"each other. {facets.conditions}"
    )
    alt = panels.alt("Share of runs that solved by length of the task, with fitted curves")
    return Plot("memory_length", panels.figures, data, caption, alt, "Up to which length is the task solved?", details)


@figure(place=180)
def performance_profile(facets: Facets) -> Plot:
    """Share of runs that score at least tau, by tau."""
    data = performance_profiles(facets.runs, facets.by)

    few = int(data["n"].max()) < FEW
    panels = facets.panels(data, r"score $\tau$ (skill, 0 to 1)", r"runs with score $\geq\tau$")
    for panel, part in panels.cut(data):
        for level, line in part.groupby(facets.hue, observed=True):
            style = panels.series[level]
            every, shift = (style.offset, MARKER_DISTANCE), _shift(panels, level) * few
            panel.plot(line["tau"], line["share"] + shift, color=style.color, marker=style.marker, markevery=every)
            if not few:
                ends = line["low"], line["high"]
                panel.fill_between(line["tau"], *ends, color=style.color, alpha=BAND_ALPHA, linewidth=0)
        shares(panel, int(part["n"].max()) if few else 0)
    caption = r"Performance profiles: share of runs whose score, the skill at the end, is at least tau. " + (
        "A step is a run; lines are moved apart by a little where they would hide each other."
        if few
        else "Band: pointwise 95 %."
    )
    details = (
        f"By {facets.row_name}. Score: skill on fresh sequences at the end, clipped to [0, 1]; 0 for a run that "
        "diverged, died or failed. Intervals in the CSV file: pointwise 95 %, Wilson, "
        f"{facets.seeds()}. {facets.conditions}"
    )
    alt = panels.alt("Share of runs with at least a score, by score")
    title = "How many runs score at least so much?"
    return Plot("performance_profile", panels.figures, data, caption, alt, title, details)


def _shift(panels: Panels, level: object) -> float:
    """A little, in shares, by which the lines of few runs are moved apart, which would lie on each other."""
    return HIDDEN * (list(panels.series).index(level) - (len(panels.series) - 1) / 2)


def _draw_intervals(panel: Axes, x: pd.Series, rates: pd.DataFrame, style: SeriesStyle) -> None:
    below, above = rates["rate"] - rates["low"], rates["high"] - rates["rate"]
    ends = [below.clip(0).to_numpy(), above.clip(0).to_numpy()]  # rounding leaves -1e-17
    panel.errorbar(x, rates["rate"], yerr=ends, color=style.color, marker=style.marker, linestyle="none")


def _draw_steps(panel: Axes, line: pd.DataFrame, style: SeriesStyle, shift: float, *, banded: bool) -> None:
    """A curve, with a mark where a run solves and at its end."""
    x, y = line["update"], line["share"] + shift
    panel.step(x, y, where="post", color=style.color)
    marked = line["share"].diff().gt(0) | (line.index == line.index[-1])
    panel.plot(x[marked], y[marked], color=style.color, marker=style.marker, linestyle="none")
    if banded:
        ends = line["low"], line["high"]
        panel.fill_between(x, *ends, step="post", color=style.color, alpha=BAND_ALPHA, linewidth=0)


def _draw_fit(
    panel: Axes, points: pd.DataFrame, style: SeriesStyle, shift: float, height: float, *, intervals: bool
) -> None:
    """Rates, moved by `shift` in ln T, with or without intervals; the curve; T50 with its interval at `height`."""
    if points.empty:
        return
    ends = [(points["rate"] - points["low"]).clip(0), (points["high"] - points["rate"]).clip(0)]
    place, scale = points["length"] * np.exp(shift), in_force().scale
    panel.errorbar(
        place,
        points["rate"],
        yerr=ends if intervals else None,
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
    log_lengths(panel, tried)
    panel.set_xlim(*_margins(tried[0], tried[-1]))


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
