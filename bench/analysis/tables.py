"""Tables for a paper, a row per task, cell and clipping threshold: numbers (CSV) and text (LaTeX, Markdown)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.analysis.settings import SETTING, THRESHOLD
from bench.analysis.statistics import (
    LEAST_FOR_INTERQUARTILE_MEAN,
    clipping_windows,
    median_norms,
    quartiles,
    score,
    success_rates,
    typical,
)

COUNTED = ("relapsed", "diverged", "dead", "failed")
INFINITE, MISSING = "∞", "–"
LATEX = {"∞": "$\\infty$", "–": "--", "> ": "$>$ "}  # which the fonts of plain LaTeX do not have
OVERVIEW_NOTE = (
    "solved: runs that met the rule at some time, of all n, with the 95 % Wilson interval; relapsed: those of them "
    "that ended below a skill of .9. updates: median time to solve over all n, where a run that never solves takes "
    "longer than any. score: skill clipped to [0, 1], 0 for a run that diverged, died or failed; interquartile mean "
    f"from n = {LEAST_FOR_INTERQUARTILE_MEAN} on, median below, [quartiles]. loss: median on fresh sequences, "
    "infinite where it overflowed. accuracy: median share of right answers there (on the test set of collected data), "
    "of those that need memory. parameters: recurrent / all. sequences, seconds: median of a run."
)
CLIPPING_NOTE = (
    "Over a whole run, medians over runs [quartiles]. clipped: share of the updates. shrink: mean factor that "
    "clipping applied. norm: median over updates, before clipping. threshold / norm: in units of that norm."
)


@dataclass(frozen=True)
class Table:
    """name: of its files. numbers, text: the same rows, exact and rounded. note: what the columns mean."""

    name: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    note: str

    def save(self, folder: Path) -> None:
        """Write NAME.csv (numbers), NAME.md and NAME.tex (text)."""
        folder.mkdir(parents=True, exist_ok=True)
        self.numbers.to_csv(folder / f"{self.name}.csv", index=False)
        (folder / f"{self.name}.md").write_text(f"{self.markdown()}\n\n{self.note}\n", encoding="utf-8")
        (folder / f"{self.name}.tex").write_text(self.latex(), encoding="utf-8")

    def markdown(self) -> str:
        """Padded, so that it reads in a terminal too."""
        rows = [list(self.text.columns), *self.text.to_numpy().tolist()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])

    def latex(self) -> str:
        """A tabular with booktabs rules, for `\\input` into a table of the whole page's width."""
        styled = self.text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
        tabular = styled.to_latex(hrules=True, column_format="lll" + "r" * (self.text.shape[1] - len(SETTING)))
        for sign, command in LATEX.items():
            tabular = tabular.replace(sign, command)
        head = f"% needs \\usepackage{{booktabs}}\n% {self.note}\n"
        return f"{head}{{\\scriptsize\\setlength{{\\tabcolsep}}{{3pt}}%\n{tabular}}}\n"


def overview(runs: pd.DataFrame) -> Table:
    """How the runs of each setting ended, and what they cost."""
    judged = runs.assign(
        score=score(runs["final_skill"], runs["outcome"]),
        loss=runs["final_loss"].fillna(np.inf),  # of a run that diverged or failed, which is not left out
        final_accuracy=runs["final_accuracy"].fillna(0.0),
        updates_to_solve=runs["solved_at"].fillna(np.inf),
    )
    groups = judged.groupby(SETTING, observed=True)
    parts = [
        success_rates(judged, SETTING).set_index(SETTING),
        *(groups["outcome"].agg(lambda outcome, name=name: (outcome == name).sum()).rename(name) for name in COUNTED),
        groups[["updates_to_solve", "updates"]].median(),
        groups["score"].agg(typical),
        _quartiles(judged, "score"),
        groups["loss"].median(),
        _quartiles(judged, "loss"),
        groups["final_accuracy"].median(),
        _quartiles(judged, "final_accuracy"),
        groups[["recurrent_parameters", "parameters", "sequences", "seconds"]].median(),
    ]
    numbers = pd.concat(parts, axis=1).reset_index()
    text = _by_row(numbers, _outcome_text)
    return Table("overview", numbers, text if numbers["failed"].any() else text.drop(columns="failed"), OVERVIEW_NOTE)


def clipping(runs: pd.DataFrame, blocks: pd.DataFrame) -> Table:
    """What clipping did to the runs of each setting."""
    whole = clipping_windows(blocks, runs.set_index("run")["updates"], windows=1).drop(columns=["update", "norm"])
    norms = median_norms(blocks).rename("norm")
    measured = runs.merge(whole, on="run").merge(norms, on="run")
    measured["threshold_in_norms"] = _threshold(measured) / measured["norm"]
    measured["diverged"] = measured["outcome"] == "diverged"
    groups = measured.groupby(SETTING, observed=True)
    columns = ["clip_fraction", "mean_shrink", "norm", "threshold_in_norms"]
    parts = [
        groups.size().rename("n"),
        groups["diverged"].sum(),
        groups[columns].median(),
        *(_quartiles(measured, column) for column in columns),
    ]
    numbers = pd.concat(parts, axis=1).reset_index()
    return Table("clipping", numbers, _by_row(numbers, _clipping_text), CLIPPING_NOTE)


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


def _quartiles(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """`COLUMN_q25` and `COLUMN_q75` of every setting."""
    found = quartiles(table, SETTING, column).set_index(SETTING)[["q25", "q75"]]
    return found.add_prefix(f"{column}_")


def _threshold(runs: pd.DataFrame) -> pd.Series:
    """The threshold where it bounds the norm; infinite without clipping, NaN for other rules."""
    threshold = runs.get(THRESHOLD, pd.Series(np.nan, runs.index))
    return threshold.where((runs["clipping"] == "norm") | np.isinf(threshold))


def _by_row(numbers: pd.DataFrame, text: Callable[[pd.Series], dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame([{**{key: str(row[key]) for key in SETTING}, **text(row)} for _, row in numbers.iterrows()])


def _outcome_text(row: pd.Series) -> dict[str, str]:
    late = np.isinf(row["updates_to_solve"])
    return {
        "n": str(row["n"]),
        "solved": f"{row['successes']}/{row['n']} [{row['low']:.2f}, {row['high']:.2f}]",
        **{name: str(row[name]) for name in COUNTED},
        "updates": f"> {row['updates']:.0f}" if late else f"{row['updates_to_solve']:.0f}",
        "score": _with_quartiles(row, "score", "{:.2f}".format),
        "loss": rounded(row["loss"], row["loss_q75"] - row["loss_q25"]),
        "accuracy": f"{row['final_accuracy']:.1%}",
        "parameters": f"{shortened(row['recurrent_parameters'])} / {shortened(row['parameters'])}",
        "sequences": shortened(row["sequences"]),
        "seconds": two_digits(row["seconds"]),
    }


def _clipping_text(row: pd.Series) -> dict[str, str]:
    return {
        "n": str(row["n"]),
        "diverged": str(row["diverged"]),
        "clipped": _with_quartiles(row, "clip_fraction", "{:.2f}".format),
        "shrink": _with_quartiles(row, "mean_shrink", "{:.2f}".format),
        "norm": _with_quartiles(row, "norm", two_digits),
        "threshold / norm": two_digits(row["threshold_in_norms"]),
    }


def _with_quartiles(row: pd.Series, column: str, written: Callable[[float], str]) -> str:
    value, low, high = (written(row[name]) for name in (column, f"{column}_q25", f"{column}_q75"))
    return f"{value} [{low}, {high}]"
