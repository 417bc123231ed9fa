"""Products that are added up become one: all of a sum's terms are done while it lies in registers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.engines.step import operations
from bench.engines.step.graph import Node, Sums, ordered


def gathered(roots: Sequence[Node]) -> list[Node]:
    """The roots with every product in an affine node, together with the products and the bias that are added to it.

    The input's product comes first, as a sum's order is part of its bits.
    """
    uses = Counter(part for node in ordered(roots) for part in node.inputs)
    uses.update(roots)
    made: dict[Node, Node] = {}
    for node in ordered(roots):
        if node.operation == "add":
            made[node] = _sum(node, uses, made)
        elif node.operation == "product":
            made[node] = _affine([node], None, made)
        else:
            inputs = tuple(made[part] for part in node.inputs)
            made[node] = (
                node if inputs == node.inputs else Node(node.operation, inputs, node.value, node.units, node.batch)
            )
    return [made[root] for root in roots]


def _sum(root: Node, uses: Counter[Node], made: dict[Node, Node]) -> Node:
    terms = _terms(root, uses)
    products = [term for term in terms if term.operation == "product" and uses[term] == 1]
    if not products:
        return operations.add(made[root.inputs[0]], made[root.inputs[1]])
    rest = [term for term in terms if term not in products]
    bias = next((term for term in rest if term.operation == "operand" and term.units == root.units), None)
    result = _affine(products, bias, made)
    for term in rest:
        if term is not bias:
            result = operations.add(result, made[term])
    return result


def _terms(node: Node, uses: Counter[Node], inner: bool = False) -> list[Node]:
    """What is added up, through sums that nothing else uses."""
    if node.operation != "add" or (inner and uses[node] > 1):
        return [node]
    return [term for part in node.inputs for term in _terms(part, uses, inner=True)]


def _affine(products: Sequence[Node], bias: Node | None, made: dict[Node, Node]) -> Node:
    ordered_products = sorted(products, key=lambda product: product.inputs[0].operation != "input")
    matrices = tuple(product.value for product in ordered_products)
    lefts = tuple(made[product.inputs[0]] for product in ordered_products)
    return Node("affine", lefts, Sums(matrices, None if bias is None else bias.value), units=products[0].units)
