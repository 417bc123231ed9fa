"""The range of a setting, written once, in the annotation of its field: `Share`, or `Annotated[float, Gt(0), Le(9)]`.

Bounds are those of the library annotated-types. A number is finite unless a bound includes infinity (`Le(math.inf)`),
and NaN is never accepted. A field of a few words is a `Literal`, or `Annotated[str, OneOf(words)]`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf

Positive = Annotated[float, Gt(0)]
PositiveOrInf = Annotated[float, Gt(0), Le(math.inf)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
ShareBelowOne = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class OneOf:
    """The words that a field accepts."""

    words: tuple[str, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.words))}"


@dataclass(frozen=True)
class Range:
    """The numbers that a field accepts, as `in` tests and a message says them.

    low, high: bounds, accepted themselves where they are closed. whole: without fraction. optional: None is accepted.
    """

    low: float = -math.inf
    high: float = math.inf
    low_closed: bool = False
    high_closed: bool = False
    whole: bool = False
    optional: bool = False

    def __contains__(self, value: Any) -> bool:
        if value is None or isinstance(value, str):
            return value is None and self.optional
        above = value > self.low or (self.low_closed and value == self.low)
        below = value < self.high or (self.high_closed and value == self.high)
        return bool(above and below and (not self.whole or value % 1 == 0))

    def __str__(self) -> str:
        to_infinity = self.high_closed and self.high == math.inf
        number = "whole number" if self.whole else "number"
        if math.isfinite(self.low) and math.isfinite(self.high):
            left, right = "(["[self.low_closed], ")]"[self.high_closed]
            text = f"a {number} in {left}{self.low}, {self.high}{right}"
        else:
            text = f"a {number}" if self.whole or to_infinity else f"a finite {number}"
            text += f" {'>=' if self.low_closed else '>'} {self.low}" if math.isfinite(self.low) else ""
            text += f" {'<=' if self.high_closed else '<'} {self.high}" if math.isfinite(self.high) else ""
        return text + ", or .inf" * to_infinity + ", or null" * self.optional


class Checked:
    """Base of dataclasses whose fields keep to the ranges in their annotations; raises ValueError if one does not.

    A subclass whose ranges depend on one another tests them in a `__post_init__` that calls this one first.
    """

    def __post_init__(self) -> None:
        kind: Any = type(self)
        require(kind, {name: getattr(self, name) for name in ranges(kind)})


def require(annotated: Any, values: Mapping[str, Any], path: str = "") -> None:
    """Check values by name against the annotations of a class or function; path: what a message puts before a name.

    Raises ValueError, in one line, on the first value out of its range.
    """
    for name, accepted in ranges(annotated).items():
        if values[name] not in accepted:
            raise ValueError(f"{path}{name}={values[name]}: must be {accepted}")


@functools.cache
def hints(annotated: Any) -> Mapping[str, Any]:
    """The evaluated annotations of a class or function, what `Annotated` adds to them included."""
    return get_type_hints(annotated, include_extras=True)


@functools.cache
def ranges(annotated: Any) -> Mapping[str, Range | OneOf]:
    """What each annotated number or choice of words may be, by name."""
    found = {name: _accepted(hint) for name, hint in hints(annotated).items()}
    return {name: accepted for name, accepted in found.items() if accepted is not None}


def _accepted(hint: Any) -> Range | OneOf | None:
    bounds: dict[str, Any] = {}
    number = False
    for part in _parts(hint):
        match part:
            case OneOf():
                return part
            case Gt(bound):
                bounds |= {"low": bound, "low_closed": False}
            case Ge(bound):
                bounds |= {"low": bound, "low_closed": True}
            case Lt(bound):
                bounds |= {"high": bound, "high_closed": False}
            case Le(bound):
                bounds |= {"high": bound, "high_closed": True}
        number = number or part in (int, float)
        bounds["whole"] = bounds.get("whole", False) or part is int or part == MultipleOf(1)
        bounds["optional"] = bounds.get("optional", False) or part is NoneType
    return Range(**bounds) if number else None


def _parts(hint: Any) -> Iterator[Any]:
    """What a hint is made of: int, Ge(1) and NoneType for `Annotated[int, Ge(1)] | None`."""
    origin = get_origin(hint)
    if origin in (Annotated, Union, UnionType):
        for part in get_args(hint):
            yield from _parts(part)
    elif origin is Literal:
        yield OneOf(get_args(hint))
    elif isinstance(hint, Interval):
        yield from hint
    elif isinstance(hint, TypeVar):  # of an alias that is used without its brackets
        yield from _parts(hint.__default__)  # type: ignore[attr-defined]
    else:
        yield hint
