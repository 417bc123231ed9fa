"""A cell's states over a few steps, by the suite and by a loop over numpy arrays that a test has from a paper."""

from collections.abc import Callable

import numpy as np
import torch

from bench.jobs.compose import example
from bench.nets.cells.cell import Cell
from bench.nets.initializers import Initializers, PyTorch
from bench.nets.network import Network

Step = Callable[..., tuple[np.ndarray, ...]]


def drawn(name: str, hidden: int = 6, scale: float = 3.0, **fields) -> tuple[Cell, dict[str, torch.Tensor]]:
    """A cell from its yaml with weights large enough that no part of its equation is near linear, one replica's."""
    cell = example(f"cell/{name}", hidden=hidden, **fields)
    network = Network(cell, inputs=3, outputs=2)
    return cell, network.views(scale * network.initial([Initializers(*[PyTorch()] * 5)], [0])[0])


def inputs(steps: int = 7, sequences: int = 4) -> torch.Tensor:
    """[B, T, 3]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(sequences, steps, 3, dtype=torch.float64, generator=generator)


def unrolled(cell: Cell, weights: dict[str, torch.Tensor], x: torch.Tensor) -> list[np.ndarray]:
    """Each part of the state after every step, [B, T, H]."""
    weights = cell.prepared(weights)
    state = tuple(torch.zeros(len(x), cell.hidden, dtype=x.dtype) for _ in cell.states)
    seen = []
    for x_t in x.unbind(1):
        state = cell.step(weights, x_t, state)
        seen.append(state)
    return [torch.stack(part, dim=1).numpy() for part in zip(*seen, strict=True)]


def assert_is(step: Step, cell: Cell, weights: dict[str, torch.Tensor], **fields: float) -> None:
    """The cell's states are those of step(w, x, *state) -> state, for one sequence at a time in numpy."""
    w = {name: weight.numpy() for name, weight in weights.items()}
    x = inputs()
    ours = unrolled(cell, weights, x)
    for b, sequence in enumerate(x.numpy()):
        state = tuple(np.zeros(cell.hidden) for _ in cell.states)
        for t, x_t in enumerate(sequence):
            state = step(w, x_t, *state, **fields)
            for mine, part in zip(ours, state, strict=True):
                np.testing.assert_allclose(mine[b, t], part, rtol=1e-11, atol=1e-13)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))
