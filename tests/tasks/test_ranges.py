"""Ranges in annotations: what they accept, and how a message says it."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf

from tasks.ranges import (
    Checked,
    Count,
    CountOrZero,
    NonNegative,
    OneOf,
    Positive,
    PositiveOrInf,
    Share,
    ShareBelowOne,
    ranges,
    require,
)

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("hint", "text", "accepted", "refused"),
    [
        (float, "a finite number", [-1e308, 0, 1e308], [INF, -INF, NAN, None, "1"]),
        (int, "a whole number", [-5, 0, 5], [0.5, INF, NAN, None]),
        (Positive, "a finite number > 0", [5e-324, 1e308], [0, -1, INF, NAN]),
        (PositiveOrInf, "a number > 0, or .inf", [5e-324, INF], [0, -INF, NAN]),
        (NonNegative, "a finite number >= 0", [0, -0.0, 1e308], [-5e-324, INF, NAN]),
        (Share, "a number in [0, 1]", [0, 1], [-5e-324, 1 + 2**-52, NAN]),
        (ShareBelowOne, "a number in [0, 1)", [0, 1 - 2**-53], [-5e-324, 1, NAN]),
        (Count, "a whole number >= 1", [1, 10**30], [0, 1.5, INF, NAN]),
        (CountOrZero, "a whole number >= 0", [0], [-1]),
        (CountOrZero | None, "a whole number >= 0, or null", [0, None], [-1]),
        (NonNegative | None, "a finite number >= 0, or null", [0.0, None], [INF]),
        (Annotated[float, Gt(0), Le(100)], "a number in (0, 100]", [100, 1e-9], [0, 100.1]),
        (Annotated[float, Interval(gt=0, le=100)], "a number in (0, 100]", [100, 1e-9], [0, 100.1]),
        (Annotated[float, Lt(3)], "a finite number < 3", [-1e308, 2.9], [3, -INF]),
        (Annotated[float, Ge(0), MultipleOf(1)], "a whole number >= 0", [0.0, 2.0], [2.5, -1.0, INF, NAN]),
        (Annotated[str, OneOf(("a", "b"))], "one of a, b", ["a"], ["c", "", None]),
        (Literal["a", "b"], "one of a, b", ["b"], ["c"]),
    ],
)
def test_what_an_annotation_accepts_and_how_it_is_said(hint, text, accepted, refused):
    (found,) = ranges(type("Holder", (), {"__annotations__": {"field": hint}})).values()
    assert str(found) == text
    assert all(value in found for value in accepted)
    assert not any(value in found for value in refused)


@pytest.mark.parametrize("hint", [str, bool, "list[float]", "dict[str, int]", "type(None)"])
def test_what_is_no_number_and_no_choice_has_no_range(hint):
    assert ranges(type("Holder", (), {"__annotations__": {"field": hint}})) == {}


@dataclass(frozen=True)
class Ordered(Checked):
    low: Share
    high: Share

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"low={self.low}: must be <= high={self.high}")


def test_ranges_are_checked_before_what_depends_on_several():
    assert Ordered(0.2, 0.3).high == 0.3
    for given, message in (
        ((0.5, 0.3), "low=0.5: must be <= high=0.3"),
        ((2, 0.3), "low=2: must be a number in [0, 1]"),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            Ordered(*given)
        assert str(error.value) == message


def test_arguments_of_a_function_are_checked_alike():
    def train(workers: Count, note: str) -> None:
        require(train, {"workers": workers, "note": note}, "launcher.")

    train(1, "")
    with pytest.raises(ValueError, match=r"^launcher.workers=0: must be a whole number >= 1$"):
        train(0, "")
