"""Gradients on their way back through time, as figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.analysis import captions, queries
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import Panels, reference, shade, titles
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import DASHED, DOTTED, SOLID, Dash
from bench.analysis.settings import levels
from bench.analysis.statistics.summaries import quartiles

START = "start"
OTHER_PARTS: tuple[Dash, ...] = (DASHED, DOTTED, (0, (6, 1.2, 1, 1.2)), (0, (6, 2)), (0, (1, 3)))


@figure("gradient_through_time", place=50)
def gradient_probe(facets: Facets) -> Plot:
    """ln gamma over lag: what is left of the gradient of one step's loss, at the start and the end of training."""
    data = _start_and_end(facets, "probe")
    profile = ["run", "update", "state"]
    at_loss = data.loc[data["lag"] == 0, [*profile, "log_norm"]]
    data = data.merge(at_loss, on=profile, suffixes=("", "_at_loss"))
    data["log_gamma"] = data["log_norm"] - data["log_norm_at_loss"]
    band = quartiles(data, ["moment", facets.col, facets.hue, "state", "lag"], "log_gamma")

    dashes = {**_dashes(band["state"]), "least lag of the cue": DOTTED}
    panels = _profiles(facets, band, "lag", "lag (time steps)", r"$\ln\,\gamma$ (nats)", dashes=dashes)
    for (_, level), panel in panels.axes.items():
        reference(panel, y=0.0, dash=SOLID)
        reference(panel, x=facets.runs.loc[facets.runs[facets.col] == level, "min_lag"].min(), dash=DOTTED)
    caption = (
        "What is left, at each lag, of the gradient of the first loss that needs memory: ln γ, the logarithm of "
        "‖∂L/∂h‖ over that at lag 0. At 0 all of it arrives; each -2.3 is a factor of ten. Dotted: the least lag of "
        "what must be remembered."
    )
    details = f"Held-out sequences, geometric mean over them. {_moments(facets)} {facets.conditions}"
    alt = panels.alt("Logarithm of the relative gradient norm by lag")
    title = "How far back does the gradient reach?"
    return Plot("gradient_probe", panels.figures, band, caption, alt, title, details)


@figure("gradient_through_time", place=60)
def gradient_training(facets: Facets) -> Plot:
    """ln ||dL/dh_t|| of the training loss over t, at the start and the end of training; scored steps shaded."""
    data = _start_and_end(facets, "training")
    band = quartiles(data, ["moment", facets.col, facets.hue, "state", "step"], "log_norm")

    y_label = r"$\ln\,\|\partial L / \partial h_t\|$ (nats)"
    dashes = _dashes(band["state"])
    panels = _profiles(facets, band, "step", "step t (time steps)", y_label, dashes=dashes, shaded="scored steps")
    for (_, level), panel in panels.axes.items():
        scored = facets.runs.loc[facets.runs[facets.col] == level, ["scored_first", "scored_last"]]
        first, last = scored.median()
        shade(panel, first - 0.5, last + 0.5)
    caption = (
        "Norm of the training loss's gradient with respect to the hidden state at every step, ‖∂L/∂hₜ‖, as a "
        "logarithm. Shaded: the steps that are scored. Where the line is level on its way left, the gradient is "
        "carried back unchanged."
    )
    details = (
        "Of each sequence's own mean over its scored steps, geometric mean over the batch. "
        f"{_moments(facets)} {facets.conditions}"
    )
    alt = panels.alt("Logarithm of the gradient norm by time step")
    title = "How does the training gradient travel back through time?"
    return Plot("gradient_training", panels.figures, band, caption, alt, title, details)


def _start_and_end(facets: Facets, kind: str) -> pd.DataFrame:
    """Profiles of one kind at update 0 and at each run's last; `moment` is `start`, or the level of `row`.

    At the start, runs that differ only in `row` are the same: one of them is kept. A gradient that is 0 in more
    than half of the sequences counts as -inf.
    """
    gradients = queries.gradients_at_ends(facets.results)
    profiles = gradients[gradients["kind"] == kind]
    need(profiles, f"gradients through time of the kind {kind}")
    last = profiles.groupby("run", observed=True)["update"].transform("max")
    ends = profiles[(profiles["update"] == 0) | (profiles["update"] == last)]
    data = facets.joined(ends, "seed")
    data["log_norm"] = data["log_norm"].astype(float).mask(data["zero_share"] > 0.5, -np.inf)
    at_start = data["update"] == 0
    moments = data[facets.row].astype(str).mask(at_start, START)
    data["moment"] = pd.Categorical(moments, [START, *map(str, levels(data[facets.row]))], ordered=True)
    return data[~(at_start & data.duplicated([facets.col, facets.hue, "seed", "moment", "state", "step"]))]


def _profiles(
    facets: Facets,
    band: pd.DataFrame,
    x: str,
    x_label: str,
    y_label: str,
    *,
    dashes: Mapping[str, Dash],
    shaded: str = "",
) -> Panels:
    """Panels of bands over a sequence, one row for the start and one for each level of `row` at the end.

    A vanished median is not drawn; a quartile that vanished lies on the lower edge of what is drawn in its column.
    """
    lowest = band["q25"].where(np.isfinite(band["q25"])).groupby(band[facets.col], observed=True).transform("min")
    drawn = band.assign(
        median=band["median"].replace(-np.inf, np.nan), q25=band["q25"].mask(band["q25"] == -np.inf, lowest)
    )
    ends = titles(band["moment"][band["moment"] != START], facets.row)
    rows = {START: "start", **{level: f"end, {title}" for level, title in ends.items()}}
    panels = facets.panels(band, x_label, y_label, row="moment", rows=rows, dashes=dashes, shaded=shaded)
    panels.draw_bands(drawn, x, dash="state", dashes=_dashes(band["state"]))
    return panels


def _dashes(states: pd.Series) -> dict[str, Dash]:
    """The hidden state solid, further parts of the state (an LSTM's c, layers below) in other dashes."""
    others = sorted(set(states.astype(str)) - {"h"})
    return {"h": SOLID, **dict(zip(others, itertools.cycle(OTHER_PARTS), strict=False))}


def _moments(facets: Facets) -> str:
    return (
        "At update 0, where thresholds make no difference yet, and at each run's last measured update. "
        f"{captions.BAND}, {facets.seeds()}; a line ends where the gradient is exactly 0 in most sequences "
        "of most runs."
    )
