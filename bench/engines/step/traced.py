"""Stand-ins for the tensors of a step, which note what torch functions are applied to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bench.engines.step.graph import Unsupported

if TYPE_CHECKING:
    from bench.engines.step.tracer import Tracer


class Traced:
    """What a step is given in place of a tensor.

    example: a tensor of its shape with numbers like those to come. Every torch function, method or operator that it
    goes through is handed to the `tracer`.
    """

    def __init__(self, tracer: Tracer, example: Tensor) -> None:
        self.tracer, self.example = tracer, example

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        tracer = next(part.tracer for part in leaves((arguments, keywords)) if isinstance(part, Traced))
        return tracer.call(name_of(function), function, tuple(arguments), dict(keywords or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        attribute = getattr(Tensor, name)
        if not callable(attribute):  # a property, such as mT
            return self.tracer.call(name, attribute.__get__, (self,), {})
        return lambda *arguments, **keywords: self.tracer.call(name, attribute, (self, *arguments), keywords)

    def __iter__(self) -> Any:
        return iter(self.unbind(0))

    def __len__(self) -> int:
        return len(self.example)

    def __bool__(self) -> bool:
        raise Unsupported("a decision by a value")


class Dynamic(Traced):
    """A tensor that is made of the input or the state.

    index: of its shape; says of each number which node, sequence and unit it is (`movement`).
    """

    def __init__(self, tracer: Tracer, example: Tensor, index: Tensor) -> None:
        super().__init__(tracer, example)
        self.index = index


class Weight(Traced):
    """A tensor that is made of parameters alone.

    again: makes it anew from parameters, given what has been made already: these by their symbols, other tensors by
    the call that they came from. base: the weight whose memory it shares, itself if it is a view of none. uniform: the
    number that all of a constant tensor's entries are.
    """

    def __init__(
        self,
        tracer: Tracer,
        example: Tensor,
        again: Callable[[dict[Any, Any]], Tensor],
        base: Weight | None = None,
        uniform: float | None = None,
    ) -> None:
        super().__init__(tracer, example)
        self.again = again
        self.base = self if base is None else base
        self.uniform = uniform

    def placed(self, row: Tensor, offset: int) -> Tensor:
        """Place of the value in a replica's row, from its own first number on."""
        return row.as_strided(self.example.shape, self.example.stride(), int(row.storage_offset()) + offset)


def leaves(structure: Any) -> list[Any]:
    """What lies in nested tuples, lists and dicts."""
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, tuple | list):
        return [leaf for part in structure for leaf in leaves(part)]
    return [structure]


def mapped(structure: Any, change: Callable[[Any], Any]) -> Any:
    """The nested tuples, lists and dicts with every leaf changed."""
    if isinstance(structure, dict):
        return {name: mapped(part, change) for name, part in structure.items()}
    if isinstance(structure, tuple | list):
        return type(structure)(mapped(part, change) for part in structure)
    return change(structure)


def name_of(function: Any) -> str:
    """`tanh` for torch.tanh and Tensor.tanh, `mT` for the property, `add` for the operator."""
    name: str = function.__name__
    return str(function.__self__.__name__) if name == "__get__" else OPERATORS.get(name, name)


OPERATORS = {
    "__add__": "add",
    "__radd__": "add",
    "__iadd__": "add",
    "__sub__": "sub",
    "__isub__": "sub",
    "__rsub__": "rsub",
    "__mul__": "mul",
    "__rmul__": "mul",
    "__imul__": "mul",
    "__truediv__": "div",
    "__itruediv__": "div",
    "__rtruediv__": "rdiv",
    "__matmul__": "matmul",
    "__rmatmul__": "rmatmul",
    "__neg__": "neg",
    "__abs__": "abs",
    "__pow__": "pow",
    "__lt__": "lt",
    "__le__": "le",
    "__gt__": "gt",
    "__ge__": "ge",
    "__eq__": "eq",
    "__ne__": "ne",
    "__and__": "and",
    "__or__": "or",
    "__invert__": "not",
    "__getitem__": "getitem",
}
REVERSED = {
    "rsub": lambda a, b: b - a,
    "rdiv": lambda a, b: b / a,
    "rmatmul": lambda a, b: b @ a,
}


def _operator(name: str) -> Callable[..., Any]:
    """In place of an operator in place a new tensor is made: nobody else has the old one's memory."""
    plain = OPERATORS[name]

    def method(self: Traced, *arguments: Any) -> Any:
        if plain in REVERSED:
            function: Any = REVERSED[plain]
        else:
            function = getattr(
                Tensor, name.replace("__i", "__", 1) if name.startswith("__i") and name != "__invert__" else name
            )
        return self.tracer.call(plain, function, (self, *arguments), {})

    return method


for _name in OPERATORS:
    setattr(Traced, _name, _operator(_name))
Traced.__hash__ = object.__hash__  # type: ignore[method-assign]


def plain(structure: Any) -> Any:
    """Arguments with examples in place of stand-ins."""
    return mapped(structure, lambda leaf: leaf.example if isinstance(leaf, Traced) else leaf)
