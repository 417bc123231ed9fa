"""How a weight matrix or a bias starts; one small dataclass per method, chosen per role.

A parameter is filled block by block: one [rows, columns] matrix or [rows] vector per gate. Everything is drawn in
float64 on the CPU from the replica's own stream, so a start is the same on every device and in every pack.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple, Protocol

import torch
from annotated_types import Ge
from torch import Tensor

from tasks.ranges import Checked, Count, CountOrZero, NonNegative, Positive


class Random(Protocol):
    """Where an initialiser's random numbers come from, each draw [*shape] for one replica."""

    def uniform(self, *shape: int) -> Tensor: ...

    def normal(self, *shape: int) -> Tensor: ...


class Block(NamedTuple):
    """What is to be filled: a matrix (rows, columns) or vector (rows,), of which gate, in a net of how many units.

    shared: a stream that begins anew for every gate of a parameter, for starts that its gates have in common.
    torch_biases: how many biases of the torch.nn module with the same equation add up to it.
    inputs: I, the number of the net's input channels.
    """

    shape: tuple[int, ...]
    hidden: int
    gate: str | None
    shared: Random
    torch_biases: int = 1
    inputs: int = 1

    @property
    def fan_out(self) -> int:
        return self.shape[0]

    @property
    def fan_in(self) -> int:
        return self.shape[-1]


@dataclass(frozen=True)
class Initializer(Checked, ABC):
    """A distribution over the start of one block."""

    version: ClassVar[int] = 1  # raised whenever the numbers that it draws change

    @abstractmethod
    def sample(self, random: Random, block: Block) -> Tensor:
        """The start of one block, float64 [*block.shape]."""


@dataclass(frozen=True)
class Initializers:
    """The initialiser of every role.

    recurrent: weights from state to state. input: weights from input to state. bias: of the recurrence.
    readout: weights from hidden state to output. readout_bias: of the readout.
    """

    recurrent: Initializer
    input: Initializer
    bias: Initializer
    readout: Initializer
    readout_bias: Initializer


def _uniform(random: Random, shape: tuple[int, ...], bound: float) -> Tensor:
    return (2 * random.uniform(*shape).double() - 1) * bound


@dataclass(frozen=True)
class Zeros(Initializer):
    """w = 0."""

    def sample(self, random: Random, block: Block) -> Tensor:
        return torch.zeros(block.shape, dtype=torch.float64)


@dataclass(frozen=True)
class ForgetGateBias(Initializer):
    """b_f = `forget`, every other bias 0; a cell without a forget gate (named `f`) starts at 0 altogether.

    forget: any number; 1 lets half-open gates (sigmoid(1) = .73) pass the cell state on.
    Source: Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015 (value 1).
    """

    forget: float

    def sample(self, random: Random, block: Block) -> Tensor:
        return torch.full(block.shape, self.forget if block.gate == "f" else 0.0, dtype=torch.float64)


@dataclass(frozen=True)
class ForgetGatePowerLaw(Initializer):
    """b_f = first + (last - first) (k / (H - 1))^exponent for unit k = 0 .. H - 1, every other bias 0.

    Few units start as long memories where `first` is large, `last` negative and the exponent below 1. A cell without a
    forget gate (named `f`) starts at 0 altogether.

    first, last: b_f of the first and the last unit. exponent: > 0.
    Source: code of the xLSTM's sLSTM, Beck et al. 2024 (arXiv:2405.04517): 5, -7, and .3 for the first layer.
    """

    first: float
    last: float
    exponent: Positive

    def sample(self, random: Random, block: Block) -> Tensor:
        if block.gate != "f":
            return torch.zeros(block.shape, dtype=torch.float64)
        place = torch.arange(block.fan_out, dtype=torch.float64) / max(1, block.fan_out - 1)
        return self.first + (self.last - self.first) * place**self.exponent


@dataclass(frozen=True)
class Chrono(Initializer):
    """b_f = ln u, b_i = -b_f, u ~ U[1, longest - 1) for every unit, every other bias 0.

    A unit keeps sigmoid(b_f) = 1 - 1/(1 + u) of its state per step, and so remembers for 1 + u steps: up to `longest`.
    An update gate z gets b_z = ln u, because in this suite, as in torch.nn.GRU, it keeps: h = (1 - z) n + z h_prev;
    where 1 - z keeps, the sign would be the opposite. A cell without these gates starts at 0 altogether.

    longest: T_max, the longest dependency expected, time steps.
    Source: Tallec & Ollivier 2018, section 2 (arXiv:1804.11188).
    """

    longest: Annotated[float, Ge(2)]

    def sample(self, random: Random, block: Block) -> Tensor:
        sign = {"f": 1.0, "i": -1.0, "z": 1.0}.get(block.gate or "", 0.0)
        return sign * (1 + (self.longest - 2) * block.shared.uniform(*block.shape).double()).log()


@dataclass(frozen=True)
class Identity(Initializer):
    """W = gain * I, on every gate block of a gated cell.

    gain: any number.
    Source: Le, Jaitly & Hinton 2015 (arXiv:1504.00941); they take gain .01 where little memory is needed.
    """

    gain: float

    def sample(self, random: Random, block: Block) -> Tensor:
        return self.gain * torch.eye(*block.shape, dtype=torch.float64)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """W = gain * Q, Q uniform over matrices with orthonormal rows or columns (QR of a normal matrix, signs mended).

    gain: any number.
    Source: Saxe, McClelland & Ganguli 2014 (arXiv:1312.6120); uniformity: Mezzadri 2007 (arXiv:math-ph/0609050).
    """

    gain: float

    def sample(self, random: Random, block: Block) -> Tensor:
        rows, columns = block.shape
        q, r = torch.linalg.qr(random.normal(max(rows, columns), min(rows, columns)))
        signed: Tensor = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
        return self.gain * (signed if rows >= columns else signed.mT)


@dataclass(frozen=True)
class NormalizedPositiveDefinite(Initializer):
    """W = (A + I) / e, A = R^T R / N, R [N, N] standard normal, e the largest eigenvalue of A + I (np-RNN).

    W is symmetric, its largest eigenvalue is 1; for large N the others fill [1/5, 1]. Some ports divide A by N^2,
    which leaves hardly more than the identity.
    Source: Talathi & Vartak 2016 (arXiv:1511.03771).
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        r = random.normal(*block.shape)
        shifted = r.mT @ r / block.fan_in + torch.eye(block.fan_in, dtype=torch.float64)
        largest: Tensor = torch.linalg.eigvalsh(shifted)[-1]
        return shifted / largest


@dataclass(frozen=True)
class Sparse(Initializer):
    """W has `nonzeros` entries ~ N(0, std^2) at random places of every column, all of them if it is shorter.

    A column holds the connections that leave a unit, for h_t = phi(W h_{t-1} + ...). That is how the authors' code
    thins its matrix out (RNN.py, where h W stands); a row, what enters a unit, has `nonzeros` on average.

    nonzeros: per column. std: of an entry that is not zero.
    Source: Pascanu, Mikolov & Bengio 2013, code of the experiments (arXiv:1211.5063).
    """

    nonzeros: Count
    std: NonNegative

    def sample(self, random: Random, block: Block) -> Tensor:
        kept = random.uniform(*block.shape).argsort(dim=0, stable=True) < self.nonzeros
        return torch.where(kept, self.std * random.normal(*block.shape), 0.0)


@dataclass(frozen=True)
class Henaff(Initializer):
    """A[2k, 2k+1] = angle_k ~ U[-pi, pi), else 0: an orthogonal cell W = exp(A - A^T) starts with plane rotations.

    The angles are those of W; with an odd number of units the last one is left as it is. For cells that keep W
    orthogonal this way: as W itself A would be nilpotent.
    Source: Henaff, Szlam & LeCun 2016 (arXiv:1602.06662), as in Lezcano-Casado & Martinez-Rubio 2019
    (arXiv:1901.08428).
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        return _plane_rotations(_uniform(random, (block.fan_out // 2,), math.pi), block)


@dataclass(frozen=True)
class Cayley(Initializer):
    """A[2k, 2k+1] = sqrt((1 - cos u_k) / (1 + cos u_k)), u_k ~ U[0, pi/2), else 0: as `Henaff`, with small angles.

    The root is tan(u/2), in [0, 1). The Cayley transform (I + S)^-1 (I - S) of S = A - A^T rotates by u, its
    exponential by tan(u/2) radians. expRNN's code has the opposite sign, which turns the planes the other way.
    Source: Helfrich, Willmott & Ye 2018 (arXiv:1707.09520), as in Lezcano-Casado & Martinez-Rubio 2019
    (arXiv:1901.08428).
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        u = math.pi / 2 * random.uniform(block.fan_out // 2).double()
        return _plane_rotations(((1 - u.cos()) / (1 + u.cos())).sqrt(), block)


def _plane_rotations(angles: Tensor, block: Block) -> Tensor:
    a = torch.zeros(block.shape, dtype=torch.float64)
    first = 2 * torch.arange(len(angles))
    a[first, first + 1] = angles
    return a


@dataclass(frozen=True)
class SpectralRadius(Initializer):
    """W = radius * W_0 / rho(W_0), W_0 drawn from `start`, rho = max |eigenvalue|.

    A matrix without a non-zero eigenvalue (zero, nilpotent) cannot be rescaled and is left as it is.

    start: any initialiser of a square matrix; of a gated cell every gate's block is rescaled by itself.
    radius: rho of W.
    Source: Jaeger 2001, "The echo state approach to analysing and training recurrent neural networks".
    """

    start: Initializer
    radius: NonNegative

    def sample(self, random: Random, block: Block) -> Tensor:
        w = self.start.sample(random, block)
        rho = torch.linalg.eigvals(w).abs().max()
        return self.radius / rho * w if rho > 0 else w


@dataclass(frozen=True)
class PerGate(Initializer):
    """The block of one gate from `chosen`, all other blocks from `others`.

    The identity, say, is meant for what a cell adds to its memory, its candidate (LSTM: g, GRU: n), not for gates.
    `others` draws for every block, so beside an identity the other gates start as they would without it.

    gate: its name in the cell's equation; a cell without such a gate is filled by `others` alone.
    chosen, others: any initialisers; `others` may be a PerGate for another gate.
    """

    gate: str
    chosen: Initializer
    others: Initializer

    def sample(self, random: Random, block: Block) -> Tensor:
        other = self.others.sample(random, block)
        return self.chosen.sample(random, block) if block.gate == self.gate else other


@dataclass(frozen=True)
class Uniform(Initializer):
    """w ~ U[low, high).

    low, high: low <= high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"low={self.low}: must be <= high={self.high}")

    def sample(self, random: Random, block: Block) -> Tensor:
        return self.low + (self.high - self.low) * random.uniform(*block.shape).double()


@dataclass(frozen=True)
class Normal(Initializer):
    """w ~ N(0, std^2)."""

    std: NonNegative

    def sample(self, random: Random, block: Block) -> Tensor:
        return self.std * random.normal(*block.shape)


@dataclass(frozen=True)
class GlorotUniform(Initializer):
    """w ~ U(-a, a), a = sqrt(6 / (fan_in + fan_out)).

    Source: Glorot & Bengio 2010, equation 16.
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        return _uniform(random, block.shape, math.sqrt(6 / (block.fan_in + block.fan_out)))


@dataclass(frozen=True)
class GlorotNormal(Initializer):
    """w ~ N(0, 2 / (fan_in + fan_out)).

    Source: Glorot & Bengio 2010, equation 12 averaged over both directions.
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        return math.sqrt(2 / (block.fan_in + block.fan_out)) * random.normal(*block.shape)


@dataclass(frozen=True)
class He(Initializer):
    """w ~ N(0, 2 / fan_in).

    Source: He, Zhang, Ren & Sun 2015, equation 10 (arXiv:1502.01852).
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        return math.sqrt(2 / block.fan_in) * random.normal(*block.shape)


@dataclass(frozen=True)
class HeUniform(Initializer):
    """w ~ U(-a, a), a = sqrt(6 / fan_in), of variance 2 / fan_in as `He`.

    Source: He, Zhang, Ren & Sun 2015, equation 10 (arXiv:1502.01852), which asks for the variance alone.
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        return _uniform(random, block.shape, math.sqrt(6 / block.fan_in))


@dataclass(frozen=True)
class LeCunNormal(Initializer):
    """w ~ N(0, 1 / fan_in).

    Source: LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", section 4.6.
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        return random.normal(*block.shape) / math.sqrt(block.fan_in)


@dataclass(frozen=True)
class TorchLinear(Initializer):
    """w ~ U(-a, a), a = 1 / sqrt(I + states H): what one torch.nn.Linear of the input and parts of the state does.

    Weights and bias alike, for a cell that its authors wrote as Linear(concatenation of x and the parts).

    states: how many parts of the state stand beside the input, 0 where the cell's sums see the input alone.
    I is the task's, also in layers above the first.
    Source: torch.nn.Linear, section "Variables".
    """

    states: CountOrZero

    def sample(self, random: Random, block: Block) -> Tensor:
        return _uniform(random, block.shape, 1 / math.sqrt(block.inputs + self.states * block.hidden))


@dataclass(frozen=True)
class PyTorch(Initializer):
    """w ~ U(-1/sqrt(H), 1/sqrt(H)) for every role: what torch.nn.RNN, GRU, LSTM and the Linear that reads them out do.

    A bias that stands for two of torch.nn's (all of tanh, ReLU and the LSTM, those of the GRU's gates r and z) is the
    sum of two such draws, of variance 2/(3H) and not 1/(3H).
    Source: torch.nn.RNN, GRU, LSTM and Linear, sections "Variables".
    """

    version = 2

    def sample(self, random: Random, block: Block) -> Tensor:
        bound = 1 / math.sqrt(block.hidden)
        return torch.stack([_uniform(random, block.shape, bound) for _ in range(block.torch_biases)]).sum(0)
