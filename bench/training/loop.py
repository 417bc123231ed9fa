"""The one training loop: a pack of replicas, update by update, watched and judged on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.engines.engine import Engine, Gradients, Program, Treatment
from bench.engines.graphed import Recorded
from bench.methods.clipping import sum_of_rows
from bench.methods.remedies.remedy import Look
from bench.nets.network import Network
from bench.pack.fields import joined
from bench.pack.streams import Stream
from bench.training.data import Sequences
from bench.training.monitor import Watch
from bench.training.outcome import Outcome, Rule, ended
from bench.training.record import Record, clipping_blocks, facts
from bench.training.replica import Replica
from bench.training.run_state import RunState
from bench.training.update import Descent
from tasks.task import Batch


class Judgement(NamedTuple):
    """Mean loss and accuracy on sequences never trained on, and whether any unit was ever non-zero; each [R]."""

    loss: np.ndarray
    accuracy: np.ndarray
    alive: np.ndarray


@dataclass(frozen=True)
class Progress:
    """Where a pack stands: updates done, and which of its replicas have solved their task."""

    update: int
    solved: tuple[bool, ...]


Report = Callable[[Progress], None]


class Training:
    """Trains the replicas of one pack; `run` does it all.

    replicas: of one `pack_key`. engine: how gradients are computed. device: where.
    states: where each of them stands, all at the same update; none, and they start.

    A replica that has diverged, or that the stop rule has ended, keeps its weights from then on. What it answers does
    not depend on whether it stays in the pack, so the pack may be taken apart between any two updates: `states`.
    """

    def __init__(
        self, replicas: Sequence[Replica], engine: Engine, device: torch.device, states: Sequence[RunState] = ()
    ) -> None:
        first = replicas[0]
        self.replicas = replicas
        self.device = device
        self.task = first.task
        self.network: Network = first.network
        self.updates = first.updates
        self.seeds = [replica.seed for replica in replicas]
        self.sequences = Sequences(self.task, self.seeds, first.dtype, device)
        self.descent = Descent(replicas, self.network, device)
        self.remedies = {name: joined([r.remedies[name] for r in replicas], device) for name in first.remedies}
        treatment = Treatment(self.descent.clipping, self.remedies)
        self.program: Program = engine.program(self.network, self.task, treatment)
        self.records = [Record() for _ in replicas]
        spare = len(os.sched_getaffinity(0)) - 1 if device.type == "cuda" else 0
        self.watch = Watch(
            first.measurement, self.network, self.task, self.records, self.sequences.probe, self.updates, spare
        )
        self.update = 0
        self.alive = np.ones(len(replicas), dtype=bool)
        self.evaluations = first.evaluation.updates(self.updates)
        self.clock, self.seconds = np.zeros(len(replicas)), np.zeros(len(replicas))
        self._trained = self.network.mask().to(device)
        self._has_run = False
        self._recording: Recorded | None = None
        if states:
            self._go_on_from(states)
        self._ticked = time.perf_counter()

    def run(self, report: Report = lambda progress: None) -> list[Record]:
        """Train to the end; one record per replica."""
        for _ in self.steps(report):
            pass
        return self.finish()

    def steps(self, report: Report = lambda progress: None) -> Iterator[int]:
        """Train to the end, and tell after every update how many are done; then `states` may be asked for.

        Ends after a last look at update `updates`, or as soon as it is known that no replica goes on.
        """
        for update, batch in enumerate(self.batches(self.update), self.update):
            if self.descent.ended.all():
                return
            ending: list[int] = []
            if update in self.evaluations:
                self._evaluate(update)
                ending = self._enough() if update < self.updates else []
                report(self._progress(update))
            due = self.watch.due(update)
            last = [name for name in self.watch.measurements if ending and name not in due]
            gradients = None
            if self.watch.needs_trace((*due, *last)):
                batch, gradients = self.gradients(update, batch, traced=True)
            trace = gradients.trace if gradients else {}
            if due:
                self.watch.look(update, due, self.flat, trace, self._active())
            if last:
                self.watch.look(update, last, self.flat, trace, ending)
            if update < self.updates:
                self.descent.end(update, ending)
                self.advance(update, batch, gradients)
                self.update = update + 1
                self._tick()
                yield self.update

    @property
    def flat(self) -> Tensor:
        """All parameters, [R, P]."""
        return self.descent.flat

    @property
    def ended(self) -> np.ndarray:
        """Which replicas do not go on, diverged or ended by the stop rule; bool [R]."""
        self.descent.read()
        return self.descent.ended.copy()

    def _active(self) -> list[int]:
        return np.flatnonzero(~self.ended).tolist()

    def _tick(self) -> None:
        """Let the clocks go on."""
        now = time.perf_counter()
        self.clock += now - self._ticked
        self.seconds += (now - self._ticked) / len(self.replicas)
        self._ticked = now

    def states(self) -> list[RunState]:
        """Where every replica stands."""
        self.watch.collect()
        standing = self.descent.standing(self.update)
        self._tick()
        return [
            RunState(
                update=self.update,
                tables={name: record.table(name) for name, blocks in record.tables.items() if blocks},
                alive=bool(self.alive[r]),
                seconds=float(self.seconds[r]),
                clock=float(self.clock[r]),
                **standing[r],
            )
            for r, record in enumerate(self.records)
        ]

    def _go_on_from(self, states: Sequence[RunState]) -> None:
        self.update = states[0].update
        self.descent.go_on_from(states)
        self.alive = np.array([state.alive for state in states])
        self.seconds = np.array([state.seconds for state in states])
        self.clock = np.array([state.clock for state in states])
        for record, state in zip(self.records, states, strict=True):
            record.tables.update({name: [columns] for name, columns in state.tables.items()})

    @cached_property
    def heldout(self) -> list[Batch]:
        """The sequences of all evaluations."""
        return list(self.sequences.judged("heldout", self.replicas[0].evaluation.sequences))

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """The batches of update `first` and on, including `updates`, which is measured and not trained on."""
        return self.sequences.training(self.replicas[0].batch_size, range(first, self.updates + 1))

    def advance(self, update: int, batch: Batch, gradients: Gradients | None = None) -> None:
        """One update of all active replicas; with the batch's gradients, where they are known.

        Where an engine records its passes, and every update is the same operations, a GPU gets a whole update as one
        CUDA graph, from the second untraced one on: the first sets up what kernels and optimizer keep.
        """
        lr = self.descent.lrs[update]
        if gradients is None and self._recordable:
            if self._recording is None:
                self._recording = Recorded(self._recorded, batch, lr, memory=self.program.memory, warm_up=0)
            self.descent.note(update, self._recording(batch, lr))
            return
        if gradients is None:
            batch, gradients = self.gradients(update, batch)
            self._has_run = True
        noises = self._noises(update, batch)
        self.descent.note(update, self.descent.step(gradients.gradient, lr, update, noises))

    @property
    def _recordable(self) -> bool:
        return self._has_run and self.program.recordable and self.descent.recordable and not self.remedies

    def _recorded(self, batch: Batch, lr: Tensor) -> Tensor:
        return self.descent.step(self.program.gradients(self.flat, batch).gradient, lr)

    def gradients(self, update: int, batch: Batch, traced: bool = False) -> tuple[Batch, Gradients]:
        """Gradients of the loss with its penalties, on the batch as the remedies leave it, which is returned too."""
        batch, masks = self.program.prepared(batch, lambda name: self._stream(name, update))
        gradients = self.program.gradients(self.flat, batch, traced, masks)
        look = self._look(update, batch)
        for remedy in self.remedies.values():
            penalty = remedy.penalty(look)
            if penalty is not None:
                gradients = gradients._replace(gradient=gradients.gradient + penalty)
        return batch, gradients

    def _noises(self, update: int, batch: Batch) -> list[Tensor]:
        """What remedies add to the clipped gradient, each [R, P]."""
        look = self._look(update, batch)
        noises = [remedy.noise(look, self._stream(name, update)) for name, remedy in self.remedies.items()]
        return [noise for noise in noises if noise is not None]

    def _stream(self, name: str, update: int) -> Stream:
        return self.sequences.stream(f"remedy/{name}", update)

    def _look(self, update: int, batch: Batch) -> Look:
        """What a remedy may look at."""
        losses = self.program.treatment.losses(self.task)
        return Look(self.network, self.task, self.flat, self._trained, batch, losses, update)

    def _judge(self, batches: Iterable[Batch]) -> Judgement:
        """Mean over the sequences of all batches."""
        loss, accuracy = (torch.zeros(len(self.replicas), dtype=torch.float64, device=self.device) for _ in range(2))
        alive, count = torch.zeros_like(self.descent.active), 0
        for batch in batches:
            answers, sequences = self.program.answers(self.flat, batch), batch.inputs.shape[1]
            losses = self.task.losses(answers.outputs, batch.targets).flatten(1).double()
            loss += sequences * sum_of_rows(losses) / losses.shape[-1]
            accuracy += sequences * self.task.correct(answers.outputs, batch.targets).flatten(1).double().mean(-1)
            alive |= answers.alive
            count += sequences
        return Judgement(*(value.cpu().numpy() for value in (loss / count, accuracy / count, alive)))

    def _evaluate(self, update: int) -> None:
        """Judge every active replica on its held-out set."""
        judged, active = self._judge(self.heldout), self._active()
        self._tick()
        for r in active:
            self.alive[r] = judged.alive[r]
            self._add_evaluation(r, update, judged.loss[r], judged.accuracy[r])

    def _add_evaluation(self, r: int, update: int, loss: float, accuracy: float) -> None:
        skill = 1 - loss / self.task.baseline_loss
        row = {"loss": loss, "skill": skill, "accuracy": accuracy, "seconds": self.clock[r]}
        columns = {name: np.array([value]) for name, value in row.items()}
        self.records[r].tables["evaluations"].append({"update": np.array([update], np.int32), **columns})

    def _complete_evaluations(self, r: int) -> None:
        """What the evaluations after its end would give: NaN if it has diverged, else the same, as its weights are."""
        history = _evaluations(self.records[r])
        loss, accuracy = history["loss"][-1], history["accuracy"][-1]
        if self.descent.diverged_at[r] is not None:
            loss = accuracy = np.nan
        for update in sorted(self.evaluations):
            if update > history["update"][-1]:
                self._add_evaluation(r, update, loss, accuracy)

    def _enough(self) -> list[int]:
        """Active replicas that the stop rule ends."""
        enough, rule = self.replicas[0].evaluation.enough, self.replicas[0].rules["solved"]
        if enough is None:
            return []
        histories = {r: _evaluations(self.records[r])[rule.quantity] for r in self._active()}
        return [r for r, history in histories.items() if rule.held_lately(history) >= enough]

    def _progress(self, update: int) -> Progress:
        rule = self.replicas[0].rules["solved"]
        return Progress(update, tuple(_first_met(rule, _evaluations(record)) is not None for record in self.records))

    def finish(self) -> list[Record]:
        """Judge once more on a fresh set, and name the outcomes; of a replica that could go on, as it stands."""
        self.watch.collect()
        judged = self._judge(self.sequences.judged("final", self.replicas[0].evaluation.final))
        going_on, descent = self._active(), self.descent
        self._tick()
        for r, (replica, record) in enumerate(zip(self.replicas, self.records, strict=True)):
            diverged_at, ended_at = descent.diverged_at[r], descent.ended_at[r]
            diverged = diverged_at is not None
            done = next(at for at in (diverged_at, ended_at, self.update) if at is not None)
            if r not in going_on:
                self._complete_evaluations(r)
            history = _evaluations(record)
            rules = replica.rules
            met = {name: _first_met(rule, history) for name, rule in rules.items()}
            final_loss, final_accuracy = (np.nan if diverged else float(values[r]) for values in judged[:2])
            final_skill = 1 - final_loss / self.task.baseline_loss
            final = {"skill": final_skill, "accuracy": final_accuracy}
            word = ended(
                history["skill"],
                diverged=diverged,
                alive=bool(self.alive[r]),
                solved_at=met["solved"],
                kept=final[rules["solved"].quantity] >= rules["solved"].kept,
            )
            record.outcome = Outcome(
                outcome=word,
                solved_rule=str(rules["solved"]),
                solved_at=met["solved"],
                mastered_at=met["mastered"],
                diverged_at=diverged_at,
                ended_at=ended_at,
                stopped=r in going_on and self.update < self.updates,
                final_loss=final_loss,
                final_skill=final_skill,
                final_accuracy=final_accuracy,
                **facts(self.task, self.network),
                sequences=done * replica.batch_size,
                seconds=float(self.seconds[r]),
                pack_width=len(self.replicas),
            )
            steps = {name: values[:, r] for name, values in descent.history.items()}
            record.tables["clipping"].append(clipping_blocks(**steps))
        return self.records


def _first_met(rule: Rule, history: dict[str, np.ndarray]) -> int | None:
    return rule.first_met(history["update"], history[rule.quantity])


def _evaluations(record: Record) -> dict[str, np.ndarray]:
    return record.table("evaluations")
