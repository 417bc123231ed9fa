"""A cell's `step` as a graph, by running it once on stand-ins for its tensors."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.engines.step import operations, sums
from bench.engines.step.graph import LEAVES, Matrix, Node, Unsupported, ordered, rebuilt, shared
from bench.engines.step.movement import SEQUENCES
from bench.engines.step.traced import Weight
from bench.engines.step.tracer import Tracer
from bench.nets.network import MULTIPLE, Network, padded


@dataclass(frozen=True)
class Operand:
    """Where a weight that the step uses lies in a replica's row: [*shape], row-major but for its strides.

    The row is the flat parameters, and after them what torch makes of them (`Step.made`).
    """

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One step of a network's cell.

    states: the nodes of the parts of the state after it. operands: the weights that they use, as nodes number them.
    made: tensors that torch makes of a replica's parameters, each with the offset of its first number in the row.
    row: numbers in a replica's row, those made included.
    """

    states: tuple[Node, ...]
    operands: tuple[Operand, ...]
    made: tuple[tuple[int, Weight], ...]
    row: int

    def prepared(self, parameters: Mapping[str, Tensor]) -> list[Tensor]:
        """The tensors `made` of one replica's parameters, by symbol."""
        known: dict[Any, Any] = dict(parameters)
        return [weight.again(known) for _, weight in self.made]


@functools.cache
def traced(network: Network) -> Step:
    """The step of a network's cell. Raises Unsupported where it does something that is not known."""
    try:
        return _traced(network)
    except Unsupported:
        raise
    except Exception as error:  # a step is anybody's code, and stand-ins are no tensors
        raise Unsupported(f"{type(error).__name__} on stand-ins for its tensors: {error}") from error


def _traced(network: Network) -> Step:
    tracer, cell = Tracer(), network.cell
    generator = torch.Generator().manual_seed(0)

    def example(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) - 0.5

    flat = torch.zeros(network.flat_size, dtype=torch.float64)
    for view in network.views(flat).values():
        view.copy_(example(*view.shape))
    weights: Any = {name: tracer.parameter(name, view) for name, view in network.views(flat).items()}
    x_node = Node("input", units=network.inputs)
    state_nodes = [Node("state", value=k, units=cell.hidden) for k in range(len(cell.states))]
    values = {node: example(SEQUENCES, node.units or 1) for node in (x_node, *state_nodes)}
    x: Any = tracer.leaf(x_node, values[x_node])
    seen: Any = [tracer.leaf(node, values[node]) for node in state_nodes]
    if network.masked:
        mask = Node("mask", units=cell.hidden)
        values[mask] = example(SEQUENCES, cell.hidden)
        seen[0] = seen[0] * tracer.leaf(mask, values[mask])
    with torch.no_grad():
        after: Any = cell.step(cell.prepared(weights), x, tuple(seen))
        nodes = [tracer.node(part) for part in after]
        before = [tracer.node(part) for part in seen]
        for node, part in zip(nodes, after, strict=True):
            _check(node, part.example, values)
    if any(node.units != cell.hidden for node in nodes):
        raise Unsupported("a state that has not one number per unit")
    nodes = [Node("copy", (node,), k, units=node.units) if node in before else node for k, node in enumerate(nodes)]
    numbered, operands, made, row = _numbered(nodes, flat, network.flat_size)
    states: list[Node] = []
    for node in shared(sums.gathered(shared(numbered))):
        own = node.batch and node.operation not in LEAVES and node not in states
        states.append(node if own else Node("copy", (node,), len(states), units=node.units))
    return Step(tuple(states), tuple(operands), tuple(made), row)


def _check(root: Node, example: Tensor, values: Mapping[Node, Tensor]) -> None:
    """The graph is to come to what the step itself came to. Raises Unsupported if it does not."""
    if not torch.allclose(evaluated(root, values), example, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise Unsupported("something that its graph does not reproduce")


def evaluated(root: Node, values: Mapping[Node, Tensor]) -> Tensor:
    """A node's numbers [B, units] by torch, from those of the leaves; weights are their examples."""
    known = dict(values)
    for node in ordered([root]):
        if node not in known:
            known[node] = _value(node, [known[part] for part in node.inputs])
    return known[root]


def _value(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    if node.operation in operations.TABLE:
        return operations.TABLE[node.operation].torch(*inputs)
    if node.operation == "constant":
        return torch.tensor(node.value, dtype=torch.float64)
    if node.operation == "operand":
        return torch.as_tensor(node.value.example)
    if node.operation == "product":
        return torch.matmul(inputs[0], node.value.example)
    if node.operation == "sum":
        return inputs[0].sum(-1, keepdim=True)
    assert node.operation == "pieces"
    parts = [inputs[run.source or 0][..., run.start : run.start + run.length] for run in node.value]
    return torch.cat(parts, dim=-1)


def _numbered(
    nodes: Sequence[Node], flat: Tensor, flat_size: int
) -> tuple[list[Node], list[Operand], list[tuple[int, Weight]], int]:
    """The nodes with weights by their numbers, the operands, what torch makes of the parameters, and the row's size."""
    operands: dict[Operand, int] = {}
    made: dict[int, tuple[int, Weight]] = {}  # by the memory of the example
    end = flat_size

    def offset(weight: Weight) -> int:
        """Place of a weight's first number in the row."""
        nonlocal end
        base = weight.base.example.untyped_storage()
        if base.data_ptr() == flat.untyped_storage().data_ptr():
            return int(weight.example.storage_offset())
        if base.data_ptr() not in made:
            made[base.data_ptr()] = (end, weight.base)
            end += padded(len(base) // 8, MULTIPLE)
        return made[base.data_ptr()][0] + int(weight.example.storage_offset())

    def number(weight: Weight) -> int:
        operand = Operand(offset(weight), tuple(weight.example.shape), tuple(weight.example.stride()))
        return operands.setdefault(operand, len(operands))

    def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.operation == "operand":
            return Node("operand", value=number(_in_place(node.value)), units=node.units, batch=False)
        if node.operation == "product":
            weight = node.value if inputs[0].operation == "input" else _in_place(node.value)
            rows, columns = weight.example.stride()
            transposed = rows == 1 and (columns != 1 or weight.example.shape[0] > 1)
            return Node("product", inputs, Matrix(number(weight), transposed), units=node.units)
        return None

    numbered = rebuilt(nodes, change)
    room = MULTIPLE * 4 if made else 0  # a vector's load may reach beyond the end
    return numbered, list(operands), list(made.values()), end + room


def _in_place(weight: Any) -> Weight:
    """The weight if C can use it where it lies, its rows padded to whole vectors; else a copy that it can use."""
    shape, strides = weight.example.shape, weight.example.stride()
    if len(shape) == 0:
        fits = True
    elif len(shape) == 1:
        fits = strides[0] == 1 or shape[0] == 1
    else:
        by_rows = strides[1] == 1 and strides[0] == padded(shape[1], MULTIPLE)
        by_columns = strides[0] == 1 and strides[1] == padded(shape[0], MULTIPLE)
        fits = by_rows or by_columns
    copied: Weight = weight if fits else weight.clone()
    return copied
