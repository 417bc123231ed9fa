"""The whole time loop of a replica in a small C kernel (`recurrence.c`), built at first use: the fastest on a CPU.

The kernel gives the outputs of the steps that are read; their loss, which may be any torch code, and its gradient are
torch's; then the kernel runs back through time. Without a C compiler there is no such engine, and `auto` takes another.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.cells.cell import Cell
from bench.cells.elman import Elman
from bench.cells.gru import GRU
from bench.cells.lstm import LSTM
from bench.engines import building
from bench.engines.engine import NO_MASKS, UNTREATED, Answers, Engine, Gradients, Masks, Program, Treatment
from bench.network import Network
from tasks.task import Batch, Task

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("recurrence.c")
DEFINITIONS = {torch.float32: (), torch.float64: ("DOUBLE",)}
KINDS = ("tanh", "relu", "lstm", "gru")  # in the order of the source


@dataclass(frozen=True)
class Compiled(Engine):
    """Elman with tanh or ReLU, LSTM and GRU, on a CPU with a C compiler."""

    repairs = False

    def supports(self, network: Network, device: torch.device) -> bool:
        return device.type == "cpu" and not network.masked and _kind(network.cell) in KINDS and available()

    def program(self, network: Network, task: Task, treatment: Treatment = UNTREATED) -> Program:
        return CompiledProgram(network, task, treatment)

    def kept(self, network: Network, steps: int, sequences: int) -> int:
        per_step = {"lstm": 7, "gru": 5}.get(_kind(network.cell), 1)  # h; c, tanh(c); the blocks where there are gates
        return per_step * steps * sequences * network.padded_hidden


def _kind(cell: Cell) -> str:
    """The kernel's name of a cell's recurrence; the empty word if it has none."""
    return cell.activation if type(cell) is Elman else {LSTM: "lstm", GRU: "gru"}.get(type(cell), "")


@functools.cache
def available() -> bool:
    """Whether the kernel can be built here; if not, why not is logged once."""
    try:
        kernel(torch.float32)
    except building.NoCompiler as reason:
        log.warning("no compiled engine, the torch engines serve: %s", reason)
        return False
    return True


class Shape(ctypes.Structure):
    """The struct `shape` of the source; all are counted in numbers."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("cell", "replicas", "sequences", "steps", "inputs", "units", "width", "outputs", "outputs_width"),
            *("read_first", "read_count", "parameters"),
            *("W_hh", "W_xh", "b", "b_hn", "W_hy", "b_y"),  # where each starts
        )
    ]


@functools.cache
def kernel(dtype: torch.dtype) -> ctypes.CDLL:
    """The library for a precision. Raises NoCompiler."""
    library = building.load(SOURCE, *DEFINITIONS[dtype])
    shape, whole, pointer = ctypes.POINTER(Shape), ctypes.c_int64, ctypes.c_void_p
    library.history_size.argtypes, library.history_size.restype = [shape, ctypes.c_int], whole
    library.workspace_size.argtypes, library.workspace_size.restype = [shape], whole
    library.forward.argtypes = [shape, whole, whole, *3 * [pointer], ctypes.c_int, *4 * [pointer]]
    library.backward.argtypes = [shape, whole, whole, *7 * [pointer]]
    library.forward.restype = library.backward.restype = None
    return library


class CompiledProgram(Program):
    """One call forward and one back for a pack; the buffers of each shape of batch are kept."""

    def __init__(self, network: Network, task: Task, treatment: Treatment) -> None:
        super().__init__(network, task, treatment)
        self._passes: dict[tuple[object, ...], Pass] = {}

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        through_time = self._pass(flat, batch, keep=True)
        outputs, _ = through_time.forward(flat, batch)
        outputs.requires_grad_()
        with torch.enable_grad():
            loss = self.training_loss(self._by_sequence(outputs, batch), batch.targets)
            (d_outputs,) = torch.autograd.grad(loss.sum(), outputs)
        gradient, squares = through_time.backward(flat, batch, d_outputs, len(self.network.cell.states) if trace else 0)
        # L^(b) is the loss of one sequence, the pack's loss the mean over B of them
        sequences = batch.inputs.shape[1]
        traces = {
            name: self.common(square.sqrt(), batch) * sequences
            for name, square in zip(self.network.cell.states, squares, strict=False)
        }
        return Gradients(loss.detach(), gradient, traces)

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        outputs, alive = self._pass(flat, batch, keep=False).forward(flat, batch)
        return Answers(self._by_sequence(outputs, batch), alive)

    def _pass(self, flat: Tensor, batch: Batch, keep: bool) -> Pass:
        replicas, sequences, *step = batch.inputs.shape
        if step != [self.task.steps, self.network.inputs] or flat.shape != (replicas, self.network.flat_size):
            raise ValueError(f"inputs {[*batch.inputs.shape]} and parameters {[*flat.shape]} do not fit this program")
        key = (replicas, sequences, flat.dtype, keep, torch.get_num_threads())
        if key not in self._passes:
            self._passes[key] = Pass(self._shape(replicas, sequences), flat.dtype, keep)
        return self._passes[key]

    def _shape(self, replicas: int, sequences: int) -> Shape:
        network = self.network
        parts = network.padded_views(torch.empty(network.flat_size))
        return Shape(
            cell=KINDS.index(_kind(network.cell)),
            replicas=replicas,
            sequences=sequences,
            steps=self.task.steps,
            inputs=network.inputs,
            units=network.cell.hidden,
            width=network.padded_hidden,
            outputs=network.outputs,
            outputs_width=network.padded_outputs,
            read_first=self.read.start,
            read_count=len(self.read),
            parameters=network.flat_size,
            **{name: part.storage_offset() for name, part in parts.items()},
        )

    def _by_sequence(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of all steps `read` [R, S, B, padded O] to those scored, [R, B, A, O]."""
        return self.scored(outputs[..., : self.network.outputs].transpose(1, 2), batch)


class Pass:
    """The kernel with its buffers for batches of one shape; `keep` what the way back needs."""

    def __init__(self, shape: Shape, dtype: torch.dtype, keep: bool) -> None:
        self.shape, self.dtype, self.keep = shape, dtype, keep
        self.kernel = kernel(dtype)
        threads = min(torch.get_num_threads(), shape.replicas)
        cuts = [shape.replicas * k // threads for k in range(threads + 1)]
        self.ranges = list(itertools.pairwise(cuts))
        size = self.kernel.history_size(shape, keep)
        # without a way back a thread needs the memory of one replica, whichever it is at
        self.memory = torch.zeros(1 if keep else threads, size * (shape.replicas if keep else 1), dtype=dtype)
        self.working = torch.zeros(threads, self.kernel.workspace_size(shape), dtype=dtype)
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def forward(self, flat: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs of the steps that are read [R, S, B, padded O], and whether any unit was ever non-zero [R]."""
        shape, inputs = self.shape, batch.inputs.to(flat.dtype).contiguous()
        flat = flat.detach().contiguous()
        lengths = None if batch.lengths is None else batch.lengths.long().contiguous()
        outputs = flat.new_empty(shape.replicas, shape.read_count, shape.sequences, shape.outputs_width)
        alive = torch.empty(shape.replicas, dtype=torch.bool)

        def part(thread: int, first: int, last: int) -> None:
            self.kernel.forward(
                shape,
                first,
                last,
                flat.data_ptr(),
                inputs.data_ptr(),
                None if lengths is None else lengths.data_ptr(),
                self.keep,
                self.memory[thread % len(self.memory)].data_ptr(),
                self.working[thread].data_ptr(),
                outputs.data_ptr(),
                alive.data_ptr(),
            )

        self._spread(part)
        return outputs, alive

    def backward(self, flat: Tensor, batch: Batch, d_outputs: Tensor, parts: int) -> tuple[Tensor, Tensor]:
        """After `forward` on the same: the gradient [R, P], and ||.||^2 of `parts` of the state, [parts, R, B, T]."""
        shape, inputs, d_outputs = self.shape, batch.inputs.to(flat.dtype).contiguous(), d_outputs.contiguous()
        flat = flat.detach().contiguous()
        gradient = torch.zeros_like(flat)
        squares = torch.empty(parts, shape.replicas, shape.sequences, shape.steps, dtype=torch.float64)

        def part(thread: int, first: int, last: int) -> None:
            self.kernel.backward(
                shape,
                first,
                last,
                flat.data_ptr(),
                inputs.data_ptr(),
                self.memory.data_ptr(),
                self.working[thread].data_ptr(),
                d_outputs.data_ptr(),
                gradient.data_ptr(),
                squares.data_ptr() if parts else None,
            )

        self._spread(part)
        return gradient, squares

    def _spread(self, part: Callable[[int, int, int], None]) -> None:
        """Every thread has its range of replicas; a worker has one thread."""
        if self.pool is None:
            part(0, *self.ranges[0])
        else:
            threads = range(len(self.ranges))
            list(self.pool.map(lambda thread: part(thread, *self.ranges[thread]), threads))
