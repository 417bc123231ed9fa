"""Why a net remembers or does not, as figures: what its state, its Jacobians and its probes do while it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize

from bench.analysis import captions, queries
from bench.analysis.figures.facets import ONE_ROW, Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import grid, log_updates, reference, shares, titles
from bench.analysis.figures.plot import NothingToDraw, Plot, need
from bench.analysis.figures.style import DASHED, DOTTED, GREY, SOLID, Dash, in_force
from bench.analysis.settings import levels
from bench.analysis.statistics.decay import decay
from bench.analysis.statistics.summaries import most, quartiles

BAR = 0.35  # inches at a size of 8 points, of the bar of colours with its numbers
BAR_APART = 0.1  # inches, of the bar of colours from the panels
SHOWN = 10.0  # nats: a relative gradient of e^-10 and less, or e^10 and more, has the darkest colour
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

    several, words = band[row].nunique() > 1, titles(band[row], row)
    settings = band[[hue, row]].drop_duplicates().sort_values([hue, row]).itertuples(index=False, name=None)
    rows = {s: f"{s[0]}\n{words[s[1]]}" if several else str(s[0]) for s in settings}
    drawing, panels = grid(rows, titles(band[col], col), "updates", "lag (time steps)", row_height=0.95)
    norm = Normalize(-SHOWN, SHOWN)
    for ((level, clip), column), panel in panels.items():
        own = band[(band[hue] == level) & (band[row] == clip) & (band[col] == column)]
        if len(own):
            _draw_map(panel, own.pivot(index="lag", columns="update", values="median"), norm)
    drawing.set_figheight(drawing.get_figheight() + BAR * in_force().scale)
    apart = BAR_APART * in_force().scale / drawing.get_figheight()
    scale = ScalarMappable(norm, BLUE_TO_RED)
    bar = drawing.colorbar(scale, ax=list(panels.values()), location="top", aspect=40, pad=apart)
    dotted = np.arange(GROWN, SHOWN, GROWN / 2) + GROWN / 4
    bar.ax.plot(dotted, np.full(len(dotted), 0.5), **DOTS)
    bar.set_label(r"$\ln\,\gamma$ (nats)", fontsize="medium")
    caption = (
        "Gradient through time of the loss at one step, by lag and update: ln γ, the logarithm of the gradient's norm "
        "relative to that at lag 0 (of an LSTM's c, the memory). Blue has vanished, red has grown, by more than "
        f"{GROWN:g} nat where dotted, white has come through unchanged; beyond ±{SHOWN:g} nats the colour stays. "
        f"Median over seeds, {facets.seeds()}, quartiles in the CSV file; {captions.SURVIVORS}. "
        f"{facets.conditions}"
    )
    alt = captions.alt(
        "Logarithm of the relative gradient norm as colour, by lag and update", levels(band[hue]), panels
    )
    return Plot("gradient_map", (drawing,), band, caption, alt)


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
    panels = facets.panels(data, label, "decay rate (nats/step)", row=ONE_ROW, row_height=1.5)
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
    panels.legend({"equal": DASHED})
    steps, sequences = (", ".join(f"{n:.0f}" for n in sorted(data[of].unique())) for of in ("steps", "sequences"))
    spread, unsettled = (data["q95"] - data["q05"]).median(), int((data["unconverged"] > 0).sum())
    caption = (
        "Decay rate of the gradient of one step's loss on its way back (robust slope of ln γ over lag) against the "
        "largest finite-time Lyapunov exponent, ln of the largest singular value of the product of all state Jacobians "
        f"over {steps} steps, per step: no direction of the state grows faster over these, and of longer runs it says "
        f"nothing. Mean over {sequences} held-out sequences, of which 5 to 95 % lie within {spread:.2g} nats per step "
        f"of each other at the median point; {unsettled} points not converged. Open: at the start, filled: "
        f"at the end of training; a point a run, {facets.seeds()}. Dashed: both are "
        f"equal, which they are where the loss excites the direction that lasts longest. "
        f"{facets.conditions}"
    )
    alt = panels.alt("Decay rate against largest Lyapunov exponent")
    return Plot("decay_and_exponent", (panels.figure,), data, caption, alt)


@figure("jacobian_product", place=120)
def jacobian_product(facets: Facets) -> Plot:
    """Singular values of the Jacobian of a whole sequence, per step, at the start and the end of training."""
    data = facets.joined(_moments(facets.results.read("jacobian_product")))
    data["per_step"] = data["log_singular_value"] / data["steps"]
    data.loc[data["lost"] > data["sequences"] / 2, "per_step"] = np.nan
    by = [*facets.by, "moment"]
    band = most(quartiles(data, [*by, "index"], "per_step"), by)

    label = r"$\ln\,\sigma_i\,/\,T$ (nats/step)"
    panels = facets.panels(band, "index $i$", label)
    panels.draw_bands(band, "index", dash="moment", dashes=MOMENTS)
    for panel in panels:
        panel.set_ylim(bottom=max(panel.get_ylim()[0], LOWEST))
        reference(panel, y=0.0, dash=DOTTED)
    panels.legend(MOMENTS)
    caption = (
        "Singular values of the product of all state Jacobians of a held-out sequence, largest first, as logarithms "
        "per step: at 0 a direction of the initial state reaches the end of the sequence unchanged; a line ends where "
        f"the rest are exactly 0 in most sequences, or fall below {LOWEST:g}. By {facets.row_name}. "
        f"{captions.BAND}, {facets.seeds()}; {captions.SURVIVORS}. {facets.conditions}"
    )
    alt = panels.alt("Logarithm of singular values per step by index")
    return Plot("jacobian_product", (panels.figure,), band, caption, alt)


@figure("state", place=140)
def state(facets: Facets) -> Plot:
    """Saturated and dead share of the units of h, by updates."""
    of_units = queries.states(facets.results).groupby(["run", "update"], observed=True)[list(SHARES)].mean()
    data = facets.joined(of_units.reset_index())
    data = data.melt([*facets.by, "run", "update"], list(SHARES), var_name="quantity")
    by = [*facets.by, "quantity"]
    band = most(quartiles(data, [*by, "update"], "value"), by)

    panels = facets.panels(band, "updates", "share of units")
    panels.draw_bands(band, "update", dash="quantity", dashes=SHARES)
    for panel in panels:
        log_updates(panel)
        shares(panel)
    panels.legend(SHARES)
    caption = (
        "Units of the hidden state on held-out sequences. Solid: saturated, within 3 % of half its range from a bound, "
        "mean over steps (not drawn for units without bounds); dashed: dead, 0 at every step of every sequence. By "
        f"{facets.row_name}. {captions.BAND}, {facets.seeds()}; {captions.SURVIVORS}. "
        f"{facets.conditions}"
    )
    alt = panels.alt("Saturated and dead share of units by updates")
    return Plot("state", (panels.figure,), band, caption, alt)


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
