"""The whole time loop of a replica in a small C kernel (`recurrence.c`), built at first use: the fastest on a CPU.

A replica goes forward, gets its loss and goes back before the next one starts. The kernel knows the losses of a task,
squared error and cross-entropy; another one, which may be any torch code, is differentiated by torch between two calls
of the kernel, of which the second goes forward once more. Without a C compiler there is no such engine, and `auto`
takes another.
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

from bench.engines import building
from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.nets.cells.cell import Cell
from bench.nets.cells.elman import Elman
from bench.nets.cells.gru import GRU
from bench.nets.cells.lstm import LSTM
from bench.nets.network import Network
from tasks.task import Batch, Task

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("recurrence.c")
DEFINITIONS = {torch.float32: (), torch.float64: ("DOUBLE",)}
KINDS = ("tanh", "relu", "lstm", "gru")  # in the order of the source
LOSSES = ("given", "squared error", "cross-entropy")  # likewise


@dataclass(frozen=True)
class Compiled(Engine):
    """Elman with tanh or ReLU, LSTM and GRU, on a CPU with a C compiler."""

    clips_state_gradient = False
    one_at_a_time = True

    def supports(self, network: Network, device: torch.device) -> bool:
        return device.type == "cpu" and not network.masked and _kind(network.cell) in KINDS and available()

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return CompiledProgram(network, task, interventions)

    def activation_count(self, network: Network, steps: int, sequences: int) -> int:
        per_step = {"lstm": 7, "gru": 5}.get(_kind(network.cell), 1)  # h; c, tanh(c); the blocks where there are gates
        return per_step * steps * sequences * network.padded_hidden


def _kind(cell: Cell) -> str:
    """The kernel's name of a cell's recurrence; the empty word if it has none."""
    return cell.activation if type(cell) is Elman else {LSTM: "lstm", GRU: "gru"}.get(type(cell), "")


def _loss(task: Task, interventions: Interventions) -> str:
    """The kernel's name of the losses that are trained on; "given" if it has none and is given their gradient."""
    if type(task).losses is not Task.losses or interventions.losses(task) != task.losses:
        return "given"
    return "cross-entropy" if task.classes else "squared error"


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
            *("cell", "loss", "replicas", "sequences", "steps", "inputs", "units", "width", "outputs", "outputs_width"),
            *("read_first", "read_count", "scored", "parameters"),
            *("W_hh", "W_xh", "b", "b_hn", "W_hy", "b_y"),  # where each starts
        )
    ]


@functools.cache
def kernel(dtype: torch.dtype, march: str = "native") -> ctypes.CDLL:
    """The library for a precision and an instruction set of this CPU. Raises NoCompiler."""
    library = building.load(SOURCE, *DEFINITIONS[dtype], march=march)
    shape, whole, pointer = ctypes.POINTER(Shape), ctypes.c_int64, ctypes.c_void_p
    library.history_size.argtypes, library.history_size.restype = [shape, ctypes.c_int], whole
    library.workspace_size.argtypes, library.workspace_size.restype = [shape], whole
    library.forward.argtypes, library.forward.restype = [shape, whole, whole, *7 * [pointer]], None
    library.gradients.argtypes, library.gradients.restype = [shape, whole, whole, *10 * [pointer]], ctypes.c_int
    return library


class CompiledProgram(Program):
    """One call for the gradients of a pack; the buffers of each shape of batch are kept.

    march: the compiler's name of the instruction set, one that this CPU has.
    """

    def __init__(self, network: Network, task: Task, interventions: Interventions, march: str = "native") -> None:
        super().__init__(network, task, interventions)
        self.march = march
        self.loss = _loss(task, interventions)
        self._passes: dict[tuple[object, ...], Pass] = {}

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        """Raises ValueError if a target is no class of the task, or a length none of its lengths."""
        states = self.network.cell.states if trace else ()
        through_time = self._pass(flat, batch, keep=True)
        if self.loss == "given":
            loss, d_outputs = self._differentiated(flat, batch)
            _, gradient, norms = through_time.gradients(flat, batch, len(states), d_outputs)
        else:
            loss, gradient, norms = through_time.gradients(flat, batch, len(states))
        return Gradients(loss, gradient, {name: self.common(n, batch) for name, n in zip(states, norms, strict=True)})

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        outputs, alive = self._pass(flat, batch, keep=False).forward(flat, batch)
        return Answers(self._by_sequence(outputs, batch), alive)

    def _differentiated(self, flat: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss by torch, [R], and its gradient with respect to the outputs, [R, S, B, padded O]."""
        outputs, _ = self._pass(flat, batch, keep=False).forward(flat, batch)
        outputs.requires_grad_()
        with torch.enable_grad():
            loss = self.training_loss(self._by_sequence(outputs, batch), batch.targets)
            (d_outputs,) = torch.autograd.grad(loss.sum(), outputs)
        return loss.detach(), d_outputs.contiguous()

    def _pass(self, flat: Tensor, batch: Batch, keep: bool) -> Pass:
        replicas, sequences, *step = batch.inputs.shape
        if step != [self.task.steps, self.network.inputs] or flat.shape != (replicas, self.network.flat_size):
            raise ValueError(f"inputs {[*batch.inputs.shape]} and parameters {[*flat.shape]} do not fit this program")
        key = (replicas, sequences, flat.dtype, keep, torch.get_num_threads())
        if key not in self._passes:
            self._passes[key] = Pass(self._shape(replicas, sequences), flat.dtype, keep, self.march)
        return self._passes[key]

    def _shape(self, replicas: int, sequences: int) -> Shape:
        network = self.network
        parts = network.padded_views(torch.empty(network.flat_size))
        return Shape(
            cell=KINDS.index(_kind(network.cell)),
            loss=LOSSES.index(self.loss),
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
            scored=len(self.task.scored),
            parameters=network.flat_size,
            **{name: part.storage_offset() for name, part in parts.items()},
        )

    def _by_sequence(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of all steps `read` [R, S, B, padded O] to those scored, [R, B, A, O]."""
        return self.scored(outputs[..., : self.network.outputs].transpose(1, 2), batch)


class Pass:
    """The kernel with its buffers for batches of one shape; `keep` what the way back needs."""

    def __init__(self, shape: Shape, dtype: torch.dtype, keep: bool, march: str = "native") -> None:
        self.shape, self.dtype = shape, dtype
        self.kernel = kernel(dtype, march)
        threads = min(torch.get_num_threads(), shape.replicas)
        cuts = [shape.replicas * k // threads for k in range(threads + 1)]
        self.ranges = list(itertools.pairwise(cuts))
        # a thread needs the memory of one replica, whichever it is at
        self.memory = torch.zeros(threads, self.kernel.history_size(shape, keep), dtype=dtype)
        self.working = torch.zeros(threads, self.kernel.workspace_size(shape), dtype=dtype)
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def forward(self, flat: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs of the steps that are read [R, S, B, padded O], and whether any unit was ever non-zero [R]."""
        shape = self.shape
        outputs = flat.new_empty(shape.replicas, shape.read_count, shape.sequences, shape.outputs_width)
        alive = torch.empty(shape.replicas, dtype=torch.bool)
        self._spread(self.kernel.forward, flat, batch, outputs, alive)
        return outputs, alive

    def gradients(
        self, flat: Tensor, batch: Batch, parts: int, d_outputs: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss [R], its gradient [R, P], and of `parts` of the state the norms of the trace [parts, R, B, T].

        d_outputs: of a loss that the kernel does not know, laid out as `forward` gives them; then it gives no loss.
        """
        shape = self.shape
        loss, gradient = flat.new_empty(shape.replicas), flat.new_empty(flat.shape)
        norms = torch.empty(parts, shape.replicas, shape.sequences, shape.steps, dtype=torch.float64)
        targets = self._targets(batch) if d_outputs is None else None
        into = (loss, gradient, norms if parts else None)
        if not all(self._spread(self.kernel.gradients, flat, batch, targets, d_outputs, *into)):
            shortest = shape.steps - (shape.read_count - shape.scored)
            raise ValueError(
                "the batch does not fit this program: "
                f"a target is none of the classes 0 to {shape.outputs - 1}, or a length not {shortest} to {shape.steps}"
            )
        return loss, gradient, norms

    def _targets(self, batch: Batch) -> Tensor:
        """As the kernel reads them: classes or numbers, [R, B, A]."""
        shape, targets = self.shape, batch.targets
        if targets.shape != (shape.replicas, shape.sequences, shape.scored):
            raise ValueError(f"targets {[*targets.shape]} do not fit this program")
        return targets.to(torch.int64 if LOSSES[shape.loss] == "cross-entropy" else self.dtype).contiguous()

    def _spread(self, function: Callable[..., int], flat: Tensor, batch: Batch, *others: Tensor | None) -> list[int]:
        """What the kernel's function answers for every thread's range of replicas; a worker has one thread."""
        lengths = None if batch.lengths is None else batch.lengths.long().contiguous()
        shared = [flat.detach().contiguous(), batch.inputs.to(flat.dtype).contiguous(), lengths]
        pointers = [None if tensor is None else tensor.data_ptr() for tensor in (*shared, *others)]

        def part(thread: int) -> int:
            own = self.memory[thread].data_ptr(), self.working[thread].data_ptr()
            return function(self.shape, *self.ranges[thread], *pointers[:3], *own, *pointers[3:])

        threads = range(len(self.ranges))
        return list(map(part, threads) if self.pool is None else self.pool.map(part, threads))
