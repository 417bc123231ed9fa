"""The whole time loop of a replica in one kernel on a GPU, written in Triton (`triton_kernels.py`).

The kernels give the outputs of the steps that are read; their loss, which may be any torch code, and its gradient are
torch's; then a kernel runs back through time, and the gradients of the weights are gathered from what it leaves. The
pass around them is recorded as one CUDA graph, for launching a kernel takes the host longer than a short one runs.

Products are exact to float32's own rounding: `bf16x6` multiplies each number as the sum of three bfloat16, with
which a GPU's matrix units are fast. Never TF32, which cuts 13 bits off: over 1000 steps that is another gradient.
Below 1e-33 the smallest of the three parts underflows: a derivative keeps ever fewer digits towards 1e-38.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.engines.batched import Batched
from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.engines.graphed import CapturedProgram
from bench.nets.cells.cell import Cell
from bench.nets.cells.elman import Elman
from bench.nets.cells.lstm import LSTM
from bench.nets.network import Network
from tasks.task import Batch, Task

MOST_UNITS = {"tanh": 128, "relu": 128, "lstm": 64}  # with which the weights stay on chip ...
MOST_CHANNELS = {"tanh": 64, "relu": 64, "lstm": 32}  # ... and so many of the input, and of the readout
PRECISION = "bf16x6"  # of the products on a GPU
GENERATIONS = (9, 10)  # of GPUs, as CUDA counts them, with the registers and the shared memory that the kernels take


@dataclass(frozen=True)
class Fused(Engine):
    """Elman with tanh or ReLU up to H = 128, LSTM up to H = 64, in float32 on a GPU with Triton.

    In float64, for which there is no kernel, `Batched` does the work.
    """

    devices = ("cuda",)
    clips_state_gradient = False

    def supports(self, network: Network, device: torch.device) -> bool:
        kind = _kind(network.cell)
        if kind not in MOST_UNITS or network.masked or device.type not in self.devices:
            return False
        fits = network.cell.hidden <= MOST_UNITS[kind]
        return fits and max(network.inputs, network.outputs) <= MOST_CHANNELS[kind] and available(device)

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return CapturedProgram(FusedProgram(network, task, interventions))

    def activation_count(self, network: Network, steps: int, sequences: int) -> int:
        """In float32; in float64, which is left to `Batched`, an LSTM takes a fifth more numbers, other cells fewer."""
        blocks = 6 if isinstance(network.cell, LSTM) else 2  # h, the deltas (of an LSTM one for each gate) and its c
        return steps * sequences * (blocks * network.padded_hidden + network.inputs)  # a recording's own batch

    def judging_count(self, network: Network, read: int, sequences: int) -> int:
        """The states of all steps that are read, from which a second kernel makes the outputs."""
        return sequences * read * network.padded_hidden


def _kind(cell: Cell) -> str:
    """The kernel's name of a cell's recurrence; the empty word if it has none."""
    return cell.activation if type(cell) is Elman else "lstm" if type(cell) is LSTM else ""


def available(device: torch.device) -> bool:
    """Whether a Triton that knows `PRECISION` is here, and the GPU is one that the kernels fit."""
    return _knows_precision() and torch.cuda.get_device_capability(device)[0] in GENERATIONS


@functools.cache
def _knows_precision() -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    from triton.backends.nvidia.compiler import CUDAOptions

    return PRECISION in CUDAOptions.allowed_dot_input_precisions


@dataclass(frozen=True)
class Shape:
    """What a kernel knows of a pass when it is compiled.

    steps: T. inputs: I. width: H as stored. outputs: O as stored. parameters: P, and where W_hh ... b_y start in it.
    first, read: the first step that is read, and how many are. since, kept: the first step whose state is kept, and
    how many are. H, I, O: sizes on chip. relu: not tanh. keep: for a way back. varying: sequences have lengths of
    their own. trace: the norms of the state's derivatives are asked for. precision: of the products.
    """

    steps: int
    inputs: int
    width: int
    outputs: int
    parameters: int
    W_hh: int
    W_xh: int
    b: int
    W_hy: int
    b_y: int
    first: int
    read: int
    since: int
    kept: int
    H: int
    I: int
    O: int
    relu: bool
    keep: bool
    varying: bool
    trace: bool
    precision: str


@dataclass(frozen=True)
class Sums:
    """What `outer_products` adds up: over b, t of left[b, t] right[b, first + t]^T, and of left[b, t].

    left [R, B, span, heights], right [R, B, T, widths], rows = B span; what lies before the first step is 0.
    weight, bias: where in a replica's row of parameters the results go; a bias of None is not asked for.
    """

    rows: int
    span: int
    first: int
    heights: int
    widths: int
    weight: int
    bias: int | None

    @property
    def block(self) -> int:
        """Columns of the result in a program."""
        return min(64, on_chip(self.widths))


class FusedProgram(Program):
    """One kernel forward, one back, and one for each product that gathers a gradient."""

    def __init__(self, network: Network, task: Task, interventions: Interventions) -> None:
        super().__init__(network, task, interventions)
        self._kind = _kind(network.cell)
        self._exact = Batched().program(network, task, interventions)

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        if flat.dtype != torch.float32:
            return self._exact.gradients(flat, batch, trace, masks)
        shape = self._shape(keep=True, varying=batch.lengths is not None, trace=trace)
        through_time = Pass(self._kind, shape, flat, batch)
        outputs = through_time.forward().requires_grad_()
        with torch.enable_grad():
            loss = self.training_loss(self._by_sequence(outputs, batch), batch.targets)
            (d_outputs,) = torch.autograd.grad(loss.sum(), outputs)
        gradient, squares = through_time.backward(d_outputs)
        # L^(b) is the loss of one sequence, the pack's loss the mean over B of them
        sequences = batch.inputs.shape[1]
        traces = {
            name: self.common(square.sqrt(), batch) * sequences
            for name, square in zip(self.network.cell.states, squares, strict=False)
        }
        return Gradients(loss.detach(), gradient, traces)

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        if flat.dtype != torch.float32:
            return self._exact.answers(flat, batch)
        shape = self._shape(keep=False, varying=batch.lengths is not None, trace=False)
        through_time = Pass(self._kind, shape, flat, batch)
        return Answers(self._by_sequence(through_time.forward(), batch), through_time.alive.any(-1))

    def _shape(self, keep: bool, varying: bool, trace: bool) -> Shape:
        network, steps = self.network, self.task.steps
        parts = network.padded_views(torch.empty(network.flat_size))
        return Shape(
            steps=steps,
            inputs=network.inputs,
            width=network.padded_hidden,
            outputs=network.padded_outputs,
            parameters=network.flat_size,
            **{name: int(part.storage_offset()) for name, part in parts.items()},
            first=self.read.start,
            read=len(self.read),
            since=0 if keep else self.read.start,
            kept=steps if keep else steps - self.read.start,
            H=64 if network.padded_hidden <= 64 else 128,
            I=on_chip(network.inputs),
            O=on_chip(network.padded_outputs),
            relu=self._kind == "relu",
            keep=keep,
            varying=varying,
            trace=trace,
            precision=precision(),
        )

    def _by_sequence(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs of all steps `read` [R, B, S, padded O] as those of the scored steps, [R, B, A, O]."""
        return self.scored(outputs[..., : self.network.outputs], batch)


def on_chip(size: int) -> int:
    """The least power of two that a product takes: at least 16."""
    return max(16, 1 << (size - 1).bit_length())


@functools.cache
def precision() -> str:
    """The precision of the kernels' products; Triton's interpreter, where numpy multiplies, has only one."""
    import triton

    return "ieee" if triton.knobs.runtime.interpret else PRECISION


class Pass:
    """The kernels on one batch, and what they leave for each other."""

    def __init__(self, kind: str, shape: Shape, flat: Tensor, batch: Batch) -> None:
        from bench.engines import triton_kernels  # not at the top: where no kernel runs there may be no Triton

        self.kernels: Any = triton_kernels
        self.shape = shape
        self.lstm = kind == "lstm"
        self.warps = 8 if self.lstm or shape.H > 64 else 4
        self.flat, self.inputs = aligned(flat.detach()), aligned(batch.inputs)
        self.lengths = None if batch.lengths is None else aligned(batch.lengths)
        self.replicas, self.sequences = batch.inputs.shape[:2]
        self.tiles = self.replicas, -(-self.sequences // self.kernels.TILE.value)
        self.states = self._rows(shape.kept, shape.width)
        self.alive = torch.empty(self.tiles, dtype=torch.bool, device=flat.device)
        if self.lstm:
            steps = shape.steps if shape.keep else 0
            self.gates, self.cells = self._rows(steps, 4 * shape.width), self._rows(steps, shape.width)

    def _rows(self, steps: int, columns: int) -> Tensor:
        return self.flat.new_empty(self.replicas, self.sequences, steps, columns)

    def forward(self) -> Tensor:
        """Outputs of the steps that are read, [R, B, S, padded O]; `alive` tells of every tile of sequences."""
        given = self.flat, self.inputs, self.lengths, self.states
        if self.lstm:
            self._launch("lstm_forward", self.tiles, *given, self.gates, self.cells, self.alive, self.sequences)
        else:
            self._launch("elman_forward", self.tiles, *given, self.alive, self.sequences)
        outputs = self._rows(self.shape.read, self.shape.outputs)
        blocks = -(-self.sequences * self.shape.read // self.kernels.UNITS.value)
        self._launch("readout", (self.replicas, blocks), self.flat, self.states, outputs, self.sequences)
        return outputs

    def backward(self, d_outputs: Tensor) -> tuple[Tensor, Tensor]:
        """After `forward`: the gradient [R, P]; if asked for, ||.||^2 of the parts of the state, [parts, R, B, T]."""
        shape, d_outputs = self.shape, aligned(d_outputs)
        parts = (2 if self.lstm else 1) if shape.trace else 0
        squares = d_outputs.new_empty(parts, *self.states.shape[:3], dtype=torch.float64)
        if self.lstm:
            deltas = self.gates  # in place, for nobody asks for the gates any more
            kernel, given = "lstm_backward", (self.flat, self.cells, d_outputs, deltas, squares)
        else:
            deltas = torch.empty_like(self.states)
            kernel, given = "elman_backward", (self.flat, self.states, d_outputs, deltas, squares)
        self._launch(kernel, self.tiles, *given, self.sequences)

        gradient = torch.zeros_like(self.flat)
        steps, heights, width = self.sequences * shape.steps, deltas.shape[-1], shape.width
        reads = self.sequences * shape.read
        for left, right, sums in (
            (deltas, self.states, Sums(steps, shape.steps, -1, heights, width, shape.W_hh, None)),
            (deltas, self.inputs, Sums(steps, shape.steps, 0, heights, shape.inputs, shape.W_xh, shape.b)),
            (d_outputs, self.states, Sums(reads, shape.read, shape.first, shape.outputs, width, shape.W_hy, shape.b_y)),
        ):
            grid = self.replicas, -(-sums.heights // self.kernels.UNITS.value), -(-sums.widths // sums.block)
            self._launch("outer_products", grid, left, right, gradient, sums, warps=4)
        return gradient, squares

    def _launch(self, name: str, grid: tuple[int, ...], *arguments: Any, warps: int | None = None) -> None:
        with torch.cuda.device_of(self.flat):
            launch(getattr(self.kernels, name), grid, warps or self.warps, *arguments, self.shape)


def aligned(tensor: Tensor) -> Tensor:
    """The tensor in one piece and at a multiple of 16 bytes: elsewhere Triton would compile another kernel."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def launch(kernel: Any, grid: tuple[int, ...], warps: int, *arguments: Any) -> None:
    """Run a kernel."""
    kernel[grid](*arguments, num_warps=warps)
