"""One sequence of a task as aligned text and as a figure: what it shows, and what is asked at which step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.markers import CARETDOWN
from matplotlib.ticker import MaxNLocator

from bench.analysis.figures.panels import Key, shade
from bench.analysis.figures.plot import PNG_DPI, png
from bench.analysis.figures.style import COLORS, GREY, ONE_COLUMN, paper

PICTURES = (".png", ".pdf", ".svg")
SHOWN, ASKED = COLORS[0], COLORS[3]
NUMBERED = 5  # one step in so many has its number above it
FEW_CHANNELS = 4  # have a panel each
FEW_STEPS = 128  # have a stem each; more are joined by a line
MOST_WORDS = 11  # beside a panel
LEAST_MARK = 1 / 40  # height of a symbol's mark, of the panel's
TITLE_PAD = 5  # points
SEAM = 0.5  # points, around a mark: without, there is a hair of white between two of them
ROUND = (1, 2, 5, 10)  # distances between numbers on an axis
LINE = 0.12  # inches, of words beside a panel
FRAME = 0.75  # inches, of all that is above and below the panels


@dataclass(frozen=True)
class Example:
    """One sequence of T steps, counted from 0.

    task, variant: their names. facts: what is known of the task, by name.
    inputs [T, I]; channels: a word for each. symbolic: whether each step shows one of them.
    scored: the A steps at which something is asked. targets [A]: the answers, numbers or places in `classes`.
    classes: a word for each; empty where the answer is a number.
    """

    task: str
    variant: str
    facts: Mapping[str, str]
    inputs: np.ndarray
    channels: tuple[str, ...]
    symbolic: bool
    scored: range
    targets: np.ndarray
    classes: tuple[str, ...]

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return png(picture(self))

    @property
    def rows(self) -> dict[str, list[str]]:
        """What each step shows, in a few letters: the symbols, or the numbers of each channel."""
        if self.symbolic:
            return {"input": [self.channels[k] for k in self.inputs.argmax(-1)]}
        return {word: list(map(short, values)) for word, values in zip(self.channels, self.inputs.T, strict=True)}

    @property
    def answers(self) -> list[str]:
        """What is to be said at each scored step, in words."""
        if self.classes:
            return [self.classes[target] for target in self.targets]
        return list(map(three_digits, self.targets))


def three_digits(value: float) -> str:
    """A number as in the text of a paper: .0396, 1.21, -.5."""
    return _bare(f"{value + 0.0:.3g}")  # + 0.0: -0.0 is 0


def short(value: float) -> str:
    """A number to two places, from 10 on to one: .73, -.3, 1, 12.5."""
    places = 2 if abs(value) < 9.995 else 1
    text = f"{round(float(value), places) + 0.0:.{places}f}"
    return _bare(text.rstrip("0").rstrip("."))


def _bare(text: str) -> str:
    """Without the zero before the point."""
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def written(example: Example, width: int) -> str:
    """The facts, then the sequence in blocks of at most `width` letters, scored steps marked by `^`."""
    names = max(map(len, example.facts)) + 2
    facts = [f"{name:{names}}{fact}" for name, fact in example.facts.items()]
    return "\n\n".join(["\n".join(facts), *_blocks(example, width)])


def _blocks(example: Example, width: int) -> Iterator[str]:
    """The sequence, one column a step; rows in which a block has nothing are left out."""
    steps, scored = len(example.inputs), example.scored
    asked = dict(zip(scored, example.answers, strict=True))
    rows = {
        "step": ["" if t % NUMBERED else str(t) for t in range(steps)],
        **example.rows,
        "answer": [asked.get(t, "") for t in range(steps)],
        "scored": ["^" if t in scored else "" for t in range(steps)],
    }
    last = asked.pop(scored[-1])  # nothing comes after it, so it may run on to the right
    column = max(map(len, [*asked.values(), *(cell for row in example.rows.values() for cell in row)]))
    first = max(map(len, rows)) + 2
    together = _together(steps, (width - first - max(len(last) - column, 0) + 1) // (column + 1))
    for start in range(0, steps, together):
        block = {word: cells[start : start + together] for word, cells in rows.items()}
        yield "\n".join(_line(word, cells, first, column) for word, cells in block.items() if any(cells))


def _together(steps: int, room: int) -> int:
    """How many steps to a block: all if there is room, else a round number."""
    if room >= steps:
        return steps
    return max(room - room % NUMBERED if room > NUMBERED else room, 1)


def _line(word: str, cells: Sequence[str], first: int, column: int) -> str:
    """Each cell flush right in its column; one that is longer starts with its column and runs on to the right."""
    line = word
    for k, cell in enumerate(cells):
        if cell:
            line = line.ljust(first + k * (column + 1) + max(column - len(cell), 0)) + cell
    return line


@dataclass(frozen=True)
class Lane:
    """A panel of a figure: its height in inches, and what draws it."""

    height: float
    draw: Callable[[Axes], None]


@paper()
def picture(example: Example) -> Figure:
    """Inputs over steps, scored steps shaded, and the answers below; a single answer is written above."""
    lanes = [*_inputs(example), *_answers(example)]
    heights = [lane.height for lane in lanes]
    layout = ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.03)
    figure = Figure(figsize=(ONE_COLUMN, sum(heights) + FRAME), layout=layout)
    panels = figure.subplots(len(lanes), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for lane, panel in zip(lanes, panels, strict=True):
        lane.draw(panel)
        shade(panel, example.scored[0] - 0.5, example.scored[-1] + 0.5)
    panels[0].set_title(f"{example.task}, {example.variant}", loc="left", pad=TITLE_PAD)
    if len(example.answers) == 1:
        _written_above(panels[0], example.scored[0], example.answers[0])
    panels[-1].set_xlim(-0.5, len(example.inputs) - 0.5)
    panels[-1].xaxis.set_major_locator(MaxNLocator(6, steps=ROUND, integer=True))
    figure.supxlabel("step t (time steps)", fontsize="medium")
    figure.align_ylabels()
    figure.legend(loc="outside upper center", **Key({}, shaded="scored steps").laid_out(ONE_COLUMN)[0])
    return figure


def _written_above(panel: Axes, step: int, answer: str) -> None:
    """The one answer, and where it is asked: of a long sequence, one shaded step is hardly seen."""
    above = panel.get_xaxis_transform()
    panel.plot(step, 1, marker=CARETDOWN, markersize=4, color=ASKED, transform=above, clip_on=False)
    panel.set_title(f"answer: {answer}", loc="right", color=ASKED, pad=TITLE_PAD)


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file whose name ends in one of PICTURES."""
    with paper():
        figure.savefig(path, dpi=PNG_DPI)


def _inputs(example: Example) -> list[Lane]:
    channels, inputs = example.channels, example.inputs
    if example.symbolic:
        draw = partial(_symbols, steps=range(len(inputs)), places=inputs.argmax(-1), words=channels)
        return [Lane(_height(channels), partial(draw, label="input", color=SHOWN))]
    if len(channels) > FEW_CHANNELS:
        return [Lane(_height(channels), partial(_heat, values=inputs.T, words=channels, label="input"))]
    steps = range(len(inputs))
    return [
        Lane(0.5, partial(_stems, steps=steps, values=values, label=word, color=SHOWN))
        for word, values in zip(channels, inputs.T, strict=True)
    ]


def _answers(example: Example) -> list[Lane]:
    """None where there is a single answer, which is written above."""
    scored, targets, classes = example.scored, example.targets, example.classes
    if len(targets) == 1:
        return []
    if classes:
        draw = partial(_symbols, steps=scored, places=targets, words=classes)
        return [Lane(_height(classes), partial(draw, label="answer", color=ASKED))]
    return [Lane(0.5, partial(_stems, steps=scored, values=targets, label="answer", color=ASKED))]


def _height(words: Sequence[str]) -> float:
    """Inches for as many lines as are labelled, more where not all are."""
    return LINE * (min(len(words), MOST_WORDS) + 0.5) * (1 if len(words) <= MOST_WORDS else 1.25)


def _symbols(panel: Axes, steps: range, places: np.ndarray, words: Sequence[str], label: str, color: str) -> None:
    """A mark for the one word of every step, the first word on top."""
    height = max(1.0, LEAST_MARK * len(words))
    panel.bar(steps, height, width=1, bottom=places - height / 2, color=color, edgecolor=color, linewidth=SEAM)
    _rows(panel, words, label, height / 2)


def _heat(panel: Axes, values: np.ndarray, words: Sequence[str], label: str) -> None:
    """A row of shades for every word, the first one on top."""
    image = panel.imshow(values, cmap="Blues", vmin=min(0.0, values.min()), aspect="auto", interpolation="none")
    panel.figure.colorbar(image, ax=panel, pad=0.02, fraction=0.05, ticks=MaxNLocator(2, steps=ROUND))
    _rows(panel, words, label, 0.5)


def _rows(panel: Axes, words: Sequence[str], label: str, margin: float) -> None:
    every = -(-len(words) // MOST_WORDS)
    panel.set_yticks(range(0, len(words), every), words[::every])
    panel.set_ylim(len(words) - 1 + margin, -margin)
    panel.tick_params("y", length=0)
    panel.set_ylabel(label)


def _stems(panel: Axes, steps: range, values: np.ndarray, label: str, color: str) -> None:
    """A number at every step."""
    panel.axhline(0, color=GREY, linewidth=0.5, zorder=1)
    if len(steps) > FEW_STEPS:
        panel.plot(steps, values, color=color, linewidth=0.6)
    else:
        panel.vlines(steps, 0, values, color=color, linewidth=0.8)
        panel.plot(steps, values, "o", color=color, markersize=2)
    panel.yaxis.set_major_locator(MaxNLocator(3, steps=ROUND))
    panel.margins(y=0.15)
    panel.set_ylabel(label)
