"""The gradient through time, ||dL/dh_t||: how much of an error reaches the step that could have prevented it.

Two ways to ask. The training gradient is that of the training loss, which is felt at every scored step; it falls out
of the backward loop. The probe follows the loss of ONE step back through a held-out batch; only it shows transport,
because nothing is added on the way. dL/dh_t is the total derivative: through later steps and through the readout of
step t.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.measurements.measurement import Columns, Measurement, Snapshot
from bench.nets.cells.cell import State, held
from tasks.ranges import Count
from tasks.task import Batch, own_last

QUANTILES = (0.05, 0.5, 0.95)
AT_ONCE = 16  # steps that a probe is followed through before it is rescaled
SUMMARIES = ("log_norm", "log_q05", "log_q50", "log_q95", "zero_share", "nonfinite_share")


def profile(kind: str, log_norms: Mapping[str, np.ndarray], last: int) -> list[Columns]:
    """Rows of a profile over time from ln ||dL/dh_t||, for each part of the state [R, B, T]; -inf for a zero gradient.

    log_norm: mean over the sequences with a non-zero, finite gradient (ln of the geometric mean), in nats.
    log_q05, log_q50, log_q95: quantiles over all sequences of the batch, interpolated linearly, as numpy does by
        default: -inf where one lies on a zero gradient or between it and another, NaN where a gradient is NaN.
    zero_share, nonfinite_share: of its sequences.
    step: counted from 1, the last of the T is `last`. lag: `last` - step, which is a sequence's own where lengths vary.
    """
    steps = next(iter(log_norms.values())).shape[-1]
    shared = _places(kind, tuple(log_norms), steps, last)
    summaries = np.concatenate([_summary(values) for values in log_norms.values()], axis=-1)
    return [{**shared, **dict(zip(SUMMARIES, numbers, strict=True))} for numbers in summaries]


@functools.cache
def _places(kind: str, states: tuple[str, ...], steps: int, last: int) -> Columns:
    """What a profile's rows are about; the same of every replica and at every update."""
    step = np.tile(np.arange(last - steps + 1, last + 1, dtype=np.int32), len(states))
    return {
        "kind": np.full(len(step), kind),
        "state": np.repeat(states, steps),
        "step": step,
        "lag": (last - step).astype(np.int32),
    }


def _summary(log_norms: np.ndarray) -> np.ndarray:
    """Over the sequences: [R, B, T] -> float32 [R, 6, T], in the order of `SUMMARIES`."""
    replicas, sequences, steps = log_norms.shape
    ordered = np.sort(log_norms.astype(np.float32), axis=1)  # NaN last
    places = np.array(QUANTILES) * (sequences - 1)
    low, high = (ordered[:, rounded(places).astype(int)] for rounded in (np.floor, np.ceil))
    share = (places % 1).astype(np.float32)[:, None]
    summary = np.zeros((replicas, len(SUMMARIES), steps), np.float32)
    finite = np.isfinite(log_norms)
    with np.errstate(invalid="ignore"):  # inf * 0, where low == high is taken
        summary[:, 1:4] = np.where(low == high, low, low * (1 - share) + high * share)
    if finite.all():
        summary[:, 0] = log_norms.mean(1)
        return summary
    zeros, count = np.isneginf(log_norms).sum(1), finite.sum(1)
    summary[:, 0] = np.where(finite, log_norms, 0.0).sum(1) / np.where(count > 0, count, np.nan)
    summary[:, 1:4] += np.where(np.isnan(ordered[:, -1:]), np.nan, 0.0)
    summary[:, 4] = zeros / sequences
    summary[:, 5] = 1 - (zeros + count) / sequences
    return summary


@dataclass(frozen=True)
class TrainingGradient(Measurement):
    """||dL^(b)/dh_t|| on this update's training batch, L^(b) the mean loss of one sequence over its scored steps."""

    version = 2
    table = "gradient_through_time"
    needs_trace = True

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        with np.errstate(divide="ignore"):
            log_norms = {name: np.log(norms.cpu().numpy()) for name, norms in snapshot.trace.items()}
        return profile("training", log_norms, last=(snapshot.trained or snapshot.task).steps)


@dataclass(frozen=True)
class Probe(Measurement):
    """||dL/dh_t|| of the loss at one step t*, `task.probe_step`, on held-out sequences, in float64.

    The adjoint is rescaled to length 1 every 16 steps and its logarithm carried along: .25^540 is below even
    float64's range. Profiles are those of lag t* - t; gamma(lag) = exp(log_norm(lag) - log_norm(0)).

    sequences: how many.
    """

    version = 2
    table = "gradient_through_time"

    sequences: Count

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        task, origin = snapshot.task, snapshot.task.probe_step
        batch = snapshot.heldout(self.sequences)
        later = task.steps - 1 - origin  # a sequence's own t* lies so many steps before its end
        lengths = None if batch.lengths is None else batch.lengths - later
        batch = Batch(batch.inputs[:, :, : origin + 1], batch.targets[:, :, task.scored.index(origin), None], lengths)
        states = snapshot.heldout_states(self.sequences)[: origin + 2] if lengths is None else snapshot.states(batch)
        adjoint = self._loss_gradient(snapshot, states[-1], batch.targets)
        scale = torch.zeros_like(adjoint[0][..., 0])  # ln of what the adjoint has been divided by, [R, B]
        log_norms = []  # the last steps first
        for stop in range(origin + 1, 0, -AT_ONCE):
            steps = range(max(stop - AT_ONCE, 0), stop)
            adjoint, scale = _rescaled(adjoint, scale)
            total, adjoint = _pulled_back(snapshot, batch, steps, states[steps.start], adjoint)
            log_norms.append([part.norm(dim=-1).log() + scale[..., None] for part in total])
        common = origin + 1 - (task.steps - task.least_steps)  # steps that all sequences have
        profiles = {
            name: own_last(torch.cat(parts[::-1], dim=-1)[..., None], lengths, origin + 1, common)[..., 0]
            for name, parts in zip(snapshot.cell.states, zip(*log_norms, strict=True), strict=True)
        }
        return profile("probe", {name: part.cpu().numpy() for name, part in profiles.items()}, last=origin + 1)

    def _loss_gradient(self, snapshot: Snapshot, state: State, targets: Tensor) -> State:
        """dL/ds_t* of every sequence's own loss."""
        hidden = state[0].detach().requires_grad_()
        with torch.enable_grad():
            outputs = snapshot.network.readout(snapshot.weights, hidden)[..., None, :]
            (gradient,) = torch.autograd.grad(snapshot.task.losses(outputs, targets).sum(), hidden)
        return (gradient, *(torch.zeros_like(part) for part in state[1:]))


def _rescaled(adjoint: State, scale: Tensor) -> tuple[State, Tensor]:
    length = torch.cat(adjoint, dim=-1).norm(dim=-1)
    length = torch.where(length > 0, length, torch.ones_like(length))
    return tuple(part / length[..., None] for part in adjoint), scale + length.log()


def _pulled_back(snapshot: Snapshot, batch: Batch, steps: range, before: State, adjoint: State) -> tuple[State, State]:
    """Autograd through some steps, from the state after them to that before.

    Total derivatives after each step, by part of the state [R, B, steps, H], and the adjoint of the state before. The
    parts of a state hang together (an LSTM's h_t is made from c_t), so a part's total derivative is its own adjoint and
    what reaches it through the others.
    """
    first = state = tuple(part.detach().requires_grad_() for part in before)
    parts: list[Tensor] = []
    with torch.enable_grad():
        for t in steps:
            new = snapshot.cell.step(snapshot.cell.at(snapshot.weights, t), batch.inputs[:, :, t], state)
            state = new if batch.lengths is None else held(new, state, batch.lengths <= t)
            parts += new
        gradients = torch.autograd.grad(state, (*parts, *first), adjoint)
    total = tuple(torch.stack(gradients[k : len(parts) : len(first)], dim=-2) for k in range(len(first)))
    return total, gradients[len(parts) :]
