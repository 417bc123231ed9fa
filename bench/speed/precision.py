"""The error of an engine's float32 gradient against float64, on nets that forget and on nets that do not."""

from __future__ import annotations

import statistics

import torch
from torch import Tensor

from bench.engines.eager import Eager
from bench.engines.engine import Engine
from bench.engines.library import Library, LibraryProgram, cudnn_multiplies
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.nets.network import Network
from bench.pack.streams import Stream
from tasks.task import Batch

CASES = {  # overrides, and the size of the noise that is added to the recurrent weight
    "default tanh": (("cell=tanh",), 0.0),
    "orthogonal tanh": (("cell=tanh", "initializer/recurrent=orthogonal"), 0.0),
    "IRNN": (("cell=irnn",), 0.0),
    "near-identity ReLU": (("cell=irnn",), 1e-3),
    "LSTM": (("cell=lstm",), 0.0),
    "LSTM that keeps": (("cell=lstm", "initializer.bias.forget=10"), 0.0),
}
SEEDS = list(range(5))
CPU = torch.device("cpu")


def errors(engine: Engine, case: str, steps: int, hidden: int = 100, device: torch.device = CPU) -> dict[str, float]:
    """||g - g64|| / ||g64|| by parameter, and of the norms ||dL/dh|| at the first step; the median of five nets.

    A median, for a unit near the kink of a ReLU may round to the other side, with any engine, and that is chance.
    Adding, B = 16. g64 is what `Eager` answers in float64 for the same float32 weights and data.
    """
    overrides, noise = CASES[case]
    replica = checked_job(composed(*overrides, f"cell.hidden={hidden}", f"task.length={steps}")).replica
    network, task = replica.network, replica.task
    flat = network.initial([replica.initializer] * len(SEEDS), SEEDS)
    recurrent = network.views(flat)["W_hh"]
    recurrent += noise * Stream(SEEDS, "noise").normal(*recurrent.shape[1:])
    flat = flat.to(device, torch.float32)
    batch = task.sample(Stream(SEEDS, "train", device=device), replica.batch_size)
    exact_batch = task.sample(Stream(SEEDS, "train", dtype=torch.float64, device=device), replica.batch_size)

    exact = Eager().program(network, task).gradients(flat.double(), exact_batch, trace=True)
    program = engine.program(network, task)
    ours = program.gradients(flat, batch, trace=not isinstance(engine, Library))
    if isinstance(program, LibraryProgram):
        with cudnn_multiplies(program.tf32):
            first = torch.stack([_first_norms(program, network, flat[r], batch.at(r)) for r in range(len(SEEDS))])
    else:
        first = ours.trace["h"][..., 0]
    parts, exact_parts = network.views(ours.gradient), network.views(exact.gradient)
    found = {name: _error(parts[name].double(), exact_parts[name]) for name in parts}
    return {**found, "first state": _error(first, exact.trace["h"][..., 0])}


def _error(ours: Tensor, exact: Tensor) -> float:
    """0 where nothing is exact: over many steps a net that forgets has no gradient left even in float64."""
    pairs = zip(ours, exact, strict=True)
    return statistics.median(float((a - b).norm() / b.norm()) if b.any() or a.any() else 0.0 for a, b in pairs)


def _first_norms(program: LibraryProgram, network: Network, flat: Tensor, batch: Batch) -> Tensor:
    """||dL^(b)/dh|| after the first step by torch.nn's own autograd: the first state is made a leaf, [B]."""
    module, weights = program._loaded(flat)
    with torch.no_grad():
        _, state = module(batch.inputs[:, :1])
    leaves = [part.requires_grad_() for part in (state if isinstance(state, tuple) else (state,))]
    hidden, _ = module(batch.inputs[:, 1:], tuple(leaves) if isinstance(state, tuple) else leaves[0])
    loss = program.mean_loss(program.scored(network.readout(weights, hidden[:, -1:]), batch), batch.targets)
    (gradient,) = torch.autograd.grad(loss, leaves[0])
    norms: Tensor = gradient[0].double().norm(dim=-1)
    return norms * batch.inputs.shape[0]
