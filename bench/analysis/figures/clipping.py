"""What clipping did while a net learned, as a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from bench.analysis import captions, queries
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import reference, shares
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import DASHED
from bench.analysis.settings import THRESHOLD
from bench.analysis.statistics.summaries import WINDOWS, clipping_windows, median_norms, most, quartiles

SHARE, NORM = "clipped updates", "gradient norm"
QUANTITIES = {"clip_fraction": SHARE, "norm": NORM}
HIGHEST = 1e4  # of the norm: one spike of 1e16 would flatten all else
NORM_BAND = {"norm_q05": "q25", "norm_q50": "median", "norm_q95": "q75"}  # the part of a drawn band that each is


@figure("clipping", place=150)
def clipping(facets: Facets) -> Plot:
    """Share of clipped updates and norm before clipping, by updates; no share where nothing could be clipped."""
    runs, hue, row, col = facets.runs, facets.hue, facets.row, facets.col
    blocks = queries.clipping(facets.results)
    need(blocks, "rows in table clipping")
    by = [col, row, hue]
    band = _bands(facets, blocks, by)
    clipped = band["quantity"].eq("clip_fraction") & ~_never(facets, band)
    norms = _norm_bands(band, [*by, "update"]).assign(quantity="norm").astype({name: band[name].dtype for name in by})
    drawn = facets.with_panels(pd.concat([band[clipped], norms], ignore_index=True))

    panels = facets.rows_of_quantities(drawn, "updates", QUANTITIES, dashes={"threshold": DASHED})
    panels.draw_bands(drawn, "update", edges=(0.0, HIGHEST))
    for (name, level), panel in panels.axes.items():
        panel.xaxis.set_major_locator(MaxNLocator(3))
        if name.endswith("norm"):
            panel.set_yscale("log", subs=[])
            for threshold in _norm_thresholds(runs[runs[row] == level]):
                reference(panel, y=threshold)
        else:
            shares(panel)
    caption = (
        f"Share of updates that were clipped, in {WINDOWS} equal windows of training, and norm of the gradient before "
        "clipping, with its 5 and 95 % quantiles over the updates of a window. Medians over seeds; dashed: the "
        f"threshold. What lies above {HIGHEST:g} is drawn there."
    )
    details = (
        f"By {facets.row_name}; {facets.seeds()}; band of the share: quartiles over seeds; {captions.SURVIVORS}. "
        f"Median norm over updates and runs: {_typical_norms(runs, blocks, col, hue)}. {facets.conditions}"
    )
    alt = panels.alt("Share of clipped updates and gradient norm by updates")
    return Plot("clipping", panels.figures, band, caption, alt, "How often is the gradient clipped?", details)


def _bands(facets: Facets, blocks: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Median and quartiles over seeds of everything that is drawn, a `quantity` per row."""
    windows = facets.joined(clipping_windows(blocks, facets.runs.set_index("run")["updates"]))
    data = windows.melt([*by, "update"], ["clip_fraction", *NORM_BAND], var_name="quantity")
    return most(quartiles(data, [*by, "quantity", "update"], "value"), [*by, "quantity"])


def _never(facets: Facets, band: pd.DataFrame) -> pd.Series:
    """Rows of settings in which no run has a clipping rule, or one with a finite threshold."""
    runs = facets.runs
    threshold = runs.get(THRESHOLD, pd.Series(np.nan, runs.index)).astype(float)
    could = (runs["clipping"] != "none") & ~np.isinf(threshold)
    able = runs.assign(could=could).groupby([facets.col, facets.row], observed=True)["could"].any()
    keys = pd.MultiIndex.from_frame(band[[facets.col, facets.row]].astype(object))
    able.index = pd.MultiIndex.from_tuples([tuple(key) for key in able.index])
    return pd.Series(~able.reindex(keys).to_numpy(dtype=bool), band.index)


def _norm_bands(band: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """A band from the medians over seeds of the three quantiles over updates."""
    norms = band[band["quantity"].isin(NORM_BAND)]
    wide = norms.pivot(index=by, columns="quantity", values="median").rename(columns=NORM_BAND)
    return wide.reset_index()


def _norm_thresholds(runs: pd.DataFrame) -> list[float]:
    """The finite thresholds of the norm (those of other rules are not norms)."""
    if THRESHOLD not in runs:
        return []
    thresholds = runs.loc[runs["clipping"] == "norm", THRESHOLD]
    return sorted(thresholds[np.isfinite(thresholds)].unique())


def _typical_norms(runs: pd.DataFrame, blocks: pd.DataFrame, col: str, hue: str) -> str:
    norms = runs.merge(median_norms(blocks), on="run").groupby([col, hue], observed=True)["median_norm"].median()
    return "; ".join(f"{level} {name} {norm:.2g}" for (level, name), norm in norms.items())
