"""The C text of a step: its products and rows, forward and back, as `kernel/passes.h` calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.engines.step.graph import Matrix, Node, ordered
from bench.engines.step.plan import Array, Group, Plan
from bench.engines.step.rows import Numbers, Place, Rows, Target
from bench.engines.step.schedule import Level
from bench.nets.network import MULTIPLE, padded

SPECIAL = ("READOUT", "ZEROS", "INPUTS", "OUTPUTS", "SEEN", "D_SEEN")  # arrays of `kernel/passes.h` itself


@dataclass(frozen=True)
class Source:
    """The text of a step's C code, and what it is told at run time.

    arrays: by name, in the order in which the text numbers them, after those of `SPECIAL`. sizes: numbers of units.
    lengths: of runs of units. constants: numbers of the step's equation.
    """

    text: str
    arrays: dict[str, Array]
    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    constants: tuple[float, ...]


def written(plan: Plan) -> Source:
    """The C text of a plan."""
    return _Writer(plan).source()


class _Writer:
    """Writes function after function; numbers that the text must not contain are collected on the way."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.step, self.back = plan, plan.step, plan.back
        self.arrays = dict(plan.arrays)
        self.slots = {name: array.slots for name, array in self.arrays.items()}
        self.sizes, self.lengths, self.constants = Numbers(), Numbers(), Numbers()
        self.sizes.of(self.step.states[0].units or 1)
        self.packed: dict[str, str] = {}  # what `pack_weight` is told of each array
        self.turned: dict[int, str] = {}  # matrices that lie [K, N], and their copies [N, K] for the way back

    def source(self) -> Source:
        forward, back = self._forward(), self._back()
        opening, gathering, storing = self._open(), self._gather(), self._store()
        functions = [self._load(), forward, opening, back, gathering, storing, self._start()]
        inputs = [node for node in ordered(self.step.states) if node.operation == "input"]
        if any("SHOWN" in line for function in functions for line in function):
            self.arrays["SHOWN"] = Array("once", padded(inputs[0].units or 1, MULTIPLE))
        if any("MASK" in line for function in functions for line in function):
            self.arrays["MASK"] = Array("once", 0)
        names = [*SPECIAL, *self.arrays]
        head = [f"enum {{ {', '.join(f'{name} = {k}' for k, name in enumerate(names))} }};"]
        head += [f"enum {{ ARRAYS = {len(names)}, STATES = {len(self.step.states)} }};"]
        head += [f"#define {name} {name}" for name in ("SHOWN", "MASK") if name in self.arrays]
        text = "\n".join(
            [
                "#define TILES_ELSEWHERE",
                '#include "functions.h"',
                *head,
                '#include "shapes.h"',
                "",
                *(line for function in functions for line in [*function, ""]),
                *(f'#include "{name}.h"' for name in ("loss", "norms", "passes")),
                "",
            ]
        )
        sizes = tuple(int(size) for size in self.sizes.values)
        lengths = tuple(int(length) for length in self.lengths.values)
        return Source(text, self.arrays, sizes, lengths, tuple(self.constants.values))

    # ---- pieces of text

    def _function(self, head: str, before: Sequence[str], lines: Sequence[str]) -> list[str]:
        unused = ["(void)s, (void)w;"]
        return [f"static void {head} {{", *(f"    {line}" for line in (*unused, *before, *lines)), "}"]

    def _units(self, node: Node) -> str:
        return f"s->sizes[{2 * self.sizes.of(node.units or 1)}]"

    def _width(self, node: Node) -> str:
        return f"s->sizes[{2 * self.sizes.of(node.units or 1) + 1}]"

    def _rows(self, place: Place, node: Node, time: str | None = None) -> str:
        """C for where the rows of a node begin."""
        start = f"rows(s, w, {place.array}, {(time if time is not None else place.time) or 0})"
        return f"{start} + {place.slot} * {self._width(node)}" if place.slot else start

    def _row(self, place: Place, node: Node) -> str:
        """C for the numbers from one sequence's to the next one's."""
        slots = self.slots.get(place.array, 1)
        return f"{slots} * {self._width(node)}" if slots > 1 else self._width(node)

    def _count(self, node: Node) -> str:
        return "s->inputs" if node.operation == "input" else self._units(node)

    # ---- forward

    def _load(self) -> list[str]:
        """Weights as the way forward multiplies them: for each left its units' rows, blocks side by side."""
        lines = []
        for group in self.plan.groups:
            shape = self._shape(group)
            for slot, node in enumerate(group.nodes):
                lines.append("{")
                lines.append(f"    real *const to = block_of(rows(s, w, {group.weights}, 0), {slot}, {shape});")
                lines.append(f"    const ptrdiff_t row = row_of({self._columns(group)});")
                if node.value.bias is None:
                    lines.append(f"    memset(to, 0, {self._width(node)} * sizeof(real));")
                else:
                    lines.append(
                        f"    memcpy(to, weight(s, w, {node.value.bias}), {self._units(node)} * sizeof(real));"
                    )
                for matrix, left, skipped in zip(node.value.matrices, node.inputs, self._skipped(group), strict=True):
                    what = f"{matrix.operand}, {self._count(left)}, {self._units(node)}"
                    function = "spread_weight" if left.operation == "input" else "lay_weight"
                    lines.append(f"    {function}(s, w, {what}, to + ({skipped}) * row, row);")
                lines.append("}")
        for operand, name in self.turned.items():
            units, across = (f"s->sizes[{2 * self.sizes.of(size)}]" for size in self.step.operands[operand].shape)
            width = f"s->sizes[{2 * self.sizes.of(self.step.operands[operand].shape[0]) + 1}]"
            turned = f"spread({across}, {units}, weight(s, w, {operand}), 1, {{}}, rows(s, w, {name}, 0), {width});"
            lines.append(turned.format(f"s->operands[{3 * operand + 1}]"))
        return self._function("load_weights(const shape *s, const pass *w)", [], lines)

    def _columns(self, group: Group) -> str:
        """C for the blocks of a group, their units and their width."""
        return f"{len(group.nodes)}, {self._units(group.nodes[0])}, {self._width(group.nodes[0])}"

    def _shape(self, group: Group) -> str:
        """The products of one panel, with the number of rows of its weights."""
        rows = " + ".join(["1", *map(self._count, group.nodes[0].inputs)])
        count, *columns = self._columns(group).split(", ")
        return ", ".join([count, rows, *columns])

    def _skipped(self, group: Group) -> list[str]:
        """For each left of a group's nodes, C for the number of rows before its own."""
        found, rows = [], ["1"]
        for left in group.nodes[0].inputs:
            found.append(" + ".join(rows))
            rows.append(self._count(left))
        return found

    def _forward(self) -> list[str]:
        plan = self.plan
        target = Target(self._places(plan.places), self.slots, self.sizes, self.lengths, self.constants, {})
        rows = Rows(plan.forward, target)
        lines = []
        for phase in range(plan.forward.phases):
            for group in plan.groups:
                if plan.forward.levels[group.nodes[0]] == Level(phase, 0):
                    lines += self._multiplied(group)
            lines += rows.loop(phase)
        head = (
            "step_forward(const shape *s, const pass *w, ptrdiff_t t, ptrdiff_t at, ptrdiff_t before, ptrdiff_t after)"
        )
        return self._function(head, ["(void)t, (void)at, (void)before, (void)after;", *rows.before], lines)

    def _places(self, places: dict[Node, list[Place]]) -> dict[Node, list[Place]]:
        for found in places.values():
            for place in found:
                self.slots.setdefault(place.array, 1)
        return places

    def _multiplied(self, group: Group) -> list[str]:
        first = group.nodes[0]
        terms = []
        for left, skipped in zip(first.inputs, self._skipped(group), strict=True):
            right = f"right + ({skipped}) * row, row, {self._count(left)}"
            if left.operation != "input":
                right += f", packed({self._count(left)}, {self._units(first)}, row)"
            terms.append(f"{self._left(left, self.plan.places)}, {right}")
        return [
            "{",
            f"    const real *const right = rows(s, w, {group.weights}, 0);",
            f"    const ptrdiff_t row = row_of({self._columns(group)});",
            f"    const product p = {{.start = right, .start_row = 0, .out = {self._rows(group.place, first)},",
            f"                       .out_row = {self._row(group.place, first)}, .terms = {len(terms)},",
            f"                       .term = {{{', '.join(f'{{{term}}}' for term in terms)}}}}};",
            f"    multiply_blocks(p, s->sequences, {self._shape(group)});",
            "}",
        ]

    def _left(self, node: Node, places: dict[Node, list[Place]]) -> str:
        """C for the left side of a product: numbers, and how far apart rows and numbers lie."""
        if node.operation == "input":
            return "w->inputs + t * s->inputs, s->steps * s->inputs, 1"
        place = places[node][0]
        return f"{self._rows(place, node)}, {self._row(place, node)}, 1"

    # ---- back

    def _right_back(self, matrix: Matrix, units: int) -> str:
        """C for the right side [N, K] of a product on the way back, K `units`: rows, their length, count, packed."""
        width, count = (f"s->sizes[{2 * self.sizes.of(units) + k}]" for k in (1, 0))
        rows = f"s->sizes[{2 * self.sizes.of(self.step.operands[matrix.operand].shape[1])}]"
        if matrix.transposed:
            name = f"PACKED_{matrix.operand}"
            self.arrays[name] = Array("once", padded(units, MULTIPLE), 1, self.step.operands[matrix.operand].shape[1])
            self.packed[name] = f"{matrix.operand}, {name}, {rows}, {count}, {width}"
            right = f"rows_back(s, w, {matrix.operand}, {name}, {count}, {width})"
            return f"{right}, {width}, {rows}, packed({rows}, {count}, {width})"
        name = self.turned.setdefault(matrix.operand, f"TURNED_{matrix.operand}")
        self.arrays[name] = Array("once", padded(units, MULTIPLE), 1, self.step.operands[matrix.operand].shape[1])
        return f"rows(s, w, {name}, 0), {width}, {rows}"

    def _open(self) -> list[str]:
        """dL/d(state) as step t + 1 and the outputs of step t have it; parts that no product leads to lie in PAST."""
        lines = []
        for k, opened in enumerate(self.plan.opened):
            if not opened:
                continue
            state = self.step.states[k]
            start = f"rows(s, w, PAST_{k}, later)" if self.back.past[k] else "w->array[ZEROS]"
            row = self._width(state) if self.back.past[k] else "0"
            lines += [
                "{",
                f"    product p = {{.start = {start}, .start_row = {row}, .out = w->array[D_STATE_{k}],",
                f"                 .out_row = {self._width(state)}, .terms = 0}};",
            ]
            if self.back.openings[k]:
                lines.append("    if (t + 1 < s->steps) {")
                for delta, matrix in self.back.openings[k]:
                    place = self.plan.deltas[delta]
                    left = f"{self._rows(place, delta)}, {self._row(place, delta)}, 1"
                    right = self._right_back(matrix, state.units or 1)
                    lines.append(f"        p.term[p.terms++] = (term){{{left}, {right}}};")
                lines.append("    }")
            if k == 0:
                right = "w->parameters + s->readout, s->width, s->outputs"
                lines.append(
                    f"    if (d_outputs) p.term[p.terms++] = (term){{d_outputs, s->outputs_width, 1, {right}}};"
                )
            lines += [f"    multiply(&p, s->sequences, {self._units(state)});", "}"]
        before = ["const ptrdiff_t later = (t + 1) % 2, slot = (t + 1) % STEPS;", "(void)later, (void)slot;"]
        head = "open_back(const shape *s, const pass *w, ptrdiff_t t, const real *d_outputs)"
        return self._function(head, before, lines)

    def _back(self) -> list[str]:
        plan = self.plan
        places = self._places(plan.places_back)
        target = Target(places, self.slots, self.sizes, self.lengths, self.constants, plan.sums)
        rows = Rows(plan.way_back, target)
        lines = []
        for phase in range(plan.way_back.phases):
            for node in plan.way_back.at(Level(phase, 0), "affine"):
                if node in plan.way_back.stored:
                    lines += self._product_back(node, places)
            lines += rows.loop(phase)
        times = [
            "const ptrdiff_t at = t, before = t, after = t + 1, slot = t % STEPS, now = t % 2, later = (t + 1) % 2;",
            "(void)at, (void)before, (void)after, (void)slot, (void)now, (void)later;",
        ]
        return self._function("step_back(const shape *s, const pass *w, ptrdiff_t t)", [*times, *rows.before], lines)

    def _product_back(self, node: Node, places: dict[Node, list[Place]]) -> list[str]:
        terms = []
        for left, matrix in zip(node.inputs, node.value.matrices, strict=True):
            right = self._right_back(Matrix(matrix.operand, not matrix.transposed), node.units or 1)
            terms.append(f"{{{self._left(left, places)}, {right}}}")
        place = places[node][0]
        return [
            "{",
            f"    const product p = {{.start = w->array[ZEROS], .start_row = 0, .out = {self._rows(place, node)},",
            f"                       .out_row = {self._row(place, node)}, .terms = {len(terms)},",
            f"                       .term = {{{', '.join(terms)}}}}};",
            f"    multiply(&p, s->sequences, {self._units(node)});",
            "}",
        ]

    def _gather(self) -> list[str]:
        """Add what the deltas of some steps, from t on, want of the weights; count: pairs of step and sequence."""
        lines = []
        lefts: dict[Node, list[tuple[Matrix, Node]]] = {}
        for node, delta in self.back.deltas.items():
            for left, matrix in zip(node.inputs, node.value.matrices, strict=True):
                if left.operation != "input":
                    lefts.setdefault(left, []).append((matrix, delta))
        for left, pairs in lefts.items():
            lines += ["{", *(f"    {line}" for line in self._gathered(left, pairs)), "}"]
        for name in self.arrays:
            if name.startswith("D_INPUTS"):
                deltas = name.replace("D_INPUTS", "DELTAS")
                lines += [
                    "{",
                    f"    const ptrdiff_t wide = s->places[2 * {deltas} + 1] / s->sequences;",
                    f"    real *const out = w->array[{name}];",
                    "    const product p = {.start = out, .start_row = wide, .out = out, .out_row = wide, .terms = 1,",
                    "                       .term = {{w->array[INPUTS], 1, 1 + s->inputs,",
                    f"                                 w->array[{deltas}], wide, count}}}}}};",
                    "    multiply(&p, 1 + s->inputs, wide);",
                    "}",
                ]
        for number, node in self.back.operands.items():
            units = "1" if node.units is None else self._units(node)
            lines += [f"add_sums(rows(s, w, SUMS_{number}, 0), {units}, weight_gradient(s, w, {number}));"]
        head = "gather(const shape *s, const pass *w, ptrdiff_t t, ptrdiff_t count)"
        times = "const ptrdiff_t at = t, before = t, after = t + 1, slot = 0;"
        return self._function(head, [times, "(void)at, (void)before, (void)after, (void)slot, (void)count;"], lines)

    def _gathered(self, left: Node, pairs: Sequence[tuple[Matrix, Node]]) -> list[str]:
        """The sums of all deltas with what they came from; that is packed once for all of them."""
        place = self.plan.places_back[left][0]
        units, width, row = self._units(left), self._width(left), self._row(place, left)
        name = f"GATHERED_{self.sizes.of(left.units or 1)}"
        self.arrays[name] = Array("ring", padded(left.units or 1, MULTIPLE))
        lines = [
            f"const real *x = {self._rows(place, left)};",
            f"const ptrdiff_t row = {row}, packs = packed(count, {units}, {width});",
        ]
        if any(matrix.transposed for matrix, _ in pairs):
            lines += [
                f"real *const packed_x = w->array[{name}];",
                f"if (packs) pack(count, {units}, x, row, 1, packed_x);",
                "const real *right = packs ? packed_x : x;",
            ]
        for matrix, delta in pairs:
            at = self.plan.deltas[delta]
            d, d_row = self._rows(at, delta, "0"), self._row(at, delta)
            out = f"weight_gradient(s, w, {matrix.operand})"
            if matrix.transposed:
                term, rows, columns, wide = (
                    f"{d}, 1, {d_row}, right, row, count, packs",
                    self._units(delta),
                    units,
                    width,
                )
            else:
                term, rows, columns, wide = (
                    f"x, 1, row, {d}, {d_row}, count",
                    units,
                    self._units(delta),
                    self._width(delta),
                )
            lines += [
                "{",
                f"    real *const out = {out};",
                f"    const product p = {{.start = out, .start_row = {wide}, .out = out, .out_row = {wide},",
                f"                       .terms = 1, .term = {{{{{term}}}}}}};",
                f"    multiply(&p, {rows}, {columns});",
                "}",
            ]
        return lines

    def _store(self) -> list[str]:
        """Hand out the gradients of biases and of what multiplies the input."""
        lines = []
        for node, delta in self.back.deltas.items():
            place = self.plan.deltas[delta]
            array = place.array.replace("DELTAS", "D_INPUTS")
            start = self._rows(Place(array, place.slot), delta)
            wide = f"s->places[2 * {place.array} + 1] / s->sequences"
            if node.value.bias is not None:
                lines.append(f"add_row({start}, {self._units(node)}, weight_gradient(s, w, {node.value.bias}), 1);")
            for left, matrix in zip(node.inputs, node.value.matrices, strict=True):
                if left.operation == "input":
                    number = matrix.operand
                    lines += [
                        "for (ptrdiff_t i = 0; i < s->inputs; i++)",
                        f"    add_row({start} + (1 + i) * ({wide}), {self._units(node)},",
                        f"            weight_gradient(s, w, {number}) + i * s->operands[{3 * number + 1}],",
                        f"            s->operands[{3 * number + 2}]);",
                    ]
        return self._function("store_gradients(const shape *s, const pass *w)", [], lines)

    def _start(self) -> list[str]:
        """Sums and derivatives begin at 0, and weights are packed for the way back."""
        cleared = [name for name in self.arrays if name.startswith(("PAST", "SUMS", "D_INPUTS"))]
        lines = [
            f"memset(w->array[{name}], 0, {1 + name.startswith('PAST')} * s->places[2 * {name} + 1] * sizeof(real));"
            for name in cleared
        ]
        lines += [f"pack_weight(s, w, {told});" for told in self.packed.values()]
        return self._function("start_back(const shape *s, const pass *w)", [], lines)
