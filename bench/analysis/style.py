"""How figures look: page widths, fonts, and one colour-blind safe palette."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib as mpl
import seaborn as sns

from bench.analysis.settings import KNOWN_CELLS

Dash: TypeAlias = tuple[float, tuple[float, ...]]

ONE_COLUMN = 3.3  # inches, a column of a two-column page
TWO_COLUMNS = 6.75  # inches, the whole page
GREY = "0.35"
SOLID: Dash = (0, ())
DASHED: Dash = (0, (3, 1.2))
DOTTED: Dash = (0, (1, 1.2))
# seaborn's "colorblind" without the two that are pale on white paper
COLORS = [color for color in sns.color_palette("colorblind").as_hex() if color not in ("#fbafe4", "#ece133")]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
PAPER = {
    **sns.axes_style("ticks"),
    "font.family": "serif",
    "font.serif": ["STIXGeneral"],
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlepad": 4,
    "axes.labelpad": 2,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "lines.markeredgewidth": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "pdf.fonttype": 42,  # TrueType, as publishers ask
    "svg.fonttype": "path",  # a page that shows the figure as an image has no STIX of its own
    "svg.hashsalt": "recurrent-memory-bench",  # else ids are random
}


@dataclass(frozen=True)
class Look:
    """How a series is drawn; its marker tells it from the others in grey.

    offset: of the first marker along its line, as a share of the panel's diagonal, so that markers do not meet.
    """

    color: str
    marker: str
    offset: float


@contextmanager
def paper() -> Iterator[None]:
    """The settings under which figures are made and saved."""
    with mpl.rc_context(PAPER):
        yield


def looks(levels: Iterable[object]) -> dict[object, Look]:
    """A look for every level: beside known cells, which always have the same, others take what comes after."""
    ordered = list(levels)
    others = [level for level in ordered if level not in KNOWN_CELLS]
    places = others if others == ordered else [*KNOWN_CELLS, *others]
    return {
        level: Look(
            color=COLORS[(place := places.index(level)) % len(COLORS)],
            marker=MARKERS[place % len(MARKERS)],
            offset=0.05 + 0.09 * (place % 4),
        )
        for level in ordered
    }
