"""Long short-term memory with recurrent batch normalisation, whose statistics are those of each step.

Source: Cooijmans, Ballas, Laurent, Gülçehre & Courville 2017, "Recurrent batch normalization", equations 6 to 8
(arXiv:1603.09025).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.cell import State, Weights
from bench.nets.cells.normalized_lstm import NormalizedLSTM
from tasks.ranges import Count, Positive
from tasks.task import Task

SUMS = ("h", "x", "c")  # what is normalised: the sums from h and from x, and the cell state that is shown


@dataclass(frozen=True)
class BatchNormLSTM(NormalizedLSTM):
    """An LSTM whose summed inputs, and the cell state that is shown, are normalised over the sequences of a batch.

    (i, f, g, o) = g_h * N(W_hh h_{t-1}) + g_x * N(W_xh x_t) + b
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(g_c * N(c_t) + b_c)

    N(v) = (v - mean) / sqrt(var + eps), mean and variance of each unit at step t. In training they are those of the
    batch. To judge or to measure a net they are those of `population` training sequences that go through it as a batch
    does: each answer then depends on its own sequence alone. They follow from weights and seed, and are kept nowhere.
    Within a batch sequences have a part in one another's loss: the training gradient of a sequence's state is that of
    the whole batch's loss, and of a trained net's rows in `gradient_through_time` only the probe's is a sequence's own.

    Gains start at `gain`, biases by the initialiser of their role.

    population: sequences. gain: .1 in the source, since larger ones let tanh's slope vanish. eps: in units of the
    squared sums.
    Differs from the paper: the population's mean and variance are taken afresh whenever a net is judged, where theirs
    are running averages over training; no noise is added to h_0, so N(W_hh h_0) is 0; the steps of all sequences must
    be as many.
    """

    population: Count
    gain: Positive
    eps: Positive

    def refusal(self, task: Task) -> str | None:
        if task.least_steps == task.steps:
            return None
        return f"cell={self.name}: needs sequences of one length, and those of {task.name} differ; choose another cell"

    @property
    def first_gain(self) -> float:
        return self.gain

    @property
    def population_size(self) -> int:
        return self.population

    def with_population(self, weights: Weights, inputs: Tensor) -> Weights:
        """With mean and variance of each sum at every step, `mean_h` [..., T, 4 H] and so on."""
        zero = inputs.new_zeros(*inputs.shape[:-2], self.hidden)
        state: State = (zero, zero)
        found: list[dict[str, Tensor]] = []
        with torch.no_grad():
            for x in inputs.unbind(-2):
                state, statistics = self._stepped(weights, x, state, {})
                found.append(statistics)
        return {**weights, **{name: torch.stack([of[name] for of in found], dim=-2) for name in found[0]}}

    def at(self, weights: Weights, t: int) -> Weights:
        known = [f"{kind}_{name}" for kind in ("mean", "var") for name in SUMS]
        return {**weights, **{name: weights[name][..., t, :] for name in known if name in weights}}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        return self._stepped(weights, x, state, weights)[0]

    def _stepped(self, weights: Weights, x: Tensor, state: State, known: Weights) -> tuple[State, dict[str, Tensor]]:
        """The state after a step, and the statistics: those `known`, else those of the batch."""
        statistics: dict[str, Tensor] = {}

        def normalized(name: str, values: Tensor) -> Tensor:
            mean = known[f"mean_{name}"] if f"mean_{name}" in known else values.mean(-2)
            centred = values - mean[..., None, :]
            var = known[f"var_{name}"] if f"var_{name}" in known else centred.square().mean(-2)
            statistics.update({f"mean_{name}": mean, f"var_{name}": var})
            return centred * torch.rsqrt(var + self.eps)[..., None, :]

        return self.stepped(weights, x, state, normalized), statistics
