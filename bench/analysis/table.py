"""A table for a paper: numbers (CSV), and the same rows as text (Markdown, LaTeX) whose numbers are rounded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

LABELS = 3  # columns that say what a row is of; the others are flush right
INFINITE, MISSING = "∞", "–"
LATEX = {"∞": "$\\infty$", "–": "--", ">": "$>$", "<": "$<$", "|": "$|$"}  # other signs in plain LaTeX, or none


@dataclass(frozen=True)
class Table:
    """name: of its files. numbers, text: the same rows, exact and rounded. note: what the columns mean.

    best: cells of the text to be set in bold, by number of the row and name of the column.
    """

    name: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    note: str
    best: frozenset[tuple[int, str]] = frozenset()

    def save(self, folder: Path) -> None:
        """Write NAME.csv (numbers), NAME.md and NAME.tex (text)."""
        folder.mkdir(parents=True, exist_ok=True)
        self.numbers.to_csv(folder / f"{self.name}.csv", index=False)
        (folder / f"{self.name}.md").write_text(f"{self.markdown()}\n\n{self.note}\n", encoding="utf-8")
        (folder / f"{self.name}.tex").write_text(self.latex(), encoding="utf-8")

    def markdown(self) -> str:
        """Padded, so that it reads in a terminal too."""
        columns = list(self.text.columns)
        rows = [columns, *([self._marked(k, name) for name in columns] for k in self.text.index)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])

    def _marked(self, row: int, column: str) -> str:
        text = str(self.text.at[row, column])
        return f"**{text}**" if (row, column) in self.best else text

    def latex(self) -> str:
        """A tabular with booktabs rules, for `\\input` into a table; narrowed where the page is narrower."""
        bold = pd.DataFrame("", self.text.index, self.text.columns)
        for k, column in self.best:
            bold.at[k, column] = "textbf: --rwrap;"
        styled = self.text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
        styled = styled.apply(lambda _: bold, axis=None)
        tabular = styled.to_latex(hrules=True, column_format="l" * LABELS + "r" * (self.text.shape[1] - LABELS))
        for sign, command in LATEX.items():
            tabular = tabular.replace(sign, command)
        head = f"% needs \\usepackage{{booktabs,graphicx}}\n% {self.note}\n"
        narrowed = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        return f"{head}{{\\scriptsize\\setlength{{\\tabcolsep}}{{3pt}}%\n{narrowed}{tabular.rstrip()}%\n}}}}\n"


def rounded(value: float, spread: float) -> str:
    """A value to the place of its spread's first digit; three digits where the spread is 0 or infinite."""
    if not np.isfinite(value):
        return INFINITE if value > 0 else MISSING
    size = _place(value)
    place = min(_place(spread), size) if 0 < spread < np.inf else size - 2
    if -4 <= size < 5:
        return f"{round(value, -place):.{max(0, -place)}f}"
    return f"{value:.{max(0, size - place)}e}"


def _place(value: float) -> int:
    """The power of ten of a value's first digit."""
    return int(np.floor(np.log10(abs(value)))) if value else 0


def two_digits(value: float) -> str:
    """A value to its first two digits."""
    return rounded(value, abs(value) / 10)


def shortened(count: float) -> str:
    """A count to three digits: 16.4k, 1.2M."""
    if not np.isfinite(count):
        return MISSING
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"
