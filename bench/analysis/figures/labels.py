"""Labels that keep within the place there is for them, so that panels keep theirs."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

MOST_LINES = 3  # of a label; of a longer one the middle is left out
ELLIPSIS = "…"
SPACE = 0.25  # of the size of the letters
ATOMS = re.compile(r"\$[^$]*\$|.", re.DOTALL)  # what is never broken: mathematics, and a letter
# a word ends after a space, a comma, an equals sign, a slash or an underscore, and after a hyphen before a letter
WORDS = re.compile(
    r"\$[^$]*\$[\s,]*"
    r"|[^\s,=/_$-]+-(?=[A-Za-z])"
    r"|[^\s,=/_$-]*(?:-[^\s,=/_$-]*)*[\s,=/_]+"
    r"|[^\s,=/_$]+"
    r"|\$"
)


def width_of(text: str) -> float:
    """The width of a line in inches, in the letters of the figure that is being drawn."""
    size, family = float(mpl.rcParams["font.size"]), tuple(mpl.rcParams["font.family"])
    return sum(_width(atom, size, family) for atom in ATOMS.findall(text))


def wrapped(text: str, inches: float, lines: int = MOST_LINES) -> str:
    """The text in lines of at most so many inches; where they would be more than `lines`, without its middle."""
    atoms = ATOMS.findall(text)
    found = _broken(text, inches)
    before = after = len(atoms) // 2
    while len(found) > lines and after - before < len(atoms) - 2:
        before, after = max(before - 1, 1), min(after + 1, len(atoms) - 1)
        found = _broken("".join([*atoms[:before], ELLIPSIS, *atoms[after:]]), inches)
    return "\n".join(found)


def least_width(text: str, lines: int = MOST_LINES) -> float:
    """Inches in which the text takes `lines` lines and keeps all its letters."""
    width = width_of(text) / lines
    while len(_broken(text, width)) > lines:
        width *= 1.05
    return width


@functools.cache
def _width(atom: str, size: float, family: Sequence[str]) -> float:
    if atom.isspace():
        return SPACE * size / 72
    drawn = r"\$" if atom == "$" else atom
    one, two = (TextPath((0, 0), drawn * n, prop=FontProperties(family=list(family), size=size)) for n in (1, 2))
    return float(two.get_extents().x1 - one.get_extents().x1) / 72  # with the gap to the next letter


def _broken(text: str, inches: float) -> list[str]:
    """Lines of at most so many inches; a word that is longer is cut."""
    found, line = [], ""
    for word in WORDS.findall(text):
        fits = width_of(word.rstrip()) <= inches
        for piece in [word] if fits else ATOMS.findall(word):
            if line and width_of(line + piece.rstrip()) > inches:
                found.append(line.rstrip())
                line = ""
            line += piece
    return [*found, line.rstrip()]
