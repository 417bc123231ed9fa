"""What a net does on what it was trained on, beside what it does on what it was not, as figures."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.ticker import MaxNLocator

from bench.analysis import captions
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.learning import WORST
from bench.analysis.figures.panels import Panels, reference, shares
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import DASHED, DOTTED, SOLID, Dash
from bench.analysis.statistics.summaries import quartiles

# columns of `evaluations`, by what they are called
LOSSES = {"loss": "held out", "train_loss": "training", "train_fixed_loss": "part of the training set"}
ACCURACIES = {name.replace("loss", "accuracy"): words for name, words in LOSSES.items()}
DASHES: dict[str, Dash] = dict(zip(LOSSES.values(), (SOLID, DASHED, DOTTED), strict=True))


@figure("evaluations", place=42)
def generalization(facets: Facets) -> Plot:
    """Training loss beside the held-out loss, over the baseline, by updates: where they part, a net overfits."""
    band, panels = _drawn(facets, LOSSES, "loss / baseline", "baseline_loss")
    for panel in panels:
        reference(panel, y=1.0)
        panel.set_yscale("log", subs=[])
        panel.set_ylim(top=1.3 * WORST)
    caption = (
        "Loss over that of the best answer without memory (1). Solid: held out. Dashed: on the batches trained on "
        "since the last evaluation, with all that remedies do to it. Dotted: on a fixed part of the training set, "
        "where there is one. Medians over seeds; band: quartiles."
    )
    details = f"{_said(facets)} What lies above {WORST:g} is drawn on the upper edge. {facets.conditions}"
    alt = panels.alt("Training and held-out loss by updates")
    title = "Does the net overfit?"
    return Plot("generalization", panels.figures, band, caption, alt, title, details)


@figure("evaluations", place=44)
def generalization_accuracy(facets: Facets) -> Plot:
    """Training accuracy beside the held-out accuracy, by updates."""
    band, panels = _drawn(facets, ACCURACIES, "accuracy", None)
    for panel in panels:
        shares(panel)
    caption = (
        "Share of right answers, as a net is judged. Solid: held out. Dashed: on the last up to 64 sequences that were "
        "trained on. Dotted: on a fixed part of the training set, where there is one. Medians over seeds; band: "
        "quartiles."
    )
    details = f"{_said(facets)} {facets.conditions}"
    alt = panels.alt("Training and held-out accuracy by updates")
    title = "How many answers are right on what was trained on?"
    return Plot("generalization_accuracy", panels.figures, band, caption, alt, title, details)


def _said(facets: Facets) -> str:
    worst = "a run that stopped as diverged counts as infinitely bad from then on"
    return (
        "The fixed part is as large as what is held out. "
        f"By {facets.row_name}. {captions.BAND} of the held-out ones, {facets.seeds()}; {worst}."
    )


def _drawn(facets: Facets, columns: Mapping[str, str], label: str, baseline: str | None) -> tuple[pd.DataFrame, Panels]:
    """Medians by updates of some columns of `evaluations`, of losses in units of the baseline; with their panels.

    Raises NothingToDraw for results from before training was recorded.
    """
    data = facets.joined("evaluations", *([baseline] if baseline else []))
    held, *training = columns
    there = [name for name in training if name in data and data[name].notna().any()]
    need(data if there else data[:0], "numbers of training in table evaluations")
    diverged = data[held].isna()
    parts = []
    for name in (held, *there):
        worst = data[name].mask(diverged, float("inf") if baseline else 0.0)
        value = worst / data[baseline] if baseline else worst
        parts.append(data[[*facets.by, "update"]].assign(quantity=columns[name], value=value))
    band = quartiles(pd.concat(parts, ignore_index=True), [*facets.by, "quantity", "update"], "value")
    shown = band.copy()
    shown.loc[shown["quantity"] != columns[held], ["q25", "q75"]] = float("nan")  # bands would hide each other
    dashes = {words: dash for words, dash in DASHES.items() if words in set(band["quantity"])}
    panels = facets.panels(band, "updates", label, dashes=dashes)
    panels.draw_bands(shown, "update", dash="quantity", dashes=DASHES, edges=(0.0, WORST))
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(3))
    return band, panels
