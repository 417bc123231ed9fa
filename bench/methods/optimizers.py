"""How a gradient becomes a step: torch.optim's own optimizers, one shared instance for a whole pack.

The instance steps a zeroed tensor with learning rate 1; what it leaves there, times each replica's own learning rate,
is the step of the weights. This is exact for every optimizer whose step is linear in its learning rate (not Rprop,
not ASGD). Weight decay of both kinds is added by the training loop, because the tensor that the optimizer sees is not
the weight.

What torch.optim keeps as one number (Adam's `step`, NAdam's `mu_product`) counts the updates of the pack: where a
replica skips one, its moments stay and its count goes on, so that its steps depend on no neighbour.

Where torch.optim has a fused step it is taken: one pass over memory in place of ten. Its last bits depend on where in a
vector register a number lies, which is the same in every pack (`Network`). On a GPU the counts lie there too
(`capturable`), so that a whole update can be recorded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.pack.fields import PerReplica
from tasks.ranges import Checked, NonNegative, Positive, Share, ShareBelowOne


@dataclass(frozen=True)
class Optimizer(Checked, ABC):
    """A torch.optim class with its settings.

    lr: learning rate.
    weight_decay: L2 penalty, added to the (clipped) gradient as weight_decay * w, as torch.optim does.
    decoupled_decay: w <- w - lr decoupled_decay w before the step, which knows nothing of it. Adam with it is
        AdamW: Loshchilov & Hutter 2019, Algorithm 2 with torch.optim's scale (arXiv:1711.05101).
    """

    version: ClassVar[int] = 1  # raised whenever a step changes

    lr: PerReplica[NonNegative]
    weight_decay: PerReplica[NonNegative]
    decoupled_decay: PerReplica[NonNegative]

    @abstractmethod
    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        """The torch.optim instance that steps `delta` with learning rate 1."""


@dataclass(frozen=True)
class SGD(Optimizer):
    """v <- momentum v + (1 - dampening) g (v = g at first), w <- w - lr v, for Nesterov w - lr (g + momentum v).

    momentum, dampening: shares. nesterov: needs momentum > 0 and dampening 0.
    Source: torch.optim.SGD.
    """

    version = 2

    momentum: ShareBelowOne
    dampening: Share
    nesterov: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not (self.momentum > 0 and self.dampening == 0):
            raise ValueError("nesterov=true: must be false unless momentum > 0 and dampening = 0")

    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            [delta],
            lr=1.0,
            momentum=self.momentum,
            dampening=self.dampening,
            nesterov=self.nesterov,
            fused=True,
        )


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v <- alpha v + (1 - alpha) g^2, w <- w - lr g / (sqrt(v) + eps).

    alpha: decay of v. eps: keeps a step finite. centered: divide by the standard deviation instead.
    Source: Tieleman & Hinton 2012, lecture 6.5; torch.optim.RMSprop.
    """

    alpha: ShareBelowOne
    eps: Positive
    momentum: ShareBelowOne
    centered: bool

    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            [delta],
            lr=1.0,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            centered=self.centered,
            capturable=delta.is_cuda,
        )


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """v <- v + g^2, w <- w - lr / (1 + (n - 1) lr_decay) g / (sqrt(v) + eps) at update n.

    lr_decay: per update. eps: keeps a step finite. initial_accumulator_value: v before the first update.
    Source: Duchi, Hazan & Singer 2011; torch.optim.Adagrad.
    """

    version = 2

    lr_decay: NonNegative
    initial_accumulator_value: NonNegative
    eps: Positive

    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(
            [delta],
            lr=1.0,
            lr_decay=self.lr_decay,
            initial_accumulator_value=self.initial_accumulator_value,
            eps=self.eps,
            fused=delta.is_cpu,
        )


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """Steps in units of past steps: d = sqrt(u + eps) / sqrt(v + eps) g, w <- w - lr d; u, v decay d^2, g^2 by rho.

    rho: decay. eps: sets the size of the first steps.
    Source: Zeiler 2012, Algorithm 1 (arXiv:1212.5701); torch.optim.Adadelta.
    """

    rho: ShareBelowOne
    eps: Positive

    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        return torch.optim.Adadelta([delta], lr=1.0, rho=self.rho, eps=self.eps, capturable=delta.is_cuda)


@dataclass(frozen=True)
class Adam(Optimizer):
    """m, v: running means of g, g^2 without bias; w <- w - lr m / (sqrt(v) + eps).

    beta1, beta2: decays of m and v. eps: keeps a step finite. amsgrad: divide by the largest v so far.
    Source: Kingma & Ba 2015, Algorithm 1 (arXiv:1412.6980); torch.optim.Adam.
    """

    version = 2

    beta1: ShareBelowOne
    beta2: ShareBelowOne
    eps: Positive
    amsgrad: bool

    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            [delta],
            lr=1.0,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            amsgrad=self.amsgrad,
            capturable=delta.is_cuda,
            fused=True,
        )


@dataclass(frozen=True)
class NAdam(Optimizer):
    """Adam that looks ahead: w <- w - lr (mu_{n+1} m / (1 - M_{n+1}) + (1 - mu_n) g / (1 - M_n)) / (sqrt(v) + eps).

    m: running mean of g; v: of g^2, without bias; mu_n = beta1 (1 - .96^(n momentum_decay) / 2), M_n = mu_1 ... mu_n.

    beta1, beta2: decays of m and v. eps: keeps a step finite. momentum_decay: per update.
    Source: Dozat 2016, Algorithm 2 ("Incorporating Nesterov momentum into Adam"); torch.optim.NAdam.
    """

    beta1: ShareBelowOne
    beta2: ShareBelowOne
    eps: Positive
    momentum_decay: NonNegative

    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        betas = (self.beta1, self.beta2)
        return torch.optim.NAdam(
            [delta], lr=1.0, betas=betas, eps=self.eps, momentum_decay=self.momentum_decay, capturable=delta.is_cuda
        )


@dataclass(frozen=True)
class RAdam(Optimizer):
    """Adam that waits for its variance: w <- w - lr r_n m c_n / (sqrt(v) + eps), and w - lr m while rho_n <= 5.

    m: running mean of g without bias; v: of g^2, its bias taken out by c_n = sqrt(1 - beta2^n);
    rho_n = R - 2 n beta2^n / (1 - beta2^n), R = 2 / (1 - beta2) - 1,
    r_n^2 = (rho_n - 4) (rho_n - 2) R / ((R - 4) (R - 2) rho_n).

    beta1, beta2: decays of m and v. eps: keeps a step finite.
    Source: Liu et al. 2020, Algorithm 2 (arXiv:1908.03265); torch.optim.RAdam.
    """

    beta1: ShareBelowOne
    beta2: ShareBelowOne
    eps: Positive

    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        return torch.optim.RAdam(
            [delta], lr=1.0, betas=(self.beta1, self.beta2), eps=self.eps, capturable=delta.is_cuda
        )


@dataclass(frozen=True)
class Adamax(Optimizer):
    """Adam with the largest gradient in place of v: u <- max(beta2 u, |g| + eps), w <- w - lr m / u.

    m: running mean of g without bias.

    beta1, beta2: decays of m and u. eps: keeps a step finite.
    Source: Kingma & Ba 2015, Algorithm 2 (arXiv:1412.6980); torch.optim.Adamax, which adds eps.
    """

    beta1: ShareBelowOne
    beta2: ShareBelowOne
    eps: Positive

    def build(self, delta: Tensor) -> torch.optim.Optimizer:
        return torch.optim.Adamax(
            [delta], lr=1.0, betas=(self.beta1, self.beta2), eps=self.eps, capturable=delta.is_cuda
        )
