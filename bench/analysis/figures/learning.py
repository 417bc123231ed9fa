"""What was learned, as figures: learning curves, accuracy and the score of every run."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import MaxNLocator

from bench.analysis import captions
from bench.analysis.figures.facets import ONE_ROW, Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.labels import width_of, wrapped
from bench.analysis.figures.panels import LINE, reference, shares, titles
from bench.analysis.figures.plot import Plot
from bench.analysis.figures.style import COLORS, DASHED, in_force
from bench.analysis.statistics.summaries import quartiles, relative_loss, score

WORST = 10.0  # times the baseline: above, a learning curve runs along the upper edge
ROW_HEIGHT = 0.14  # inches, of a setting in `scores`
NAMES = 0.4  # of the width of the figure, for the names of settings there
RUNS: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": COLORS[0], "alpha": 0.5}
MEDIANS: dict[str, Any] = {"marker": "|", "linestyle": "none", "color": "black"}


@figure("evaluations", place=10)
def learning_curves(facets: Facets) -> Plot:
    """Held-out loss over the baseline, by updates."""
    data = facets.joined("evaluations", "baseline_loss")
    data["relative_loss"] = relative_loss(data["loss"], data["baseline_loss"])
    band = quartiles(data, [*facets.by, "update"], "relative_loss")

    panels = facets.panels(band, "updates", "held-out loss / baseline")
    panels.draw_bands(band, "update", edges=(0.0, WORST))
    for panel in panels:
        reference(panel, y=1.0)
        panel.set_yscale("log", subs=[])
        panel.set_ylim(top=1.3 * WORST)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    panels.legend({"baseline": DASHED})
    caption = (
        f"Held-out loss relative to the best answer without memory (baseline, 1), by {facets.row_name}. "
        f"{captions.BAND}, {facets.seeds()}. What lies above {WORST:g} is drawn on the upper "
        "edge; a run that stopped as diverged counts as infinitely bad from then on and is not left out. "
        f"{facets.conditions}"
    )
    alt = panels.alt("Held-out loss over baseline by updates")
    return Plot("learning_curves", (panels.figure,), band, caption, alt)


@figure("evaluations", place=20)
def accuracy(facets: Facets) -> Plot:
    """Held-out accuracy, by updates."""
    data = facets.joined("evaluations", "chance_accuracy")
    data["accuracy"] = data["accuracy"].fillna(0.0)  # NaN: the run has stopped as diverged
    band = quartiles(data, [*facets.by, "update"], "accuracy")

    panels = facets.panels(band, "updates", "held-out accuracy")
    panels.draw_bands(band, "update")
    for (_, level), panel in panels.axes.items():
        reference(panel, y=facets.runs.loc[facets.runs[facets.col] == level, "chance_accuracy"].median())
        shares(panel)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    panels.legend({"chance": DASHED})
    caption = (
        "Share of right answers on held-out sequences, of those answers that need memory, by "
        f"{facets.row_name}. {captions.BAND}, {facets.seeds()}. A run that stopped as "
        "diverged counts as 0 from then on. "
        f"{facets.conditions}"
    )
    alt = panels.alt("Held-out accuracy by updates")
    return Plot("accuracy", (panels.figure,), band, caption, alt)


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
    most_lines = max(name.count("\n") for name in written)
    height = (ROW_HEIGHT + LINE * most_lines) * len(places) + 0.3
    panels = facets.panels(data, "score (skill, 0 to 1)", "", row=ONE_ROW, row_height=height, left=left)
    marks = MEDIANS | {"markersize": 8 * style.scale, "markeredgewidth": 1.2 * style.scale}
    first = next(iter(panels))
    for panel, own in panels.cut(data):
        medians = own.groupby("place")["score"].median()
        panel.plot(own["score"], own["place"], **RUNS)
        panel.plot(medians, medians.index, **marks)
        panel.set_yticks(range(len(names)), written if panel is first else [""] * len(names))
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_xlim(-0.03, 1.03)
        panel.grid(axis="y", linewidth=0.3, alpha=0.5)
    caption = (
        "Score, the skill 1 - loss/baseline on fresh sequences clipped to [0, 1] and 0 for a run that diverged, died "
        f"or failed. Circles: runs; bar: their median, {facets.seeds()}. {facets.conditions}"
    )
    alt = captions.alt("Score of every run by setting", names, panels.axes)
    return Plot("scores", (panels.figure,), data, caption, alt)
