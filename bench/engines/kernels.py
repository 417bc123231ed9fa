"""A network's compiled kernel, and calls of it with the memory that they need."""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bench.engines import building
from bench.engines.engine import Interventions, Masks
from bench.engines.step.plan import Array, Plan
from bench.engines.step.source import SPECIAL, Source, written
from bench.engines.step.trace import Step, traced
from bench.methods.clipping import StateGradientClipping
from bench.nets.network import FLAT_MULTIPLE, MULTIPLE, Network, padded
from tasks.task import Batch

HEADERS = Path(__file__).with_name("kernel")
PRODUCTS = HEADERS / "products.c"
DEFINITIONS = {torch.float32: (), torch.float64: ("DOUBLE",)}
LOSSES = ("given", "squared error", "cross-entropy")  # in the order of `kernel/shapes.h`
CLIPPING = ("", "value", "norm")  # likewise
RING = 8  # STEPS of `kernel/functions.h`


@functools.cache
def kernel(network: Network, clipped: bool) -> Kernel:
    """The kernel of a network, with or without clipping on the way back. Raises Unsupported."""
    return Kernel(network, clipped)


class Kernel:
    """What is known of a network's kernel before it is compiled; `library` compiles it."""

    def __init__(self, network: Network, clipped: bool) -> None:
        self.network = network
        self.step: Step = traced(network)
        self.plan = Plan(self.step, clipped)
        self.source: Source = written(self.plan)

    def library(self, dtype: torch.dtype, march: str = "native") -> ctypes.CDLL:
        """The kernel for a precision and an instruction set of this CPU. Raises NoCompiler."""
        return _library(self.source.text, dtype, march)

    def prepared(self, flat: Tensor, gradient: bool) -> Prepared:
        """The parameters [R, P] as the kernel reads them; `gradient`: it is asked for."""
        return Prepared(self.step, self.network, flat.detach(), gradient)

    @cached_property
    def padding(self) -> list[int]:
        """Where parameters have padding: start, count, numbers used and length of their rows, one after the other."""
        flat = torch.empty(self.network.flat_size)
        found = []
        for name, whole in self.network.padded_views(flat).items():
            used, length = self.network.shape(name)[-1], whole.shape[-1]
            if used < length:
                found += [int(whole.storage_offset()), whole.numel() // length, used, length]
        return found


class Prepared:
    """A pack's parameters beside what torch makes of them, rows [R, row].

    Each replica's is made by itself, so that its bits do not depend on its pack.
    """

    def __init__(self, step: Step, network: Network, flat: Tensor, gradient: bool) -> None:
        self.step, self.size = step, flat.shape[1]
        self.leaves: list[Tensor] = []
        self.made: list[list[Tensor]] = []
        self.rows = flat.contiguous()
        if not step.made:
            return
        self.rows = flat.new_zeros(len(flat), step.row)
        self.rows[:, : self.size] = flat
        for row, own in zip(self.rows, flat, strict=True):
            leaf = own.clone().requires_grad_(gradient)
            with torch.set_grad_enabled(gradient):
                made = step.prepared(network.views(leaf))
            for (offset, weight), tensor in zip(step.made, made, strict=True):
                weight.placed(row, offset).copy_(tensor.detach())
            self.leaves.append(leaf)
            self.made.append(made)

    def gradient(self, rows: Tensor) -> Tensor:
        """The gradient of the parameters [R, P] from that of the rows."""
        if not self.step.made:
            return rows
        gradient = rows[:, : self.size].clone()
        for own, row, leaf, made in zip(gradient, rows, self.leaves, self.made, strict=True):
            pairs = [
                (tensor, weight.placed(row, offset))
                for (offset, weight), tensor in zip(self.step.made, made, strict=True)
                if tensor.requires_grad
            ]
            if pairs:
                tensors, shares = zip(*pairs, strict=True)
                (share,) = torch.autograd.grad(tensors, leaf, shares, allow_unused=True)
                if share is not None:
                    own += share
        return gradient


class Shape(ctypes.Structure):
    """The struct `shape` of `kernel/shapes.h`."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("loss", "clipping", "replicas", "sequences", "steps", "inputs", "units", "width", "outputs"),
            *("outputs_width", "read_first", "read_count", "scored", "parameters", "row", "readout", "readout_bias"),
            "paddings",
        )
    ] + [
        (name, ctypes.c_void_p) for name in ("padding", "sizes", "lengths", "operands", "places", "constants")
    ]  # fmt: skip


class MaskPointers(ctypes.Structure):
    """The struct `masks` of `kernel/passes.h`."""

    _fields_ = [("recurrent", ctypes.c_void_p), ("readout", ctypes.c_void_p)]


@functools.cache
def _library(text: str, dtype: torch.dtype, march: str) -> ctypes.CDLL:
    library = building.load(text, *DEFINITIONS[dtype], headers=HEADERS, part=PRODUCTS.read_text(), march=march)
    shape, masks, whole = ctypes.POINTER(Shape), ctypes.POINTER(MaskPointers), ctypes.c_int64
    pointer = ctypes.c_void_p
    library.forward.argtypes = [shape, whole, whole, *3 * [pointer], masks, *3 * [pointer]]
    library.forward.restype = None
    library.gradients.argtypes = [shape, whole, whole, *3 * [pointer], masks, *7 * [pointer]]
    library.gradients.restype = ctypes.c_int
    return library


class Way(NamedTuple):
    """A way through time: its loss, a sequence's scored steps, all steps, those that are read, and what is kept."""

    loss: str
    scored: int
    steps: int
    read: range
    keep: bool


class Pass:
    """The kernel with its buffers for batches of one shape."""

    def __init__(
        self, own: Kernel, way: Way, replicas: int, sequences: int, dtype: torch.dtype, march: str = "native"
    ) -> None:
        self.kernel, self.way, self.dtype = own, way, dtype
        self.library = own.library(dtype, march)
        network, source = own.network, own.source
        parts = network.padded_views(torch.empty(network.flat_size))
        self.extents = self._extents(sequences)
        places, end = [], 0
        for times, numbers in self.extents:
            places += [end, numbers]
            end += padded(times * numbers, MULTIPLE)
        operands = [
            number for operand in own.step.operands for number in (operand.offset, *(*operand.strides, 0, 0)[:2])
        ]
        widths = [number for size in source.sizes for number in (size, padded(size, MULTIPLE))]
        lists = {
            "padding": own.padding,
            "sizes": widths,
            "lengths": source.lengths,
            "operands": operands,
            "places": places,
        }
        # the struct holds addresses alone
        self.lists = {name: torch.tensor([*numbers, 0], dtype=torch.int64) for name, numbers in lists.items()}
        self.lists["constants"] = torch.tensor([*source.constants, 0.0], dtype=torch.float64)
        self.shape = Shape(
            loss=LOSSES.index(way.loss),
            replicas=replicas,
            sequences=sequences,
            steps=way.steps,
            inputs=network.inputs,
            units=network.cell.hidden,
            width=network.padded_hidden,
            outputs=network.outputs,
            outputs_width=network.padded_outputs,
            read_first=way.read.start,
            read_count=len(way.read),
            scored=way.scored,
            parameters=network.flat_size,
            row=own.step.row,
            readout=parts["W_hy"].storage_offset(),
            readout_bias=parts["b_y"].storage_offset(),
            paddings=len(own.padding) // 4,
            **{name: numbers.data_ptr() for name, numbers in self.lists.items()},
        )
        threads = min(torch.get_num_threads(), replicas)
        cuts = [replicas * k // threads for k in range(threads + 1)]
        self.ranges = list(itertools.pairwise(cuts))
        # a thread needs the memory of one replica, whichever it is at; not all padding is ever written
        self.memory = torch.zeros(threads, padded(end, FLAT_MULTIPLE), dtype=dtype)
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def _extents(self, sequences: int) -> list[tuple[int, int]]:
        """How many steps each array holds, and how many numbers a step has."""
        network, way = self.kernel.network, self.way
        width, wide = network.padded_hidden, network.padded_outputs
        arrays = self.kernel.source.arrays.values()
        special = {
            "READOUT": (1, (1 + network.cell.hidden) * wide),
            "ZEROS": (1, max([width, *(array.width or 0 for array in arrays)])),
            "INPUTS": (RING, sequences * (1 + network.inputs)),
            "OUTPUTS": (len(way.read), sequences * wide),
            "SEEN": ((len(way.read) if way.keep else 1) if network.masked else 0, sequences * width),
            "D_SEEN": (1 if network.masked else 0, sequences * width),
        }
        return [*(special[name] for name in SPECIAL), *((self._times(a), a.numbers(sequences)) for a in arrays)]

    def _times(self, array: Array) -> int:
        steps = self.way.steps if self.way.keep else 1
        return {"once": 1, "two": 2, "ring": RING, "state": steps + 1, "kept": steps}[array.times]

    def forward(self, rows: Tensor, batch: Batch, masks: Masks) -> tuple[Tensor, Tensor]:
        """Outputs of the steps that are read [R, S, B, padded O], and whether any unit was ever non-zero [R]."""
        shape = self.shape
        outputs = rows.new_empty(shape.replicas, shape.read_count, shape.sequences, shape.outputs_width)
        alive = torch.empty(shape.replicas, dtype=torch.bool)
        self._spread(self.library.forward, rows, batch, masks, outputs, alive)
        return outputs, alive

    def gradients(
        self,
        rows: Tensor,
        batch: Batch,
        masks: Masks,
        parts: int,
        interventions: Interventions,
        d_outputs: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss [R], gradient of the rows [R, row], and of `parts` of the state the norms of the trace [parts, R, B, T].

        d_outputs: of a loss that the kernel does not know, laid out as `forward` gives them; then it gives no loss.
        """
        shape = self.shape
        loss, gradient = rows.new_empty(shape.replicas), rows.new_empty(rows.shape)
        norms = torch.empty(parts, shape.replicas, shape.sequences, shape.steps, dtype=torch.float64)
        targets = self._targets(batch) if d_outputs is None else None
        thresholds = self._thresholds(interventions)
        into = (loss, gradient, norms if parts else None)
        fits = self._spread(self.library.gradients, rows, batch, masks, targets, d_outputs, thresholds, *into)
        if not all(fits):
            shortest = shape.steps - (shape.read_count - shape.scored)
            raise ValueError(
                "the batch does not fit this program: "
                f"a target is none of the classes 0 to {shape.outputs - 1}, or a length not {shortest} to {shape.steps}"
            )
        return loss, gradient, norms

    def _thresholds(self, interventions: Interventions) -> Tensor | None:
        """Thresholds of clipping on the way back, [R]; None without it."""
        if not interventions.clips_state_gradient:
            return None
        clipping = interventions.clipping
        assert isinstance(clipping, StateGradientClipping)
        self.shape.clipping = CLIPPING.index(clipping.by)
        threshold = torch.as_tensor(clipping.threshold, dtype=torch.float64)
        return threshold.expand(self.shape.replicas).contiguous()

    def _targets(self, batch: Batch) -> Tensor:
        """As the kernel reads them: classes or numbers, [R, B, A]."""
        shape, targets = self.shape, batch.targets
        if targets.shape != (shape.replicas, shape.sequences, shape.scored):
            raise ValueError(f"targets {[*targets.shape]} do not fit this program")
        return targets.to(torch.int64 if LOSSES[shape.loss] == "cross-entropy" else self.dtype).contiguous()

    def _masks(self, masks: Masks) -> tuple[Tensor | None, Tensor | None]:
        """Padded, with 1 for what drops nothing: [R, B, H] and [R, S, B, H]."""
        shape, network = self.shape, self.kernel.network
        if not network.masked:
            return None, None
        recurrent, readout = masks
        if recurrent is None:
            recurrent = torch.ones(shape.replicas, shape.sequences, shape.width, dtype=self.dtype)
        room = (0, shape.width - shape.units)
        recurrent = functional.pad(recurrent, room) if recurrent.shape[-1] == shape.units else recurrent
        if readout is not None:
            readout = functional.pad(readout.transpose(1, 2), room).to(self.dtype).contiguous()
        return recurrent.to(self.dtype).contiguous(), readout

    def _spread(
        self, function: Callable[..., int], rows: Tensor, batch: Batch, masks: Masks, *others: Tensor | None
    ) -> list[int]:
        """What the kernel's function answers for every thread's range of replicas; a worker has one thread."""
        lengths = None if batch.lengths is None else batch.lengths.long().contiguous()
        shared = [rows.contiguous(), batch.inputs.to(rows.dtype).contiguous(), lengths]
        padded_masks = self._masks(masks)
        mask_pointers = MaskPointers(*_addresses(padded_masks))
        pointers, rest = _addresses(shared), _addresses(others)

        def part(thread: int) -> int:
            memory = self.memory[thread].data_ptr()
            return function(self.shape, *self.ranges[thread], *pointers, mask_pointers, memory, *rest)

        threads = range(len(self.ranges))
        return list(map(part, threads) if self.pool is None else self.pool.map(part, threads))


def _addresses(tensors: Iterable[Tensor | None]) -> list[int | None]:
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]
