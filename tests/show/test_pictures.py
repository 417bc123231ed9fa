"""An example in text is aligned and complete, and its picture is fit for a paper."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.analysis.figures.style import ONE_COLUMN, paper
from bench.show.picture import NUMBERED, PICTURES, Example, picture, save, short, three_digits, written

STEPS = 43
RANDOM = np.random.default_rng(0)
VALUES = 2 * RANDOM.random((STEPS, 3)) - 1
SYMBOLS = RANDOM.integers(4, size=STEPS)
WORDS = ("a", "b", "c", "dd")


def make(inputs, channels, symbolic, scored, targets, classes) -> Example:
    facts = {"task": "made up", "chance accuracy": ".5"}
    return Example("made_up", "here", facts, inputs, channels, symbolic, scored, np.array(targets), classes)


EXAMPLES = {
    "symbols, last step asked": make(
        np.eye(4)[SYMBOLS], WORDS, True, range(STEPS - 1, STEPS), [1], ("equal", "different")
    ),
    "symbols, all steps asked": make(np.eye(4)[SYMBOLS], WORDS, True, range(STEPS), SYMBOLS, WORDS),
    "few channels, class at some": make(
        VALUES, ("x", "y", "z"), False, range(5, 9), [0, 1, 1, 0], ("equal", "different")
    ),
    "few channels, numbers": make(VALUES, ("x", "y", "z"), False, range(STEPS - 3, STEPS), [0.5, -1.234, 20.0], ()),
    "many channels": make(
        np.tile(VALUES, 5), tuple(f"column {k}" for k in range(15)), False, range(STEPS - 1, STEPS), [0.25], ()
    ),
    "many symbols": make(
        np.eye(100)[SYMBOLS * 33], tuple(map(str, range(100))), True, range(STEPS - 1, STEPS), [99], WORDS * 25
    ),
    "one step": make(VALUES[:1, :1], ("x",), False, range(1), [0.5], ()),
}


@pytest.fixture(scope="module", params=EXAMPLES.values(), ids=EXAMPLES.keys())
def example(request: pytest.FixtureRequest) -> Example:
    return request.param


def blocks(text: str) -> list[dict[str, str]]:
    """The lines of every block by the word at their beginning, without the facts."""
    words = re.compile(r"(column \d+|\S+)(.*)")
    return [dict(words.match(line).groups() for line in block.splitlines()) for block in text.split("\n\n")[1:]]


def cells(text: str, row: str, inputs: str) -> dict[int, str]:
    """What a row of a text says at which step; the columns are where the row `inputs`, without gaps, has its own."""
    found: dict[int, str] = {}
    start = 0
    for block in blocks(text):
        ends = [match.end() + len(inputs) for match in re.finditer(r"\S+", block[inputs])]
        for match in re.finditer(r"\S+", block.get(row, "")):
            begin, end = (place + len(row) for place in match.span())
            found[start + (ends.index(end) if end in ends else bisect_right(ends, begin))] = match[0]
        start += len(ends)
    return found


def test_facts_stand_first_and_aligned(example):
    first, second = written(example, 100).splitlines()[:2]
    assert first == "task             made up"
    assert second == "chance accuracy  .5"


@pytest.mark.parametrize("width", [24, 40, 61, 100, 1000])
def test_every_step_is_there_at_any_width_and_its_answer_stands_under_it(example, width):
    text = written(example, width)
    (shown, *_) = example.rows
    for row, expected in example.rows.items():
        assert cells(text, row, shown) == dict(enumerate(expected))
    assert cells(text, "scored", shown) == dict.fromkeys(example.scored, "^")
    assert cells(text, "answer", shown) == dict(zip(example.scored, example.answers, strict=True))


@pytest.mark.parametrize("width", [24, 40, 61, 100, 1000])
def test_lines_are_no_longer_than_asked(example, width):
    assert max(len(line) for line in written(example, width).splitlines()) <= width


def test_a_block_begins_with_the_number_of_its_step(example):
    text = written(example, 61)
    (shown, *_) = example.rows
    start = 0
    for block in blocks(text):
        numbers = list(map(int, block["step"].split()))
        assert numbers == list(range(start, start + len(block[shown].split()), NUMBERED))
        start += len(block[shown].split())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.73, ".73"), (-0.3, "-.3"), (1.0, "1"), (-1, "-1"), (0.0, "0"), (-0.001, "0"), (0.999, "1"), (0.5, ".5")),
        *((-0.83, "-.83"), (9.99, "9.99"), (12.5, "12.5"), (100, "100"), (10.0, "10"), (np.float32(0.1), ".1")),
    ],
)
def test_numbers_are_short(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1 / 6, ".167"), (-0.25, "-.25"), (1.2345, "1.23"), (1.0, "1"), (20.0, "20"), (1e-7, "1e-07")]
)
def test_answers_have_three_digits(value, text):
    assert three_digits(value) == text


@pytest.fixture(scope="module")
def figure(example: Example) -> Figure:
    return picture(example)


def test_picture_is_as_wide_as_a_column_with_300_dots_an_inch(figure, tmp_path):
    save(figure, tmp_path / "example.png")
    data = (tmp_path / "example.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == round(300 * ONE_COLUMN)


@pytest.mark.parametrize("extension", PICTURES)
def test_a_picture_has_the_format_of_its_name(extension, tmp_path):
    save(picture(EXAMPLES["one step"]), tmp_path / f"example{extension}")
    begin = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[extension]
    assert (tmp_path / f"example{extension}").read_bytes().startswith(begin)


def test_no_letter_is_under_seven_points_and_none_outside_the_page(figure):
    with paper():
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 7
    assert min(box.x0, box.y0) >= 0
    assert (np.array([box.x1, box.y1]) <= figure.get_size_inches()).all()


def test_words_beside_a_panel_do_not_meet(figure):
    with paper():
        figure.draw_without_rendering()
    for panel in figure.axes:
        low, high = sorted(panel.get_ylim())
        labels = [text for text in panel.get_yticklabels() if low <= text.get_position()[1] <= high]
        boxes = sorted((text.get_window_extent() for text in labels if text.get_text()), key=lambda box: box.y0)
        gaps = [above.y0 - below.y1 for below, above in pairwise(boxes)]
        assert min(gaps, default=0) > -3  # boxes have room for letters above and below the line


def test_panels_say_what_they_show():
    labels = {name: [panel.get_ylabel() for panel in picture(example).axes] for name, example in EXAMPLES.items()}
    assert labels["symbols, last step asked"] == ["input"]
    assert labels["symbols, all steps asked"] == ["input", "answer"]
    assert labels["few channels, class at some"] == ["x", "y", "z", "answer"]
    assert labels["few channels, numbers"] == ["x", "y", "z", "answer"]
    assert "input" in labels["many channels"]


def test_a_mark_stands_at_every_symbol_and_every_answer():
    for name in ("symbols, all steps asked", "many symbols"):
        example = EXAMPLES[name]
        panels = picture(example).axes
        (marks,) = panels[0].containers
        middles = [mark.get_xy() + np.array([mark.get_width(), mark.get_height()]) / 2 for mark in marks]
        np.testing.assert_allclose(middles, np.stack([np.arange(STEPS), example.inputs.argmax(-1)], axis=-1))


def test_stems_are_as_high_as_the_numbers():
    example = EXAMPLES["few channels, numbers"]
    panels = picture(example).axes
    for panel, values in zip(panels, [*example.inputs.T, example.targets], strict=True):
        np.testing.assert_array_equal(panel.lines[-1].get_ydata(), values)
    np.testing.assert_array_equal(panels[-1].lines[-1].get_xdata(), example.scored)


def test_a_single_answer_is_written_above():
    title = picture(EXAMPLES["symbols, last step asked"]).axes[0].get_title(loc="right")
    assert title == "answer: different"


def test_scored_steps_are_shaded(example, figure):
    for panel in figure.axes[: len(figure.axes) - (len(example.channels) == 15)]:  # the last one is the scale
        shaded = panel.patches[-1].get_extents().transformed(panel.transData.inverted())
        np.testing.assert_allclose([shaded.x0, shaded.x1], [example.scored[0] - 0.5, example.scored[-1] + 0.5])
