"""Where the panels of a figure stand, so that it fits the page of its style: side by side, folded, or in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.figures.labels import least_width, wrapped
from bench.analysis.figures.style import in_force

# inches at a size of 8 points, all of them
LINE = 0.13  # the height of a line of letters
FRAME = 0.5  # what is above and below the panels, with a title of one line
BESIDE = 0.75  # what is left and right of them, with a label of one line
TICKS = 0.16  # the labels of an x axis that stands between panels
NARROW, NARROWEST = 1.2, 0.9  # the width of a panel with its tick labels: as it should be, and at least
TALLEST = 2.2  # a row grows up to here with its label
ABOVE_FILLED, BESIDE_FILLED = 0.9, 0.82  # of the width and the height there is for a label, which it may take
Y_LABEL = 0.3  # the label of a y axis that stands between panels
LOW = 0.7  # of the height that a row of panels should have, it has at least


@dataclass(frozen=True)
class Labels:
    """What is written at the levels of the rows, or of the columns.

    shared: panels that differ in these levels alone share their x axis, so that the lowest one's ticks will do.
    """

    names: Sequence[str]
    shared: bool


@dataclass(frozen=True)
class Arrangement:
    """Rows and columns of panels, cut into blocks that stand one below the other, a few in each part of the figure.

    turned: what was asked for as a row is a column. width: inches. across, down: columns and rows of a block. stacked:
    blocks of a part. height: inches, of a row of panels. parts: how many. squeezed: panels are smaller than they should
    be. above, beside: the labels in lines, of each column and each row. size: height of a part in inches.
    filled: share of the places that panels take.
    """

    turned: bool
    width: float
    across: int
    down: int
    stacked: int
    height: float
    parts: int
    squeezed: bool
    above: Sequence[str]
    beside: Sequence[str]
    size: float
    filled: float

    @property
    def cost(self) -> tuple[int, bool, float]:
        """What is least for the best of several arrangements."""
        return self.parts, self.squeezed, self.width * self.size * self.parts / self.filled


@dataclass(frozen=True)
class Space:
    """What panels have to stand in.

    row_height: inches at a size of 8 points, of a row of panels; 0 for panels as high as wide. left: inches that tick
    labels take beyond those of numbers. width: of the page, in inches. further: inches of height that a legend takes.
    spelled: each row has a y label of its own.
    """

    row_height: float
    left: float
    width: float
    further: float
    spelled: bool


def arranged(rows: Labels, columns: Labels, spaces: Sequence[Space], *, fixed: bool) -> Arrangement:
    """The best arrangement: in the fewest parts, then with panels that are not too small, then on the least paper.

    spaces: one for each width that a page may have. fixed: rows stay rows as long as that takes no more parts.
    """
    found = [one for turned in (False, True) for space in spaces for one in _candidates(rows, columns, space, turned)]
    if fixed:
        return min(found, key=lambda one: (one.parts, one.turned, *one.cost))
    return min(found, key=lambda one: one.cost)


def _candidates(rows: Labels, columns: Labels, space: Space, turned: bool) -> Iterator[Arrangement]:
    if turned:
        rows, columns = columns, rows
    for folds in range(1, len(columns.names) + 1):
        across = -(-len(columns.names) // folds)
        if -(-len(columns.names) // across) == folds:  # else fewer folds come to the same
            yield _arrangement(rows, columns, space, turned, across)


def _arrangement(rows: Labels, columns: Labels, space: Space, turned: bool, across: int) -> Arrangement:
    style = in_force()
    scale, tallest = style.scale, style.tallest(space.width)
    parts = [part for label in rows.names for part in label.split("\n")]
    grown = min(TALLEST, max(map(least_width, parts), default=0) / scale / BESIDE_FILLED)

    def beside(height: float) -> list[str]:
        return ["\n".join(wrapped(part, BESIDE_FILLED * height) for part in name.split("\n")) for name in rows.names]

    def pitch_with(names: Sequence[str]) -> float:
        return (space.width - space.left - scale * (BESIDE + LINE * max(name.count("\n") for name in names))) / across

    height = scale * max(space.row_height, grown)
    if not space.row_height:
        height = max(height, pitch_with(beside(height)))
    names = beside(height)
    pitch = pitch_with(names)
    net = pitch - scale * Y_LABEL * (turned and space.spelled)
    heads = [
        "\n".join(wrapped(part, ABOVE_FILLED * max(net, 0.3 * scale), lines=4) for part in name.split("\n"))
        for name in columns.names
    ]
    titles = scale * LINE * (1 + max(head.count("\n") for head in heads))
    ticks = scale * TICKS * (not rows.shared)
    folds = -(-len(columns.names) // across)
    around = scale * (FRAME - LINE) + space.further  # above all blocks and below them
    between = scale * TICKS * rows.shared  # below a block, where ticks are not below each row anyway

    def size(count: int, down: int, each: float) -> float:
        return around + count * (down * (each + ticks) + titles + between) - between

    least = LOW * height if space.row_height else 0.75 * NARROW * scale
    down = len(rows.names)
    while down > 1 and size(1, down, least) > tallest:
        down -= 1
    blocks = folds * -(-len(rows.names) // down)
    stacked = 1
    while stacked < blocks and size(stacked + 1, down, least) <= tallest:
        stacked += 1
    count = -(-blocks // stacked)
    stacked = -(-blocks // count)
    room = (tallest - around - stacked * titles - (stacked - 1) * between) / (stacked * down) - ticks
    each = min(height, room)
    needed = NARROW if columns.shared else NARROW + 0.05
    narrow = net < NARROWEST * scale - 1e-9
    return Arrangement(
        turned=turned,
        width=space.width,
        across=across,
        down=down,
        stacked=stacked,
        height=each,
        parts=count + 1000 * narrow,  # rather in many parts than in panels that nobody can read
        squeezed=bool(each < height - 1e-9 or net < needed * scale - 1e-9),
        above=heads,
        beside=names if each > height - 1e-9 else beside(each),
        size=min(tallest, size(stacked, down, each)),
        filled=len(columns.names) / (folds * across),
    )
