"""A figure with all that is published beside it, and its files with reproducible bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.analysis.style import paper

PNG_DPI = 300
EXTENSIONS = ("pdf", "png", "svg", "csv", "txt")


class NothingToDraw(Exception):
    """The results hold nothing for a figure; the message says what is missing."""


def need(table: pd.DataFrame, what: str) -> None:
    """Raises NothingToDraw if `table` is empty; `what` is what it would have held."""
    if table.empty:
        raise NothingToDraw(f"these results hold no {what}")


@dataclass(frozen=True)
class Plot:
    """name: of its files. data: the numbers drawn, a row a point. caption: for the paper. alt: the figure in words.

    animation: writes the figure as a GIF, where it has one that moves.
    """

    name: str
    figure: Figure
    data: pd.DataFrame
    caption: str
    alt: str
    animation: Callable[[Path], None] | None = None

    def save(self, folder: Path) -> None:
        """Write NAME.pdf, .png, .svg, .csv (the numbers drawn), .txt (the caption) and perhaps .gif into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = {extension: folder / f"{self.name}.{extension}" for extension in EXTENSIONS}
        # Canvases are called by themselves, because Figure.savefig draws everything twice. The metadata left out
        # differ from one day, or one version of matplotlib, to the next.
        with paper():
            if layout := self.figure.get_layout_engine():  # once for all formats
                layout.execute(self.figure)
            self.figure.set_layout_engine("none")
            unwanted = dict.fromkeys(("CreationDate", "Creator", "Producer"))
            FigureCanvasPdf(self.figure).print_pdf(path["pdf"], metadata=unwanted)
            unwanted = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            FigureCanvasSVG(self.figure).print_svg(path["svg"], metadata=unwanted)
            self.figure.set_dpi(PNG_DPI)  # the others leave 72 behind
            FigureCanvasAgg(self.figure).print_png(path["png"], metadata={"Software": None})
        self.data.to_csv(path["csv"], index=False)
        path["txt"].write_text(self.caption + "\n", encoding="utf-8")
        if self.animation is not None:
            self.animation(folder / f"{self.name}.gif")
