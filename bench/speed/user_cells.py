"""Cells that the engines know by their `step` alone, and what a user would write instead: a loop, and JAX's scan."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.engines.engine import Engine
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.nets.cells.cornn import CoRNN
from bench.nets.cells.lem import LEM
from bench.pack.axes import H, I
from bench.training.loop import Training

PLAIN = {
    "W_hh": Parameter("recurrent", (H, H)),
    "W_xh": Parameter("input", (H, I)),
    "b": Parameter("bias", (H,)),
}


@dataclass(frozen=True)
class Leaky(Cell):
    """h_t = (1 - rate) h_{t-1} + rate tanh(W_hh h_{t-1} + W_xh x_t + b): the documentation's example."""

    rate: float = 0.1

    @property
    def parameters(self) -> dict[str, Parameter]:
        return PLAIN

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        a = h @ weights["W_hh"].mT + x @ weights["W_xh"].mT + weights["b"][..., None, :]
        return ((1 - self.rate) * h + self.rate * torch.tanh(a),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"W_hh": weights["W_hh"]}


CELLS: dict[str, Callable[[int], Cell]] = {
    "leaky": Leaky,
    "lem": functools.partial(LEM, dt=1.0),
    "cornn": functools.partial(CoRNN, dt=0.1, gamma=1.5, epsilon=0.8),
}


def pack(engine: Engine, replicas: int, cell: Cell, length: int) -> Training:
    """Replicas of a cell on the adding task that differ in their seed; they would train for ever."""
    asked = ("task=adding", f"task.length={length}", "measurement=[]", "updates=100000", "device=cpu")
    replica = dataclasses.replace(checked_job(composed(*asked, "evaluation.sequences=1")).replica, cell=cell)
    return Training([dataclasses.replace(replica, seed=seed) for seed in range(replicas)], engine, torch.device("cpu"))


def loop(training: Training) -> Callable[[], object]:
    """One model after the other, each a loop over torch operations, clip_grad_norm_ and torch.optim.Adam."""
    network, task, cell = training.network, training.task, training.network.cell
    models = [{n: v.clone().requires_grad_() for n, v in network.views(row).items()} for row in training.flat]
    optimizers = [torch.optim.Adam(model.values(), lr=1e-3) for model in models]
    batches = training.batches()

    def update() -> None:
        batch = next(batches)
        for r, (weights, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            state = network.zero_state(weights, batch.inputs.shape[1])
            for x in batch.inputs[r].unbind(1):
                state = cell.step(weights, x, state)
            answers = network.readout(weights, state[0])[:, 0]
            optimizer.zero_grad()
            (answers - batch.targets[r, :, 0]).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
            optimizer.step()

    assert len(task.scored) == 1
    return update


def jax_scan(training: Training) -> Callable[[], object]:
    """jit(vmap(grad(scan))) with products in full float32, and Adam by hand."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_default_matmul_precision", "highest")
    cell: Any = training.network.cell
    states = len(cell.states)

    def sigmoid(a: Any) -> Any:
        return jax.nn.sigmoid(a)

    def step(w: Any, state: Any, x: Any) -> Any:
        if isinstance(cell, LEM):
            h, z = state
            x_1, x_2, x_z, x_h = (x @ w["W_xh"][k].T + w["b"][k] for k in range(4))
            slow, fast = (cell.dt * sigmoid(h @ w["W_hh"][k].T + part) for k, part in enumerate((x_1, x_2)))
            z = (1 - slow) * z + slow * jnp.tanh(h @ w["W_hh"][2].T + x_z)
            return (1 - fast) * h + fast * jnp.tanh(z @ w["W_hh"][3].T + x_h), z
        h = state[0]
        a = h @ w["W_hh"].T + x @ w["W_xh"].T + w["b"]
        if isinstance(cell, Leaky):
            return ((1 - cell.rate) * h + cell.rate * jnp.tanh(a),)
        z = state[1] + cell.dt * (jnp.tanh(a + state[1] @ w["W_zh"].T) - cell.gamma * h - cell.epsilon * state[1])
        return h + cell.dt * z, z

    def loss(w: Any, x: Any, targets: Any) -> Any:
        start = tuple(jnp.zeros((x.shape[0], cell.hidden)) for _ in range(states))
        (h, *_), _ = jax.lax.scan(lambda state, x: (step(w, state, x), None), start, x.transpose(1, 0, 2))
        return (((h @ w["W_hy"].T + w["b_y"])[:, 0] - targets[:, 0]) ** 2).mean()

    @jax.jit  # type: ignore[untyped-decorator]
    def adam(w: Any, moments: Any, count: Any, x: Any, targets: Any) -> Any:
        found = jax.vmap(jax.grad(loss))(w, x, targets)
        norm = jnp.sqrt(sum((part**2).reshape(len(part), -1).sum(-1) for part in found.values()))
        scale = jnp.minimum(1, 1 / norm)
        found = {name: part * scale.reshape(-1, *[1] * (part.ndim - 1)) for name, part in found.items()}
        mean = {name: 0.9 * moments[0][name] + 0.1 * part for name, part in found.items()}
        square = {name: 0.999 * moments[1][name] + 0.001 * part**2 for name, part in found.items()}
        first, second = 1 - 0.9**count, 1 - 0.999**count
        moved = {n: v - 1e-3 * (mean[n] / first) / (jnp.sqrt(square[n] / second) + 1e-8) for n, v in w.items()}
        return moved, (mean, square)

    weights = {n: jnp.asarray(v.contiguous().numpy()) for n, v in training.network.views(training.flat).items()}
    zeros = {name: jnp.zeros_like(value) for name, value in weights.items()}
    kept: dict[str, Any] = {"weights": weights, "moments": (zeros, zeros), "count": 0}
    batches = training.batches()

    def update() -> None:
        batch = next(batches)
        kept["count"] += 1
        moved = adam(kept["weights"], kept["moments"], kept["count"], batch.inputs.numpy(), batch.targets.numpy())
        kept["weights"], kept["moments"] = jax.block_until_ready(moved)

    return update
