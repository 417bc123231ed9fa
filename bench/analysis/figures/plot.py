"""A figure with all that is published beside it, and its files with reproducible bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.analysis.figures.fonts import with_fonts
from bench.analysis.figures.style import paper

PNG_DPI = 300
EXTENSIONS = ("pdf", "png", "svg", "csv", "txt")
MATHEMATICS = "\\providecommand{\\mathdefault}[1]{#1}\n"  # what powers of ten on an axis are set with
TEX = ("pdflatex", "xelatex", "lualatex")


class NothingToDraw(Exception):
    """The results hold nothing for a figure; the message says what is missing."""


class NoTex(Exception):
    """PGF was asked for, and there is no TeX that could measure its letters."""


def need(table: pd.DataFrame, what: str) -> None:
    """Raises NothingToDraw if `table` is empty; `what` is what it would have held."""
    if table.empty:
        raise NothingToDraw(f"these results hold no {what}")


def tex() -> str:
    """The program that PGF is measured with. Raises NoTex if there is none."""
    for program in TEX:
        if shutil.which(program):
            return program
    raise NoTex(f"pgf: needs one of {', '.join(TEX)}; install a TeX distribution, or take the PDF files")


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

    def save(self, folder: Path, *, pgf: bool = False) -> None:
        """Write NAME.pdf, .png, .svg, .csv (the numbers drawn), .txt (the caption) and perhaps .gif into `folder`.

        pgf: also NAME.pgf, for `\\input` into a LaTeX document. Raises NoTex if there is none to make it with.
        """
        program = tex() if pgf else ""
        folder.mkdir(parents=True, exist_ok=True)
        path = {extension: folder / f"{self.name}.{extension}" for extension in (*EXTENSIONS, "gif", "pgf")}
        # Canvases are called by themselves, because Figure.savefig draws everything twice. The metadata left out
        # differ from one day, or one version of matplotlib, to the next.
        with paper():
            if layout := self.figure.get_layout_engine():  # once for all formats
                layout.execute(self.figure)
            self.figure.set_layout_engine("none")
            unwanted = dict.fromkeys(("CreationDate", "Creator", "Producer"))
            FigureCanvasPdf(self.figure).print_pdf(path["pdf"], metadata=unwanted)
            svg = StringIO()
            FigureCanvasSVG(self.figure).print_svg(svg, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
            path["svg"].write_text(with_fonts(svg.getvalue()), encoding="utf-8")
            if pgf:
                _print_pgf(self.figure, path["pgf"], program)
            self.figure.set_dpi(PNG_DPI)  # the others leave 72 behind
            FigureCanvasAgg(self.figure).print_png(path["png"], metadata={"Software": None})
            if self.animation is not None:
                self.animation(path["gif"])
        self.data.to_csv(path["csv"], index=False)
        path["txt"].write_text(self.caption + "\n", encoding="utf-8")


def _print_pgf(figure: Figure, path: Path, program: str) -> None:
    from matplotlib.backends.backend_pgf import FigureCanvasPgf  # series_styles for TeX when it is imported

    with mpl.rc_context({"pgf.texsystem": program}):
        FigureCanvasPgf(figure).print_pgf(path)
    path.write_text(MATHEMATICS + path.read_text(encoding="utf-8"), encoding="utf-8")
