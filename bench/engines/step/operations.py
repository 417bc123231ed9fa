"""What is done to numbers one by one: in C and Triton on vectors, in torch, and the derivative of each.

A new operation is one line of `TABLE`; the tests hold each line's columns against one another. Functions that a text
calls stand in `kernel/functions.h` and `triton_functions.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engines.step.graph import Node, Unsupported, constant

Number = Node | float


@dataclass(frozen=True)
class Operation:
    """One way to make a number from numbers.

    text: on vectors, alike in C and in Triton; {0}, {1} stand for its inputs. torch: the same on tensors.
    derivative: from (d, y, *inputs), d = dL/dy, to dL/d(each input); None where there is none.
    costly: whether a result is rather kept for the way back than computed again.
    condition: whether the result is yes or no. row: C that does it to a whole row in memory, where that is faster than
    together with others: a long chain of operations for each vector, so that several are done side by side.
    """

    text: str
    torch: Callable[..., Tensor]
    derivative: Callable[..., tuple[Node | None, ...]]
    costly: bool = False
    condition: bool = False
    row: str = ""


def apply(name: str, *inputs: Number) -> Node:
    """The operation on nodes and numbers; constants are folded, and what changes nothing is left out."""
    nodes = tuple(part if isinstance(part, Node) else constant(part) for part in inputs)
    simple = _simplified(name, nodes)
    if simple is not None:
        return simple
    sizes = {node.units for node in nodes if node.units is not None}
    if len(sizes) > 1:
        raise Unsupported(f"{name} of {' and '.join(map(str, sorted(sizes)))} units")
    return Node(name, nodes, units=sizes.pop() if sizes else None, batch=any(node.batch for node in nodes))


def _simplified(name: str, nodes: tuple[Node, ...]) -> Node | None:
    numbers = [node.value if node.operation == "constant" else None for node in nodes]
    if all(number is not None for number in numbers) and not TABLE[name].condition and name != "where":
        return constant(float(TABLE[name].torch(*(torch.tensor(number, dtype=torch.float64) for number in numbers))))
    first = nodes[0]
    if name == "mul" and 1.0 in numbers:
        return nodes[1 - numbers.index(1.0)]
    if name == "mul" and -1.0 in numbers:
        return apply("neg", nodes[1 - numbers.index(-1.0)])
    if name == "add" and 0.0 in numbers:
        return nodes[1 - numbers.index(0.0)]
    if (name == "sub" and numbers[1] == 0.0) or (name == "div" and numbers[1] == 1.0):
        return first
    if name == "sub" and nodes[1].operation == "neg":
        return apply("add", first, nodes[1].inputs[0])
    if name == "add" and nodes[1].operation == "neg":
        return apply("sub", first, nodes[1].inputs[0])
    if name == "neg" and first.operation == "neg":
        return first.inputs[0]
    return None


def add(a: Number, b: Number) -> Node:
    return apply("add", a, b)


def sub(a: Number, b: Number) -> Node:
    return apply("sub", a, b)


def mul(a: Number, b: Number) -> Node:
    return apply("mul", a, b)


def div(a: Number, b: Number) -> Node:
    return apply("div", a, b)


def neg(a: Number) -> Node:
    return apply("neg", a)


def where(condition: Node, yes: Number, no: Number) -> Node:
    return apply("where", condition, yes, no)


def only(condition: Node, d: Node) -> Node:
    """d where the condition holds, else 0."""
    return where(condition, d, 0.0)


def _quotient(d: Node, y: Node, a: Node, b: Node) -> tuple[Node | None, ...]:
    share = div(d, b)
    return share, None if b.operation == "constant" else neg(mul(share, y))


def _greater(name: str) -> Callable[..., tuple[Node | None, ...]]:
    """Derivatives of the greater (or lesser) of two numbers; equal ones share the gradient."""

    def derivative(d: Node, y: Node, a: Node, b: Node) -> tuple[Node | None, ...]:
        half = only(apply("eq", a, b), mul(d, 0.5))
        return add(only(apply(name, a, b), d), half), add(only(apply(name, b, a), d), half)

    return derivative


def _none(d: Node, y: Node, *inputs: Node) -> tuple[None, ...]:
    return tuple(None for _ in inputs)


def _softplus(a: Tensor) -> Tensor:
    return torch.nn.functional.softplus(a)


TABLE: dict[str, Operation] = {
    "copy": Operation("{0}", torch.clone, lambda d, y, a: (d,)),
    "detach": Operation("{0}", torch.detach, _none),
    "add": Operation("{0} + {1}", torch.add, lambda d, y, a, b: (d, d)),
    "sub": Operation("{0} - {1}", torch.sub, lambda d, y, a, b: (d, neg(d))),
    "mul": Operation("{0} * {1}", torch.mul, lambda d, y, a, b: (mul(d, b), mul(d, a))),
    "div": Operation("{0} / {1}", torch.div, _quotient, costly=True),
    "neg": Operation("-{0}", torch.neg, lambda d, y, a: (neg(d),)),
    "tanh": Operation(
        "hyperbolic_tangent({0})", torch.tanh, lambda d, y, a: (mul(d, sub(1, mul(y, y))),), True, row="tanh_of"
    ),
    "sigmoid": Operation(
        "sigmoid({0})", torch.sigmoid, lambda d, y, a: (mul(d, mul(y, sub(1, y))),), True, row="sigmoid_of"
    ),
    "relu": Operation("positive({0})", torch.relu, lambda d, y, a: (where(apply("le", y, 0), 0, d),)),
    "softplus": Operation("softplus({0})", _softplus, lambda d, y, a: (mul(d, apply("sigmoid", a)),), True),
    "log_sigmoid": Operation(
        "-positive(-{0}) - logarithm_of_more(power_of_e(-absolute({0})))",
        torch.nn.functional.logsigmoid,
        lambda d, y, a: (mul(d, apply("sigmoid", neg(a))),),
        True,
    ),
    "exp": Operation("power_of_e({0})", torch.exp, lambda d, y, a: (mul(d, y),), True),
    "expm1": Operation("power_less_one({0})", torch.expm1, lambda d, y, a: (mul(d, add(y, 1)),), True),
    "log": Operation("logarithm({0})", torch.log, lambda d, y, a: (div(d, a),), True),
    "log1p": Operation("logarithm_of_more({0})", torch.log1p, lambda d, y, a: (div(d, add(1, a)),), True),
    "sqrt": Operation("square_root({0})", torch.sqrt, lambda d, y, a: (div(d, mul(2, y)),), True),
    "rsqrt": Operation(
        "1 / square_root({0})", torch.rsqrt, lambda d, y, a: (mul(mul(d, -0.5), mul(y, mul(y, y))),), True
    ),
    "sin": Operation("sine({0})", torch.sin, lambda d, y, a: (mul(d, apply("cos", a)),), True),
    "cos": Operation("cosine({0})", torch.cos, lambda d, y, a: (neg(mul(d, apply("sin", a))),), True),
    "abs": Operation("absolute({0})", torch.abs, lambda d, y, a: (mul(d, apply("sign", a)),)),
    "sign": Operation("sign({0})", torch.sign, _none),
    "maximum": Operation("greater({0}, {1})", torch.maximum, _greater("gt")),
    "minimum": Operation("lesser({0}, {1})", torch.minimum, _greater("lt")),
    "clamp_min": Operation(
        "where({0} < {1}, {1}, {0})", torch.clamp_min, lambda d, y, a, b: (only(apply("ge", a, b), d), None)
    ),
    "clamp_max": Operation(
        "where({0} > {1}, {1}, {0})", torch.clamp_max, lambda d, y, a, b: (only(apply("le", a, b), d), None)
    ),
    "where": Operation(
        "where({0}, {1}, {2})", torch.where, lambda d, y, c, a, b: (None, where(c, d, 0), where(c, 0, d))
    ),
    "lt": Operation("({0} < {1})", torch.lt, _none, condition=True),
    "le": Operation("({0} <= {1})", torch.le, _none, condition=True),
    "gt": Operation("({0} > {1})", torch.gt, _none, condition=True),
    "ge": Operation("({0} >= {1})", torch.ge, _none, condition=True),
    "eq": Operation("({0} == {1})", torch.eq, _none, condition=True),
    "ne": Operation("({0} != {1})", torch.ne, _none, condition=True),
    "and": Operation("({0} & {1})", torch.logical_and, _none, condition=True),
    "or": Operation("({0} | {1})", torch.logical_or, _none, condition=True),
    "not": Operation("(~{0})", torch.logical_not, _none, condition=True),
}


def power(a: Node, exponent: float) -> Node:
    """a to a constant power: a whole one from -4 to 4, or a half."""
    if exponent in (0.5, -0.5):
        return apply("sqrt" if exponent > 0 else "rsqrt", a)
    if exponent != round(exponent) or not 1 <= abs(exponent) <= 4:
        raise Unsupported(f"pow by {exponent:g}")
    product = a
    for _ in range(int(abs(exponent)) - 1):
        product = mul(product, a)
    return product if exponent > 0 else div(1, product)


def clamped(a: Node, low: Number | None = None, high: Number | None = None) -> Node:
    """a between two bounds, either of which may be missing; a bound that is no constant has a derivative of its own."""
    for bound, operation, beyond in ((low, "clamp_min", "lt"), (high, "clamp_max", "gt")):
        if isinstance(bound, Node):
            a = where(apply(beyond, a, bound), bound, a)
        elif bound is not None:
            a = apply(operation, a, bound)
    return a


def _gelu(a: Node, approximate: str = "none") -> Node:
    if approximate != "tanh":
        raise Unsupported("gelu without approximate='tanh'")
    inner = mul(math.sqrt(2 / math.pi), add(a, mul(0.044715, mul(a, mul(a, a)))))
    return mul(mul(0.5, a), add(1, apply("tanh", inner)))


def _elu(a: Node, alpha: float = 1.0) -> Node:
    return where(apply("gt", a, 0), a, mul(alpha, apply("expm1", apply("clamp_max", a, 0))))


def _hardtanh(a: Node, min_val: float = -1.0, max_val: float = 1.0) -> Node:
    """Without a slope at the bounds themselves, as torch has it; `clamp` has one there."""
    return where(apply("le", a, min_val), min_val, where(apply("ge", a, max_val), max_val, a))


def _plain(name: str) -> Callable[..., Node]:
    return lambda *inputs: apply(name, *inputs)


# Functions and methods of torch by their names, as operations of the table; each takes what torch's takes.
FUNCTIONS: dict[str, Callable[..., Node]] = {
    **{
        name: _plain(name)
        for name in TABLE
        if name not in ("copy", "add", "sub", "and", "or", "not", "where", "softplus")
    },
    "where": lambda c, a, b: where(c, a, b),
    "add": lambda a, b, alpha=1: add(a, mul(alpha, b)),
    "sub": lambda a, b, alpha=1: sub(a, mul(alpha, b)),
    "rsub": lambda a, b, alpha=1: sub(b, mul(alpha, a)),
    "subtract": sub,
    "multiply": mul,
    "divide": div,
    "true_divide": div,
    "negative": neg,
    "absolute": lambda a: apply("abs", a),
    "sgn": lambda a: apply("sign", a),
    "reciprocal": lambda a: div(1, a),
    "square": lambda a: mul(a, a),
    "pow": power,
    "clamp_min": lambda a, min: clamped(a, min),
    "clamp_max": lambda a, max: clamped(a, None, max),
    "clamp": lambda a, min=None, max=None: clamped(a, min, max),
    "clip": lambda a, min=None, max=None: clamped(a, min, max),
    "silu": lambda a: mul(a, apply("sigmoid", a)),
    "softplus": lambda a: apply("softplus", a),
    "tanhshrink": lambda a: sub(a, apply("tanh", a)),
    "softsign": lambda a: div(a, add(1, apply("abs", a))),
    "mish": lambda a: mul(a, apply("tanh", apply("softplus", a))),
    "gelu": _gelu,
    "elu": _elu,
    "leaky_relu": lambda a, negative_slope=0.01: where(apply("gt", a, 0), a, mul(negative_slope, a)),
    "hardtanh": _hardtanh,
    "relu6": lambda a: _hardtanh(a, 0.0, 6.0),
    "lerp": lambda a, b, weight: add(a, mul(weight, sub(b, a))),
    "addcmul": lambda a, b, c, value=1: add(a, mul(value, mul(b, c))),
    "addcdiv": lambda a, b, c, value=1: add(a, mul(value, div(b, c))),
    "greater": lambda a, b: apply("gt", a, b),
    "less": lambda a, b: apply("lt", a, b),
    "logical_and": lambda a, b: apply("and", a, b),
    "logical_or": lambda a, b: apply("or", a, b),
    "logical_not": lambda a: apply("not", a),
    "bitwise_and": lambda a, b: apply("and", a, b),
    "bitwise_or": lambda a, b: apply("or", a, b),
    "bitwise_not": lambda a: apply("not", a),
    "sigmoid": lambda a: apply("sigmoid", a),
}
