"""What was learned, as figures: learning curves, accuracy and the score of every run."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from bench.analysis import captions
from bench.analysis.figures.arrangement import LINE
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.labels import width_of, wrapped
from bench.analysis.figures.panels import FEW, UNBOUNDED, Panels, reference, shares, titles
from bench.analysis.figures.plot import Plot
from bench.analysis.figures.style import DASHED, in_force
from bench.analysis.statistics.summaries import quartiles, relative_loss, score

WORST = 10.0  # times the baseline: above, a learning curve runs along the upper edge
ROW_HEIGHT = 0.14  # inches, of a setting in `scores`
NAMES = 0.4  # of the width of the figure, for the names of settings there
AROUND = 0.75  # inches at a size of 8 points, above and below the settings
RUNS: dict[str, Any] = {"linestyle": "none", "alpha": 0.6}
MEDIANS: dict[str, Any] = {"marker": "|", "linestyle": "none", "color": "black"}


@figure("evaluations", place=10)
def learning_curves(facets: Facets) -> Plot:
    """Held-out loss over the baseline, by updates."""
    data = facets.joined("evaluations", "baseline_loss", "seed")
    data["relative_loss"] = relative_loss(data["loss"], data["baseline_loss"])

    panels, band = _curves(facets, data, "relative_loss", "held-out loss / baseline", "baseline", (0.0, WORST))
    for panel in panels:
        reference(panel, y=1.0)
        panel.set_yscale("log", subs=[])
        panel.set_ylim(top=1.3 * WORST)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    caption = (
        "Held-out loss over that of the best answer without memory (dashed: 1), by updates. Thick: median over seeds; "
        f"{captions.RUNS}. On the upper edge lies what is above {WORST:g}, or has diverged."
    )
    details = (
        f"By {facets.row_name}; {facets.seeds()}. A run that stopped as diverged counts as infinitely bad from then on "
        f"and is not left out. {facets.conditions}"
    )
    alt = panels.alt("Held-out loss over baseline by updates")
    title = "Who learns, and how soon?"
    return Plot("learning_curves", panels.figures, band, caption, alt, title, details)


@figure("evaluations", place=20)
def accuracy(facets: Facets) -> Plot:
    """Held-out accuracy, by updates."""
    data = facets.joined("evaluations", "chance_accuracy", "seed")
    data["accuracy"] = data["accuracy"].fillna(0.0)  # NaN: the run has stopped as diverged

    panels, band = _curves(facets, data, "accuracy", "held-out accuracy", "chance")
    for (_, level), panel in panels.axes.items():
        reference(panel, y=facets.runs.loc[facets.runs[facets.col] == level, "chance_accuracy"].median())
        shares(panel)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    caption = (
        "Share of right answers on held-out sequences, of those answers that need memory (adding: |error| < 0.04), by "
        f"updates; dashed: chance. Thick: median over seeds; {captions.RUNS}."
    )
    details = (
        f"By {facets.row_name}; {facets.seeds()}. A run that stopped as diverged counts as 0 from then on. "
        f"{facets.conditions}"
    )
    alt = panels.alt("Held-out accuracy by updates")
    title = "How many answers are right, and from when on?"
    return Plot("accuracy", panels.figures, band, caption, alt, title, details)


def _curves(
    facets: Facets, data: pd.DataFrame, value: str, y_label: str, dashed: str, edges: tuple[float, float] = UNBOUNDED
) -> tuple[Panels, pd.DataFrame]:
    """Panels with the median by updates and each run's curve, or a band where there are many, and the numbers drawn."""
    by = [*facets.by, "update"]
    band = quartiles(data, by, value)
    few = band["n"].max() <= FEW
    panels = facets.panels(band, "updates", y_label, dashes={dashed: DASHED})
    if few:
        panels.draw_runs(data, "update", value, edges)
        seeds = data.pivot_table(index=by, columns="seed", values=value, observed=True, aggfunc="first")
        band = band.merge(seeds.add_prefix("seed_").reset_index(), on=by, how="left")
    panels.draw_bands(band, "update", edges=edges, band_drawn=not few)
    return panels, band


@figure(place=40, many=True)
def scores(facets: Facets) -> Plot:
    """Score of every run, and the median of every setting: for more settings than lines can tell apart."""
    runs, hue, row, col = facets.runs, facets.hue, facets.row, facets.col
    columns = list(dict.fromkeys(("run", "seed", hue, row, col)))
    data = runs[columns].assign(score=score(runs["final_skill"], runs["outcome"]))
    settings = data[[hue, row]].drop_duplicates().sort_values([hue, row]).itertuples(index=False, name=None)
    places = {setting: place for place, setting in enumerate(settings)}
    data["place"] = [places[setting] for setting in data[[hue, row]].itertuples(index=False, name=None)]
    several, words = data[row].nunique() > 1, titles(data[row], row)
    names = [f"{level}, {words[other]}" if several else str(level) for level, other in places]

    style = in_force()
    wide = style.page if data[col].nunique() > 2 else style.column
    written = [wrapped(name, NAMES * wide) for name in names]
    left = max(width_of(line) for name in written for line in name.split("\n"))
    each = ROW_HEIGHT + LINE * max(name.count("\n") for name in written)
    room = min(style.tallest(width) for width in (style.column, style.page)) / style.scale - AROUND
    parts = -(-len(places) // max(int(room / each), 1))
    size = -(-len(places) // parts)
    data["part"] = data["place"] // size
    panels = facets.panels(
        data,
        "score (skill, 0 to 1)",
        "",
        row="part",
        rows=dict.fromkeys(range(parts), ""),
        row_height=each * size + 0.1,
        left=left,
        fixed=True,
        shared=lambda panel: ("", panel[0]),
        series={},
    )
    looks = facets.styles(hue)
    marks = MEDIANS | {"markersize": 8 * style.scale, "markeredgewidth": 1.2 * style.scale}
    for (part, _), (panel, own) in zip(panels.axes, panels.cut(data), strict=True):
        first = part * size
        shown = written[first : first + size]
        for level, points in own.groupby(hue, observed=True):
            look: dict[str, Any] = {"color": looks[level].color, "marker": looks[level].marker}
            panel.plot(points["score"], points["place"], **RUNS, **look)
        medians = own.groupby("place")["score"].median()
        panel.plot(medians, medians.index, **marks)
        panel.set_yticks(range(first, first + len(shown)), shown)
        panel.set_ylim(first + len(shown) - 0.5, first - 0.5)
        panel.set_xlim(-0.03, 1.03)
        panel.grid(axis="y", linewidth=0.3, alpha=0.5)
    caption = "Skill, 1 - loss / baseline on fresh sequences, of every run at its end. Marks: runs; bar: their median."
    details = (
        "Score: the skill clipped to [0, 1], and 0 for a run that diverged, died or failed; "
        f"{facets.seeds()}. {facets.conditions}"
    )
    alt = captions.alt("Score of every run by setting", names, panels.axes)
    return Plot("scores", panels.figures, data, caption, alt, "How well does each run end?", details)
