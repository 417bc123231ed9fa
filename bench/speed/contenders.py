"""What is timed side by side: our engines, and what one would write without them.

Each does the same whole update on the same data: forward, backward, norms, clipping at the run's threshold, Adam.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.engines.batched import Batched
from bench.engines.compiled import Compiled
from bench.engines.eager import Eager
from bench.engines.engine import Engine
from bench.engines.library import Library
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.nets.cells.cell import Weights
from bench.nets.cells.elman import Elman
from bench.nets.network import Network
from bench.training.loop import Training
from tasks.task import Batch

ENGINES: dict[str, Engine] = {
    "compiled": Compiled(),
    "batched": Batched(),
    "eager": Eager(),
    "torch.nn": Library(tf32=False),
}
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam, as in `conf/optimizer/adam.yaml`


@dataclass(frozen=True)
class Contender:
    """update: one whole update of a pack. gradient: what it comes to for parameters [R, P] and a batch, [R, P]."""

    update: Callable[[], object]
    gradient: Callable[[Tensor, Batch], Tensor]


def pack(engine: Engine, replicas: int, *overrides: str) -> Training:
    """Replicas that differ in their seed; they would train for ever."""
    endless = ("measurement=[]", "updates=100000", "evaluation.sequences=1", "device=cpu")
    replica = checked_job(composed(*endless, *overrides)).replica
    return Training([dataclasses.replace(replica, seed=seed) for seed in range(replicas)], engine, torch.device("cpu"))


def names() -> list[str]:
    """Names of all contenders that can run here."""
    there = importlib.util.find_spec("jax") is not None
    if not there:
        print("\njax is not installed and is left out: pip install jax")
    return [*ENGINES, "torch.func", *(["jax"] if there else [])]


def contender(name: str, replicas: int, *overrides: str) -> Contender:
    """One of `names` for a pack."""
    if name in ENGINES:
        return _own(pack(ENGINES[name], replicas, *overrides))
    build = {"torch.func": _torch_func, "jax": _jax}[name]
    return build(pack(ENGINES["eager"], replicas, *overrides))


def _own(training: Training) -> Contender:
    batches = training.batches()

    def update() -> None:
        training.advance(0, next(batches))

    return Contender(update, lambda flat, batch: training.program.gradients(flat, batch).gradient)


def _setting(part: Any, name: str) -> float:
    """A number of a pack's clipping rule or optimizer, which is the same for all its replicas here."""
    return float(getattr(part, name)[0])


def _torch_func(training: Training) -> Contender:
    """torch.func.vmap(grad) over the cell's own step, and torch.optim.Adam on the stacked parameters."""
    network, program, task = training.network, training.program, training.task
    batches, threshold = training.batches(), _setting(training.optimizer.clipping, "threshold")

    def loss(weights: Weights, x: Tensor, targets: Tensor) -> Tensor:
        state, outputs = network.zero_state(weights, len(x)), []
        for t in range(task.steps):
            state = network.cell.step(weights, x[:, t], state)
            if t in task.scored:
                outputs.append(network.readout(weights, state[0]))
        return program.mean_loss(torch.stack(outputs, dim=-2), targets)

    gradient = torch.func.vmap(torch.func.grad(loss))
    weights = {name: view.clone().requires_grad_() for name, view in network.views(training.flat).items()}
    adam = torch.optim.Adam(weights.values(), lr=_setting(training.optimizer.optimizer, "lr"), betas=BETAS, eps=EPSILON)

    def update() -> None:
        batch = next(batches)
        found = gradient({name: weight.detach() for name, weight in weights.items()}, batch.inputs, batch.targets)
        norm = sum(part.square().flatten(1).sum(-1) for part in found.values()).sqrt()
        scale = (threshold / norm).clamp_max(1)
        for name, part in found.items():
            weights[name].grad = part * scale.view(-1, *[1] * (part.ndim - 1))
        adam.step()

    def flat_gradient(flat: Tensor, batch: Batch) -> Tensor:
        return _flat(network, flat, gradient(network.views(flat), batch.inputs, batch.targets))

    return Contender(update, flat_gradient)


def _jax(training: Training) -> Contender:
    """jit(vmap(scan)) with products in full float32, and Adam by hand."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_default_matmul_precision", "highest")
    network, task = training.network, training.task
    batches = training.batches()
    threshold, lr = _setting(training.optimizer.clipping, "threshold"), _setting(training.optimizer.optimizer, "lr")
    cell = network.cell

    def step(weights: Any, state: Any, x: Any) -> tuple[Any, Any]:
        if isinstance(cell, Elman):
            phi = {"tanh": jnp.tanh, "relu": jax.nn.relu}[cell.activation]
            h = phi(state @ weights["W_hh"].T + x @ weights["W_xh"].T + weights["b"])
            return h, h
        h, c = state
        wide = 4 * cell.hidden
        a = h @ weights["W_hh"].reshape(wide, -1).T + x @ weights["W_xh"].reshape(wide, -1).T + weights["b"].ravel()
        i, f, g, o = jnp.split(a, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def loss(weights: Any, x: Any, targets: Any) -> Any:
        zero = jnp.zeros((x.shape[0], cell.hidden))
        start = zero if isinstance(cell, Elman) else (zero, zero)
        _, hidden = jax.lax.scan(lambda state, x: step(weights, state, x), start, x.transpose(1, 0, 2))
        outputs = hidden[task.scored.start :] @ weights["W_hy"].T + weights["b_y"]  # [A, B, O]
        if task.classes:
            chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs), targets.T[..., None], -1)
            return -chosen.mean()
        return ((outputs[..., 0] - targets.T) ** 2).mean()

    gradient = jax.jit(jax.vmap(jax.grad(loss)))

    @jax.jit
    def adam(weights: Any, moments: Any, count: Any, x: Any, targets: Any) -> Any:
        found = jax.vmap(jax.grad(loss))(weights, x, targets)
        norm = jnp.sqrt(sum((part**2).reshape(len(part), -1).sum(-1) for part in found.values()))
        scale = jnp.minimum(1, threshold / norm)
        found = {name: part * scale.reshape(-1, *[1] * (part.ndim - 1)) for name, part in found.items()}
        mean = {name: BETAS[0] * moments[0][name] + (1 - BETAS[0]) * part for name, part in found.items()}
        square = {name: BETAS[1] * moments[1][name] + (1 - BETAS[1]) * part**2 for name, part in found.items()}
        first, second = 1 - BETAS[0] ** count, 1 - BETAS[1] ** count
        stepped = {
            name: weight - lr * (mean[name] / first) / (jnp.sqrt(square[name] / second) + EPSILON)
            for name, weight in weights.items()
        }
        return stepped, (mean, square)

    def arrays(flat: Tensor) -> dict[str, Any]:
        return {name: jnp.asarray(view.contiguous().numpy()) for name, view in network.views(flat).items()}

    weights = arrays(training.flat)
    zeros = {name: jnp.zeros_like(weight) for name, weight in weights.items()}
    kept: dict[str, Any] = {"weights": weights, "moments": (zeros, zeros), "count": 0}

    def update() -> None:
        batch = next(batches)
        kept["count"] += 1
        stepped = adam(kept["weights"], kept["moments"], kept["count"], batch.inputs.numpy(), batch.targets.numpy())
        kept["weights"], kept["moments"] = jax.block_until_ready(stepped)

    def flat_gradient(flat: Tensor, batch: Batch) -> Tensor:
        found = gradient(arrays(flat), batch.inputs.numpy(), batch.targets.numpy())
        return _flat(
            network, flat, {name: torch.from_numpy(jax.device_get(part).copy()) for name, part in found.items()}
        )

    return Contender(update, flat_gradient)


def _flat(network: Network, like: Tensor, parts: dict[str, Tensor]) -> Tensor:
    """The parts of a gradient as one row per replica."""
    gradient = torch.zeros_like(like)
    for name, view in network.views(gradient).items():
        view.copy_(parts[name])
    return gradient
