"""What a sweep was asked for: as a question, and as the command lines that ask for it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from bench.analysis.settings import NO_CLIPPING, levels
from bench.runs.tables import Tables

NAMED = 4  # levels that a question names; of more it says how many there are
COMMAND, EXPERIMENT = "python -m bench", "experiment"
FIRST = ("task", "cell", "clipping.threshold", "seed")  # keys that products are ordered by, and merged from the last


def question(runs: pd.DataFrame) -> str:
    """The question that the runs can answer, from the levels that they have: which cell solves which task, clipped how.

    runs: as `settings.distinguished` returns them.
    """
    tasks, cells, clips = (levels(runs[axis]) for axis in ("task", "cell", "clip"))
    who = f"Which of {listed(cells)} solves" if 1 < len(cells) <= NAMED else "Which cell solves"
    who = who if len(cells) > 1 else f"Does {cells[0]} solve"
    what = listed(tasks, "and") if len(tasks) <= NAMED else f"{len(tasks)} tasks"
    if len(clips) == 1:
        return f"{who} {what}, {clipped(clips[0])}?"
    at = [str(clip) for clip in clips if clip != NO_CLIPPING]
    where = f"clipped at {listed(at)}" if len(at) <= NAMED else f"at {len(at)} settings of clipping"
    return f"{who} {what}, {where}{' or not at all' if NO_CLIPPING in clips else ''}?"


def clipped(clip: object) -> str:
    """A level of `clip` in words."""
    return "without clipping" if clip == NO_CLIPPING else f"clipped at {clip}"


def listed(names: Iterable[object], last: str = "or") -> str:
    """`a, b or c`."""
    *most, end = map(str, names)
    return f"{', '.join(most)} {last} {end}" if most else end


def command_lines(results: Tables) -> list[str]:
    """The fewest command lines found that ask for these runs again, each a product of what it sweeps.

    A run's words are those that it was started with, without where results went. Runs of an experiment have its
    command, and below it what was swept there, in words alone.
    """
    told = [_words(directory.overrides["overrides"]) for directory in results.directories]
    lines: dict[str, list[dict[str, tuple[str, ...]]]] = {}
    for one in told:
        (experiment,) = one.pop(EXPERIMENT, ("",))
        lines.setdefault(experiment, []).append(one)
    found = []
    for experiment, products in lines.items():
        keys = sorted({key for one in products for key in one}, key=_rank)
        for key in reversed(keys):
            products = _merged(products, key)
        first = sorted(keys, key=lambda key: (_rank(key) < 0, _rank(key)))
        ordered = sorted(products, key=lambda one: [tuple(map(_size, one.get(key, ()))) for key in first])
        if experiment:
            found.append(f"{COMMAND} {EXPERIMENT}={experiment}")
        found += [_line(one, " " if experiment else COMMAND) for one in ordered if one or not experiment]
    return found


def _rank(key: str) -> int:
    """The place of a key among those that products are merged by: the last ones first."""
    return FIRST.index(key) if key in FIRST else -1


def _words(overrides: Sequence[str]) -> dict[str, tuple[str, ...]]:
    pairs = (word.partition("=") for word in overrides)
    return {key: (value,) for key, _, value in pairs if key != "results"}


def _merged(products: Sequence[Mapping[str, tuple[str, ...]]], key: str) -> list[dict[str, tuple[str, ...]]]:
    """Products that agree in all but one key as one, with all values of that key in their order."""
    together: dict[object, dict[str, tuple[str, ...]]] = {}
    for one in products:
        same = key in one, tuple(sorted((other, values) for other, values in one.items() if other != key))
        merged = together.setdefault(same, {**one, key: ()})
        merged[key] += one.get(key, ())
    values = ({**one, key: tuple(sorted(set(one[key]), key=_size))} for one in together.values())
    return [one if one[key] else {other: one[other] for other in one if other != key} for one in values]


def _line(product: Mapping[str, tuple[str, ...]], start: str) -> str:
    several = any(len(values) > 1 for values in product.values())
    words = (f"{key}={_values(key, values)}" for key, values in product.items())
    return " ".join([start, *(["-m"] if several and start == COMMAND else []), *words])


def _values(key: str, values: Sequence[str]) -> str:
    """Values as a sweep gives them, in their order; seeds that follow each other as a range."""
    if key == "seed" and len(values) > 1 and all(value.isdigit() for value in values):
        numbers = [int(value) for value in values]
        if numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"'range({f'{numbers[0]},' if numbers[0] else ''}{numbers[-1] + 1})'"
    text = ",".join(values)
    return f"'{text}'" if set(text) & set("()[]{}$ ") else text


def _size(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value
