"""How a weight matrix or a bias starts; one small dataclass per method, chosen per role.

A parameter is filled block by block: one [rows, columns] matrix or [rows] vector per gate. Everything is drawn in
float64 on the CPU from the replica's own stream, so a start is the same on every device and in every pack.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor


class Random(Protocol):
    """Where an initialiser's random numbers come from, each draw [*shape] for one replica."""

    def uniform(self, *shape: int) -> Tensor: ...

    def normal(self, *shape: int) -> Tensor: ...


class Block(NamedTuple):
    """What is to be filled: a matrix (rows, columns) or vector (rows,), of which gate, in a net of how many units."""

    shape: tuple[int, ...]
    hidden: int
    gate: str | None = None

    @property
    def fan_out(self) -> int:
        return self.shape[0]

    @property
    def fan_in(self) -> int:
        return self.shape[-1]


@dataclass(frozen=True)
class Initializer(ABC):
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
        q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.mT)


@dataclass(frozen=True)
class Normal(Initializer):
    """w ~ N(0, std^2).

    std: >= 0. Raises ValueError if negative.
    """

    std: float

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise ValueError(f"std={self.std}: a standard deviation is at least 0")

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
class PyTorch(Initializer):
    """w ~ U(-1/sqrt(H), 1/sqrt(H)) for every role: what torch.nn.RNN, LSTM and the Linear that reads them out do.

    Source: torch.nn.RNN, LSTM and Linear, sections "Variables".
    """

    def sample(self, random: Random, block: Block) -> Tensor:
        return _uniform(random, block.shape, 1 / math.sqrt(block.hidden))
