"""A whole pass of `Batched` as one CUDA graph: the GPU goes from step to step without asking the host.

Launching a step's kernels one by one takes longer than running them. So a pass is recorded once for each shape of batch
and replayed from then on; what it reads and what it answers lie where they lay when it was recorded. Nothing in a pass
may wait for the host (a test holds it). Where there is no GPU the same code runs without being recorded.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.engines.batched import Batched
from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.nets.network import Network
from tasks.task import Batch, Task

WARM_UP = 2  # runs before a recording, in which libraries and buffers are set up


@dataclass(frozen=True)
class Graphed(Engine):
    """`Batched` on a GPU, a pass at a time; at any H, in float32 without TF32 and in float64.

    Which of its kernels cuBLAS takes may depend on the size of the pack, and with it a replica's last bits; where that
    matters use `Fused`.
    """

    devices = ("cuda",)

    def supports(self, network: Network, device: torch.device) -> bool:
        return device.type in self.devices and Batched().supports(network, device)

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return CapturedProgram(Batched().program(network, task, interventions))

    def activation_count(self, network: Network, steps: int, sequences: int) -> int:
        return (
            Batched().activation_count(network, steps, sequences) + steps * sequences * network.inputs
        )  # a recording's own batch


class CapturedProgram(Program):
    """Another program, its passes recorded; what it answers is the caller's to keep."""

    capturable = True

    def __init__(self, program: Program) -> None:
        super().__init__(program.network, program.task, program.interventions)
        self._program = program
        self._passes: dict[tuple[object, ...], CapturedFunction] = {}

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        def function(flat: Tensor, batch: Batch) -> Gradients:
            return self._program.gradients(flat, batch, trace)

        result: Gradients = self._pass(("gradients", trace), function, flat, batch)
        return result

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        result: Answers = self._pass(("answers",), self._program.answers, flat, batch)
        return result

    def _pass(self, asked: tuple[object, ...], function: Callable[..., Any], flat: Tensor, batch: Batch) -> Any:
        if flat.is_cuda and torch.cuda.is_current_stream_capturing():  # as part of a larger recording
            return function(flat, batch)
        key = (*asked, flat.dtype, flat.device, batch.inputs.shape, batch.lengths is None)
        if key not in self._passes:
            self._passes[key] = CapturedFunction(function, flat, batch, memory=self.memory)
        return self._passes[key](flat, batch)

    @property
    def memory(self) -> Any:
        """What its recordings share, and a larger recording may share with them; None before the first."""
        return next((recorded.memory for recorded in self._passes.values()), None)


class CapturedFunction:
    """A function of tensors, recorded on a GPU when this is made, to be called with others of the same shapes.

    Arguments and results are tensors, or tuples and dicts of them. memory: of another recording, to be shared with it,
    for what one leaves there the other does not need. warm_up: how often to run it before, in which libraries and
    buffers are set up; 0 for one that has run and must not again.
    """

    def __init__(
        self, function: Callable[..., Any], *arguments: Any, memory: Any = None, warm_up: int = WARM_UP
    ) -> None:
        self.function = function
        self.arguments = copied(arguments)
        self.graph: torch.cuda.CUDAGraph | None = None
        device = next(tensors(arguments)).device
        self.memory = memory
        if device.type == "cuda":
            self._record(device, warm_up)

    def _record(self, device: torch.device, warm_up: int) -> None:
        with torch.cuda.device(device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(warm_up):
                    self.function(*self.arguments)
            torch.cuda.current_stream().wait_stream(aside)
            gc.collect()  # a recording that is thrown away while another is made breaks that one
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, pool=self.memory):
                self.results = self.function(*self.arguments)
            self.memory = self.graph.pool()

    def __call__(self, *arguments: Any) -> Any:
        for own, given in zip(tensors(self.arguments), tensors(arguments), strict=True):
            own.copy_(given)
        if self.graph is None:
            return copied(self.function(*self.arguments))
        self.graph.replay()
        return copied(self.results)


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in tuples and dicts of them, in order."""
    if isinstance(value, Tensor):
        yield value
    elif value is not None:
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def copied(value: Any) -> Any:
    """Tuples and dicts of tensors with copies in place of the tensors."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: copied(part) for name, part in value.items()}
    if isinstance(value, tuple):
        parts = map(copied, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
