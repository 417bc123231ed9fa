"""Whether the gradient that a net is trained with is that of its loss: against differences of the loss in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from bench.analysis.table import Table
from bench.engines.engine import Interventions, Masks, Program
from bench.jobs.compose import composed
from bench.jobs.errors import ConfigError
from bench.jobs.job import checked_job
from bench.methods.remedies.remedy import PackView
from bench.pack.streams import Stream
from tasks.task import Batch

SMALL = ("cell.hidden=6", "batch_size=3", "precision=float64")
SHORT = "task.length=12"  # for the tasks that have a length
STEPS = tuple(4.0**-k for k in range(2, 10))  # from .06 to 4e-6
FIRST = slice(1, 4)  # of these the ones from .016 to .001: enough for what is smooth
ROUNDING = 4 * torch.finfo(torch.float64).eps  # of a loss, relative; 2.6 is the most that was seen
KNOWN_TO = 1e-6  # an entry less well known is not compared, even at a larger tolerance: a kink may be near it
OFF_THE_START = 0.01
NO_LOSS = "its gradient is by definition not that of a loss; leave it out here"
WIDTH = 256  # perturbed nets that run as one pack
Loss = Callable[[Tensor], Tensor]  # parameters [N, P] -> [N]


@dataclass(frozen=True)
class Comparison:
    """One parameter's gradient against differences.

    entries: its numbers; known: those whose difference quotient is known to the tolerance, and to 1e-6.
    error: the largest relative error of these, |g - d| / max(|g|, |d|). norm: of the gradient.
    """

    parameter: str
    shape: tuple[int, ...]
    entries: int
    known: int
    error: float
    norm: float

    def agrees(self, tolerance: float) -> bool:
        return self.known > 0 and self.error <= tolerance


@dataclass(frozen=True)
class Check:
    """What a gradient check found. checked: in words, what was compared."""

    checked: str
    tolerance: float
    comparisons: Sequence[Comparison]

    @property
    def table(self) -> str:
        """A row for every parameter."""
        rows = [
            {
                "parameter": one.parameter,
                "shape": " x ".join(map(str, one.shape)),
                "compared": f"{one.known} of {one.entries}",
                "largest relative error": f"{one.error:.1e}" if one.known else "-",
                "norm of gradient": f"{one.norm:.3g}",
            }
            for one in self.comparisons
        ]
        table = pd.DataFrame(rows)
        return Table("check", table, table, "").markdown()

    @property
    def faults(self) -> str:
        """The parameters beyond the tolerance; empty if there are none."""
        return "; ".join(self._fault(one) for one in self.comparisons if not one.agrees(self.tolerance))

    def _fault(self, one: Comparison) -> str:
        if one.known:
            return f"{one.parameter}: relative error {one.error:.1e}, tolerance {self.tolerance:g}"
        least = min(self.tolerance, KNOWN_TO)
        return f"{one.parameter}: no difference is known to {least:g}; try other sizes or a larger tolerance"


def check(overrides: Sequence[str], tolerance: float) -> Check:
    """Compare gradient and differences of the run that a command line asks for, small where it does not say.

    The engine, the batch, the parameters and what remedies drop are those of the run's first update, but that each
    parameter is moved a little, by N(0, .01^2), so that no ReLU stands on its kink because a bias and an input are 0.
    The gradient is the one before clipping and noise.

    Raises ConfigError, or an error of Hydra, on a mistake in it.
    """
    short = [SHORT] if "length" in composed(*overrides)["task"] else []
    asked = checked_job(composed(*SMALL, *short, *overrides))
    replica, device = asked.replica, torch.device(asked.device)
    if replica.precision != "float64":
        raise ConfigError(f"precision={replica.precision}: differences of a loss need float64")
    network = replica.network
    if network.cell.core.surrogate_gradient:
        raise ConfigError("cell: it trains by a surrogate gradient, which is not that of its loss; choose another cell")
    trained = replica.task_at(0)
    program = asked.engine.program(network, trained, Interventions(remedies=replica.remedies))

    def stream(purpose: str) -> Stream:
        return Stream([replica.seed], purpose, dtype=torch.float64, device=device)

    drawn = trained.sample(stream("train"), replica.batch_size)
    batch, masks = program.prepared(drawn, lambda name: stream(f"remedy/{name}"))
    question = _Question(program, batch, masks, network.mask().to(device))
    random = Stream([replica.seed], "check", dtype=torch.float64)
    moved = OFF_THE_START * random.normal(network.flat_size) * network.mask()
    flat = (network.initial([replica.initializer], [replica.seed]) + moved).to(device)

    loss, full = question.loss(flat), question.gradient(flat)
    places = network.views(torch.arange(network.flat_size))
    comparisons = []
    for name, gradient in network.views(full[0]).items():
        slope, uncertainty = _slopes(question.loss, flat, places[name].flatten(), min(tolerance, KNOWN_TO))
        slope, uncertainty = (values.view_as(gradient) for values in (slope, uncertainty))
        comparisons.append(_comparison(name, gradient, slope, uncertainty, tolerance))
    engine, cell, task = asked.engine.name, replica.cell.name, replica.task.name
    sizes = f"hidden={replica.cell.hidden}, {trained.steps} steps, batch_size={replica.batch_size}"
    return Check(f"{engine} on {cell} and {task} ({sizes}): loss {float(loss):.6g}", tolerance, comparisons)


def _comparison(name: str, gradient: Tensor, slope: Tensor, uncertainty: Tensor, tolerance: float) -> Comparison:
    apart, scale = (gradient - slope).abs(), torch.maximum(gradient.abs(), slope.abs())
    known = (apart == 0) | (uncertainty <= min(tolerance, KNOWN_TO) * scale) | ~gradient.isfinite()
    errors = torch.where(apart == 0, 0.0, apart / scale).nan_to_num(nan=math.inf)[known]
    return Comparison(
        parameter=name,
        shape=tuple(gradient.shape),
        entries=gradient.numel(),
        known=int(known.sum()),
        error=float(errors.max()) if len(errors) else math.nan,
        norm=float(gradient.norm()),
    )


@dataclass(frozen=True)
class _Question:
    """The loss that is trained on, with what remedies do within a pass, as a function of the parameters."""

    program: Program
    batch: Batch
    masks: Masks
    trained: Tensor

    def _view(self, flat: Tensor, batch: Batch) -> PackView:
        losses = self.program.interventions.losses(self.program.task)
        return PackView(self.program.network, self.program.task, flat, self.trained, batch, losses, update=0, updates=1)

    def _given(self, count: int) -> tuple[Batch, Masks]:
        """The batch and the masks, for so many nets."""
        rows = [0] * count
        return self.batch.at(rows), Masks(*(mask if mask is None else mask[rows] for mask in self.masks))

    def loss(self, flat: Tensor) -> Tensor:
        """[N, P] -> [N]."""
        batch, masks = self._given(len(flat))
        return self.program.loss_alone(flat, batch, masks)

    def gradient(self, flat: Tensor) -> Tensor:
        """[N, P] -> [N, P]. Raises ConfigError for a remedy whose gradient is not that of a loss.

        A remedy's penalty is compared with autograd's derivative of its price, for differences of |w| have a kink at
        0: what the two are apart is added here.
        """
        batch, masks = self._given(len(flat))
        gradient, view = self.program.gradients(flat, batch, masks=masks).gradient, self._view(flat, batch)
        for name, remedy in self.program.interventions.remedies.items():
            if remedy.truncation:
                raise ConfigError(f"remedies={name}: {NO_LOSS}")
            penalty = remedy.penalty(view)
            if penalty is None:
                continue
            at = flat.detach().requires_grad_()
            price = remedy.price(replace(view, flat=at))
            if price is None:
                raise ConfigError(f"remedies={name}: {NO_LOSS}")
            gradient = gradient + penalty - torch.autograd.grad(price.sum(), at)[0]
        return gradient


def _slopes(loss: Loss, flat: Tensor, entries: Tensor, wanted: float = KNOWN_TO) -> tuple[Tensor, Tensor]:
    """Derivatives of the loss by some entries of flat [1, P], and how uncertain each is: each [N].

    From three steps; from all of them for entries that three leave more uncertain than `wanted`, relative, but for
    those on which the loss does not depend at all.
    """
    scale = float(loss(flat).abs())
    three = _central(loss, flat, entries, STEPS[FIRST])
    slope, uncertainty = _extrapolated(three, STEPS[FIRST], scale)
    left = ~(uncertainty <= wanted * slope.abs()) & (slope != 0)
    if left.any():
        longer, shorter = STEPS[: FIRST.start], STEPS[FIRST.stop :]
        around = [_central(loss, flat, entries[left], lengths) for lengths in (longer, shorter)]
        every = torch.cat([around[0], three[:, left], around[1]])
        slope[left], uncertainty[left] = _extrapolated(every, STEPS, scale)
    return slope, uncertainty


def _central(loss: Loss, flat: Tensor, entries: Tensor, lengths: Sequence[float]) -> Tensor:
    """Central differences by each of the entries, with a step of each of the lengths: [lengths, N]."""
    ends = ([_losses(loss, flat, entries, sign * length) for sign in (1, -1)] for length in lengths)
    return torch.stack([(ahead - behind) / (2 * length) for (ahead, behind), length in zip(ends, lengths, strict=True)])


def _extrapolated(central: Tensor, lengths: Sequence[float], scale: float) -> tuple[Tensor, Tensor]:
    """Derivatives from central differences with steps that fall by 4 [lengths, N], and how uncertain each is: each [N].

    Neighbours are extrapolated to length 0. Of these the one that differs least from the one before it is taken, and
    that difference, with what rounding can do to a loss of size `scale`, is its uncertainty. So a smooth loss is
    measured with long steps, one with a kink nearby with steps that end before it; a kink within the shortest steps
    leaves a large uncertainty.

    Source: Ridders 1982, "Accurate computation of F'(x) and F'(x)F''(x)", with two columns of the table.
    """
    steps = torch.tensor(lengths, dtype=central.dtype, device=central.device)[:, None]
    extrapolated = central[1:] + (central[1:] - central[:-1]) / 15  # the error is of order step^2, the ratio 1/4
    uncertainty, best = (extrapolated.diff(dim=0).abs() + ROUNDING * scale / steps[2:]).min(0)
    return extrapolated[1:].take_along_dim(best[None], dim=0)[0], uncertainty


def _losses(loss: Loss, flat: Tensor, entries: Tensor, step: float) -> Tensor:
    """The loss with each of the entries moved by `step`, a net for each of them: [N]."""
    losses = []
    for part in entries.split(WIDTH):
        moved = flat.repeat(len(part), 1)
        moved[range(len(part)), part] += step
        losses.append(loss(moved))
    return torch.cat(losses)
