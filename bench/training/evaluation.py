"""How good a pack is on sequences it never trained on: while it trains, and once more at the end.

Beside it stands how good it is on what it was trained on: the one falls short of the other where a net overfits, and
both are poor where it underfits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.engines.engine import Program
from bench.pack.sums import sum_of_rows
from bench.training.data import Sequences
from bench.training.outcome import Rule
from bench.training.record import Record
from bench.training.replica import Replica
from tasks.task import Batch


class Judgement(NamedTuple):
    """Mean loss and accuracy over some sequences, and whether any unit was ever non-zero; each [R]."""

    loss: np.ndarray
    accuracy: np.ndarray
    alive: np.ndarray


class Evaluator:
    """Judges the replicas of one pack, and adds what it finds to their records.

    program: computes their answers. sequences: draws what they are judged by. records: gain rows of `evaluations`.
    """

    def __init__(
        self, replicas: Sequence[Replica], program: Program, sequences: Sequences, records: Sequence[Record]
    ) -> None:
        self.program, self.sequences, self.records = program, sequences, records
        self.task = program.task
        self.evaluation = replicas[0].evaluation
        self.rules = replicas[0].rules
        self.batch_size = replicas[0].batch_size
        self.updates = self.evaluation.moments(replicas[0].updates)

    @cached_property
    def heldout(self) -> list[Batch]:
        """The sequences of all evaluations, the same at each."""
        return list(self.sequences.judged("heldout", self.evaluation.sequences))

    @cached_property
    def known(self) -> list[Batch]:
        """As many sequences of a task's collection to train on as are held out, the same at each evaluation."""
        return list(self.sequences.trained_on(sum(batch.inputs.shape[1] for batch in self.heldout)))

    def fitted(self, flat: Tensor, update: int) -> dict[str, np.ndarray]:
        """How replicas do on what they are trained on, by column of `evaluations`, each [R]; as judged, no remedy acts.

        train_accuracy: on the last up to 64 sequences before `update`. Where a task trains on a collection,
        train_fixed_loss, train_fixed_accuracy: on the `known` part of it.
        """
        latest = self.sequences.latest(self.batch_size, update)
        unknown = np.full(len(flat), np.nan)
        columns = {"train_accuracy": unknown if latest is None else self._judged(flat, [latest]).accuracy}
        if self.known:
            known = self._judged(flat, self.known)
            columns |= {"train_fixed_loss": known.loss, "train_fixed_accuracy": known.accuracy}
        return columns

    def judged(self, flat: Tensor) -> Judgement:
        """How replicas with parameters flat [R, P] do on the held-out sequences."""
        return self._judged(flat, self.heldout)

    def judged_finally(self, flat: Tensor) -> Judgement:
        """How they do on fresh sequences, which no evaluation has seen."""
        return self._judged(flat, self.sequences.judged("final", self.evaluation.final))

    def _judged(self, flat: Tensor, batches: Iterable[Batch]) -> Judgement:
        """Mean over the sequences of all batches."""
        replicas, count = len(flat), 0
        loss, accuracy = (torch.zeros(replicas, dtype=torch.float64, device=flat.device) for _ in range(2))
        alive = torch.zeros(replicas, dtype=torch.bool, device=flat.device)
        for batch in batches:
            answers, sequences = self.program.answers(flat, batch), batch.inputs.shape[1]
            losses = self.task.losses(answers.outputs, batch.targets).flatten(1).double()
            loss += sequences * sum_of_rows(losses) / losses.shape[-1]
            accuracy += sequences * self.task.correct(answers.outputs, batch.targets).flatten(1).double().mean(-1)
            alive |= answers.alive
            count += sequences
        return Judgement(*(value.cpu().numpy() for value in (loss / count, accuracy / count, alive)))

    def add(
        self, r: int, update: int, loss: float, accuracy: float, training: Mapping[str, float], clock: float
    ) -> None:
        """Record one replica's evaluation.

        training: what is known of its training, by column. clock: seconds for which its packs have trained.
        """
        skill = 1 - loss / self.task.baseline_loss
        row = {"loss": loss, "skill": skill, "accuracy": accuracy, **training, "seconds": clock}
        columns = {name: np.array([value]) for name, value in row.items()}
        self.records[r].tables["evaluations"].append({"update": np.array([update], np.int32), **columns})

    def complete(self, r: int, diverged: bool, clock: float) -> None:
        """Record what evaluations after a replica's end would give: NaN if it has diverged, else the last numbers."""
        history = self.history(r)
        last = {name: np.nan if diverged else values[-1] for name, values in history.items()}
        training = {name: value for name, value in last.items() if name.startswith("train_")}
        for update in sorted(self.updates):
            if update > history["update"][-1]:
                self.add(r, update, last["loss"], last["accuracy"], training, clock)

    def history(self, r: int) -> dict[str, np.ndarray]:
        """One replica's evaluations so far, by column."""
        return self.records[r].table("evaluations")

    def first_met(self, r: int, rule: Rule) -> int | None:
        """The update at which one replica first met a rule, or None."""
        history = self.history(r)
        return rule.first_met(history["update"], history[rule.quantity])

    @property
    def solved(self) -> tuple[bool, ...]:
        """True for each replica that has met the rule by which its task counts as solved."""
        return tuple(self.first_met(r, self.rules["solved"]) is not None for r in range(len(self.records)))

    @property
    def skill(self) -> tuple[float, ...]:
        """The best skill of each replica so far, -inf where none was finite."""
        histories = (self.history(r)["skill"] for r in range(len(self.records)))
        return tuple(float(np.max(skill, where=np.isfinite(skill), initial=-np.inf)) for skill in histories)

    def ending(self, active: Sequence[int]) -> list[int]:
        """The replicas, of the active ones, that a stop rule ends: they have solved often enough, or are hopeless."""
        return [r for r in active if self._has_solved_enough(r) or self._is_hopeless(r)]

    def _has_solved_enough(self, r: int) -> bool:
        enough, rule = self.evaluation.enough, self.rules["solved"]
        return enough is not None and rule.held_lately(self.history(r)[rule.quantity]) >= enough

    def _is_hopeless(self, r: int) -> bool:
        share, rule = self.evaluation.hopeless, self.rules["solved"]
        if share is None or self.first_met(r, rule) is not None:
            return False
        history = self.history(r)
        return rule.is_hopeless(history["update"], history[rule.quantity], share * max(self.updates))
