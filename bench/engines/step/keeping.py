"""Which numbers of the way forward are kept for the way back, and which are computed again."""

from __future__ import annotations

from collections.abc import Iterable

from bench.engines.step import operations
from bench.engines.step.graph import LEAVES, Node, ordered


def kept(states: Iterable[Node], back: Iterable[Node]) -> list[Node]:
    """Nodes of the way forward to keep at every step, beside the states themselves.

    What is multiplied by a weight is kept, for it is multiplied again by the deltas of several steps at once. Of what
    the way back asks for, exponentials, products and sums are kept; what follows from kept numbers by a few cheap
    operations is not.
    """
    states = list(states)
    forward = ordered(states)
    inside = set(forward)
    there = {node for node in forward if node.operation in LEAVES} | set(states)
    result: dict[Node, None] = {}

    def keep(node: Node) -> None:
        if node not in there:
            there.add(node)
            result[node] = None

    for node in forward:
        if node.operation == "affine":
            for left in node.inputs:
                keep(left)
    asked = {part for node in ordered(back) if node not in inside for part in node.inputs if part in inside}
    asked |= {node for node in back if node in inside}
    for node in forward:
        if node in asked and _costly(node, there):
            keep(node)
    for node in forward:
        if node in asked and not _again(node, there):
            for part in _to_keep(node):
                keep(part)
    return [node for node in forward if node in result]


def cheap(node: Node) -> bool:
    """Whether it is computed again rather than stored."""
    return node.operation in operations.TABLE and not operations.TABLE[node.operation].costly


def _costly(node: Node, there: set[Node]) -> bool:
    if node.operation == "pieces":
        return not all(part in there for part in node.inputs)
    return not cheap(node)


def _again(node: Node, there: set[Node]) -> bool:
    """Whether it follows from what is there by cheap operations alone."""
    if node in there:
        return True
    if node.operation == "pieces":
        return all(part in there for part in node.inputs)
    return cheap(node) and all(_again(part, there) for part in node.inputs)


def _to_keep(node: Node) -> list[Node]:
    """The node itself, or what a condition, which is no number, is made of."""
    if not operations.TABLE[node.operation].condition:
        return [node]
    return [kept for part in node.inputs for kept in (_to_keep(part) if part.operation in operations.TABLE else [part])]
