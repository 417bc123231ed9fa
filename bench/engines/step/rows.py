"""C for what is done number by number: a loop over sequences, and in it over vectors of units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.engines.step import operations
from bench.engines.step.graph import Node
from bench.engines.step.schedule import Level, Schedule

LITERALS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)  # constants that stand in the text; others are handed over


@dataclass(frozen=True)
class Place:
    """Where a node's numbers lie: in an array, block `slot` of its rows, at the step of the C variable `time`."""

    array: str
    slot: int = 0
    time: str = ""


class Numbers:
    """Numbers that are handed to the C code, so that its text is the same whatever they are; by order of appearance."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def of(self, value: float) -> int:
        """The place of a number."""
        if value not in self.values:
            self.values.append(value)
        return self.values.index(value)


@dataclass(frozen=True)
class Target:
    """What the text of a function is written for.

    places: of every node in memory, to be read at the first and written at all. slots: blocks in a row of each array.
    sizes: numbers of units. lengths: of pieces. constants: that are no literals.
    sums: operands whose derivative is summed up over sequences, by node: number of the operand and its array.
    """

    places: Mapping[Node, Sequence[Place]]
    slots: Mapping[str, int]
    sizes: Numbers
    lengths: Numbers
    constants: Numbers
    sums: Mapping[Node, Sequence[tuple[int, str]]]


class Rows:
    """Writes the loop over sequences of each phase of a schedule, and what has to stand before it."""

    def __init__(self, schedule: Schedule, target: Target) -> None:
        self.schedule, self.target = schedule, target
        self.before: dict[str, None] = {}  # lines at the top of the function
        self.own: set[Node] = set()  # what is computed as a row is gone through now
        self.row_names: dict[Node, str] = {}  # of numbers per sequence that the loop's body has set
        self._names: dict[Node, str] = {}

    def loop(self, phase: int) -> list[str]:
        """The lines of a phase's loop; none if it has nothing to do."""
        self.row_names = {}
        inside = [line for turn in self.schedule.turns(phase) for line in self._turn(Level(phase, turn))]
        if not inside:
            return []
        return ["for (ptrdiff_t b = 0; b < s->sequences; b++) {", *(f"    {line}" for line in inside), "}"]

    def units(self, node: Node) -> int:
        """Place of a node\'s number of units in the list of sizes that the C text is given."""
        assert node.units is not None
        return self.target.sizes.of(node.units)

    def pointer(self, place: Place, padded: str) -> str:
        """C for the beginning of a sequence's numbers."""
        return f"{self.rows(place)} + {self.row(place, padded)}"

    def rows(self, place: Place) -> str:
        """A variable for the beginning of an array at a step."""
        name = f"{place.array.lower()}_{place.time or 'rows'}"
        self.before[f"real *const {name} = rows(s, w, {place.array}, {place.time or 0});"] = None
        return name

    def row(self, place: Place, padded: str) -> str:
        slots = self.target.slots[place.array]
        if slots == 1:
            return f"b * {padded}"
        return f"(b * {slots} + {place.slot}) * {padded}" if place.slot else f"b * {slots} * {padded}"

    def _turn(self, level: Level) -> list[str]:
        schedule = self.schedule
        lines = []
        whole = [node for node in schedule.order if schedule.levels.get(node) == level and node in schedule.stored]
        whole = [node for node in whole if schedule.by_row(node)]
        side_by_side = [node for node in whole if self._in_place(node)]
        lines += self._by_functions(side_by_side)
        for node in whole:
            if node not in side_by_side:
                lines += self._whole_row(node)
        wanted = [node for node in schedule.order if node in schedule.computed[level]]
        self.own = set(wanted)
        for node in wanted:
            if node.units is None:
                lines += self._scalar(node)
        sums = [
            node
            for node in schedule.order
            if node.operation == "sum"
            and any(node in nodes for nodes in schedule.computed.values())
            and schedule.levels.get(node.inputs[0], Level(0, 0)) == level
        ]
        sizes = dict.fromkeys(
            [self.units(node) for node in wanted if node.units is not None]
            + [self.units(node.inputs[0]) for node in sums]
        )
        for size in sizes:
            mine = [node for node in wanted if node.units is not None and self.units(node) == size]
            lines += self._vectors(size, mine, [node for node in sums if self.units(node.inputs[0]) == size])
        return lines

    def _vectors(self, size: int, nodes: Sequence[Node], sums: Sequence[Node]) -> list[str]:
        """A loop over the vectors of a row."""
        self.before[f"const ptrdiff_t W{size} = s->sizes[{2 * size + 1}];"] = None
        loop = _Loop(self, size)
        for node in (*nodes, *(node.inputs[0] for node in sums)):
            loop.name(node)
        lines = []
        for node in sums:
            self.before[f"const ptrdiff_t U{size} = s->sizes[{2 * size}];"] = None
            total = self.fresh(node)
            lines.append(f"vector sum_{total} = all(0);")
            loop.lines.append(f"sum_{total} += zero_where(beyond(u, U{size}), {loop.name(node.inputs[0])});")
        for node in nodes:
            for place in self.target.places.get(node, ()):
                asked = "if (w->traced) " if self._for_the_trace(node, place) else ""
                loop.lines.append(f"{asked}store({self.pointer(place, f'W{size}')} + u, {loop.name(node)});")
            for number, array in self.target.sums.get(node, ()):
                self.before[f"real *const sums_{number} = rows(s, w, {array}, 0);"] = None
                loop.lines.append(f"store(sums_{number} + u, load(sums_{number} + u) + {loop.name(node)});")
        lines.append(f"for (ptrdiff_t u = 0; u < W{size}; u += LANES) {{")
        lines += [f"    {line}" for line in loop.lines]
        lines.append("}")
        for node in sums:
            lines.append(f"const vector {self._row_name(node)} = all(sum_of_lanes(sum_{self.fresh(node)}));")
        return lines

    def _for_the_trace(self, node: Node, place: Place) -> bool:
        """Whether a node is stored in a place for its norm alone."""
        schedule = self.schedule
        total = node.operation == "total" and place == self.target.places[node][0]
        return total and schedule.reads[node] <= {schedule.levels[node]}

    def _row_name(self, node: Node) -> str:
        self.row_names[node] = self.fresh(node)
        return self.row_names[node]

    def fresh(self, node: Node) -> str:
        """A C name for a node, always the same."""
        if node not in self._names:
            self._names[node] = f"v{len(self._names)}"
        return self._names[node]

    def _scalar(self, node: Node) -> list[str]:
        """A number per sequence, in all lanes of a vector."""
        lines: list[str] = []
        name = self._row_scalar(node, lines) if node.operation != "sum" else self.row_names[node]
        for place in self.target.places.get(node, ()):
            lines.append(f"{self.rows(place)}[b] = {name}[0];")
        for number, array in self.target.sums.get(node, ()):
            self.before[f"real *const sums_{number} = rows(s, w, {array}, 0);"] = None
            lines.append(f"sums_{number}[0] += {name}[0];")
        return lines

    def _row_scalar(self, node: Node, lines: list[str]) -> str:
        if node in self.row_names:
            return self.row_names[node]
        simple = self.simple(node)
        if simple is not None:
            return simple
        if self.lies(node):
            place = self.target.places[node][0]
            lines.append(f"const vector {self.fresh(node)} = all({self.rows(place)}[b]);")
        else:
            inputs = [self._row_scalar(part, lines) for part in node.inputs]
            kind = "mask" if operations.TABLE[node.operation].condition else "vector"
            lines.append(f"const {kind} {self.fresh(node)} = {text(node, inputs)};")
        return self._row_name(node)

    def lies(self, node: Node) -> bool:
        """Whether it is in memory already when a row is gone through now."""
        return self.schedule.given(node) or (node in self.schedule.stored and node not in self.own)

    def simple(self, node: Node) -> str | None:
        """C for a leaf that is the same for all sequences and units; None if it is another node."""
        if node.operation == "constant":
            if node.value in LITERALS:
                return f"all({node.value:g})"
            number = self.target.constants.of(node.value)
            self.before[f"const vector constant_{number} = all((real)s->constants[{number}]);"] = None
            return f"constant_{number}"
        if node.operation == "operand" and node.units is None:
            self.before[f"const vector weight_{node.value} = all(*weight(s, w, {node.value}));"] = None
            return f"weight_{node.value}"
        return None

    def _whole_row(self, node: Node) -> list[str]:
        if node.operation == "pieces":
            return self._pieces(node)
        return self._clipped(node) if node.operation == "total" else self._by_function(node)

    def _in_place(self, node: Node) -> bool:
        """Whether it is a function of a product alone, in the place of that."""
        (source, *_), places = node.inputs, self.target.places
        product = node.operation in operations.TABLE and source.operation == "affine"
        return product and places[node][0] == places[source][0]

    def _by_functions(self, nodes: Sequence[Node]) -> list[str]:
        """Functions of blocks of a row, blocks that lie side by side as one."""

        def where(node: Node) -> tuple[str, Place]:
            return operations.TABLE[node.operation].row, self.target.places[node][0]

        runs: list[list[Node]] = []
        for node in sorted(nodes, key=lambda node: (where(node)[0], where(node)[1].array, where(node)[1].slot)):
            function, place = where(node)
            if runs:
                before, last = where(runs[-1][-1])
                if before == function and last.array == place.array and last.slot + 1 == place.slot:
                    runs[-1].append(node)
                    continue
            runs.append([node])
        lines = []
        for run in runs:
            size, (function, place) = self.units(run[0]), where(run[0])
            self.before[f"const ptrdiff_t W{size} = s->sizes[{2 * size + 1}];"] = None
            start = self.pointer(place, f"W{size}")
            lines.append(f"{function}({len(run)} * W{size}, {start}, {start});")
        return lines

    def _by_function(self, node: Node) -> list[str]:
        (source,), size = node.inputs, self.units(node)
        self.before[f"const ptrdiff_t W{size} = s->sizes[{2 * size + 1}];"] = None
        width, function = f"W{size}", operations.TABLE[node.operation].row
        start = self.pointer(self.target.places[source][0], width)
        return [f"{function}({width}, {start}, {self.pointer(place, width)});" for place in self.target.places[node]]

    def _pieces(self, node: Node) -> list[str]:
        lines = []
        size = self.units(node)
        self.before[f"const ptrdiff_t W{size} = s->sizes[{2 * size + 1}];"] = None
        lengths = self.target.lengths
        for place in self.target.places[node]:
            to = self.pointer(place, f"W{size}")
            ends: list[float] = [0.0]
            for run in node.value:
                length = f"s->lengths[{lengths.of(run.length)}]"
                goes = f"{to} + s->lengths[{lengths.of(ends[-1])}]"
                if run.source is None:
                    lines.append(f"memset({goes}, 0, {length} * sizeof(real));")
                else:
                    source = node.inputs[run.source]
                    of = self.units(source)
                    self.before[f"const ptrdiff_t W{of} = s->sizes[{2 * of + 1}];"] = None
                    start = self.pointer(self.target.places[source][0], f"W{of}")
                    lines.append(
                        f"memcpy({goes}, {start} + s->lengths[{lengths.of(run.start)}], {length} * sizeof(real));"
                    )
                ends.append(ends[-1] + run.length)
        return lines

    def _clipped(self, node: Node) -> list[str]:
        (source,) = node.inputs
        size = self.units(node)
        self.before[f"const ptrdiff_t W{size} = s->sizes[{2 * size + 1}];"] = None
        place, of = self.target.places[node][0], self.target.places[source][0]
        here = self.pointer(place, f"W{size}")
        lines = [] if of == place else [f"memcpy({here}, {self.pointer(of, f'W{size}')}, W{size} * sizeof(real));"]
        return [*lines, f"clip(s, w, {here});"]


class _Loop:
    """The lines within a loop over vectors, and the variables that they have set."""

    def __init__(self, rows: Rows, size: int) -> None:
        self.rows, self.size = rows, size
        self.lines: list[str] = []
        self._there: dict[Node, str] = {}

    def name(self, node: Node) -> str:
        """C for a node's vector, once the lines before have set it."""
        if node in self._there:
            return self._there[node]
        simple = self.rows.simple(node)
        if simple is not None:
            return simple
        if node.units is None and node in self.rows.row_names:
            return self.rows.row_names[node]
        kind, value = "vector", self._loaded(node)
        if value is None:
            value = text(node, [self.name(part) for part in node.inputs])
            if node.operation in operations.TABLE and operations.TABLE[node.operation].condition:
                kind = "mask"
        name = self.rows.fresh(node)
        self.lines.append(f"const {kind} {name} = {value};")
        self._there[node] = name
        return name

    def _loaded(self, node: Node) -> str | None:
        rows = self.rows
        if node.operation == "operand":
            pointer = f"row_{node.value}"
            rows.before[f"const real *const {pointer} = weight(s, w, {node.value});"] = None
            return f"load({pointer} + u)"
        if not rows.lies(node):
            return None
        place = rows.target.places[node][0]
        if node.units is None:
            return f"all({rows.rows(place)}[b])"
        return f"load({rows.pointer(place, f'W{self.size}')} + u)"


def text(node: Node, inputs: Sequence[str]) -> str:
    """C for an operation."""
    if node.operation == "total":
        return inputs[0]
    return operations.TABLE[node.operation].text.format(*inputs)
