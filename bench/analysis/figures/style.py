"""How figures look: page widths, fonts, and one colour-blind safe palette."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from bench.analysis.settings import KNOWN_CELLS

Dash: TypeAlias = tuple[float, tuple[float, ...]]

GREY = "0.35"
SOLID: Dash = (0, ())
DASHED: Dash = (0, (3, 1.2))
DOTTED: Dash = (0, (1, 1.2))
# seaborn's "colorblind" without the two that are pale on white paper
COLORS = [color for color in sns.color_palette("colorblind").as_hex() if color not in ("#fbafe4", "#ece133")]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
MOST = 8.0  # inches, the height of a figure on a page
NORMAL = 8.0  # points, of the letters for which lengths in figures are given


@dataclass(frozen=True)
class Style:
    """What a page asks of a figure.

    column, page: inches, the width of a figure that takes one column of the text, or the whole width of it.
    letters: points; tick labels have one less. family: of the letters, from the fonts that matplotlib brings along.
    ratio: the largest height of a figure, in units of its width.
    """

    column: float
    page: float
    letters: float
    family: Literal["serif", "sans-serif"]
    ratio: float = 1.4

    def tallest(self, width: float) -> float:
        """Inches that a figure of so many inches may be high, with room for a caption on the page."""
        return min(self.ratio * width, MOST)

    @property
    def scale(self) -> float:
        """What lengths that go with letters, such as the height of a row, are multiplied with."""
        return self.letters / NORMAL

    @property
    def settings(self) -> dict[Any, Any]:
        """The settings of matplotlib."""
        thick = {name: width * self.scale for name, width in STROKES.items()}
        sizes = dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"), self.letters)
        ticks = dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), self.letters - 1)
        mathematics = "stix" if self.family == "serif" else "dejavusans"
        return {**COMMON, **thick, **sizes, **ticks, "font.family": self.family, "mathtext.fontset": mathematics}


STYLES = {
    "paper": Style(column=3.3, page=6.75, letters=8, family="serif"),
    "neurips": Style(column=5.5, page=5.5, letters=8, family="serif"),  # one column of text
    "icml": Style(column=3.25, page=6.75, letters=8, family="serif"),
    "ieee": Style(column=3.5, page=7.16, letters=8, family="serif"),
    "slides": Style(column=10, page=10, letters=16, family="sans-serif", ratio=9 / 16),
}
PAPER = STYLES["paper"]
ONE_COLUMN, TWO_COLUMNS = PAPER.column, PAPER.page
STROKES = {
    "axes.linewidth": 0.6,
    "axes.titlepad": 4,
    "axes.labelpad": 2,
    **{f"{axis}tick.major.pad": 2 for axis in "xy"},
    **{f"{axis}tick.major.size": 2.5 for axis in "xy"},
    **{f"{axis}tick.major.width": 0.6 for axis in "xy"},
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
}
COMMON = {
    **sns.axes_style("ticks"),
    "font.serif": ["STIXGeneral"],
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.markeredgewidth": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "pdf.fonttype": 42,  # TrueType, as publishers ask
    "svg.fonttype": "none",  # text stays text, which can be searched and edited
    "svg.hashsalt": "recurrent-memory-bench",  # else ids are random
    "pgf.rcfonts": False,  # a document sets the letters of its figures in its own font
}


@dataclass(frozen=True)
class SeriesStyle:
    """How a series is drawn; its marker tells it from the others in grey.

    offset: of the first marker along its line, as a share of the panel's diagonal, so that markers do not meet.
    """

    color: str
    marker: str
    offset: float


_IN_FORCE: ContextVar[Style] = ContextVar("style", default=PAPER)  # as matplotlib's own settings are


def in_force() -> Style:
    """The style in which figures are drawn now."""
    return _IN_FORCE.get()


@contextmanager
def styled(style: Style) -> Iterator[None]:
    """Figures that are made within are drawn in this style."""
    before = _IN_FORCE.set(style)
    try:
        yield
    finally:
        _IN_FORCE.reset(before)


class Drawing(Figure):
    """A figure of matplotlib that keeps the style in which it was made, wherever it is drawn or saved."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.style = in_force()

    def draw(self, renderer: Any) -> None:
        """Draw in the figure's own style."""
        with kept(self):
            super().draw(renderer)

    def savefig(self, fname: Any, *, transparent: bool | None = None, **options: Any) -> None:
        """Save in the figure's own style."""
        with kept(self):
            super().savefig(fname, transparent=transparent, **options)


@contextmanager
def kept(figure: Figure) -> Iterator[None]:
    """The settings of matplotlib under which a figure was made; those of the style in force for another's figure."""
    style = figure.style if isinstance(figure, Drawing) else in_force()
    with mpl.rc_context(style.settings):
        yield


@contextmanager
def paper() -> Iterator[None]:
    """The settings of matplotlib under which figures are made and saved, those of the style in force."""
    with mpl.rc_context(in_force().settings):
        yield


def series_styles(levels: Iterable[object]) -> dict[object, SeriesStyle]:
    """A look for every level: beside known cells, which always have the same, others take what comes after.

    Colour and marker go round together once, then the markers are one ahead, so that no two levels look the same.
    """
    ordered = list(levels)
    others = [level for level in ordered if level not in KNOWN_CELLS]
    places = others if others == ordered else [*KNOWN_CELLS, *others]
    return {
        level: SeriesStyle(
            color=COLORS[(place := places.index(level)) % len(COLORS)],
            marker=MARKERS[(place + place // len(COLORS)) % len(MARKERS)],
            offset=0.05 + 0.09 * (place % 4),
        )
        for level in ordered
    }
