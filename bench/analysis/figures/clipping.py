"""What clipping did while a net learned, beside what it learned, as a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis import captions, queries
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import draw_bands, grid, legend, reference, shares, titles
from bench.analysis.figures.plot import Plot
from bench.analysis.figures.style import DASHED, series_styles
from bench.analysis.settings import THRESHOLD, levels
from bench.analysis.statistics.summaries import WINDOWS, clipping_windows, median_norms, most, quartiles, relative_loss

LOSS, SHARE, NORM = "held-out loss / baseline", "clipped updates (share)", "gradient norm before clipping"
EDGES = {LOSS: (0.0, 10.0), SHARE: (0.0, 1.0), NORM: (0.0, 1e4)}  # one spike of 1e16 would flatten all else
NORM_BAND = {"norm_q05": "q25", "norm_q50": "median", "norm_q95": "q75"}  # the part of a drawn band that each is
ROW_HEIGHT = 0.95


@figure("evaluations", "clipping", place=150)
def clipping(facets: Facets) -> Plot:
    """Learning curve, share of clipped updates and norm before clipping side by side, a row for each setting."""
    runs, hue, row, col = facets.runs, facets.hue, facets.row, facets.col
    blocks = queries.clipping(facets.results)
    band = _bands(facets, blocks, [col, row, hue])
    drawn = {
        LOSS: band[band["quantity"] == "relative_loss"],
        SHARE: band[band["quantity"] == "clip_fraction"],
        NORM: _norm_bands(band, [col, row, hue, "update"]),
    }
    columns, rows = titles(band[col], col), titles(band[row], row)
    settings = band[[col, row]].drop_duplicates().sort_values([col, row]).itertuples(index=False, name=None)
    names = {(c, r): "\n".join([columns[c]] * (len(columns) > 1) + [rows[r]]) for c, r in settings}
    drawing, panels = grid(names, {quantity: quantity for quantity in drawn}, "updates", "", row_height=ROW_HEIGHT)
    series = series_styles(levels(band[hue]))
    for ((column, level), quantity), panel in panels.items():
        edges = EDGES[quantity]
        own = drawn[quantity]
        own = own[(own[row] == level) & (own[col] == column)]
        draw_bands(panel, own, "update", hue, series, edges=edges)
        panel.xaxis.set_major_locator(MaxNLocator(3))
        _scaled(panel, quantity)
        if quantity == NORM:
            for threshold in _norm_thresholds(runs[runs[row] == level]):
                reference(panel, y=threshold)
    legend(drawing, series, {"baseline, threshold": DASHED})
    caption = (
        "Learning and clipping side by side. Left: held-out loss relative to the best answer without memory (1, "
        f"dashed). {captions.BAND}, {facets.seeds()}; a run that stopped as diverged counts as "
        f"infinitely bad from then on. Middle: share of updates that were clipped, in {WINDOWS} equal windows of "
        "training, likewise. Right: norm of the gradient before clipping, its median and 5 and 95 % quantiles over the "
        "updates of a window, each the median over seeds; threshold dashed. Middle and right are "
        f"{captions.SURVIVORS}. What lies above {EDGES[LOSS][1]:g} or {EDGES[NORM][1]:g} is drawn there. Median norm "
        f"over updates and runs: {_typical_norms(runs, blocks, col, hue)}. {facets.conditions}"
    )
    alt = captions.alt("Held-out loss, share of clipped updates and gradient norm by updates", series, panels)
    return Plot("clipping", (drawing,), band, caption, alt)


def _bands(facets: Facets, blocks: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Median and quartiles over seeds of everything that is drawn, a `quantity` per row."""
    losses = facets.joined("evaluations", "baseline_loss")
    losses["relative_loss"] = relative_loss(losses["loss"], losses["baseline_loss"])
    windows = facets.joined(clipping_windows(blocks, facets.runs.set_index("run")["updates"]))
    parts = []
    for observed, quantities in ((losses, ["relative_loss"]), (windows, ["clip_fraction", *NORM_BAND])):
        data = observed.melt([*by, "update"], quantities, var_name="quantity")
        band = quartiles(data, [*by, "quantity", "update"], "value")
        parts.append(most(band, [*by, "quantity"]))
    return pd.concat(parts, ignore_index=True)


def _norm_bands(band: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """A band from the medians over seeds of the three quantiles over updates."""
    norms = band[band["quantity"].isin(NORM_BAND)]
    wide = norms.pivot(index=by, columns="quantity", values="median").rename(columns=NORM_BAND)
    return wide.reset_index()


def _scaled(panel: Axes, quantity: str) -> None:
    if quantity == SHARE:
        shares(panel)
        return
    panel.set_yscale("log", subs=[])
    if quantity == LOSS:
        reference(panel, y=1.0)
        panel.set_ylim(top=1.3 * EDGES[LOSS][1])


def _norm_thresholds(runs: pd.DataFrame) -> list[float]:
    """The finite thresholds of the norm (those of other rules are not norms)."""
    if THRESHOLD not in runs:
        return []
    thresholds = runs.loc[runs["clipping"] == "norm", THRESHOLD]
    return sorted(thresholds[np.isfinite(thresholds)].unique())


def _typical_norms(runs: pd.DataFrame, blocks: pd.DataFrame, col: str, hue: str) -> str:
    norms = runs.merge(median_norms(blocks), on="run").groupby([col, hue], observed=True)["median_norm"].median()
    return "; ".join(f"{level} {name} {norm:.2g}" for (level, name), norm in norms.items())
