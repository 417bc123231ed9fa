"""Which number of which node stands where: found by moving indices as torch moves the numbers.

Whatever only moves numbers (views, chunks, stacks, rolls) is applied to a tensor of indices. What a step does with the
result is read off there, so that no such function needs a rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from bench.engines.step.graph import Node, Piece, Unsupported

SEQUENCES = 3  # of the examples
LONGEST = 1 << 24  # more units than a node has
STRIDE = SEQUENCES * LONGEST

MOVES = {
    "getitem", "unbind", "chunk", "split", "split_with_sizes", "tensor_split", "narrow", "select", "view", "reshape",
    "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as", "view_as", "transpose", "swapaxes",
    "permute", "movedim", "mT", "T", "mH", "clone", "contiguous", "roll", "flip", "cat", "concat", "stack", "repeat",
    "tile", "index_select", "broadcast_to", "broadcast_tensors", "hsplit", "hstack", "swapdims", "moveaxis",
    "concatenate", "unsafe_chunk", "alias",
}  # fmt: skip


def index_of(number: int, units: int | None, axes: tuple[int, ...] = ()) -> Tensor:
    """The index of a node: [B, units]; [B, 1] for one without units."""
    sequence = torch.arange(SEQUENCES)[:, None] * LONGEST
    return number * STRIDE + sequence + torch.arange(1 if units is None else units)


class Layout:
    """Which axes of a result are sequences and units, and which only arrange nodes; read off its indices.

    indices: of all tensors that a result is made from, already broadcast to its shape.
    """

    def __init__(self, indices: list[Tensor]) -> None:
        self.shape = indices[0].shape
        batch, units = set(), set()
        for index in indices:
            for axis, size in enumerate(self.shape):
                if size > 1:
                    step = index.diff(dim=axis)
                    if (step == LONGEST).all():
                        batch.add(axis)
                    elif index.shape[axis] > 1 and (step % STRIDE != 0).any():
                        units.add(axis)
        if len(batch) != 1:
            raise Unsupported("a tensor whose sequences do not lie along one axis")
        (self.batch,) = batch
        rest = [axis for axis in range(len(self.shape)) if axis != self.batch]
        default = len(self.shape) - 1
        self.units = max(units) if units else default if default in rest else None
        self.order = [axis for axis in rest if axis != self.units] + [self.batch]
        self.order += [] if self.units is None else [self.units]

    def arranged(self, tensor: Tensor) -> Tensor:
        """[*arrangement, B, U]."""
        moved = tensor.permute(self.order)
        return moved if self.units is not None else moved[..., None]

    def restored(self, tensor: Tensor) -> Tensor:
        """Back from [*arrangement, B, U]."""
        moved = tensor if self.units is not None else tensor[..., 0]
        return moved.permute([self.order.index(axis) for axis in range(len(self.order))])

    @property
    def arrangement(self) -> tuple[int, ...]:
        """Sizes of the axes that only arrange nodes."""
        axes = self.order[:-1] if self.units is None else self.order[:-2]
        return tuple(self.shape[axis] for axis in axes)

    def positions(self) -> Iterator[tuple[int, ...]]:
        return iter(np.ndindex(*self.arrangement))


def node_at(index: Tensor, nodes: list[Node], piece: Callable[[Node, int, int], Node]) -> Node:
    """The node whose numbers the indices [B, U] are, or one put together from pieces of several.

    piece: makes the node of so many units of another, from a first one on.
    """
    sequence = index % STRIDE // LONGEST
    if not torch.equal(sequence, torch.arange(SEQUENCES)[:, None].expand_as(index)):
        raise Unsupported("numbers of one sequence among those of another")
    row = index[0]
    if not torch.equal(index - index[:, :1], (row - row[0]).expand_as(index)):
        raise Unsupported("sequences that are put together differently")
    owners, units = (row // STRIDE).tolist(), (row % LONGEST).tolist()
    first: Node = nodes[owners[0]]
    one = len(set(owners)) == 1
    if one and first.units is None:
        return first
    if one and units == list(range(first.units or 0)):
        return first
    if one and len(units) > 1 and len(set(units)) == 1:  # one unit, for all units of something else
        return Node("sum", (piece(first, units[0], 1),))
    runs: list[list[int]] = []
    for owner, unit in zip(owners, units, strict=True):
        if nodes[owner].units is None:
            raise Unsupported("a number per sequence among the numbers of units")
        if runs and runs[-1][0] == owner and runs[-1][1] + runs[-1][2] == unit:
            runs[-1][2] += 1
        else:
            runs.append([owner, unit, 1])
    if len(runs) == 1:
        return piece(first, runs[0][1], runs[0][2])
    sources = list(dict.fromkeys(owner for owner, _, _ in runs))
    pieces = tuple(Piece(sources.index(owner), start, length) for owner, start, length in runs)
    return Node("pieces", tuple(nodes[owner] for owner in sources), pieces, units=len(units))
