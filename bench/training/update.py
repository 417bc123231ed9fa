"""What an update does to the weights of a pack, once their gradient is known.

In this order: non-finite policy, clip, noise, L2, optimizer, decoupled decay, weights, their limits. All of it happens
in place and nothing asks the device anything that would have to be waited for, so that a GPU can be given a whole
update at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.engines.engine import Gradients
from bench.methods.clipping import Step
from bench.nets.network import Network
from bench.pack.fields import column, joined
from bench.pack.sums import cosine, everywhere, gradient_norm
from bench.training.replica import Replica
from bench.training.run_state import RunState

Limit = Callable[[Tensor], Tensor]  # weights after the step [R, P] -> those to go on with
UNREAD = 16  # updates whose notes may lie on the device before they are read; to read them is to wait for it


class Notes(NamedTuple):
    """What is kept of every update, one number per replica, float64 [R].

    losses: that was trained on, mean over the batch, before the step and without penalties. norms: of the gradient
    before clipping. shrinks: the factor by which clipping shortened it, 1 for a zero gradient and NaN where no step was
    made. cosines: of the angle by which it turned it. nonfinite: 1 where it was not finite.
    """

    losses: Tensor
    norms: Tensor
    shrinks: Tensor
    cosines: Tensor
    nonfinite: Tensor


class PackOptimizer:
    """The weights of a pack, and what torch.optim keeps of each.

    flat: parameters [R, P]. active: which replicas go on, bool [R]. lrs: learning rates of all updates, [update, R].

    What follows is on the host, and true as far as the notes have been `read`:
    history: `Notes` of all updates by name, each [update, R]. ended: which replicas do not go on, bool [R].
    diverged_at, ended_at: of each the update after which its gradient was not finite, or at which it was told to `end`.
    """

    def __init__(self, replicas: Sequence[Replica], network: Network, device: torch.device) -> None:
        first = replicas[0]
        self.network, self.updates = network, first.updates
        start = network.initial([replica.initializer for replica in replicas], [replica.seed for replica in replicas])
        for row, replica in zip(start, replicas, strict=True):
            if replica.start:
                row.copy_(replica.start.row(network))
        self.flat = start.to(device, first.dtype)
        self.active = torch.ones(len(replicas), dtype=torch.bool, device=device)
        self.policy = joined([replica.nonfinite for replica in replicas], device)
        self.clipping = joined([replica.clipping for replica in replicas], device)
        self.optimizer = joined([replica.optimizer for replica in replicas], device)
        schedule = joined([replica.schedule for replica in replicas], device)
        every = torch.arange(self.updates, device=device)[:, None]
        self.lrs = self.optimizer.lr * schedule.factor(every, self.updates)
        self.delta = torch.zeros_like(self.flat)
        self.stepper = self.optimizer.build(self.delta)
        # torch.optim warns where a step that can be recorded is not; some here never are
        vars(self.stepper)["_warned_capturable_if_run_uncaptured"] = True
        self.l2 = column(self.optimizer.weight_decay, self.flat)
        self._decays = any(r.optimizer.weight_decay or r.optimizer.decoupled_decay for r in replicas)
        self._recurrent = network.mask("recurrent").to(device)
        shape = self.updates, len(replicas)
        self.history = {
            "losses": np.zeros(shape),
            "norms": np.zeros(shape),
            "shrinks": np.full(shape, np.nan),
            "cosines": np.ones(shape),
            "nonfinite": np.zeros(shape, dtype=bool),
        }
        self.ended = np.zeros(len(replicas), dtype=bool)
        self.diverged_at: list[int | None] = [None] * len(replicas)
        self.ended_at: list[int | None] = [None] * len(replicas)
        self._unread: list[tuple[int, Tensor]] = []

    @property
    def capturable(self) -> bool:
        """Whether, from the second on, every step is the same operations on the same numbers of the device."""
        return self.clipping.same_every_update and all(
            value.device == self.flat.device for value in self._kept.values()
        )

    def step(
        self,
        gradients: Gradients,
        lr: Tensor,
        update: int = 0,
        noises: Sequence[Tensor] = (),
        limits: Sequence[Limit] = (),
    ) -> Tensor:
        """Change the weights of all active replicas; the update's notes, float64 [5, R], are to be `note`d.

        gradients: of the batch. lr: [R]. noises: each [R, P], added to the clipped gradient. update: what it is counted
        as by clipping rules that change from one to the next. limits: for the weights of replicas that make a step, one
        after the other.
        """
        gradient = gradients.gradient
        norm = gradient_norm(gradient)
        finite = norm < torch.inf
        stepping = self.active & finite
        nonfinite = self.active ^ stepping
        if self.policy.stops:
            self.active.copy_(stepping)
        replacement = self.policy.replacement(self.flat, self._recurrent)
        if replacement is not None:
            gradient, stepping = gradient.where(finite[:, None], replacement), self.active
            norm = gradient_norm(gradient)
        some_rest, norm_of_steps = not everywhere(stepping), norm
        if some_rest:
            gradient = gradient.where(stepping[:, None], torch.zeros_like(gradient))
            norm_of_steps = norm.where(stepping, torch.zeros_like(norm))
        clipped = self.clipping.clip(self._clipping_step(gradient, norm_of_steps, update))
        shrink, turn = self._clipped(norm, gradient, clipped)
        if some_rest:
            shrink = shrink.where(stepping, torch.full_like(norm, torch.nan))
        notes = torch.stack(Notes(gradients.loss.double(), norm, shrink, turn, nonfinite.double()))
        for noise in noises:
            clipped = clipped + noise

        before = self._optimizer_rows() if some_rest else {}
        self.delta.zero_()
        self.delta.grad = clipped + self.l2 * self.flat if self._decays else clipped
        self.stepper.step()
        if some_rest:
            self._restore(before, stepping)
            self.delta.copy_(self.delta.where(stepping[:, None], torch.zeros_like(self.delta)))
        if self._decays:
            remaining = 1 - lr * self.optimizer.decoupled_decay
            self.flat.mul_(column(remaining.where(stepping, torch.ones_like(remaining)), self.flat))
        self.flat.add_(self.delta.mul_(column(lr, self.flat)))
        for limit in limits:
            self.flat.copy_(limit(self.flat).where(stepping[:, None], self.flat))
        return notes

    def note(self, update: int, notes: Tensor) -> None:
        """Keep the notes that `step` returned for an update."""
        self._unread.append((update, notes))
        if len(self._unread) >= UNREAD:
            self.read()

    def read(self) -> None:
        """Bring history, ended and diverged_at up to date."""
        if not self._unread:
            return
        updates = [update for update, _ in self._unread]
        notes = torch.stack([notes for _, notes in self._unread], dim=1).cpu().numpy()
        self._unread.clear()
        for name, values in zip(Notes._fields, notes, strict=True):
            self.history[name][updates] = values
        if self.policy.stops:
            for update, replica in np.argwhere(self.history["nonfinite"][updates]):
                self.diverged_at[replica] = updates[update] + 1
                self.ended[replica] = True

    def end(self, update: int, rows: Sequence[int]) -> None:
        """End the replicas `rows` after `update` updates: their weights stay as they are."""
        for r in rows:
            self.ended_at[r] = update
            self.active[r] = False
            self.ended[r] = True

    def standing(self, update: int) -> list[dict[str, Any]]:
        """Each replica's part of its `RunState` after `update` updates: weights, optimizer, series, its end."""
        self.read()
        rows = {name: value.cpu().numpy() for name, value in self._optimizer_rows().items()}
        numbers = {name: value.cpu().numpy().copy() for name, value in self._kept.items() if name not in rows}
        flat = self.flat.cpu().numpy()
        return [
            {
                "weights": flat[r].copy(),
                "optimizer": {name: values[r].copy() for name, values in rows.items()} | numbers,
                "series": {name: values[:update, r].copy() for name, values in self.history.items()},
                "diverged_at": self.diverged_at[r],
                "ended_at": self.ended_at[r],
            }
            for r in range(len(flat))
        ]

    def go_on_from(self, states: Sequence[RunState]) -> None:
        """Take over the states of these replicas, all after the same number of updates."""
        self.flat.copy_(torch.from_numpy(np.stack([state.weights for state in states])))
        for name, value in states[0].optimizer.items():
            rows = value.shape == states[0].weights.shape
            kept = torch.from_numpy(np.stack([state.optimizer[name] for state in states]) if rows else value.copy())
            there = rows or self.stepper.defaults.get("capturable", False)
            self.stepper.state[self.delta][name] = kept.to(self.flat.device) if there else kept
        for name, values in self.history.items():
            values[: states[0].update] = np.stack([state.series[name] for state in states], axis=1)
        self.diverged_at = [state.diverged_at for state in states]
        self.ended_at = [state.ended_at for state in states]
        self.ended = np.array([state.diverged_at is not None or state.ended_at is not None for state in states])
        self.active.copy_(torch.from_numpy(~self.ended))

    def _clipping_step(self, gradient: Tensor, norm: Tensor, update: int) -> Step:
        past = norm.new_empty(0, len(norm))
        if not self.clipping.same_every_update:
            self.read()
            past = torch.from_numpy(self.history["norms"][:update]).to(norm.device)
        return Step(gradient, norm, self.flat, self.network.views, self.network.vectors, update, self.updates, past)

    def _clipped(self, norm: Tensor, gradient: Tensor, clipped: Tensor) -> tuple[Tensor, Tensor]:
        """The factor by which clipping shortened the gradient, and the cosine between before and after."""
        shrink = turn = torch.ones_like(norm)
        if clipped is not gradient:
            shrink = torch.where(norm > 0, gradient_norm(clipped) / norm, shrink)
            if self.clipping.turns:
                turn = cosine(gradient, clipped)
        return shrink, turn

    @property
    def _kept(self) -> dict[str, Tensor]:
        """What torch.optim keeps: by name rows [R, P], and single numbers that count the updates."""
        return {name: value for name, value in self.stepper.state[self.delta].items() if value is not None}

    def _optimizer_rows(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self._kept.items() if value.shape == self.delta.shape}

    def _restore(self, before: dict[str, Tensor], stepping: Tensor) -> None:
        """To replicas that make no step, their rows of the optimizer's state as they were; 0 if there were none."""
        for name, value in self._kept.items():
            if value.shape == self.delta.shape:
                value.copy_(value.where(stepping[:, None], before.get(name, torch.zeros_like(value))))
