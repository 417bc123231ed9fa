"""In which order the nodes of one way through a step are computed, and which of them pass through memory.

Work goes in phases: first products, for all sequences at once, then a loop over sequences. In the latter a row is gone
through once or several times: again after each sum over units, and wherever units are taken from other places of a
row, for both need the whole row before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from typing import NamedTuple

from bench.engines.step import operations
from bench.engines.step.graph import LEAVES, Node, ordered
from bench.engines.step.keeping import cheap


class Level(NamedTuple):
    """When a node is computed: the phase, and the how manieth time that a row is gone through in it."""

    phase: int
    turn: int


START = Level(0, 0)


class Schedule:
    """The levels of all nodes that lead to the roots.

    roots: what is to be in memory in the end. there: what is in memory at the start. clipped: whether a total is
    clipped, for which it needs a whole row.

    levels: of all nodes that are not there at the start. stored: nodes that pass through memory. summed: sums over
    units by the level of what they add up. computed: per level, what is computed there for its own sake: stored
    nodes, and what is summed up. reads: at which levels a stored node is read by number.
    """

    def __init__(self, roots: Sequence[Node], there: Container[Node], clipped: bool) -> None:
        self.there, self.clipped = there, clipped
        self.levels: dict[Node, Level] = {}
        self.stored: dict[Node, None] = {}
        self.computed: dict[Level, dict[Node, None]] = defaultdict(dict)
        self.reads: dict[Node, set[Level]] = defaultdict(set)
        self._asked: set[tuple[Node, Level]] = set()
        self.order = ordered(roots, there)
        for node in self.order:
            if not self.given(node):
                self.levels[node] = self._level(node)
        for root in roots:
            self.store(root)

    def given(self, node: Node) -> bool:
        """Whether it need not be computed."""
        return node in self.there or node.operation in LEAVES

    def by_row(self, node: Node) -> bool:
        """Whether it is made from whole rows in memory, in memory."""
        if node.operation in operations.TABLE:
            return bool(operations.TABLE[node.operation].row) and node.units is not None
        return node.operation == "pieces" or (node.operation == "total" and self.clipped)

    def _whole(self, node: Node) -> bool:
        """Whether it comes into memory whole, outside of a loop over units, and from there."""
        return node.operation == "affine" or self.by_row(node)

    @property
    def phases(self) -> int:
        return 1 + max((level.phase for level in self.levels.values()), default=0)

    def turns(self, phase: int) -> range:
        """How often a row is gone through."""
        return range(1 + max((level.turn for level in self.levels.values() if level.phase == phase), default=-1))

    def at(self, level: Level, *operations: str) -> list[Node]:
        """Nodes of a level made by these operations, in order."""
        return [node for node in self.order if self.levels.get(node) == level and node.operation in operations]

    def _level(self, node: Node) -> Level:
        made = [part for part in node.inputs if not self.given(part)]
        before = max((self.levels[part] for part in made), default=None)
        if node.operation == "affine":
            return Level(0 if before is None else before.phase + 1, 0)
        if node.operation == "sum":
            return Level(before.phase, before.turn + 1) if before else Level(0, 1)
        if self.by_row(node):  # what has come into memory whole need not be waited for
            ends = [
                Level(own.phase, own.turn + (not self._whole(part))) for part in made for own in [self.levels[part]]
            ]
            return max(ends, default=START)
        return before or START

    def store(self, node: Node) -> None:
        """Have a node in memory from its level on."""
        if self.given(node) or node in self.stored:
            return
        self.stored[node] = None
        level = self.levels[node]
        if self._whole(node):
            for part in node.inputs:
                self.store(part)
                self.reads[part].add(level)
        else:
            self.computed[level][node] = None
            self._require(node, level)

    def _require(self, node: Node, level: Level) -> None:
        """See to it that what a node is made of is there at a level."""
        if (node, level) in self._asked:
            return
        self._asked.add((node, level))
        if node.operation == "sum":
            (part,) = node.inputs
            own = self.levels.get(part, START)
            if self._whole(part):
                self._have(part, own)
            elif not self.given(part) and part not in self.stored:
                self.computed[own][part] = None
                self._require(part, own)
            else:
                self.reads[part].add(own)
            return
        for part in node.inputs:
            self._have(part, level)

    def _have(self, node: Node, level: Level) -> None:
        if self.given(node):
            self.reads[node].add(level)
            return
        own = self.levels[node]
        if node in self.stored or self._whole(node):
            self.store(node)
            self.reads[node].add(level)
        elif node.units is None and own.phase == level.phase:
            self.computed[own][node] = None
            self._require(node, own)
        elif own == level or (node.units is not None and cheap(node)):
            self._require(node, level)
        else:
            self.store(node)
            self.reads[node].add(level)
