"""A figure of the gradient's norm by parameter, which shows whose gradient explodes."""

from __future__ import annotations

from typing import Any

from bench.analysis import captions
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import log_updates, titles
from bench.analysis.figures.plot import Plot
from bench.analysis.figures.style import series_styles
from bench.analysis.settings import KNOWN_CELLS, levels
from bench.analysis.statistics.summaries import most, quartiles

EDGES = (0.0, 1e4)  # one spike of 1e16 would flatten all else
ROW_HEIGHT = 0.95  # inches, at a size of 8 points


@figure("block_norms", place=65)
def block_norms(facets: Facets) -> Plot:
    """Norm of the gradient of each parameter, by updates, a row for each setting."""
    hue, row, col = facets.hue, facets.row, facets.col
    data = facets.joined("block_norms")
    names = data["parameter"].astype(str).str.replace(r"(\w)_(\w+)", r"$\1_{\2}$", regex=True)
    by = [col, row, hue, "parameter"]
    band = most(quartiles(data.assign(parameter=names), [*by, "update"], "norm"), by)

    several, words = band[row].nunique() > 1, titles(band[row], row)
    settings = band[[hue, row]].drop_duplicates().sort_values([hue, row]).itertuples(index=False, name=None)
    rows = {s: f"{s[0]}\n{words[s[1]]}" if several else str(s[0]) for s in settings}
    band["setting"] = list(zip(band[hue], band[row], strict=True))
    known = series_styles([*KNOWN_CELLS, *levels(facets.runs[hue]), *names.unique()])  # a parameter looks like no cell
    series = {name: known[name] for name in names.unique()}
    look: dict[str, Any] = {"row": "setting", "hue": "parameter", "series": series, "legend": "parameter"}
    panels = facets.panels(band, "updates", "norm of the gradient", rows=rows, row_height=ROW_HEIGHT, **look)
    panels.draw_bands(band, "update", edges=EDGES)
    for panel in panels:
        panel.set_yscale("log", subs=[])
        log_updates(panel)
    caption = (
        "Norm of the gradient of each parameter before clipping, on the training batch of an update. Line: median over "
        f"seeds; band: quartiles. What lies above {EDGES[1]:g} is drawn there."
    )
    details = f"{facets.seeds()}; {captions.SURVIVORS}. {facets.conditions}"
    alt = panels.alt("Norm of the gradient of each parameter by updates")
    drawn, title = band.drop(columns="setting"), "Which weight's gradient explodes?"
    return Plot("block_norms", panels.figures, drawn, caption, alt, title, details)
