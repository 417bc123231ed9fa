"""The whole time loop of a replica in one kernel on a GPU, written in Triton from the cell's own `step`.

`step` is traced to a graph and differentiated as for C; `step/triton_source.py` writes its time loop forward and back.
The kernels give the outputs of the steps that are read; their loss, which may be any torch code, and its gradient are
torch's; then a kernel runs back through time, and the gradients of the weights are gathered from what it leaves. The
pass around them is recorded as one CUDA graph, for launching a kernel takes the host longer than a short one runs.

The loops multiply in `bf16x6`: each number is the sum of three bfloat16, with which a GPU's matrix units are fast. A
product is exact to float32's own rounding but for one thing: the units cut off what they add up where float32 rounds
to the nearest, so every step comes out too small, by 2e-7. Over 1000 steps near W = I the gradient is 2e-4 too small;
where that shows against float64 (`proof.py`), `fused_exact` serves, in IEEE arithmetic, a fifth slower. Never TF32,
which cuts 13 bits off: over 1000 steps that is another gradient. Below 1e-33 the smallest of the three parts
underflows: a derivative keeps ever fewer digits towards 1e-38.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.engines import building
from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.engines.graphed import CapturedProgram
from bench.engines.kernels import Prepared
from bench.engines.step.graph import Unsupported
from bench.engines.step.trace import Step, traced
from bench.engines.step.triton_source import TritonSource, block, written
from bench.nets.network import MULTIPLE, Network, padded
from tasks.task import Batch, Task

OLDEST = (8, 0)  # of GPUs, by CUDA's count: the first with matrix units for bfloat16
EXACT = "ieee"  # the precision of float32 itself
PER_WEIGHT = {"bf16x6": 6, EXACT: 4}  # bytes of shared memory
BESIDE = 12 * 1024  # bytes of shared memory that a kernel takes for other things
PART = 4096  # steps of all sequences that one program of `outer_products` adds up
FOUR_WARPS = 8 * 1024, 64  # up to so many weights and units 4 warps are enough, else 8 share them


@dataclass(frozen=True)
class Fused(Engine):
    """Any cell whose step can be traced and whose weights stay on chip, on a GPU with Triton.

    With 160 KiB of shared memory those are Elman nets up to H = 128, an LSTM or a GRU up to H = 64. What a cell
    prepares of its parameters is made before the kernels, by torch, and such a pass is not recorded.
    """

    devices = ("cuda",)
    clips_state_gradient = False
    precision: ClassVar[str] = "bf16x6"  # of the products in the loops over time, in float32

    def supports(self, network: Network, device: torch.device) -> bool:
        return device.type in self.devices and self._available(device) and self._unfit(network, device) is None

    def refusal(self, network: Network, device: torch.device, interventions: Interventions) -> str | None:
        if device.type in self.devices and self._available(device) and (reason := self._unfit(network, device)):
            return f"cannot train {network.cell.name} in one kernel: {reason}"
        return super().refusal(network, device, interventions)

    def _available(self, device: torch.device) -> bool:
        return available(device, self.precision)

    def _unfit(self, network: Network, device: torch.device) -> str | None:
        return unfit(network, room(device), PER_WEIGHT[self.precision])

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        program = FusedProgram(network, task, interventions, self.precision)
        return program if program.kernels.step.made else CapturedProgram(program)

    def activation_count(self, network: Network, steps: int, sequences: int) -> int:
        return steps * sequences * (kernels(network).source.columns + network.inputs)  # a recording's own batch

    def judging_count(self, network: Network, read: int, sequences: int) -> int:
        """The states of all steps that are read, from which a second kernel makes the outputs."""
        return sequences * read * network.padded_hidden


class FusedExact(Fused):
    """`fused` in IEEE arithmetic: every sum rounds to the nearest, as torch's without TF32."""

    precision = EXACT


def unfit(network: Network, memory: int, per_weight: int) -> str | None:
    """Why there are no kernels for a network where a program has so many bytes of shared memory; None if there are.

    Registers that do not suffice are no reason: what is over goes to memory, which is slower.
    """
    if network.masked:
        return "parts of its state are dropped"
    if network.cell.varies:
        return "its weights differ from step to step"
    try:
        weights = kernels(network).source.weights
    except Unsupported as reason:
        return str(reason)
    needed = per_weight * weights + BESIDE
    if needed > memory:
        return f"its weights take {needed // 1024} KiB of shared memory, where the GPU has {memory // 1024}"
    return None


def available(device: torch.device, precision: str) -> bool:
    """Whether a Triton that knows such products is here, and the GPU is one that has them."""
    return precision in _precisions() and torch.cuda.get_device_capability(device) >= OLDEST


def room(device: torch.device) -> int:
    """Bytes of shared memory that a program may have."""
    properties: Any = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin)


@functools.cache
def _precisions() -> tuple[str, ...]:
    if importlib.util.find_spec("triton") is None:
        return ()
    from triton.backends.nvidia.compiler import CUDAOptions

    return tuple(CUDAOptions.allowed_dot_input_precisions)


@functools.cache
def kernels(network: Network) -> Kernels:
    """The kernels of a network. Raises Unsupported."""
    return Kernels(network)


class Kernels:
    """What is known of a network's kernels before Triton has them; `module` is them."""

    def __init__(self, network: Network) -> None:
        self.step: Step = traced(network)
        self.source: TritonSource = written(network, self.step)

    @functools.cached_property
    def module(self) -> Any:
        return building.module(self.source.text)


@dataclass(frozen=True)
class Shape:
    """What a kernel knows of a pass when it is compiled.

    steps: T. hidden, width, outputs: H, and H and O as stored. row: numbers of a replica, and where W_hy and b_y start
    in it. columns: numbers that are kept of a step. first, read: the first step that is read, and how many are.
    since, kept: the first step that is kept, and how many are. H, O: sizes on chip. keep: for a way back. varying:
    sequences have lengths of their own. trace: the norms of the state's derivatives are asked for. precision: of the
    products in the loops over time.
    """

    steps: int
    hidden: int
    width: int
    outputs: int
    row: int
    W_hy: int
    b_y: int
    columns: int
    first: int
    read: int
    since: int
    kept: int
    H: int
    O: int
    keep: bool
    varying: bool
    trace: bool
    precision: str

    @property
    def part(self) -> int:
        """Units that `readout` takes at a time."""
        return min(32, self.H)


@dataclass(frozen=True)
class Sums:
    """What `outer_products` adds up: over b, t of left[b, t] right[b, first + t]^T, and of left[b, t].

    left [R, B, span, left_pitch], of which columns from `left` on count: `blocks` times `every`, of each of which the
    first `units`; right likewise [R, B, T, right_pitch] with `widths`, of which `loaded` may be read; rows = B span;
    what lies before the first step is 0. weight, apart: where in a replica's row of weights the first block of the
    result goes, and the next; down, across: how far apart its rows and columns lie. bias, biases_apart: likewise where
    the sum of left goes, None if it is not asked for.
    """

    rows: int
    span: int
    first: int
    left: int
    left_pitch: int
    blocks: int
    every: int
    units: int
    right: int
    right_pitch: int
    widths: int
    loaded: int
    weight: int
    apart: int
    down: int
    across: int
    bias: int | None
    biases_apart: int

    @property
    def block(self) -> int:
        """Columns of the result in a program of `outer_products`."""
        return min(64, block(self.widths))

    @property
    def parts(self) -> int:
        """Into how many the rows are divided."""
        return parts_of(self.rows)


def parts_of(rows: int) -> int:
    """Into how many parts a sum over rows is divided; it depends on nothing else, and so do the bits of the sum."""
    return max(1, rows // PART)


class FusedProgram(Program):
    """One kernel forward, one back, and one for each product that gathers a gradient."""

    def __init__(
        self, network: Network, task: Task, interventions: Interventions, precision: str = Fused.precision
    ) -> None:
        super().__init__(network, task, interventions)
        self.kernels, self.precision = kernels(network), precision

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        prepared = Prepared(self.kernels.step, self.network, flat.detach(), gradient=True)
        through_time = Pass(self, prepared.rows, batch, keep=True, trace=trace)
        outputs = through_time.forward().requires_grad_()
        with torch.enable_grad():
            loss = self.training_loss(self._by_sequence(outputs, batch), batch.targets)
            (d_outputs,) = torch.autograd.grad(loss.sum(), outputs)
        rows, squares = through_time.backward(d_outputs)
        # L^(b) is the loss of one sequence, the pack's loss the mean over B of them
        sequences = batch.inputs.shape[1]
        traces = {
            name: self.common(square.sqrt(), batch) * sequences
            for name, square in zip(self.network.cell.states, squares, strict=False)
        }
        return Gradients(loss.detach(), prepared.gradient(rows), traces)

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        prepared = Prepared(self.kernels.step, self.network, flat.detach(), gradient=False)
        through_time = Pass(self, prepared.rows, batch, keep=False, trace=False)
        return Answers(self._by_sequence(through_time.forward(), batch), through_time.alive.any(-1))

    def shape(self, keep: bool, varying: bool, trace: bool, dtype: torch.dtype) -> Shape:
        """What the kernels are told of a pass."""
        network, steps = self.network, self.task.steps
        parts = network.padded_views(torch.empty(network.flat_size))
        return Shape(
            steps=steps,
            hidden=network.cell.hidden,
            width=network.padded_hidden,
            outputs=network.padded_outputs,
            row=self.kernels.step.row,
            W_hy=int(parts["W_hy"].storage_offset()),
            b_y=int(parts["b_y"].storage_offset()),
            columns=self.kernels.source.columns if keep else network.padded_hidden,
            first=self.read.start,
            read=len(self.read),
            since=0 if keep else self.read.start,
            kept=steps if keep else steps - self.read.start,
            H=block(network.padded_hidden),
            O=block(network.padded_outputs),
            keep=keep,
            varying=varying,
            trace=trace,
            precision=EXACT if dtype != torch.float32 or interpreted() else self.precision,
        )

    def _by_sequence(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs of all steps `read` [R, B, S, padded O] as those of the scored steps, [R, B, A, O]."""
        return self.scored(outputs[..., : self.network.outputs], batch)


def interpreted() -> bool:
    """Whether Triton's interpreter is at work, which multiplies by numpy, and so in one precision only."""
    import triton

    return bool(triton.knobs.runtime.interpret)


class Pass:
    """The kernels on one batch, and what they leave for each other."""

    def __init__(self, program: FusedProgram, rows: Tensor, batch: Batch, keep: bool, trace: bool) -> None:
        from bench.engines import triton_kernels  # not at the top: where no kernel runs there may be no Triton

        self.common: Any = triton_kernels
        self.own, self.source = program.kernels.module, program.kernels.source
        self.network = program.network
        self.shape = program.shape(keep, batch.lengths is not None, trace, rows.dtype)
        weights, units = FOUR_WARPS
        self.warps = 4 if self.source.weights <= weights and self.network.cell.hidden <= units else 8
        self.rows, self.inputs = aligned(rows), aligned(batch.inputs)
        self.turned = self._transposes()
        self.lengths = None if batch.lengths is None else aligned(batch.lengths)
        self.replicas, self.sequences = batch.inputs.shape[:2]
        self.tiles = self.replicas, -(-self.sequences // self.common.TILE.value)
        self.kept = rows.new_empty(self.replicas, self.sequences, self.shape.kept, self.shape.columns)
        self.alive = torch.empty(self.tiles, dtype=torch.bool, device=rows.device)

    def forward(self) -> Tensor:
        """Outputs of the steps that are read, [R, B, S, padded O]; `alive` tells of every tile of sequences."""
        given = self.rows, self.turned, self.inputs, self.lengths, self.kept, self.alive, self.sequences
        self._launch(self.own.forward, self.tiles, *given)
        outputs = self.rows.new_empty(self.replicas, self.sequences, self.shape.read, self.shape.outputs)
        blocks = -(-self.sequences * self.shape.read // self.common.UNITS.value)
        read = self.rows, self.kept, outputs, self.sequences
        self._launch(self.common.readout, (self.replicas, blocks), *read)
        return outputs

    def backward(self, d_outputs: Tensor) -> tuple[Tensor, Tensor]:
        """After `forward`: gradient of the rows; if asked for, ||.||^2 of the parts of the state, [parts, R, B, T]."""
        shape, d_outputs = self.shape, aligned(d_outputs)
        parts = len(self.network.cell.states) if shape.trace else 0
        squares = d_outputs.new_empty(parts, *self.kept.shape[:3], dtype=torch.float64)
        partial = self.rows.new_empty(*self.tiles, self.source.sums)
        weights, read = (self.rows, self.turned), (self.inputs, self.lengths, self.kept)
        given = *weights, *read, d_outputs, squares, partial, self.sequences
        self._launch(self.own.backward, self.tiles, *given)
        gradients = self.rows.new_zeros(parts_of(self.sequences * shape.steps), *self.rows.shape)
        for tile in partial.unbind(1):
            for start, column, count in self.source.summed:
                gradients[0, :, start : start + count] += tile[:, column : column + count]
        for product in self.source.gathered:
            of_input = product.left is None
            sums = Sums(
                rows=self.sequences * shape.steps,
                span=shape.steps,
                first=-1 if product.earlier else 0,
                left=product.deltas,
                left_pitch=shape.columns,
                blocks=product.blocks,
                every=padded(product.units, MULTIPLE),
                units=product.units,
                right=product.left or 0,
                right_pitch=self.network.inputs if of_input else shape.columns,
                widths=product.count,
                loaded=product.count if of_input else padded(product.count, MULTIPLE),
                weight=product.weight,
                apart=product.apart,
                down=product.strides[1],
                across=product.strides[0],
                bias=product.bias,
                biases_apart=product.biases_apart,
            )
            self._gather(self.kept, self.inputs if of_input else self.kept, gradients, sums)
        readout = Sums(
            rows=self.sequences * shape.read,
            span=shape.read,
            first=shape.first,
            left=0,
            left_pitch=shape.outputs,
            blocks=1,
            every=shape.outputs,
            units=self.network.outputs,
            right=0,
            right_pitch=shape.columns,
            widths=shape.hidden,
            loaded=shape.width,
            weight=shape.W_hy,
            apart=0,
            down=shape.width,
            across=1,
            bias=shape.b_y,
            biases_apart=0,
        )
        self._gather(d_outputs, self.kept, gradients, readout)
        gradient = gradients[0]
        for part in gradients[1:]:
            gradient += part
        return gradient, squares

    def _transposes(self) -> Tensor:
        """The transposes of the weights that the kernels multiply across their rows, [R, numbers]."""
        found = self.rows.new_zeros(len(self.rows), self.source.transposes)
        for one in self.source.turned:
            part = self.rows[:, one.offset : one.offset + one.rows * one.pitch].unflatten(1, (one.rows, one.pitch))
            place = found[:, one.place : one.place + one.columns * one.width].unflatten(1, (one.columns, one.width))
            place[..., : one.rows] = part[..., : one.columns].mT
        return found

    def _gather(self, left: Tensor, right: Tensor, gradients: Tensor, sums: Sums) -> None:
        heights = sums.blocks * sums.every
        columns = -(-sums.widths // sums.block)
        grid = self.replicas, -(-heights // self.common.UNITS.value), columns * sums.parts
        self._launch(self.common.outer_products, grid, left, right, gradients, sums, warps=4)

    def _launch(self, kernel: Any, grid: tuple[int, ...], *arguments: Any, warps: int | None = None) -> None:
        with torch.cuda.device_of(self.rows):
            launch(kernel, grid, warps or self.warps, *arguments, self.shape)


def aligned(tensor: Tensor) -> Tensor:
    """The tensor in one piece and at a multiple of 16 bytes: elsewhere Triton would compile another kernel."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def launch(kernel: Any, grid: tuple[int, ...], warps: int, *arguments: Any) -> None:
    """Run a kernel."""
    kernel[grid](*arguments, num_warps=warps)
