"""Why a net remembers or does not, as figures: what its state, its Jacobians and its probes do while it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure

from bench.analysis import captions, queries
from bench.analysis.figures.facets import ONE_ROW, Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import Asked, Key, grid, log_updates, reference, shares, titles
from bench.analysis.figures.plot import NothingToDraw, Plot, need
from bench.analysis.figures.style import DASHED, DOTTED, GREY, SOLID, Dash, Drawing, in_force
from bench.analysis.settings import levels
from bench.analysis.statistics.decay import decay
from bench.analysis.statistics.summaries import most, quartiles

BAR = 0.35  # inches at a size of 8 points, of the bar of colours with its numbers
BAR_APART = 0.1  # inches, of the bar of colours from the panels
SHOWN = 10.0  # nats: a relative gradient of e^-10 and less, or e^10 and more, has the darkest colour
EQUAL = 0.1  # nats, which no eye sees in these colours
GROWN = 1.0  # nats: a relative gradient above e is dotted
DOTTED_LAGS = 12  # rows of dots in a panel, at most
DOTS: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": "black", "markersize": 0.9}
# no red is as dark as the darkest blue: dots are seen on it, and ends differ in grey print
BLUE_TO_RED = ListedColormap(colormaps["RdBu_r"](np.r_[np.linspace(0, 0.5, 128), np.linspace(0.5, 0.8, 128)]))
LOWEST = -1.5  # nats per step: what a singular value falls to below that is as good as 0
MOMENTS: dict[str, Dash] = {"end": SOLID, "start": DASHED}
SHARES: dict[str, Dash] = {"saturated": SOLID, "dead": DASHED}


@figure("gradient_through_time", place=100)
def gradient_map(facets: Facets) -> Plot:
    """ln gamma by lag and update, a colour each: where in training the gradient begins to reach how far."""
    hue, row, col = facets.hue, facets.row, facets.col
    probes = queries.probes(facets.results)
    need(probes, "gradients through time of the kind probe")
    data = facets.joined(probes)
    data["log_norm"] = data["log_norm"].astype(float).mask(data["zero_share"] > 0.5, -np.inf)
    profile = ["run", "update"]
    at_loss = data.loc[data["lag"] == 0, [*profile, "log_norm"]]
    data = data.merge(at_loss, on=profile, suffixes=("", "_at_loss"))
    data["log_gamma"] = data["log_norm"] - data["log_norm_at_loss"]
    by = [hue, row, col, "state"]
    band = most(quartiles(data, [*by, "update", "lag"], "log_gamma"), by)

    merged = _merged(band, hue, row, col)
    several, words = band[row].nunique() > 1, titles(band[row], row)
    rows = {
        key: f"{key[0]}\n{_listed([words[r] for r in same])}" * several or str(key[0]) for key, same in merged.items()
    }
    columns = titles(band[col], col)
    maps = {
        (key, column): own
        for key, same in merged.items()
        for column in columns
        if len(own := band[(band[hue] == key[0]) & (band[row] == same[0]) & (band[col] == column)])
    }
    asked = Asked(rows, columns, "updates", "lag (time steps)", present=maps, row_height=0.95, above=BAR)
    figures, axes = grid(asked, Key({}), facets.ax)
    norm = Normalize(-SHOWN, SHOWN)
    for place, own in maps.items():
        _draw_map(axes[place], own.pivot(index="lag", columns="update", values="median"), norm)
    for drawing in figures:
        _draw_bar(drawing, [panel for panel in axes.values() if panel.figure is drawing], norm)
    caption = (
        "Gradient of one step's loss by lag and update: ln γ, the logarithm of its norm relative to that at lag 0 (of "
        f"an LSTM's c). Blue has vanished, red has grown, by more than {GROWN:g} nat where dotted; white has come "
        f"through unchanged. Beyond ±{SHOWN:g} nats the colour stays. Settings with equal maps share a panel."
    )
    details = (
        f"Equal: within {EQUAL:g} nats everywhere. Median over seeds, {facets.seeds()}, quartiles in the CSV file; "
        f"{captions.SURVIVORS}. {facets.conditions}"
    )
    alt = captions.alt("Logarithm of the relative gradient norm as colour, by lag and update", levels(band[hue]), axes)
    title = "When in training does the gradient begin to reach how far?"
    return Plot("gradient_map", figures, band, caption, alt, title, details)


def _merged(band: pd.DataFrame, hue: str, row: str, col: str) -> dict[tuple[Any, Any], list[Any]]:
    """Levels of `row` whose maps are equal for a level of the hue, by that and the first of them."""
    merged: dict[tuple[Any, Any], list[Any]] = {}
    for level in levels(band[hue]):
        seen: dict[Any, pd.Series] = {}
        for other in levels(band[row]):
            own = band[(band[hue] == level) & (band[row] == other)]
            if own.empty:
                continue
            own_map = own.set_index([col, "update", "lag"])["median"].sort_index()
            same = next((first for first, its in seen.items() if _equal(own_map, its)), None)
            if same is None:
                seen[other] = own_map
            merged.setdefault((level, other if same is None else same), []).append(other)
    return merged


def _equal(one: pd.Series, other: pd.Series) -> bool:
    """Whether two maps have the same places and would look alike."""
    if not one.index.equals(other.index):
        return False
    bounds = -SHOWN, SHOWN
    return bool(np.allclose(one.clip(*bounds), other.clip(*bounds), rtol=0, atol=EQUAL, equal_nan=True))


def _listed(words: list[str]) -> str:
    """`clipped at 10, 100, no clipping`."""
    shown = [words[0], *(word.removeprefix("clipped at ") for word in words[1:])]
    return ", ".join(shown)


def _draw_bar(drawing: Figure | SubFigure, panels: list[Axes], norm: Normalize) -> None:
    """The colours with their numbers, on top of panels; dots where maps have them."""
    scale = in_force().scale
    apart = BAR_APART * scale / drawing.get_figheight() if isinstance(drawing, Drawing) else 0.1
    bar = drawing.colorbar(ScalarMappable(norm, BLUE_TO_RED), ax=panels, location="top", aspect=40, pad=apart)
    dotted = np.arange(GROWN, SHOWN, GROWN / 2) + GROWN / 4
    bar.ax.plot(dotted, np.full(len(dotted), 0.5), **DOTS)
    bar.set_label(r"$\ln\,\gamma$ (nats)", fontsize="medium")


def _draw_map(panel: Axes, table: pd.DataFrame, norm: Normalize) -> None:
    """Colours for a table of lag by update, on a logarithmic axis of updates; dots where the gradient has grown."""
    updates, lags = table.columns.to_numpy(dtype=float), table.index.to_numpy(dtype=float)
    between = np.where(updates[:-1] < 1, updates[:-1] + 0.5, np.sqrt(updates[:-1] * updates[1:]))
    x = np.array([-0.2, *between, updates[-1] * 1.2])
    y = np.array([*(lags - 0.5), lags[-1] + 0.5])
    panel.pcolormesh(x, y, table.clip(-SHOWN, SHOWN), norm=norm, cmap=BLUE_TO_RED, rasterized=True)
    every = -(-len(lags) // DOTTED_LAGS)
    row, column = np.nonzero(table.to_numpy()[every // 2 :: every] > GROWN)
    panel.plot(updates[column], lags[every // 2 :: every][row], **DOTS)
    log_updates(panel)
    panel.set_xlim(-0.2, x[-1])


@figure("gradient_through_time", "lyapunov", place=110)
def decay_and_exponent(facets: Facets) -> Plot:
    """Decay rate of the probe against the largest Lyapunov exponent, every run at its start and its end.

    Its numbers hold all that `decay` knows: half-life, horizons, vanished and underflown share.
    """
    lyapunov, gradients = facets.results.read("lyapunov"), queries.gradients_at_ends(facets.results)
    if "unconverged" not in lyapunov:
        raise NothingToDraw("finite-time exponents of an earlier version are another quantity")
    largest = lyapunov[(lyapunov["index"] == 1) & (lyapunov["kind"] == "finite-time") & lyapunov["unconverged"].notna()]
    measured = gradients.merge(largest[["run", "update"]], on=["run", "update"])
    need(measured, "gradients through time beside Lyapunov exponents")
    rates = _memory(decay(measured))  # whole: half-lives and horizons go into the CSV file
    columns_of_exponents = ["run", "update", "exponent", "q05", "q95", "unconverged", "sequences", "steps"]
    data = largest[columns_of_exponents].merge(rates, on=["run", "update"])
    data = facets.joined(_moments(data), "seed").dropna(subset=["exponent", "decay_rate"])
    need(data, "Lyapunov exponents beside probes")

    label = r"largest Lyapunov exponent $\lambda_1$ (nats/step)"
    equal = {"equal": DASHED}
    panels = facets.panels(data, label, "decay rate (nats/step)", row=ONE_ROW, row_height=1.5, dashes=equal)
    for panel, own in panels.cut(data):
        for level, series in panels.series.items():
            for moment, filled in (("start", "white"), ("end", series.color)):
                points = own[(own[facets.hue] == level) & (own["moment"] == moment)]
                style: dict[str, Any] = {"marker": series.marker, "linestyle": "none", "color": series.color}
                panel.plot(
                    points["exponent"], points["decay_rate"], **style, markerfacecolor=filled, markeredgewidth=0.8
                )
        panel.axline((0, 0), slope=1, color=GREY, linewidth=0.7, linestyle=DASHED, zorder=1)
        reference(panel, x=0.0, y=0.0, dash=DOTTED)
    steps, sequences = (", ".join(f"{n:.0f}" for n in sorted(data[of].unique())) for of in ("steps", "sequences"))
    spread, unsettled = (data["q95"] - data["q05"]).median(), int((data["unconverged"] > 0).sum())
    caption = (
        "Slope of ln γ over lag, the rate at which the gradient of one step's loss decays on its way back, against the "
        "largest finite-time Lyapunov exponent: no direction of the state grows faster. Open: at the start, filled: "
        "at the end; a point a run. Dashed: both are equal."
    )
    details = (
        "The slope is robust. The exponent is ln of the largest singular value of the product of all state Jacobians "
        f"over {steps} steps, per step: of longer runs it says nothing. Mean over {sequences} held-out sequences, of "
        f"which 5 to 95 % lie within {spread:.2g} nats per step of each other at the median point; {unsettled} points "
        "not converged. Both are equal where the loss excites the direction that lasts longest; "
        f"{facets.seeds()}. {facets.conditions}"
    )
    alt = panels.alt("Decay rate against largest Lyapunov exponent")
    title = "Does the gradient decay as fast as the state allows?"
    return Plot("decay_and_exponent", panels.figures, data, caption, alt, title, details)


@figure("jacobian_product", place=120)
def jacobian_product(facets: Facets) -> Plot:
    """Singular values of the Jacobian of a whole sequence, per step, at the start and the end of training."""
    data = facets.joined(_moments(facets.results.read("jacobian_product")))
    data["per_step"] = data["log_singular_value"] / data["steps"]
    data.loc[data["lost"] > data["sequences"] / 2, "per_step"] = np.nan
    by = [*facets.by, "moment"]
    band = most(quartiles(data, [*by, "index"], "per_step"), by)

    label = r"$\ln\,\sigma_i\,/\,T$ (nats/step)"
    panels = facets.panels(band, "index $i$", label, dashes=MOMENTS)
    panels.draw_bands(band, "index", dash="moment", dashes=MOMENTS)
    for panel in panels:
        panel.set_ylim(bottom=max(panel.get_ylim()[0], LOWEST))
        reference(panel, y=0.0, dash=DOTTED)
    caption = (
        "Singular values of the Jacobian of a whole held-out sequence, largest first, as logarithms per step: at 0 a "
        "direction of the initial state reaches the end unchanged. Line: median over seeds; band: quartiles."
    )
    details = (
        f"A line ends where the rest are exactly 0 in most sequences, or fall below {LOWEST:g}. By {facets.row_name}; "
        f"{facets.seeds()}; {captions.SURVIVORS}. {facets.conditions}"
    )
    alt = panels.alt("Logarithm of singular values per step by index")
    title = "How many directions of the state survive a sequence?"
    return Plot("jacobian_product", panels.figures, band, caption, alt, title, details)


@figure("state", place=140)
def state(facets: Facets) -> Plot:
    """Saturated and dead share of the units of h, by updates."""
    of_units = queries.states(facets.results).groupby(["run", "update"], observed=True)[list(SHARES)].mean()
    data = facets.joined(of_units.reset_index())
    data = data.melt([*facets.by, "run", "update"], list(SHARES), var_name="quantity")
    by = [*facets.by, "quantity"]
    band = most(quartiles(data, [*by, "update"], "value"), by)

    panels = facets.panels(band, "updates", "share of units", dashes=SHARES)
    panels.draw_bands(band, "update", dash="quantity", dashes=SHARES)
    for panel in panels:
        log_updates(panel)
        shares(panel)
    caption = (
        "Units of the hidden state on held-out sequences. Solid: saturated, within 3 % of half its range from a bound "
        "(not drawn for units without bounds). Dashed: dead, 0 at every step of every sequence. Median over seeds; "
        "band: quartiles."
    )
    details = (
        f"Saturated: mean over steps. By {facets.row_name}; {facets.seeds()}; {captions.SURVIVORS}. {facets.conditions}"
    )
    alt = panels.alt("Saturated and dead share of units by updates")
    title = "Are units saturated or dead?"
    return Plot("state", panels.figures, band, caption, alt, title, details)


def _memory(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of one part of each run's state: c, the memory, where it has one, else h."""
    has_c = (table["state"].astype(str) == "c").groupby(table["run"], observed=True).transform("any")
    return table[table["state"].astype(str) == np.where(has_c, "c", "h")]


def _moments(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at update 0 and at each run's last measured one; `moment` says which."""
    last = table.groupby("run", observed=True)["update"].transform("max")
    at_start = table["update"] == 0
    chosen = table[at_start | (table["update"] == last)]
    return chosen.assign(moment=np.where(chosen["update"] == 0, "start", "end"))
