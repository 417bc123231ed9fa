"""A cell with its linear readout, and how the parameters of a pack lie in one flat tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.nets.initializers import Block, Initializers
from bench.pack.axes import H, I, O
from bench.pack.streams import Stream

MULTIPLE = 16  # H and O are stored padded to it, so that every replica starts at the same place of a vector register
FLAT_MULTIPLE = 64


def padded(size: int, multiple: int) -> int:
    """The least multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class Network:
    """y_t = W_hy h_t + b_y on top of a cell.

    All parameters of a replica lie in one row of a flat tensor [R, P]: optimizers, norms and clipping see one matrix,
    and `views` names its parts. H and O are padded to multiples of 16 there; the padding is zero and its gradient is
    zero. On CPU this is what makes a replica's bits independent of its neighbours in the pack: a row begins and ends
    with whole vector registers.

    inputs, outputs: I and O of the task. masked: whether training drops parts of the state (`remedies.dropout`).
    """

    cell: Cell
    inputs: int
    outputs: int
    masked: bool = False

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """All parameters by symbol, the readout's last."""
        readout = {"W_hy": Parameter("readout", (O, H)), "b_y": Parameter("readout_bias", (O,))}
        return {**self.cell.parameters, **readout}

    @cached_property
    def vectors(self) -> frozenset[str]:
        """Symbols of the parameters that are vectors, those of all gates together: biases."""
        return frozenset(name for name, parameter in self.parameters.items() if parameter.is_vector)

    @cached_property
    def padded_hidden(self) -> int:
        """H as stored."""
        return padded(self.cell.hidden, MULTIPLE)

    @cached_property
    def padded_outputs(self) -> int:
        """O as stored."""
        return padded(self.outputs, MULTIPLE)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter."""
        return self._sizes(name, {I: self.inputs, H: self.cell.hidden, O: self.outputs})

    def padded_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter as stored."""
        return self._sizes(name, {I: self.inputs, H: self.padded_hidden, O: self.padded_outputs})

    def _sizes(self, name: str, sizes: dict[str, int]) -> tuple[int, ...]:
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.parameters[name].shape)

    @cached_property
    def _slots(self) -> dict[str, slice]:
        slots, start = {}, 0
        for name in self.parameters:
            stop = start + math.prod(self.padded_shape(name))
            slots[name], start = slice(start, stop), stop
        return slots

    @cached_property
    def flat_size(self) -> int:
        """P, the length of a replica's row, padding included."""
        return padded(max(slot.stop for slot in self._slots.values()), FLAT_MULTIPLE)

    @property
    def parameter_count(self) -> int:
        """Trained numbers of one replica, without padding."""
        return sum(math.prod(self.shape(name)) for name in self.parameters)

    @property
    def recurrent_parameter_count(self) -> int:
        """Trained numbers that lead from state to state."""
        recurrent = [name for name, parameter in self.parameters.items() if parameter.role == "recurrent"]
        return sum(math.prod(self.shape(name)) for name in recurrent)

    def padded_views(self, flat: Tensor) -> dict[str, Tensor]:
        """The parts of flat [..., P] as stored, each [..., *padded_shape]."""
        return {name: flat[..., slot].unflatten(-1, self.padded_shape(name)) for name, slot in self._slots.items()}

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The parts of flat [..., P] without their padding, each [..., *shape]."""
        views = self.padded_views(flat)
        for name in views:
            for axis, size in enumerate(self.shape(name), start=-len(self.shape(name))):
                views[name] = views[name].narrow(axis, 0, size)
        return views

    def prepared(self, flat: Tensor) -> Weights:
        """The weights in flat [R, P] as the cell prepares them, each replica's alone: torch exponentiates in groups."""
        weights = self.views(flat)
        if type(self.cell).prepared is Cell.prepared:
            return weights
        alone = [self.cell.prepared(self.views(row)) for row in flat]
        return {name: torch.stack([own[name] for own in alone]) for name in alone[0]}

    def mask(self, *roles: str) -> Tensor:
        """True where an entry of a row is a parameter of one of these roles (any role if none is given), [P]."""
        mask = torch.zeros(self.flat_size, dtype=torch.bool)
        for name, view in self.views(mask).items():
            view.fill_(not roles or self.parameters[name].role in roles)
        return mask

    def initial(self, initializers: Sequence[Initializers], seeds: Sequence[int]) -> Tensor:
        """Starting parameters of a pack in float64 on the CPU, [R, P]: per replica its initialisers and its seed.

        A parameter with a start of its own takes that.
        """
        flat = torch.zeros(len(seeds), self.flat_size, dtype=torch.float64)
        for name, view in self.views(flat).items():
            parameter, shape = self.parameters[name], self.shape(name)
            gates = self.cell.gates if parameter.gated else (None,)
            block_shape = shape[1:] if parameter.gated else shape
            biases = parameter.torch_biases
            biases = biases if isinstance(biases, tuple) else (biases,) * len(gates)
            for row, choice, seed in zip(view, initializers, seeds, strict=True):
                random = Stream(seed, f"init/{name}", dtype=torch.float64)
                if parameter.start is not None:
                    row.copy_(parameter.start(random))
                    continue
                initializer = getattr(choice, parameter.role)
                blocks = row.unbind() if parameter.gated else [row]
                for block, gate, count in zip(blocks, gates, biases, strict=True):
                    shared = Stream(seed, f"init/{name}/shared", dtype=torch.float64)
                    about = Block(block_shape, self.cell.hidden, gate, shared, count, self.inputs)
                    block.copy_(initializer.sample(random, about))
        return flat

    def zero_state(self, weights: Weights, sequences: int) -> State:
        """h_0 (and c_0) = 0 for weights with leading axes [...]: each [..., B, H]."""
        readout = weights["W_hy"]
        zero = readout.new_zeros(*readout.shape[:-2], sequences, self.cell.hidden)
        return tuple(zero for _ in self.cell.states)

    def readout(self, weights: Weights, h: Tensor) -> Tensor:
        """Outputs from hidden states: [..., B, H] -> [..., B, O]."""
        return h @ weights["W_hy"].mT + weights["b_y"][..., None, :]
