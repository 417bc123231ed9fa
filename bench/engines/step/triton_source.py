"""The Triton text of a step: its time loop forward and its time loop back, as `fused.py` launches them.

The same graph, derivative and choice of what is kept as for C, each node one line. A program has a tile of a replica's
sequences; what a step makes stays in registers, [sequences, units], units padded to a power of two. Numbers in the
padding may be any; they are made 0 before they could come into a sum or a product.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from bench.engines.step import operations
from bench.engines.step.derivative import differentiated
from bench.engines.step.graph import Matrix, Node, Unsupported, ordered
from bench.engines.step.keeping import kept
from bench.engines.step.rows import LITERALS
from bench.engines.step.trace import Step
from bench.nets.network import MULTIPLE, Network, padded

MOST_RUNS = 16  # of units that a node puts together
TRANSPOSES = "TRANSPOSES"  # stands for their number until both kernels are written


@dataclass(frozen=True)
class Gathered:
    """Gradients of weights: over all b, t the sum of derivatives of sums of products times what was multiplied.

    deltas: the first column of the derivatives, `units` of them for each of `blocks` weights, whose columns follow one
    another. left: the first column of what was multiplied, `count` of them, at the step before if `earlier`; None is
    the input. weight: where the first weight's gradient begins in a replica's row, the next one `apart` numbers on,
    with its strides by `count` and `units`. bias, biases_apart: likewise of the biases; None if there are none.
    """

    deltas: int
    units: int
    left: int | None
    count: int
    earlier: bool
    weight: int
    strides: tuple[int, int]
    bias: int | None
    blocks: int = 1
    apart: int = 0
    biases_apart: int = 0

    def with_next(self, other: Gathered) -> Gathered | None:
        """Both as one, if the other begins where one more block would."""
        apart, biases_apart = other.weight - self.weight, 0
        if self.blocks > 1:
            apart, biases_apart = self.apart, self.biases_apart
        elif self.bias is not None and other.bias is not None:
            biases_apart = other.bias - self.bias
        n = self.blocks
        following = dataclasses.replace(
            self,
            deltas=self.deltas + n * padded(self.units, MULTIPLE),
            weight=self.weight + n * apart,
            bias=None if self.bias is None else self.bias + n * biases_apart,
            blocks=1,
            apart=0,
            biases_apart=0,
        )
        if other != following:
            return None
        return dataclasses.replace(self, blocks=n + 1, apart=apart, biases_apart=biases_apart)


@dataclass(frozen=True)
class Turned:
    """The transpose of a weight [rows, columns], whose rows lie `pitch` numbers apart from `offset` on in a row.

    It lies from `place` on in the replica's memory of transposes, its own rows `padded(rows, MULTIPLE)` numbers apart.
    """

    offset: int
    rows: int
    columns: int
    pitch: int
    place: int

    @property
    def width(self) -> int:
        """How far apart its rows lie."""
        return padded(self.rows, MULTIPLE)


@dataclass(frozen=True)
class TritonSource:
    """The text of a step's kernels `forward` and `backward`, and what their caller must know.

    columns: numbers of a sequence and step in memory, `kept`: the state after the step, h first, what else the way back
    asks for, and the derivatives of all sums of products. gathered: the weights' gradients that follow from them.
    summed: other gradients, summed up for each tile of sequences in `sums` columns: where one begins in a replica's
    row, its column, and how many numbers it has.
    turned: the weights of which the kernels want a transpose, whose numbers take `transposes` columns of a replica.
    weights: numbers that stay on chip, on the way that has more of them.
    """

    text: str
    columns: int
    gathered: tuple[Gathered, ...]
    summed: tuple[tuple[int, int, int], ...]
    sums: int
    turned: tuple[Turned, ...]
    transposes: int
    weights: int


def written(network: Network, step: Step) -> TritonSource:
    """The Triton text of a network's step. Raises Unsupported."""
    return _Writer(network, step).source()


def room(turned: Iterable[Turned]) -> int:
    """Numbers that transposes take."""
    return sum(one.columns * one.width for one in turned)


def block(units: int | None) -> int:
    """Numbers that units take on chip; a number per sequence takes 1."""
    return 1 if units is None else max(16, 1 << (units - 1).bit_length())


class _Way:
    """The lines of a loop's body and those before it.

    names: of nodes that are there; the others get one as a line makes them. back: whether weights are multiplied
    transposed. turned: where the weights lie of which a transpose is wanted; one that is not there is added.
    """

    def __init__(self, step: Step, names: Mapping[Node, str], back: bool, turned: dict[int, Turned]) -> None:
        self.step, self.names, self.back, self.turned = step, dict(names), back, turned
        self.before: dict[str, None] = {}
        self.lines: list[str] = []
        self.on_chip: dict[str, int] = {}  # numbers of each weight
        self._constants: dict[float, str] = {}
        self._count = 0

    def set(self, value: str) -> str:
        """A new variable of this value."""
        self._count += 1
        self.lines.append(f"v{self._count} = {value}")
        return f"v{self._count}"

    def make(self, node: Node) -> str:
        """Lines for a node whose inputs have names."""
        inputs = [self.names[part] for part in node.inputs]
        if node.operation == "constant":
            name = self._constant(node.value)
        elif node.operation == "operand":
            name = self._operand(node.value)
        elif node.operation == "affine":
            start = self.nothing(node.units) if node.value.bias is None else self._bias(node)
            lefts = inputs if self.back else [self.clean(part) for part in node.inputs]
            name = self.products(start, zip(lefts, node.value.matrices, strict=True))
        elif node.operation == "sum":
            name = self.set(f"tl.sum({self.clean(node.inputs[0])}, 1)[:, None]")
        elif node.operation == "pieces":
            name = self._pieces(node, inputs)
        elif node.operation == "total":
            name = self.set(self.clean(node.inputs[0]))
        elif node.operation == "copy":
            name = self.set(f"tl.broadcast_to({inputs[0]}, (TILE, {block(node.units)}))")
        elif node.operation in operations.TABLE:
            name = self.set(operations.TABLE[node.operation].text.format(*inputs))
        else:
            raise Unsupported(f"{node.operation} within a kernel")
        self.names[node] = name
        return name

    def clean(self, node: Node) -> str:
        """A node with zeros in its padding, if it has any."""
        given = node.operation in ("state", "input")  # clean as they come
        padding = node.units is not None and node.units < block(node.units) and not given
        return f"tl.where(m{node.units}, {self.names[node]}, 0.0)" if padding else self.names[node]

    def running(self, node: Node, always: bool = False) -> str:
        """A node with zeros for sequences that have ended; in its padding too, and `always` for sequences not there."""
        there, always = f"m{node.units}" if node.units else "there", always or node.units != block(node.units)
        return self.set(f"running({there}, {self.names[node]}, t, length, {always}, shape)")

    def nothing(self, units: int | None) -> str:
        """Zeros."""
        self.before[f"nothing{block(units)} = tl.full((TILE, {block(units)}), 0.0, number)"] = None
        return f"nothing{block(units)}"

    def products(self, total: str, terms: Iterable[tuple[str, Matrix]]) -> str:
        """A variable plus products, each of a variable and a weight."""
        for left, matrix in terms:
            total = self.set(f"product({left}, {self._matrix(matrix)}, {total}, shape)")
        return total

    def _constant(self, value: float) -> str:
        if value in LITERALS:
            return f"({value!r})"
        if value not in self._constants:
            self._constants[value] = f"c{len(self._constants)}"
            number = repr(value) if math.isfinite(value) else f'float("{value}")'
            self.before[f"{self._constants[value]} = tl.full((1, 1), {number}, number)"] = None
        return self._constants[value]

    def _operand(self, number: int) -> str:
        operand = self.step.operands[number]
        for units in operand.shape:
            self.before[f"r{number} = vector(own + {operand.offset}, u{units}, {units})"] = None
        if not operand.shape:
            self.before[f"r{number} = tl.load(own + {operand.offset})"] = None
        return f"r{number}"

    def _bias(self, node: Node) -> str:
        row = self._operand(node.value.bias)
        return f"tl.broadcast_to({row}, (TILE, {block(node.units)}))"

    def _matrix(self, matrix: Matrix) -> str:
        """A weight, as it lies or from its transpose.

        A product takes the rows of its right side from one piece of memory on chip, and what Triton turns there is
        read across its rows, which takes five times as long.
        """
        operand, name, number = self.step.operands[matrix.operand], f"W{matrix.operand}", matrix.operand
        shape, strides, across = list(operand.shape), list(operand.strides), self.back
        if strides[1] != 1:
            shape, strides, across = shape[::-1], strides[::-1], not across
        (rows, columns), pitch, start = shape, strides[0], f"own + {operand.offset}"
        if across:
            if number not in self.turned:
                self.turned[number] = Turned(operand.offset, rows, columns, pitch, room(self.turned.values()))
            turned = self.turned[number]
            rows, columns, pitch, start = columns, rows, turned.width, f"own_turned + {turned.place}"
        self.before[f"{name} = matrix({start}, u{rows}, u{columns}, {rows}, {columns}, {pitch})"] = None
        self.on_chip[name] = block(rows) * block(columns)
        return name

    def _pieces(self, node: Node, inputs: Sequence[str]) -> str:
        if len(node.value) > MOST_RUNS:
            raise Unsupported(f"{len(node.value)} runs of units side by side, more than {MOST_RUNS}")
        unit, total, place = f"u{node.units}", self.nothing(node.units), 0
        for run in node.value:
            if run.source is not None:
                last = block(node.inputs[run.source].units) - 1
                at = f"({unit} + {run.start - place}) & {last}"
                there = f"(({unit} >= {place}) & ({unit} < {place + run.length}))[None, :]"
                total = self.set(f"tl.where({there}, moved({inputs[run.source]}, {at}), {total})")
            place += run.length
        return total


class _Writer:
    """Writes both kernels of a step.

    column: where each node lies in a step's memory of `columns` numbers, derivatives among them. summed: where the
    gradient of an operand lies in a tile's memory of `sums` numbers.
    """

    def __init__(self, network: Network, step: Step) -> None:
        self.network, self.step, self.back = network, step, differentiated(step)
        self.states = step.states
        self.forward = ordered(self.states)
        weights = {delta: self._weight(node) for node, delta in self.back.deltas.items()}
        self.deltas = sorted(weights, key=lambda delta: weights[delta])
        multiplied = {left for node in self.forward if node.operation == "affine" for left in node.inputs}
        self.kept = sorted(kept(self.states, self.back.roots), key=lambda node: node not in multiplied)
        self.column: dict[Node, int] = {}
        self.columns = 0
        for node in (*self.states, *self.kept):
            self._place(node)
        free = [node for node in self.kept if node not in multiplied]
        for delta in self.deltas:  # in the place of what nobody asks for after it
            place = next((node for node in free if node.units == delta.units), None)
            if place is None:
                self._place(delta)
            else:
                free.remove(place)
                self.column[delta] = self.column[place]
        self.turned: dict[int, Turned] = {}
        self.summed: dict[int, int] = {}
        self.sums = 0
        for number, node in self.back.operands.items():
            self.summed[number] = self.sums
            self.sums += _width(node)

    def _weight(self, node: Node) -> int:
        """Where the first weight of a sum of products begins: derivatives that lie in its order are gathered as one."""
        first: Matrix = node.value.matrices[0]
        return self.step.operands[first.operand].offset

    def _place(self, node: Node) -> None:
        self.column[node] = self.columns
        self.columns += _width(node)

    def source(self) -> TritonSource:
        head = [
            "import triton",
            "import triton.language as tl",
            "",
            "from bench.engines.triton_functions import *",
            "from bench.engines.triton_kernels import *",
            "",
        ]
        (forward, weights), (back, weights_back) = self._forward(), self._back()
        operands = self.step.operands
        summed = tuple(
            (operands[number].offset, column, self.back.operands[number].units or 1)
            for number, column in self.summed.items()
        )
        text = "\n".join([*head, *forward, "", *back, ""]).replace(TRANSPOSES, str(room(self.turned.values())))
        turned = tuple(self.turned.values())
        return TritonSource(
            text,
            self.columns,
            tuple(self._gathered()),
            summed,
            self.sums,
            turned,
            room(turned),
            max(weights, weights_back),
        )

    def _gathered(self) -> Iterator[Gathered]:
        found = []
        for node, delta in self.back.deltas.items():
            bias = None if node.value.bias is None else self.step.operands[node.value.bias].offset
            for left, matrix in zip(node.inputs, node.value.matrices, strict=True):
                operand, earlier = self.step.operands[matrix.operand], left.operation == "state"
                column = self.column.get(self.states[left.value] if earlier else left)
                strides, count = (operand.strides[0], operand.strides[1]), left.units or 1
                place = self.column[delta]
                found.append(Gathered(place, delta.units or 1, column, count, earlier, operand.offset, strides, bias))
                bias = None
        found.sort(key=lambda one: (-1 if one.left is None else one.left, one.earlier, one.deltas))
        while found:
            one = found.pop(0)
            while found and (both := one.with_next(found[0])):
                one = both
                found.pop(0)
            yield one

    def _kernel(self, head: str, way: _Way, top: Sequence[str], end: Sequence[str] = ()) -> list[str]:
        """A kernel around a loop; only what is about numbers of units that it names is set."""
        used = "\n".join([*way.before, *top, *way.lines, *end])
        sizes = sorted({int(size) for size in re.findall(r"\b(?:u|m|at)(\d+)\b", used)})
        common = [
            "replica = tl.program_id(0).to(tl.int64)",
            "tile = replica * tl.num_programs(1) + tl.program_id(1)",
            "sequence = tl.program_id(1) * TILE + tl.arange(0, TILE)",
            "there = (sequence < sequences)[:, None]",
            "row = replica * sequences + sequence",
            f"own = rows + replica * {self.step.row}",
            "number: tl.constexpr = rows.dtype.element_ty",
            "length = tl.load(lengths + row, mask=sequence < sequences, other=0)[:, None] if shape.varying else 0",
            "at = kept + (row * (shape.kept * shape.columns))[:, None]",
        ]
        for size in sizes:
            common.append(f"u{size} = tl.arange(0, {block(size)})")
            common.append(f"m{size}, at{size} = there & (u{size} < {size})[None, :], at + u{size}[None, :]")
        inputs = self.network.inputs
        if "own_turned" in used:
            common.append(f"own_turned = turned + replica * {TRANSPOSES}")
        if "x_at" in used:
            common.append(f"x_at = places(inputs, row * shape.steps, u{inputs}, {inputs})")
        loop = ["for turn in range(shape.steps):", *(f"    {line}" for line in way.lines)]
        return ["@triton.jit", f"def {head}:", *(f"    {line}" for line in (*common, *way.before, *top, *loop, *end))]

    def _forward(self) -> tuple[list[str], int]:
        leaves = {"state": "h{}", "input": "x"}
        names = {node: leaves[node.operation].format(node.value) for node in self.forward if node.operation in leaves}
        way, hidden = _Way(self.step, names, False, self.turned), self.network.cell.hidden
        top = [f"h{k} = {way.nothing(hidden)}" for k in range(len(self.states))]
        x, inputs = f"m{self.network.inputs}", self.network.inputs
        top += [f"awake, x = h0, tl.load(x_at, mask={x}, other=0.0)"]
        way.lines.append("t = turn")
        way.lines.append(f"x_next = tl.load(x_at + (t + 1) * {inputs}, mask={x} & (t + 1 < shape.steps), other=0.0)")
        for node in self.forward:
            if node not in way.names:
                way.make(node)
        after = [way.clean(state) for state in self.states]
        way.lines.append(f"{', '.join(f'after{k}' for k in range(len(after)))} = {', '.join(after)}")
        way.lines += [
            *(f"h{k} = tl.where(t < length, after{k}, h{k}) if shape.varying else after{k}" for k in range(len(after))),
            "awake = tl.where(h0 != 0, 1.0, awake)",
            f"tl.store(at{hidden} + (t - shape.since) * shape.columns, h0, mask=m{hidden} & (t >= shape.since))",
        ]
        others = {state: f"h{k}" for k, state in enumerate(self.states) if k > 0}
        others.update({node: way.names[node] for node in self.kept})
        for node, name in others.items():
            way.lines.append("if shape.keep:")
            way.lines.append("    " + self._store(node, name))
        way.lines.append("x = x_next")
        end = ["tl.store(alive + tile, tl.max(tl.where(there, awake, 0.0)) > 0)"]
        head = "forward(rows, turned, inputs, lengths, kept, alive, sequences, shape: tl.constexpr)"
        return self._kernel(head, way, top, end), sum(way.on_chip.values())

    def _back(self) -> tuple[list[str], int]:
        back, hidden, outputs = self.back, self.network.cell.hidden, self.network.outputs
        known = {state: f"h{k}" for k, state in enumerate(self.states)}
        known.update({node: f"n{k}" for k, node in enumerate(self.kept)})
        order = ordered(back.roots, known)
        leaves = {"seed": "d{}", "state": "h{}_before", "input": "x"}
        names = {node: leaves[node.operation].format(node.value) for node in order if node.operation in leaves}
        names.update({node: name for node, name in known.items() if node in order})
        way = _Way(self.step, names, True, self.turned)
        top, last = self._ahead(way, [node for node in names if node.operation != "seed"])
        top += [f"d{k} = {way.nothing(hidden)}" for k in range(len(self.states))]
        top += [f"s{number} = {way.nothing(node.units)}" for number, node in back.operands.items()]
        parts = self.network.padded_views(torch.empty(self.network.flat_size))
        readout = f"own + {parts['W_hy'].storage_offset()}, u{outputs}, u{hidden}"
        way.before[f"W_hy = matrix({readout}, {outputs}, {hidden}, {self.network.padded_hidden})"] = None
        way.on_chip["W_hy"] = block(outputs) * block(hidden)
        way.lines += ["if t >= shape.first and t < shape.first + shape.read:", "    d0 = product(dy, W_hy, d0, shape)"]
        for node in order:
            if node not in way.names:
                way.make(node)
            if node in self.deltas:
                way.names[node] = way.running(node)
        for k, total in enumerate(back.totals):
            part = f"squares + {k} * tl.num_programs(0).to(tl.int64) * sequences * shape.steps"
            way.lines.append("if shape.trace:")
            way.lines.append(
                f"    store_square({part} + row * shape.steps + t, {way.names[total]}, sequence < sequences)"
            )
        way.lines += [self._store(delta, way.names[delta]) for delta in self.deltas]
        for number, node in back.operands.items():
            way.lines.append(f"s{number} += {way.running(node, always=True)}")
        following = []
        for past, terms in zip(back.past, back.openings, strict=True):
            start = way.nothing(hidden) if past is None else way.running(past)
            following.append(way.products(start, [(way.names[delta], matrix) for delta, matrix in terms]))
        way.lines.append(f"{', '.join(f'd{k}' for k in range(len(following)))} = {', '.join(following)}")
        way.lines += last
        end = []
        for number, column in self.summed.items():
            units = back.operands[number].units
            place, mask = (f"u{units}", f"u{units} < {units}") if units else ("tl.arange(0, 1)", "None")
            end.append(
                f"tl.store(partial + tile * {self.sums} + {column} + {place}, tl.sum(s{number}, 0), mask={mask})"
            )
        given = "rows, turned, inputs, lengths, kept, d_outputs, squares, partial, sequences"
        head = f"backward({given}, shape: tl.constexpr)"
        return self._kernel(head, way, top, end), sum(way.on_chip.values())

    def _ahead(self, way: _Way, nodes: Iterable[Node]) -> tuple[list[str], list[str]]:
        """Lines before the loop and at its end, by which what a step needs is asked for one step ahead.

        A part of the state before a step is the same part after the step that comes next on the way back.
        """
        network = self.network
        outputs, row = network.outputs, network.padded_outputs
        way.before[f"dy_at = places(d_outputs, row * shape.read - shape.first, u{outputs}, {row})"] = None
        wanted: dict[str, tuple[str, str]] = {}
        for node in nodes:
            if node.operation == "input":
                wanted["x"] = f"x_at + {{}} * {network.inputs}", f"m{network.inputs}"
            else:
                own = self.states[node.value] if node.operation == "state" else node
                at, there = self._at(own)
                place = f"{at} + ({{}} * shape.columns + {self.column[own]})"
                wanted[way.names[node].removesuffix("_before")] = place, there
        top, last = ["t = shape.steps - 1"], []
        way.lines.append("t = shape.steps - 1 - turn")
        for name, (place, there) in wanted.items():
            top.append(f"{name} = tl.load({place.format('t')}, mask={there}, other=0.0)")
            before = f"tl.load({place.format('(t - 1)')}, mask={there} & (t > 0), other=0.0)"
            way.lines.append(f"{name}_before = {before}")
            last.append(f"{name} = {name}_before")
        read, read_before = "t < shape.first + shape.read", "(t > shape.first) & (t <= shape.first + shape.read)"
        top.append(f"dy = tl.load(dy_at + t * {row}, mask=m{outputs} & ({read}), other=0.0)")
        way.lines.append(f"dy_before = tl.load(dy_at + (t - 1) * {row}, mask=m{outputs} & {read_before}, other=0.0)")
        return top, [*last, "dy = dy_before"]

    def _at(self, node: Node) -> tuple[str, str]:
        """Where the row of a node's numbers begins, and which of them are there."""
        return (f"at{node.units}", f"m{node.units}") if node.units else ("at", "there")

    def _store(self, node: Node, name: str) -> str:
        at, there = self._at(node)
        return f"tl.store({at} + (t * shape.columns + {self.column[node]}), {name}, mask={there})"


def _width(node: Node) -> int:
    """Columns of a node in memory."""
    return padded(node.units or 1, MULTIPLE)
