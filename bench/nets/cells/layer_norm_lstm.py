"""Long short-term memory with layer normalisation of the summed inputs and of the cell state that is shown.

Source: Ba, Kiros & Hinton 2016, "Layer normalization", supplementary material, equations 20 to 22 (arXiv:1607.06450).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.nets.cells.cell import State, Weights
from bench.nets.cells.normalized_lstm import NormalizedLSTM
from bench.nets.normalization import layer_normalized
from tasks.ranges import Positive


@dataclass(frozen=True)
class LayerNormLSTM(NormalizedLSTM):
    """An LSTM whose gates see normalised sums, and whose cell state is normalised where it is shown.

    (i, f, g, o) = g_h * N(W_hh h_{t-1}) + g_x * N(W_xh x_t) + b      N over the 4H sums of all gates together
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(g_c * N(c_t) + b_c)                       N over the H units

    N(v) = (v - mean) / sqrt(var + eps). The cell state is handed on as it is. Gains start at 1, biases by the
    initialiser of their role.

    eps: in units of the squared sums.
    Differs from the paper: its two biases of normalised sums and b add up to one here, and it has no eps.
    """

    eps: Positive

    @property
    def first_gain(self) -> float:
        return 1.0

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        return self.stepped(weights, x, state, lambda name, values: layer_normalized(values, self.eps))
