"""Which weight's gradient explodes, as a figure."""

from __future__ import annotations

from bench.analysis import captions
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import Panels, grid, log_updates, titles
from bench.analysis.figures.plot import Plot
from bench.analysis.figures.style import series_styles
from bench.analysis.settings import KNOWN_CELLS
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
    drawing, axes = grid(rows, titles(band[col], col), "updates", "norm of the gradient", row_height=ROW_HEIGHT)
    known = series_styles([*KNOWN_CELLS, *names.unique()])  # so that a parameter never has the colour of a cell
    series = {name: known[name] for name in names.unique()}
    band["setting"] = list(zip(band[hue], band[row], strict=True))
    panels = Panels(drawing, axes, series, "setting", col, "parameter")
    panels.draw_bands(band, "update", edges=EDGES)
    for panel in panels:
        panel.set_yscale("log", subs=[])
        log_updates(panel)
    panels.legend({})
    caption = (
        "Norm of the gradient of each parameter before clipping, on the training batch of an update. "
        f"{captions.BAND}, {facets.seeds()}; {captions.SURVIVORS}; what lies above {EDGES[1]:g} is drawn there. "
        f"{facets.conditions}"
    )
    alt = panels.alt("Norm of the gradient of each parameter by updates")
    return Plot("block_norms", (drawing,), band.drop(columns="setting"), caption, alt)
