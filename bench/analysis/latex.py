"""Words as LaTeX sets them."""

from __future__ import annotations

import re

from pandas.io.formats.style_render import _escape_latex as escape_latex

SIGNS = {"∞": "$\\infty$", "–": "--", ">": "$>$", "<": "$<$", "|": "$|$"}  # other signs in plain LaTeX, or none


def in_latex(words: str) -> str:
    """Words without mathematics: what is special to LaTeX is escaped."""
    return printable(str(escape_latex(words)))


def printable(words: str) -> str:
    """Words that are escaped already, with the signs that plain LaTeX does not have as mathematics."""
    for sign, command in SIGNS.items():
        words = words.replace(sign, command)
    return words


def in_latex_but_mathematics(words: str) -> str:
    """Words of which what stands between dollars is LaTeX already."""
    parts = re.split(r"(\$[^$]*\$)", words)  # every second is mathematics
    return "".join(part if k % 2 else in_latex(part) for k, part in enumerate(parts))
