"""What the gain of random weights does to the gradient on its way back, before anything is learned, as a figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import queries
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import reference
from bench.analysis.figures.plot import NothingToDraw, Plot
from bench.analysis.figures.style import DASHED, DOTTED, GREY, SOLID
from bench.analysis.statistics.decay import decay
from bench.analysis.statistics.summaries import quartiles

CROSSES: dict[str, Any] = {"markersize": 4.5, "markeredgewidth": 1.0, "zorder": 5}
STD = "initializer.recurrent.std"
# of a random weight's gain g that is lost to the slopes of an activation: half of ReLU's are 0
PREDICTED = {"identity": ("ln g", DASHED, 0.0), "relu": ("ln(g/√2)", DOTTED, -np.log(2) / 2)}


@figure("gradient_through_time", "spectrum", place=67, along=STD)
def gradient_gain(facets: Facets) -> Plot:
    """Growth of the gradient per step back at the start against the gain of the recurrent weights.

    Weights drawn anew for every step, N(0, g^2/H), multiply a gradient's mean square by g^2 at each, by g^2/2 through
    ReLUs: lines. The power of one matrix grows by its spectral radius in the end: crosses.
    """
    if STD not in facets.results.runs or facets.results.runs[STD].nunique() < 2:
        raise NothingToDraw(f"these results hold no runs that differ in {STD}")
    known_activation = "cell.activation" in facets.runs
    gradients = queries.gradients_at_ends(facets.results)
    rates = decay(gradients[(gradients["update"] == 0) & (gradients["state"] == "h")])[["run", "decay_rate"]]
    data = facets.joined(rates, STD, "cell.hidden", *(["cell.activation"] if known_activation else []))
    data["gain"] = data[STD] * np.sqrt(data["cell.hidden"].astype(float))
    data["activation"] = data["cell.activation"] if known_activation else ""
    band = quartiles(data, [*facets.by, "gain"], "decay_rate")
    radii = _of_one_weight(data[data["activation"] == "identity"], facets)

    shown = set(data["activation"]) & set(PREDICTED)
    known = {label: dash for name, (label, dash, _) in PREDICTED.items() if name in shown}
    panels = facets.panels(band, "gain $g$", "growth per step back (nats)", row_height=1.5, dashes=known)
    panels.draw_bands(band, "gain")
    gains = np.linspace(data["gain"].min(), data["gain"].max(), 50)
    for panel, own in panels.cut(data):
        reference(panel, y=0.0, dash=SOLID)
        for name in set(own["activation"]) & set(PREDICTED):
            _, dash, lost = PREDICTED[name]
            panel.plot(gains, np.log(gains) + lost, color=GREY, linestyle=dash, linewidth=0.9, zorder=1)
    for panel, own in panels.cut(radii):
        middle = own.groupby("gain")["log_radius"].median()
        panel.plot(middle.index, middle, color="black", marker="x", linestyle="none", **CROSSES)
    caption = (
        "Growth of the gradient per step back at the start (slope of ln γ over lag) against the gain g = std √H of the "
        "recurrent weights. Lines: predicted for weights that differ from step to step; crosses: ln of the spectral "
        "radius of linear nets with one weight. Medians over seeds; band: quartiles."
    )
    details = f"{facets.seeds(STD)}. {facets.conditions}"
    alt = panels.alt("Growth of the gradient per step by gain")
    title = "Does the gain of random weights decide whether the gradient vanishes?"
    return Plot("gradient_gain", panels.figures, band, caption, alt, title, details)


def _of_one_weight(data: pd.DataFrame, facets: Facets) -> pd.DataFrame:
    """The rows of `data` whose run has a single recurrent weight, with ln of its spectral radius at the start."""
    spectrum = facets.results.read("spectrum", ("run", "update", "block", "spectral_radius"))
    start = spectrum[spectrum["update"] == 0]
    alone = start[start.groupby("run", observed=True)["block"].transform("size") == 1]
    found = data.merge(alone[["run", "spectral_radius"]], on="run")
    return found.assign(log_radius=np.log(found["spectral_radius"].astype(float)))
