"""What is done to a gradient that is too long; one small dataclass per rule.

A rule sees the gradient of each replica as one row over all its parameters and treats every row for itself. Scaling a
gradient whose norm is above a threshold down to it is the projection onto the ball of that radius: `NormClipping` is
both. Most rules scale so and differ in where they take the threshold from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor

from bench.pack.fields import PerReplica, column
from bench.pack.sums import gradient_norm, scaled
from tasks.ranges import Checked, Count, Positive, PositiveOrInf


@dataclass(frozen=True)
class Step:
    """What a rule may look at when it clips.

    gradient: [R, P]. norm: its `gradient_norm`, float64 [R]. weights: [R, P].
    parts: the parameters in a tensor laid out like these two, by symbol, as views [R, ...] to be changed in place.
    vectors: which of them are vectors; of a gated cell's bias [R, gates, H] all gates make up one.
    update: of `updates`, from 0. past: norms before clipping at all updates before, float64 [update, R]; not finite
        where the gradient was not. Neither is told to a rule that is the `same_every_update`.
    """

    gradient: Tensor
    norm: Tensor
    weights: Tensor
    parts: Callable[[Tensor], dict[str, Tensor]]
    vectors: Collection[str]
    update: int
    updates: int
    past: Tensor


@dataclass(frozen=True)
class Clipping(Checked, ABC):
    """A rule for gradients that are too long.

    turns: whether it may change a gradient's direction. same_every_update: whether it looks neither at the update nor
    at those before; only then may a GPU be given a whole update at once, and is `past` left empty.
    """

    turns: ClassVar[bool] = True
    same_every_update: ClassVar[bool] = False
    version: ClassVar[int] = 1  # raised whenever the rule changes

    @abstractmethod
    def clip(self, step: Step) -> Tensor:
        """The gradient to step with, [R, P]."""

    @property
    def clips_state_gradient(self) -> bool:
        """Whether it clips the gradient on its way back through time."""
        return type(self).clipped_state_gradient is not Clipping.clipped_state_gradient

    def clipped_state_gradient(self, d_state: Tensor) -> Tensor:
        """dL/dh_t (or dL/dc_t) [R, B, H] as it goes on to earlier steps; unchanged but for rules that clip there.

        It is the derivative of each sequence's own loss.
        """
        return d_state


@dataclass(frozen=True)
class NormClipping(Clipping):
    """Scale a replica's whole gradient so that its norm is at most `threshold`.

    g <- g * min(1, threshold / ||g||), ||.|| the L2 norm over all parameters of one replica.

    threshold: in units of the gradient; inf is no clipping.
    Source: Pascanu, Mikolov & Bengio 2013, Algorithm 1 (arXiv:1211.5063).
    """

    turns = False
    same_every_update = True

    threshold: PerReplica[PositiveOrInf]

    def clip(self, step: Step) -> Tensor:
        return scaled(step.gradient, step.norm, self.threshold)


@dataclass(frozen=True)
class ValueClipping(Clipping):
    """Clip every entry of the gradient to [-threshold, threshold].

    threshold: in units of the gradient; inf is no clipping.
    Source: Mikolov 2012, "Statistical language models based on neural networks" (thesis).
    """

    same_every_update = True

    threshold: PerReplica[PositiveOrInf]

    def clip(self, step: Step) -> Tensor:
        return _clamped(step.gradient, self.threshold)


def _clamped(values: Tensor, threshold: float | Tensor) -> Tensor:
    limit = column(threshold, values)
    return torch.minimum(torch.maximum(values, -limit), limit)


@dataclass(frozen=True)
class ParameterNormClipping(Clipping):
    """Scale the gradient of every parameter (W_hh, W_xh, b ...) so that its own norm is at most `threshold`.

    g_p <- g_p * min(1, threshold / ||g_p||) for each parameter p of a replica. The direction of the whole may change.

    threshold: in units of the gradient; inf is no clipping.
    Source: of no paper; what `clip_grad_norm_` does when called parameter by parameter.
    """

    same_every_update = True

    threshold: PerReplica[PositiveOrInf]

    def clip(self, step: Step) -> Tensor:
        clipped = step.gradient.clone()
        for part in step.parts(clipped).values():
            flat = part.flatten(1)
            shorter = scaled(flat, gradient_norm(flat), self.threshold)
            if shorter is not flat:
                part.copy_(shorter.view_as(part))
        return clipped


@dataclass(frozen=True)
class DecayingClipping(Clipping):
    """Norm clipping with a threshold that falls while a run goes on, from `threshold` to `final`.

    Of N updates, at update n = 0 .. N - 1, with s = n / (N - 1): linear threshold + s (final - threshold); exponential
    threshold (final / threshold)^s.

    threshold, final: in units of the gradient; where one is inf there is no clipping.
    decay: `linear` or `exponential`.
    Source: of no paper; claim 7 of the articles behind this suite.
    """

    turns = False

    threshold: PerReplica[PositiveOrInf]
    final: PerReplica[PositiveOrInf]
    decay: Literal["linear", "exponential"]

    def clip(self, step: Step) -> Tensor:
        share = step.update / max(step.updates - 1, 1)
        first, last = column(self.threshold, step.norm), column(self.final, step.norm)
        threshold = first + share * (last - first) if self.decay == "linear" else first * (last / first) ** share
        return scaled(step.gradient, step.norm, torch.where(first.isinf() | last.isinf(), torch.inf, threshold))


@dataclass(frozen=True)
class RelativeClipping(Clipping):
    """Norm clipping with a threshold in units of the norms seen lately.

    g <- g * min(1, threshold m / ||g||), m the mean or the median of the norms before clipping of the last `window`
    updates. The first update, before which nothing was seen, is not clipped. With the mean this is the moving average
    of past gradients as a threshold ("accumulated gradient").

    threshold: in units of m; inf is no clipping. window: in updates. average: `mean` or `median`.
    Source: of no paper; claim 7 of the articles behind this suite.
    """

    turns = False

    threshold: PerReplica[PositiveOrInf]
    window: Count
    average: Literal["mean", "median"]

    def clip(self, step: Step) -> Tensor:
        seen = step.past[-self.window :]
        finite = seen.where(seen.isfinite(), torch.full_like(seen, torch.nan))
        usual = finite.nanmean(0) if self.average == "mean" else _percentile(seen, 50.0)
        return scaled(step.gradient, step.norm, usual.nan_to_num(torch.inf) * self.threshold)


@dataclass(frozen=True)
class AutoClip(Clipping):
    """Norm clipping at a percentile of all norms seen so far, the present one among them.

    percentile: 100 is no clipping.
    Source: Seetharaman, Wichern, Pardo & Le Roux 2020, Algorithm 1 (arXiv:2007.14469).
    """

    turns = False

    percentile: PerReplica[Annotated[float, Gt(0), Le(100)]]

    def clip(self, step: Step) -> Tensor:
        seen = torch.cat((step.past, step.norm[None]))
        return scaled(step.gradient, step.norm, _percentile(seen, self.percentile))


def _percentile(seen: Tensor, percentile: Tensor | float) -> Tensor:
    """Percentile of the finite values in each column of [n, R], as by numpy.percentile; NaN where there are none."""
    if len(seen) == 0:
        return seen.new_full(seen.shape[1:], torch.nan)
    ordered = seen.nan_to_num(torch.inf, posinf=torch.inf).sort(0).values
    last = (ordered.isfinite().sum(0) - 1).clamp_min(0)
    place = last * torch.as_tensor(percentile, dtype=seen.dtype, device=seen.device) / 100
    low, high = (ordered.gather(0, rounded.long()[None])[0] for rounded in (place.floor(), place.ceil()))
    value = torch.where(low == high, low, torch.lerp(low, high, place.frac()))
    return value.where(value.isfinite(), torch.full_like(value, torch.nan))


@dataclass(frozen=True)
class AdaptiveClipping(Clipping):
    """Clip the gradient of every unit relative to the norm of the unit's weights.

    g_i <- g_i * min(1, threshold max(||w_i||, eps) / ||g_i||), i a row of a matrix (all that leads to one unit, or to
    one gate of it), or a whole bias, that of all gates together: what `timm.utils.adaptive_clip_grad` does to the
    parameters of torch.nn.RNN, GRU and LSTM.

    threshold: without unit; inf is no clipping. eps: lets weights of 0 leave it.
    Source: Brock, De, Smith & Simonyan 2021, equation 3 (arXiv:2102.06171).
    Differs from the paper: the readout is clipped too.
    """

    version = 2
    same_every_update = True

    threshold: PerReplica[PositiveOrInf]
    eps: Positive

    def clip(self, step: Step) -> Tensor:
        clipped = step.gradient.clone()
        weights = step.parts(step.weights)
        for name, part in step.parts(clipped).items():
            rows, weight = (of.flatten(1) if name in step.vectors else of for of in (part, weights[name]))
            usual = gradient_norm(weight).clamp_min(self.eps)  # [R, ...], a number per unit
            shorter = scaled(rows, gradient_norm(rows), column(self.threshold, usual) * usual)
            part.copy_(shorter.view_as(part))
        return clipped


@dataclass(frozen=True)
class StateGradientClipping(Clipping):
    """Clip the gradient while it travels back through time: dL/dh_t (and dL/dc_t) of every sequence, at every step.

    by `value`: every entry to [-threshold, threshold]; by `norm`: scaled so that the norm is at most `threshold`. What
    earlier steps and the parameters get comes of the clipped one; what they add up to is not clipped again.

    threshold: in units of the derivative of one sequence's own loss; inf is no clipping.
    Source: after Graves 2013, section 2.1 (arXiv:1308.0850), by value.
    Differs from the paper: it is the derivative by the state that is clipped and not that by the gates' inputs, so that
    it has a meaning for every cell.
    """

    same_every_update = True

    threshold: PerReplica[PositiveOrInf]
    by: Literal["value", "norm"]

    def clip(self, step: Step) -> Tensor:
        return step.gradient

    def clipped_state_gradient(self, d_state: Tensor) -> Tensor:
        if self.by == "value":
            return _clamped(d_state, self.threshold)
        norm = gradient_norm(d_state)
        return scaled(d_state, norm, column(self.threshold, norm))
