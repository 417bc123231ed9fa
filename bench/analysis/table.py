"""A table for a paper: numbers (CSV), and the same rows as text (Markdown, LaTeX) whose numbers are rounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.analysis.figures.labels import width_of
from bench.analysis.figures.style import paper
from bench.analysis.latex import in_latex, printable

COLUMN = 3.25  # inches, the narrowest column of a page for which tables are made
LETTERS, LINES = 8, 9.5  # points, of a table that fits it, and from line to line
SEPARATION = 2.5  # points, left and right of a column there
INFINITE, MISSING = "∞", "–"


@dataclass(frozen=True)
class Table:
    """name: of its files. numbers, text: the same rows, exact and rounded. note: what the columns mean.

    best: cells of the text to be set in bold, by number of the row and name of the column. labels: how many columns say
    what a row is of; the others are flush right. instead: a sentence that takes the place of the text where all its
    rows say that nothing can be said. narrow: the LaTeX fits a column of a page as it is, for the first column of the
    text stands there as lines between the rows.
    """

    name: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    note: str
    best: frozenset[tuple[int, str]] = frozenset()
    labels: int = 3
    instead: str = ""
    narrow: bool = False

    def save(self, folder: Path) -> None:
        """Write NAME.csv (numbers), NAME.md and NAME.tex (text)."""
        folder.mkdir(parents=True, exist_ok=True)
        self.numbers.to_csv(folder / f"{self.name}.csv", index=False)
        (folder / f"{self.name}.md").write_text(f"{self.markdown()}\n\n{self.note}\n", encoding="utf-8")
        (folder / f"{self.name}.tex").write_text(self.latex(), encoding="utf-8")

    def markdown(self) -> str:
        """Padded, so that it reads in a terminal too; the sentence instead, if there is one."""
        if self.instead:
            return self.instead
        columns = list(self.text.columns)
        rows = [columns, *([self._marked(k, name) for name in columns] for k in self.text.index)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])

    def __str__(self) -> str:
        return self.markdown()

    def _repr_markdown_(self) -> str:
        return f"{self.markdown()}\n\n{self.note}"

    def _marked(self, row: int, column: str) -> str:
        text = str(self.text.at[row, column])
        return f"**{text}**" if (row, column) in self.best else text

    def latex(self) -> str:
        """A tabular with booktabs rules, for `\\input` into a table; narrowed where the page is narrower.

        The sentence instead, if there is one.
        """
        if self.instead:
            return f"{self.instead}\n"
        if self.narrow:
            return self._narrow()
        bold = pd.DataFrame("", self.text.index, self.text.columns)
        for k, column in self.best:
            bold.at[k, column] = "textbf: --rwrap;"
        styled = self.text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
        styled = styled.apply(lambda _: bold, axis=None)
        tabular = styled.to_latex(
            hrules=True, column_format="l" * self.labels + "r" * (self.text.shape[1] - self.labels)
        )
        tabular = printable(tabular)
        head = f"% needs \\usepackage{{booktabs,graphicx}}\n% {self.note}\n"
        narrowed = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        return f"{head}{{\\scriptsize\\setlength{{\\tabcolsep}}{{3pt}}%\n{narrowed}{tabular.rstrip()}%\n}}}}\n"

    @property
    def inches(self) -> float:
        """The width of the LaTeX where the table is narrow and no label is broken."""
        _, *columns = list(self.text)
        return sum(most_inches(self.text[name], name) + 2 * SEPARATION / 72 for name in columns)

    def _narrow(self) -> str:
        """A tabular at 8 points with a line for each level of the first column; long labels are broken in their place.

        What a label takes beyond the column is what the others leave of it.
        """
        (first, label), *values = list(self.text)[:2], *list(self.text)[2:]
        used = sum(most_inches(self.text[name], name) + 2 * SEPARATION / 72 for name in values)
        room = COLUMN - used - 2 * SEPARATION / 72
        broken = most_inches(self.text[label], label) > room
        form = (f"p{{{room:.2f}in}}" if broken else "l") + "r" * len(values)
        lines = [" & ".join(map(in_latex, [label, *values]))]
        lines[0] += " \\\\\n\\midrule"
        for group, rows in self.text.groupby(first, sort=False):
            widest = COLUMN - 2 * SEPARATION / 72
            head = "l" if most_inches([group]) <= widest else f"p{{{widest:.2f}in}}"
            lines.append(f"\\multicolumn{{{1 + len(values)}}}{{@{{}}{head}}}{{\\emph{{{in_latex(group)}}}}} \\\\")
            for k in rows.index:
                cells = [in_latex(str(rows.at[k, label]))]
                for name in values:
                    cell = in_latex(str(rows.at[k, name]))
                    cells.append(f"\\textbf{{{cell}}}" if (k, name) in self.best else cell)
                lines.append(" & ".join(cells) + " \\\\")
        body = "\n".join(lines)
        raggedness = "\\raggedright" if broken else ""
        return (
            f"% needs \\usepackage{{booktabs}}; fits a column of {COLUMN} in\n% {self.note}\n"
            f"{{\\fontsize{{{LETTERS}}}{{{LINES}}}\\selectfont{raggedness}\\setlength{{\\tabcolsep}}{{{SEPARATION}pt}}%\n"
            f"\\begin{{tabular}}{{{form}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}}}\n"
        )


def most_inches(column: Iterable[object], head: str = "") -> float:
    """The width of the widest of some words in a table of 8 points."""
    with paper():
        return max(width_of(str(word)) for word in (head, *column))


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


def as_known(length: float, shortest: float, longest: float) -> str:
    """A T50, or an end of its interval, in words: two digits, or only that it lies beyond the lengths tried."""
    if length > longest:
        return f"> {longest:g}"
    return f"< {shortest:g}" if length < shortest else two_digits(length)
