"""Where everything that a step needs lies in memory, and which products are done together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from bench.engines.step.derivative import Backward, differentiated
from bench.engines.step.graph import Matrix, Node, Unsupported, ordered
from bench.engines.step.keeping import kept
from bench.engines.step.rows import Place
from bench.engines.step.schedule import Schedule
from bench.engines.step.trace import Step
from bench.nets.network import MULTIPLE, padded

MOST_TERMS = 11  # of a sum of products; the readout's is one more
Times = Literal["once", "two", "ring", "state", "kept"]


@dataclass(frozen=True)
class Array:
    """Memory for some nodes.

    width: of a block of a row, in numbers; None is one number per sequence. slots: blocks in a row. rows: None is one
    for every sequence. times: of how many steps it is kept. "once" for one, "two" for it and the one before, "ring" for
    as many as are gathered together, "state" for all and the one before the first, "kept" for all.
    """

    times: Times
    width: int | None
    slots: int = 1
    rows: int | None = None

    def numbers(self, sequences: int) -> int:
        """Numbers that the array has for one step."""
        if self.width is None:
            return padded(sequences, MULTIPLE)
        return (sequences if self.rows is None else self.rows) * self.slots * self.width


@dataclass(frozen=True)
class Group:
    """Affine nodes that multiply the same lefts: their results lie side by side and are computed as one."""

    nodes: tuple[Node, ...]
    place: Place
    weights: str


@dataclass
class Plan:
    """A step laid out: `forward` and `way_back` are its two ways, `places` and `places_back` where their nodes lie.

    groups: the products of the way forward. deltas: where each dL/d(affine node) lies. before: what lies in the place
    of a node until that is made from it. sums: the node and the array of operands whose derivative is summed over
    sequences row by row. opened: whether a part of the state has its derivative from products.
    """

    step: Step
    clipped: bool
    arrays: dict[str, Array] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    places: dict[Node, list[Place]] = field(default_factory=dict)
    places_back: dict[Node, list[Place]] = field(default_factory=dict)
    deltas: dict[Node, Place] = field(default_factory=dict)
    sums: dict[Node, list[tuple[int, str]]] = field(default_factory=dict)
    opened: list[bool] = field(default_factory=list)
    before: dict[Node, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.back: Backward = differentiated(self.step)
        hidden = self._padded(self.step.states[0])
        self.opened = [k == 0 or bool(terms) for k, terms in enumerate(self.back.openings)]
        for name, times in (("STATE", "state"), ("D_STATE", "once"), ("PAST", "two")):
            for k in range(len(self.step.states)):
                self._array(f"{name}_{k}", times, hidden)  # type: ignore[arg-type]
        self._plan_forward()
        self._plan_back()
        self._check()

    @cached_property
    def kept(self) -> list[Node]:
        """Nodes that are kept at every step, beside the states."""
        return kept(self.step.states, self.back.roots)

    def kept_numbers(self, steps: int, sequences: int) -> int:
        """Numbers of one replica that are kept from the way forward."""
        times = {"state": steps + 1, "kept": steps}
        return sum(times[a.times] * a.numbers(sequences) for a in self.arrays.values() if a.times in times)

    # ---- forward

    def _plan_forward(self) -> None:
        states = self.step.states
        self.forward = Schedule([*states, *self.kept], (), clipped=False)
        leaves = [node for node in self.forward.order if node.operation in ("state", "input", "mask")]
        for node in leaves:
            self.places[node] = [_leaf(node, "before")]
        for k, state in enumerate(states):
            self.places[state] = [Place(f"STATE_{k}", time="after")]
        claims = self._claims()
        groups: dict[object, list[Node]] = {}
        for node in self.forward.order:
            if node.operation == "affine" and node not in self.places:
                key = (self.forward.levels[node], node.units, node.inputs, node in claims.values() or node in self.kept)
                groups.setdefault(key, []).append(node)
        for node in self.forward.order:
            if node.operation == "affine" and node in self.places:
                groups[node] = [node]
        for number, members in enumerate(groups.values()):
            self._place_group(number, sorted(members, key=self._offset), claims)
        for node in self.kept:
            if node not in self.places:
                self.places[node] = [self._new("KEPT", "kept", node, "at")]
        for source, node in self.before.items():
            self.places[source] = self.places[node][:1]
        for node in self.forward.stored:
            if node not in self.places:
                self.places[node] = [self._new("WORK", "once", node, "")]

    def _claims(self) -> dict[Node, Node]:
        """Nodes that are stored where the product was that they are made from, for nobody else wants that."""
        claims: dict[Node, Node] = {}
        schedule = self.forward
        uses = Counter(part for node in schedule.order for part in node.inputs)
        for node in [*self.step.states, *self.kept]:
            if node.units is None or node.operation in ("affine", "pieces"):
                continue
            level, inside = schedule.levels[node], _inside(node, schedule)
            if schedule.by_row(node):
                (source,) = node.inputs
                alone = uses[source] == 1 and source not in (*self.kept, *self.step.states)
                inside = [source] if source.operation == "affine" and alone else []
                if source in schedule.stored and source.operation != "affine" and alone:
                    self.before[source] = node
                    level, inside = schedule.levels[source], _inside(source, schedule)
            for part in inside:
                if (
                    part.operation == "affine"
                    and part.units == node.units
                    and part not in (*self.kept, *self.step.states, *claims.values())
                    and schedule.reads[part] == {level}
                    and schedule.levels[part].phase == level.phase
                ):
                    claims[node] = part
                    if node in self.step.states:
                        self.places[part] = self.places[node]
                    break
        return claims

    def _place_group(self, number: int, members: Sequence[Node], claims: Mapping[Node, Node]) -> None:
        owners = {part: node for node, part in claims.items()}
        first = members[0]
        rows = 1 + sum(left.units or 1 for left in first.inputs)
        self._array(f"WEIGHTS_{number}", "once", self._padded(first), len(members), rows)
        if first not in self.places:
            keeps = first in owners or first in self.kept
            array = f"KEPT_PRODUCTS_{number}" if keeps else f"PRODUCTS_{number}"
            self._array(array, "kept" if keeps else "once", self._padded(first), len(members))
            for slot, member in enumerate(members):
                self.places[member] = [Place(array, slot, "at" if keeps else "")]
                if member in owners:
                    self.places[owners[member]] = self.places[member]
        self.groups.append(Group(tuple(members), self.places[first][0], f"WEIGHTS_{number}"))

    def _offset(self, node: Node) -> int:
        matrix: Matrix = node.value.matrices[-1]
        return self.step.operands[matrix.operand].offset

    # ---- back

    def _plan_back(self) -> None:
        places = self.places_back
        for node in ordered(self.step.states):
            if node.operation in ("state", "input", "mask"):
                places[node] = [_leaf(node, "before")]
        for node in self.kept:
            places[node] = self.places[node]
        for k, node in enumerate(self.step.states):
            places[node] = [Place(f"STATE_{k}", time="after")]
        for node in ordered(self.back.roots, set(places)):
            if node.operation == "seed":
                opened = self.opened[node.value]
                places[node] = [Place(f"D_STATE_{node.value}") if opened else Place(f"PAST_{node.value}", time="later")]
        there = set(places)
        roots: dict[Node, None] = {}
        for k, node in enumerate(self.back.totals):
            here = Place(f"D_STATE_{k}")
            (source,) = node.inputs
            places.setdefault(node, []).append(here)
            if not self.clipped and places.get(source, [None])[0] == here:
                there.add(node)
            else:
                roots[node] = None
        self._place_roots_back(there, roots)
        self.way_back = Schedule(list(roots), there, self.clipped)
        for node in self.way_back.stored:
            if node not in places:
                clipped = node in {total.inputs[0] for total in self.back.totals} and self.clipped
                total = next((t for t in self.back.totals if t.inputs[0] is node), None)
                if clipped and total is not None and node.operation != "affine":
                    places[node] = places[total]  # clipped where it lies
                else:
                    places[node] = [self._new("WORK", "once", node, "")]

    def _place_roots_back(self, there: set[Node], roots: dict[Node, None]) -> None:
        places = self.places_back

        def root(node: Node, place: Place | None) -> Node:
            """The node, or a copy where its numbers already lie elsewhere or come there whole."""
            whole = node.operation in ("affine", "pieces") or (node.operation == "total" and self.clipped)
            if node in there or whole or node.operation == "seed":
                node = Node("copy", (node,), units=node.units)
            roots[node] = None
            if place is not None:
                places.setdefault(node, []).append(place)
            return node

        widths: dict[int, list[Node]] = {}
        for delta in dict.fromkeys(self.back.deltas.values()):
            widths.setdefault(delta.units or 1, []).append(delta)
        for number, (units, members) in enumerate(widths.items()):
            self._array(f"DELTAS_{number}", "ring", padded(units, MULTIPLE), len(members))
            self._array(f"D_INPUTS_{number}", "once", padded(units, MULTIPLE), len(members), 1 + self._inputs)
            for slot, delta in enumerate(members):
                self.deltas[delta] = Place(f"DELTAS_{number}", slot, "slot")
                root(delta, self.deltas[delta])
        for k, past in enumerate(self.back.past):
            if past is not None:
                root(past, Place(f"PAST_{k}", time="now"))
        for number, node in self.back.operands.items():
            self._array(f"SUMS_{number}", "once", padded(node.units or 1, MULTIPLE), 1, 1)
            self.sums.setdefault(root(node, None), []).append((number, f"SUMS_{number}"))

    @property
    def _inputs(self) -> int:
        found = [node.units for node in ordered(self.step.states) if node.operation == "input"]
        return found[0] or 0 if found else 0

    # ---- arrays

    def _array(self, name: str, times: Times, width: int | None, slots: int = 1, rows: int | None = None) -> None:
        self.arrays[name] = Array(times, width, slots, rows)

    def _new(self, name: str, times: Times, node: Node, time: str) -> Place:
        number = sum(other.startswith(f"{name}_") for other in self.arrays)
        self._array(f"{name}_{number}", times, None if node.units is None else self._padded(node))
        return Place(f"{name}_{number}", time=time)

    def _padded(self, node: Node) -> int:
        return padded(node.units or 1, MULTIPLE)

    def _check(self) -> None:
        sums = [node.inputs for node in (*self.forward.order, *self.way_back.order) if node.operation == "affine"]
        if max(map(len, [*sums, *self.back.openings]), default=0) > MOST_TERMS:
            raise Unsupported(f"a sum of more than {MOST_TERMS} products")


def _leaf(node: Node, time: str) -> Place:
    if node.operation == "state":
        return Place(f"STATE_{node.value}", time=time)
    return Place("SHOWN" if node.operation == "input" else "MASK")


def _inside(node: Node, schedule: Schedule) -> list[Node]:
    """What a node is computed from within the same turn, and what is read for that."""
    found: list[Node] = []
    waiting = list(node.inputs)
    while waiting:
        part = waiting.pop(0)
        if part not in found and not schedule.given(part):
            found.append(part)
            if part.operation != "affine" and part not in schedule.stored and part.operation != "sum":
                waiting += part.inputs
    return found
