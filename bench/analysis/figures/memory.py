"""How far back each cell learns, beside what it takes, what clipping does to it, and what foretells it, as figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullLocator

from bench.analysis import captions, queries
from bench.analysis.figures.facets import ONE_ROW, Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.labels import width_of
from bench.analysis.figures.panels import log_lengths, shade
from bench.analysis.figures.plot import NothingToDraw, Plot
from bench.analysis.figures.style import in_force
from bench.analysis.settings import levels
from bench.analysis.statistics.decay import decay
from bench.analysis.statistics.memory_length import LENGTH, as_far_as_known, by_length, memory_lengths
from bench.analysis.statistics.resampling import generator, rank_correlation
from bench.analysis.statistics.summaries import quartiles

EDGE = (
    3.0  # beyond the longest finite half-life, where infinite ones are drawn; likewise for T50 outside of the lengths
)
MANY_DECADES = 1e4  # between the ends of an axis that has one label a decade
MOST_ROWS = 6  # of a map
OUTSIDE = 1.5  # of the ranking: beyond the lengths, where T50 that lies outside of them is drawn
MARGIN = 1.1  # and the end of its axis beyond that
ROW_HEIGHT = 0.17  # inches at a size of 8 points, of a name in the ranking with one or two marks
ROW_SPREAD = 0.6  # of the distance between names, what the marks of one take
DARK = 0.6  # share from which on a number is white


@figure(place=168, many=True, along=LENGTH)
def memory_ranking(facets: Facets) -> Plot:
    """T50 with its interval for each setting, the longest memory on top."""
    data = memory_lengths(rates_by_length(facets), facets.by)
    data = data.astype({key: facets.runs[key].dtype for key in facets.by})
    edges = data["shortest"].min() / OUTSIDE, data["longest"].max() * OUTSIDE
    drawn = data.assign(**{end: data[end].clip(*edges) for end in ("low", "t50", "high")})
    order = drawn.assign(log=np.log(drawn["t50"])).groupby(facets.hue, observed=True)["log"].mean()
    names = [str(name) for name in order.sort_values(kind="stable").index]
    places = {name: place for place, name in enumerate(names)}
    across = levels(drawn[facets.row])

    panels = facets.panels(
        drawn,
        "T50, the length that half of the runs solve (time steps)",
        "",
        row=ONE_ROW,
        hue=facets.row,
        left=max(map(width_of, names)) / in_force().scale,
        row_height=0.3 + ROW_HEIGHT * len(names) * max(1, len(across) / 2),
        shared=lambda panel: (panel[1], "names"),
    )
    for panel, own in panels.cut(drawn):
        for k, level in enumerate(across):
            part, style = own[own[facets.row] == level], panels.series[level]
            y = part[facets.hue].astype(str).map(places).astype(float) + ROW_SPREAD * (0.5 - (k + 0.5) / len(across))
            sides = [part["t50"] - part["low"], part["high"] - part["t50"]]
            panel.errorbar(part["t50"], y, xerr=sides, color=style.color, marker=style.marker, linestyle="none")
        tried = np.unique(facets.runs.loc[facets.runs[facets.col].isin(own[facets.col]), LENGTH].dropna())
        log_lengths(panel, tried)
        ends = edges[0] / MARGIN, edges[1] * MARGIN
        panel.set_xlim(*ends)
        shade(panel, ends[0], tried[0])
        shade(panel, tried[-1], ends[1])
        panel.set_yticks(list(places.values()), names)
        panel.set_ylim(-0.6, len(names) - 0.4)
    caption = (
        "Length of the task that half of the runs solve (T50), with its 95 % interval, the longest memory on top. "
        "Grey: outside of the lengths tried; there a mark says only that T50 lies beyond."
    )
    details = (
        f"{facets.seeds(LENGTH)} at each length; intervals by profile likelihood. Settings stand in the order of their "
        f"mean ln T50 over all panels. Solved: {captions.solved_rule(facets.runs)}. {facets.conditions}"
    )
    alt = panels.alt(f"T50 with its interval, the longest first: {', '.join(reversed(names))}")
    return Plot("memory_ranking", panels.figures, data, caption, alt, "How far back does each learn?", details)


@figure(place=172, along=LENGTH)
def memory_growth(facets: Facets) -> Plot:
    """Updates to solve the task by its length, with the exponent of a power law."""
    rates_by_length(facets)
    solved = facets.runs.dropna(subset=["solved_at"])
    solved = solved[solved["solved_at"] > 0].assign(length=solved[LENGTH].astype(float))
    if solved.empty or solved["length"].nunique() < 2:
        raise NothingToDraw("these results hold no task that is solved at two lengths or more")
    band = quartiles(solved, [*facets.by, "length"], "solved_at")
    exponents = _exponents(solved, facets.by)
    data = band.merge(exponents, on=facets.by, how="left").astype({key: solved[key].dtype for key in facets.by})

    series = facets.styles(facets.hue)  # of those too that never solve
    panels = facets.panels(data, "length of the task (time steps)", "updates to solve", series=series)
    panels.draw_bands(data, "length")
    for panel in panels:
        log_lengths(panel, np.unique(data["length"]))
        panel.set_yscale("log")
        _logarithmic(panel.yaxis)
    caption = (
        "Updates until the task was solved by its length, both logarithmic, of the runs that solved it: a straight "
        "line is a power law, whose exponent (least squares, median over seeds) stands in the CSV file."
    )
    details = (
        f"Line: median; band: quartiles over the seeds that solved; {facets.seeds(LENGTH)} were tried. "
        f"Solved: {captions.solved_rule(facets.runs)}. {facets.conditions}"
    )
    alt = panels.alt("Updates to solve by length of the task, both logarithmic")
    title = "How does the time to solve grow with the length?"
    return Plot("memory_growth", panels.figures, data, caption, alt, title, details)


@figure("gradient_through_time", place=174, many=True, along=LENGTH)
def memory_foretold(facets: Facets) -> Plot:
    """T50 against the half-life of the gradient before anything is learned, a point for each setting."""
    rates = rates_by_length(facets)
    probes = queries.probes(facets.results)
    starts = decay(probes[probes["update"] == 0]) if "log_norm" in probes else pd.DataFrame()
    if starts.empty:
        raise NothingToDraw("these results hold no probe of the gradient at the start")
    fits = memory_lengths(rates, facets.by)
    lives = facets.runs.merge(starts[["run", "half_life"]].astype({"run": str}), on="run")
    lives = lives.groupby(facets.by, observed=True)["half_life"].median().reset_index()
    data = fits.merge(lives, on=facets.by).astype({key: facets.runs[key].dtype for key in facets.by})
    if data.empty:
        raise NothingToDraw("these results hold no memory length of runs with a probe at the start")
    data["t50"] = as_far_as_known(data)
    found = {
        key: rank_correlation(own["half_life"].to_numpy(), own["t50"].to_numpy(), generator(0, "foretold", *key))
        for key, own in data.groupby([facets.row, facets.col], observed=True)
    }
    for k, end in enumerate(("correlation", "correlation_low", "correlation_high")):
        data[end] = [found[key][k] for key in zip(data[facets.row], data[facets.col], strict=True)]

    finite = data["half_life"][np.isfinite(data["half_life"])]
    x_edge, y_edges = EDGE * max([1.0, *finite]), _edges(data)
    panels = facets.panels(data, "half-life at the start (steps)", "T50 (steps)")
    for panel, own in panels.cut(data):
        for _, one in own.iterrows():
            style, x = panels.series[one[facets.hue]], min(one["half_life"], x_edge)
            low, middle, high = np.clip(one[["low", "t50", "high"]].to_numpy(dtype=float), *y_edges)
            panel.plot([x, x], [min(low, middle), max(middle, high)], color=style.color)
            panel.plot([x], [middle], color=style.color, marker=style.marker)
        panel.set(xscale="log", yscale="log")
        _logarithmic(panel.xaxis)
        _logarithmic(panel.yaxis)
    caption = (
        "Length that half of the runs learn (T50, with its 95 % interval) against the half-life of the gradient on its "
        "way back at the start, median over runs. On the edges: infinite half-lives, and a T50 outside of "
        "the lengths tried. The rank correlation, with its bootstrap interval, stands in the CSV file."
    )
    details = f"{facets.seeds(LENGTH)} at each length. Solved: {captions.solved_rule(facets.runs)}. {facets.conditions}"
    alt = panels.alt("T50 against the half-life of the gradient at the start, a point for each setting")
    title = "Does the gradient at the start foretell the memory?"
    return Plot("memory_foretold", panels.figures, data, caption, alt, title, details)


@figure(place=176, many=True, along=LENGTH)
def memory_map(facets: Facets) -> Plot:
    """Share of runs that solved over length and clipping, a field each."""
    rates = rates_by_length(facets)
    if not 2 <= rates[facets.row].nunique() <= MOST_ROWS:
        raise NothingToDraw(f"these results hold no 2 to {MOST_ROWS} levels of {facets.row_name}, as a map needs them")
    lengths, rows = np.unique(rates["length"]), levels(rates[facets.row])
    panels = facets.panels(
        rates, "length of the task (time steps)", facets.row_name, row=facets.hue, series={}, row_height=0.9
    )
    for panel, own in panels.cut(rates):
        share = own.pivot_table(index=facets.row, columns="length", values="rate", observed=False)
        share = share.reindex(index=rows, columns=lengths)
        panel.pcolormesh(share.to_numpy(dtype=float), vmin=0, vmax=1, cmap="Greys", edgecolors="white", linewidth=0.5)
        for (y, x), value in np.ndenumerate(share.to_numpy(dtype=float)):
            if 0 < value < 1 or np.isnan(value):
                color, said = "white" if value >= DARK else "black", "-" if np.isnan(value) else f"{100 * value:.0f}"
                panel.text(x + 0.5, y + 0.5, said, ha="center", va="center", color=color)
        panel.set_xticks(np.arange(len(lengths)) + 0.5, [f"{length:g}" for length in lengths], rotation=90)
        panel.set_yticks(np.arange(len(rows)) + 0.5, [str(level) for level in rows])
    caption = (
        f"Percentage of runs that solved their task, by its length and by {facets.row_name}. White: none; black: all; "
        "-: not tried. Where the rows of a panel are alike, clipping does not change how far back a net learns."
    )
    details = (
        f"{facets.seeds(LENGTH)} in each field; Wilson intervals stand in the CSV file. "
        f"Solved: {captions.solved_rule(facets.runs)}. {facets.conditions}"
    )
    title = "Does clipping change how far back a net learns?"
    alt = panels.alt("Share of runs that solved, as fields of length and clipping")
    return Plot("memory_map", panels.figures, rates, caption, alt, title, details)


def rates_by_length(facets: Facets) -> pd.DataFrame:
    """Success rates at each length. Raises NothingToDraw unless a group was tried at two lengths or more."""
    rates = by_length(facets.runs, facets.by)
    if rates.empty:
        raise NothingToDraw(f"these results hold no sweep of {LENGTH}, two lengths of a task at least")
    return rates


def _exponents(solved: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """`exponent` of each group: the median over seeds of the slope of ln updates over ln length."""
    points = solved.assign(x=np.log(solved["length"]), y=np.log(solved["solved_at"].astype(float)))
    groups = points.groupby([*by, "seed"], observed=True)
    centred = points.assign(
        x=points["x"] - groups["x"].transform("mean"), y=points["y"] - groups["y"].transform("mean")
    )
    sums = centred.assign(xy=centred["x"] * centred["y"], xx=centred["x"] ** 2)
    sums = sums.groupby([*by, "seed"], observed=True)[["xy", "xx"]].sum()
    slopes = (sums["xy"] / sums["xx"].where(sums["xx"] > 0)).rename("exponent")
    return slopes.groupby(by, observed=True).median().reset_index()


def _edges(data: pd.DataFrame) -> tuple[float, float]:
    return data["shortest"].min() / EDGE, data["longest"].max() * EDGE


def _logarithmic(axis: Axis) -> None:
    """A label or, of few decades, two of each, in plain numbers."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 3) if high / low < MANY_DECADES else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
