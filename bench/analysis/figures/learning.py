"""What was learned, as figures: learning curves, accuracy and success rates.

Figures are functions of `runs`, as `settings.distinguished` returns them, and a table of observations; they
raise `NothingToDraw` where that table is empty.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis import captions
from bench.analysis.figures.panels import draw_bands, grid, legend, opened, reference, shares, titles
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import COLORS, DASHED, SeriesStyle, in_force, paper, series_styles
from bench.analysis.settings import levels
from bench.analysis.statistics.summaries import quartiles, relative_loss, score, success_rates

WORST = 10.0  # times the baseline: above, a learning curve runs along the upper edge
MOST_LETTERS = 40  # of all tick labels side by side on the x axis; more of them stand upright
ROW_HEIGHT = 0.14  # inches, of a setting in `scores`
RUNS: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": COLORS[0], "alpha": 0.5}
MEDIANS: dict[str, Any] = {"marker": "|", "linestyle": "none", "color": "black"}
SPREAD = 0.8  # of the series at one threshold, of the distance between thresholds


@paper()
def learning_curves(
    runs: pd.DataFrame, evaluations: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Held-out loss over the baseline, by updates."""
    need(evaluations, "evaluations")
    data = evaluations.merge(runs[["run", "baseline_loss", hue, row, col]], on="run")
    data["relative_loss"] = relative_loss(data["loss"], data["baseline_loss"])
    band = quartiles(data, [row, col, hue, "update"], "relative_loss")

    figure, panels, series = opened(band, row, col, hue, "updates", "held-out loss / baseline")
    draw_bands(panels, band, "update", row, col, hue, series, edges=(0.0, WORST))
    for panel in panels.values():
        reference(panel, y=1.0)
        panel.set_yscale("log", subs=[])
        panel.set_ylim(top=1.3 * WORST)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    legend(figure, series, {"baseline": DASHED})
    caption = (
        f"Held-out loss relative to the best answer without memory (baseline, 1), by {captions.named(row)}. "
        f"{captions.BAND}, {captions.seeds(runs, row, col, hue)}. What lies above {WORST:g} is drawn on the upper "
        "edge; a run that stopped as diverged counts as infinitely bad from then on and is not left out. "
        f"{captions.conditions(runs)}"
    )
    alt = captions.alt("Held-out loss over baseline by updates", series, panels)
    return Plot("learning_curves", figure, band, caption, alt)


@paper()
def accuracy(
    runs: pd.DataFrame, evaluations: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Held-out accuracy, by updates."""
    need(evaluations, "evaluations")
    data = evaluations.merge(runs[["run", "chance_accuracy", hue, row, col]], on="run")
    data["accuracy"] = data["accuracy"].fillna(0.0)  # NaN: the run has stopped as diverged
    band = quartiles(data, [row, col, hue, "update"], "accuracy")

    figure, panels, series = opened(band, row, col, hue, "updates", "held-out accuracy")
    draw_bands(panels, band, "update", row, col, hue, series)
    for (_, level), panel in panels.items():
        reference(panel, y=runs.loc[runs[col] == level, "chance_accuracy"].median())
        shares(panel)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    legend(figure, series, {"chance": DASHED})
    caption = (
        "Share of right answers on held-out sequences, of those answers that need memory, by "
        f"{captions.named(row)}. {captions.BAND}, {captions.seeds(runs, row, col, hue)}. A run that stopped as "
        "diverged counts as 0 from then on. "
        f"{captions.conditions(runs)}"
    )
    alt = captions.alt("Held-out accuracy by updates", series, panels)
    return Plot("accuracy", figure, band, caption, alt)


@paper()
def scores(runs: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task") -> Plot:
    """Score of every run, and the median of every setting: for more settings than lines can tell apart."""
    need(runs, "runs")
    data = runs[["run", "seed", hue, row, col]].assign(score=score(runs["final_skill"], runs["outcome"]))
    settings = data[[hue, row]].drop_duplicates().sort_values([hue, row]).itertuples(index=False, name=None)
    places = {setting: place for place, setting in enumerate(settings)}
    data["place"] = [places[setting] for setting in data[[hue, row]].itertuples(index=False, name=None)]
    several, words = data[row].nunique() > 1, titles(data[row], row)
    names = [f"{level}, {words[other]}" if several else str(level) for level, other in places]

    columns = titles(data[col], col)
    height = ROW_HEIGHT * len(places) + 0.3
    figure, panels = grid({"": ""}, columns, "score (skill, 0 to 1)", "", row_height=height)
    marks = MEDIANS | {"markersize": 8 * in_force().scale, "markeredgewidth": 1.2 * in_force().scale}
    for (_, column), panel in panels.items():
        own = data[data[col] == column]
        medians = own.groupby("place")["score"].median()
        panel.plot(own["score"], own["place"], **RUNS)
        panel.plot(medians, medians.index, **marks)
        panel.set_yticks(range(len(names)), names if column == next(iter(columns)) else [""] * len(names))
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_xlim(-0.03, 1.03)
        panel.grid(axis="y", linewidth=0.3, alpha=0.5)
    caption = (
        "Score, the skill 1 - loss/baseline on fresh sequences clipped to [0, 1] and 0 for a run that diverged, died "
        f"or failed. Circles: runs; bar: their median, {captions.seeds(runs, row, col, hue)}. "
        f"{captions.conditions(runs)}"
    )
    alt = captions.alt("Score of every run by setting", names, panels)
    return Plot("scores", figure, data, caption, alt)


@paper()
def success(runs: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task", x: str = "clip") -> Plot:
    """Share of runs that solved their task, with Wilson intervals, by clipping threshold or what else `x` is.

    It has rows of panels only where `row` is something else than `x`.
    """
    need(runs, "runs")
    by = [*([] if row == x else [row]), col, hue, x]
    rates = success_rates(runs, by)
    places = {level: place for place, level in enumerate(levels(rates[x]))}
    rotation = 90 if sum(len(str(level)) for level in places) * rates[col].nunique() > MOST_LETTERS else 0

    rows = {"": ""} if row == x else titles(rates[row], row)
    columns, series = titles(rates[col], col), series_styles(levels(rates[hue]))
    height = 2.4 if rotation else 1.5
    x_label = "clipping" if x == "clip" else captions.named(x)
    figure, panels = grid(rows, columns, x_label, "solved (share of runs)", row_height=height)
    for (level, column), panel in panels.items():
        own = rates[rates[col] == column] if row == x else rates[(rates[col] == column) & (rates[row] == level)]
        for k, (name, look) in enumerate(series.items()):
            points = own[own[hue] == name]
            shift = SPREAD / max(len(series), 4) * (k - (len(series) - 1) / 2)
            _draw_intervals(panel, points[x].map(places).astype(float) + shift, points, look)
        panel.set_xticks(list(places.values()), [str(place) for place in places], rotation=rotation)
        panel.set_xlim(-0.5, len(places) - 0.5)
        shares(panel)
    legend(figure, series, {})
    caption = (
        f"Share of runs that solved their task at some time ({captions.solved_rule(runs)}), by {captions.named(x)}. "
        f"Bars: 95 % Wilson intervals, {captions.seeds(runs, *by)}. {captions.conditions(runs)}"
    )
    alt = captions.alt(f"Success rate with its interval by {captions.named(x)}", series, panels)
    return Plot("success", figure, rates, caption, alt)


def _draw_intervals(panel: Axes, x: pd.Series, rates: pd.DataFrame, look: SeriesStyle) -> None:
    below, above = rates["rate"] - rates["low"], rates["high"] - rates["rate"]
    ends = [below.clip(0), above.clip(0)]  # rounding leaves -1e-17
    panel.errorbar(x, rates["rate"], yerr=ends, color=look.color, marker=look.marker, linestyle="none")
