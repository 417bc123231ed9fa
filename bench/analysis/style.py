"""How figures look: page widths, fonts, one colour-blind safe palette, and files with reproducible bytes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.analysis.settings import KNOWN_CELLS

ONE_COLUMN = 3.3  # inches, a column of a two-column page
TWO_COLUMNS = 6.75  # inches, the whole page
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ((0, ()), (0, (3, 1.2)), (0, (1, 1)), (0, (4, 1, 1, 1)))
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
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "lines.markeredgewidth": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "pdf.fonttype": 42,  # TrueType, as publishers ask
    "svg.fonttype": "path",  # a page that shows the figure as an image has no STIX of its own
    "svg.hashsalt": "recurrent-memory-bench",  # else ids are random
    "savefig.dpi": 300,
    "figure.dpi": 100,
}
# nothing in a file that differs from one day, or one version of matplotlib, to the next
METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}


@dataclass(frozen=True)
class Look:
    """How one series is drawn; marker and dash tell it from the others in grey."""

    color: str
    marker: str
    dash: tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Plot:
    """A figure with all that is published beside it.

    data: the numbers drawn, one row per point. caption: for the paper. alt: what one would see, for those who cannot.
    """

    name: str
    figure: Figure
    data: pd.DataFrame
    caption: str
    alt: str


def paper() -> AbstractContextManager[None]:
    """The settings under which figures are made and saved."""
    return mpl.rc_context(PAPER)


def looks(levels: Sequence[object]) -> dict[object, Look]:
    """A look for every level: the known cells always have theirs, others take what comes after."""
    colors = sns.color_palette("colorblind").as_hex()
    others = [level for level in levels if level not in KNOWN_CELLS]
    places = {level: place for place, level in enumerate([*KNOWN_CELLS, *others])}
    return {
        level: Look(
            color=colors[places[level] % len(colors)],
            marker=MARKERS[places[level] % len(MARKERS)],
            dash=DASHES[places[level] % len(DASHES)],
        )
        for level in levels
    }


def save(plot: Plot, folder: Path) -> list[Path]:
    """Write NAME.pdf, .png (300 dpi), .svg, .csv (the numbers drawn) and .txt (the caption) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with paper():
        plot.figure.draw_without_rendering()  # the layout, found once and kept for all formats
        plot.figure.set_layout_engine("none")
        for extension, metadata in METADATA.items():
            plot.figure.savefig(folder / f"{plot.name}.{extension}", metadata=metadata)
    plot.data.to_csv(folder / f"{plot.name}.csv", index=False)
    (folder / f"{plot.name}.txt").write_text(plot.caption + "\n", encoding="utf-8")
    return saved_as(plot.name, folder)


def saved_as(name: str, folder: Path) -> list[Path]:
    """The files of a plot."""
    return [folder / f"{name}.{extension}" for extension in (*METADATA, "csv", "txt")]
