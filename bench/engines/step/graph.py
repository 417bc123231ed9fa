"""The numbers of one step as a graph: each node is one quantity of every sequence, made from others by an operation."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


class Unsupported(Exception):
    """Why a step cannot be turned into C or Triton."""


@dataclass(frozen=True, eq=False)
class Node:
    """One quantity of a step; two nodes are equal only if they are the same object.

    operation: what makes it, a key of `operations.TABLE` for what is done number by number, else one of
        input, state, mask, seed, operand, constant   a leaf: x_t, part `value` of the state before the step, the
                         recurrent dropout mask, dL/d(part `value` of the state after it), weight `value`, the number
                         `value`
        product          inputs[0] @ matrix `value`
        affine           sum of products of each input with its matrix of `value.matrices`, plus the row `value.bias`
        sum              over units
        pieces           runs of units of its inputs, side by side; `value` lists them
        total            dL/d(part `value` of the state after the step), complete; clipped here where a rule does so
    units: how many there are of it per sequence, side by side; None is one number without an axis of units.
    batch: whether sequences have numbers of their own; only operands and constants have not.
    """

    operation: str
    inputs: tuple[Node, ...] = ()
    value: Any = None
    units: int | None = None
    batch: bool = True


@dataclass(frozen=True)
class Piece:
    """A run of units: `length` of input number `source`, from `start` on; source None is so many zeros."""

    source: int | None
    start: int
    length: int


@dataclass(frozen=True)
class Matrix:
    """A weight as the right side of a product: operand number `operand`, [K, N], transposed [N, K] if so marked."""

    operand: int
    transposed: bool = False


@dataclass(frozen=True)
class Sums:
    """What an affine node adds up: a matrix for each input, and the number of the operand that is its bias."""

    matrices: tuple[Matrix, ...]
    bias: int | None = None


LEAVES = ("input", "state", "mask", "seed", "operand", "constant")


def constant(value: float) -> Node:
    """A number."""
    return Node("constant", value=float(value), batch=False)


def ordered(roots: Iterable[Node], known: Container[Node] = ()) -> list[Node]:
    """All nodes that lead to the roots, each after its inputs; what leads to `known` nodes is left out."""
    found: dict[Node, None] = {}
    waiting: list[tuple[Node, Iterator[Node]]] = []
    for root in roots:
        if root in found:
            continue
        waiting.append((root, iter(() if root in known else root.inputs)))
        while waiting:
            node, inputs = waiting[-1]
            following = next((part for part in inputs if part not in found), None)
            if following is not None:
                waiting.append((following, iter(() if following in known else following.inputs)))
            else:
                waiting.pop()
                found[node] = None
    return list(found)


def rebuilt(roots: Sequence[Node], change: Callable[[Node, tuple[Node, ...]], Node | None]) -> list[Node]:
    """The roots with every node replaced by `change(node, its new inputs)`; None leaves it, but for its inputs."""
    made: dict[Node, Node] = {}
    for node in ordered(roots):
        inputs = tuple(made[part] for part in node.inputs)
        changed = change(node, inputs)
        if changed is None:
            same = inputs == node.inputs
            changed = node if same else Node(node.operation, inputs, node.value, node.units, node.batch)
        made[node] = changed
    return [made[root] for root in roots]


def shared(roots: Sequence[Node], among: Iterable[Node] = ()) -> list[Node]:
    """The roots with equal nodes made one; where it can be one of `among`."""
    known: dict[Any, Node] = {}

    def key(node: Node, inputs: tuple[Node, ...]) -> Any:
        return (node.operation, inputs, repr(node.value), node.units, node.batch)

    for node in among:
        known.setdefault(key(node, node.inputs), node)
    return rebuilt(roots, lambda node, inputs: known.setdefault(key(node, inputs), _with_inputs(node, inputs)))


def _with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    return node if inputs == node.inputs else Node(node.operation, inputs, node.value, node.units, node.batch)
