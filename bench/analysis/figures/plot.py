"""A figure with all that is published beside it, and its files with reproducible bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from pathlib import Path
from unittest.mock import patch

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from bench.analysis.figures.fonts import with_fonts
from bench.analysis.figures.style import kept
from bench.analysis.latex import in_latex_but_mathematics

PNG_DPI = 300
SCREEN_DPI = 150
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
    """A figure with its words and numbers; a notebook shows its picture.

    name: of its files. figures: its parts, more than one where it fits no page as a whole. data: the numbers drawn, a
    row a point. caption: for the paper, under 60 words. alt: the figure in words. title: the question it answers.
    details: what the caption leaves out, for the file beside the figure. animation: writes the figure as a GIF, where
    it has one that moves.
    """

    name: str
    figures: tuple[Figure, ...] = field(repr=False)
    data: pd.DataFrame = field(repr=False)
    caption: str
    alt: str = field(repr=False)
    title: str = ""
    details: str = field(default="", repr=False)
    animation: Callable[[Path], None] | None = field(default=None, repr=False)

    @property
    def figure(self) -> Figure:
        """The figure, or its first part."""
        return self.figures[0]

    @property
    def stems(self) -> list[str]:
        """The names of the files of each part, without their ends: `scores`, `scores_2`."""
        return [self.name, *(f"{self.name}_{k}" for k in range(2, len(self.figures) + 1))]

    @property
    def text(self) -> str:
        """Title, caption and details."""
        return "\n\n".join(part for part in (self.title, f"{self.caption} {self.details}".strip()) if part)

    def settle(self) -> None:
        """Fix where the titles and labels stand that panels do not have, for a figure that is only drawn from now on.

        matplotlib looks for their places at each drawing, which takes a seventh of it. The bytes stay the same; a title
        or label that is given afterwards would stand in a wrong place.
        """
        for panel in (panel for figure in self.figures for panel in figure.axes):
            if not any(panel.get_title(where) for where in ("left", "center", "right")):
                panel.set_title("", y=1.0)
            for axis in (panel.xaxis, panel.yaxis):
                if not axis.get_label_text():
                    axis.set_label_coords(0.0, 0.0)

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the parts of the figure below one another."""
        pictures = [png(figure) for figure in self.figures]
        if len(pictures) == 1:
            return pictures[0]
        images = [Image.open(BytesIO(picture)) for picture in pictures]
        whole = Image.new("RGB", (max(one.width for one in images), sum(one.height for one in images)), "white")
        for k, image in enumerate(images):
            whole.paste(image, (0, sum(one.height for one in images[:k])))
        buffer = BytesIO()
        whole.save(buffer, "png")
        return buffer.getvalue()

    def save(self, folder: Path | str, *, pgf: bool = False, gif: bool = False) -> None:
        """Write NAME.pdf, .png, .svg, .csv (the numbers drawn) and .txt (the whole caption) into `folder`.

        pgf: also NAME.pgf, for `\\input` into a LaTeX document. gif: also NAME.gif, if the figure has one that moves.
        Raises NoTex if there is no TeX to make a PGF file with.
        """
        folder, program = Path(folder), tex() if pgf else ""
        folder.mkdir(parents=True, exist_ok=True)
        for figure, stem in zip(self.figures, self.stems, strict=True):
            with kept(figure):
                _print(figure, folder / stem, program)
        if gif and self.animation is not None:
            self.animation(folder / f"{self.name}.gif")
        self.data.to_csv(folder / f"{self.name}.csv", index=False)
        (folder / f"{self.name}.txt").write_text(self.text + "\n", encoding="utf-8")


def png(figure: Figure) -> bytes:
    """A PNG for a screen."""
    buffer, dots = BytesIO(), figure.dpi
    figure.set_dpi(SCREEN_DPI)
    with kept(figure):
        FigureCanvasAgg(figure).print_png(buffer)
    figure.set_dpi(dots)
    return buffer.getvalue()


def _print(figure: Figure, path: Path, program: str) -> None:
    """Write PATH.pdf, .svg, .png and, with a TeX program, .pgf.

    Canvases are called by themselves, because Figure.savefig draws everything twice. The metadata left out differ from
    one day, or one version of matplotlib, to the next.
    """
    if layout := figure.get_layout_engine():  # once for all formats
        layout.execute(figure)
    figure.set_layout_engine("none")
    dots = figure.dpi  # of pictures in a PDF, and so the same again afterwards
    unwanted = dict.fromkeys(("CreationDate", "Creator", "Producer"))
    FigureCanvasPdf(figure).print_pdf(path.with_suffix(".pdf"), metadata=unwanted)
    svg = StringIO()
    FigureCanvasSVG(figure).print_svg(svg, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    path.with_suffix(".svg").write_text(with_fonts(svg.getvalue()), encoding="utf-8")
    if program:
        _print_pgf(figure, path.with_suffix(".pgf"), program)
    figure.set_dpi(PNG_DPI)  # the others leave 72 behind
    FigureCanvasAgg(figure).print_png(path.with_suffix(".png"), metadata={"Software": None})
    figure.set_dpi(dots)


def _print_pgf(figure: Figure, path: Path, program: str) -> None:
    from matplotlib.backends import backend_pgf  # looks for TeX when it is imported

    escape: Callable[[str], str] = vars(backend_pgf)["_tex_escape"]  # leaves _, & and # in texts as they are
    escaping = patch.object(backend_pgf, "_tex_escape", lambda words: escape(in_latex_but_mathematics(words)))
    with escaping, mpl.rc_context({"pgf.texsystem": program}):
        backend_pgf.FigureCanvasPgf(figure).print_pgf(path)
    path.write_text(MATHEMATICS + path.read_text(encoding="utf-8"), encoding="utf-8")
