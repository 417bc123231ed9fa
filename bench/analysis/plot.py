"""A figure with all that is published beside it, and its files with reproducible bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.style import paper

# nothing in a file that differs from one day, or one version of matplotlib, to the next
METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}
EXTENSIONS = (*METADATA, "csv", "txt")


class NothingToDraw(Exception):
    """The results hold nothing for a figure; the message says what is missing."""


def need(table: pd.DataFrame, what: str) -> None:
    """Raises NothingToDraw if `table` is empty; `what` is what it would have held."""
    if table.empty:
        raise NothingToDraw(f"these results hold no {what}")


@dataclass(frozen=True)
class Plot:
    """name: of the files. data: the numbers drawn, one row per point. caption: for the paper. alt: for who cannot see it."""

    name: str
    figure: Figure
    data: pd.DataFrame
    caption: str
    alt: str

    def save(self, folder: Path) -> None:
        """Write NAME.pdf, .png (300 dpi), .svg, .csv (the numbers drawn) and .txt (the caption) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        with paper():
            self.figure.draw_without_rendering()  # finds the layout, once for all formats
            self.figure.set_layout_engine("none")
            for extension, metadata in METADATA.items():
                self.figure.savefig(folder / f"{self.name}.{extension}", metadata=metadata)
        self.data.to_csv(folder / f"{self.name}.csv", index=False)
        (folder / f"{self.name}.txt").write_text(self.caption + "\n", encoding="utf-8")
