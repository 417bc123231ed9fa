"""The way back through one step, as a graph of its own: reverse differentiation, rule by rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.engines.step import operations
from bench.engines.step.graph import Matrix, Node, Piece, Sums, ordered, shared
from bench.engines.step.trace import Step

WITHOUT = ("input", "mask", "constant")  # leaves whose derivative nobody asks for


@dataclass(frozen=True)
class Backward:
    """dL/d(everything before the step), from dL/d(state after it): the nodes "seed".

    totals: dL/d(each part of the state after the step), through other parts of it as well.
    deltas: dL/d(affine node), for those that anything comes back through. Of an affine node follow from it the
        derivatives of its matrices, its bias and what was multiplied.
    past: what reaches each part of the state before the step other than through a product; None if nothing.
    openings: and through products: of each part, delta and matrix.
    operands: dL/d(operand), by number, other than through an affine node: of all sequences, to be summed.
    """

    totals: tuple[Node, ...]
    deltas: dict[Node, Node]
    past: tuple[Node | None, ...]
    openings: tuple[tuple[tuple[Node, Matrix], ...], ...]
    operands: dict[int, Node]

    @property
    def roots(self) -> list[Node]:
        """All that is asked for."""
        past = [node for node in self.past if node is not None]
        return [*self.totals, *self.deltas.values(), *past, *self.operands.values()]


def differentiated(step: Step) -> Backward:
    """The way back through a step."""
    back = _Reverse(step)
    forward = ordered(step.states)
    for node in reversed(forward):
        back.visit(node)
    numbers = sorted(back.operands)
    past = [_sum(back.past[k]) for k in range(len(step.states))]
    roots = [
        *(back.totals[k] for k in range(len(step.states))),
        *back.deltas.values(),
        *(node for node in past if node is not None),
        *(back.operands[number] for number in numbers),
    ]
    same = dict(zip(roots, shared(roots, forward), strict=True))
    return Backward(
        tuple(same[back.totals[k]] for k in range(len(step.states))),
        {node: same[delta] for node, delta in back.deltas.items()},
        tuple(node and same[node] for node in past),
        tuple(
            tuple((same[delta], matrix) for delta, matrix in _in_order(back.openings[k], step))
            for k in range(len(step.states))
        ),
        {number: same[back.operands[number]] for number in numbers},
    )


class _Reverse:
    """What has come together so far of each node's derivative."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.parts: dict[Node, list[Node]] = defaultdict(list)
        self.products: dict[Node, list[tuple[Node, Matrix]]] = defaultdict(list)
        self.totals: dict[int, Node] = {}
        self.deltas: dict[Node, Node] = {}
        self.past: dict[int, list[Node]] = defaultdict(list)
        self.openings: dict[int, list[tuple[Node, Matrix]]] = defaultdict(list)
        self.operands: dict[int, Node] = {}
        for k, state in enumerate(step.states):
            self.parts[state].append(Node("seed", value=k, units=state.units))

    def visit(self, node: Node) -> None:
        """Hand on what has come to a node to what it is made of; all that uses it has been visited."""
        if node.operation == "state":
            self.past[node.value] = self.parts[node]
            self.openings[node.value] = self.products[node]
            return
        if self.products[node]:
            terms = _in_order(self.products[node], self.step)
            matrices = tuple(Matrix(matrix.operand, not matrix.transposed) for _, matrix in terms)
            self.parts[node].append(
                Node("affine", tuple(delta for delta, _ in terms), Sums(matrices), units=node.units)
            )
        d = _sum(self.parts[node])
        if d is None or node.operation in (*WITHOUT, "operand"):
            return
        if node in self.step.states:
            number = self.step.states.index(node)
            d = self.totals[number] = Node("total", (d,), number, units=d.units)
        if node.operation == "affine":
            self.deltas[node] = d
            for left, matrix in zip(node.inputs, node.value.matrices, strict=True):
                if left.operation not in WITHOUT:
                    self.products[left].append((d, matrix))
        elif node.operation == "sum":
            self._add(node.inputs[0], d)
        elif node.operation == "pieces":
            for number, source in enumerate(node.inputs):
                for part in _scattered(d, node.value, number, source.units or 1):
                    self._add(source, part)
        else:
            found = operations.TABLE[node.operation].derivative(d, node, *node.inputs)
            for part, share in zip(node.inputs, found, strict=True):
                if share is not None:
                    self._add(part, share)

    def _add(self, node: Node, share: Node) -> None:
        """`share` of a node's derivative, summed over units or repeated for each as the node wants it."""
        if node.operation in WITHOUT:
            return
        if node.units is None and share.units is not None:
            share = Node("sum", (share,))
        if node.units is not None and share.units is None:
            share = Node("copy", (share,), units=node.units)
        if node.operation == "operand":
            before = self.operands.get(node.value)
            self.operands[node.value] = share if before is None else operations.add(before, share)
        else:
            self.parts[node].append(share)


def _sum(parts: Sequence[Node]) -> Node | None:
    total: Node | None = None
    for part in parts:
        total = part if total is None else operations.add(total, part)
    return total


def _in_order(terms: Sequence[tuple[Node, Matrix]], step: Step) -> list[tuple[Node, Matrix]]:
    """As the matrices lie in a replica's row: a sum's order is part of its bits."""
    return sorted(terms, key=lambda term: step.operands[term[1].operand].offset)


def _scattered(d: Node, pieces: Sequence[Piece], number: int, units: int) -> list[Node]:
    """d where the source of that number was taken to, each of its units once in a node."""
    nodes: list[list[Piece]] = []
    place = 0
    for run in pieces:
        if run.source == number:
            mine = Piece(run.start, place, run.length)  # for now, `source` is where it goes
            free = next((node for node in nodes if not any(_overlap(mine, other) for other in node)), None)
            if free is None:
                nodes.append([mine])
            else:
                free.append(mine)
        place += run.length
    return [_filled(d, sorted(node, key=lambda run: run.source or 0), units) for node in nodes]


def _overlap(one: Piece, other: Piece) -> bool:
    first, second = one.source or 0, other.source or 0
    return first < second + other.length and second < first + one.length


def _filled(d: Node, runs: Sequence[Piece], units: int) -> Node:
    pieces, end = [], 0
    for run in runs:
        goes = run.source or 0
        if goes > end:
            pieces.append(Piece(None, 0, goes - end))
        pieces.append(Piece(0, run.start, run.length))
        end = goes + run.length
    if end < units:
        pieces.append(Piece(None, 0, units - end))
    return Node("pieces", (d,), tuple(pieces), units=units)
