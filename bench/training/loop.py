"""The one training loop: a pack of replicas, update by update, measured and judged on the way."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.engines.engine import Engine, Gradients, Interventions, Program
from bench.engines.graphed import CapturedFunction
from bench.methods.remedies.remedy import PackView, Remedy
from bench.nets.network import Network
from bench.pack.fields import joined
from bench.pack.streams import Stream
from bench.training.data import Sequences
from bench.training.evaluation import Evaluator
from bench.training.monitor import Monitor
from bench.training.outcome import Outcome, ended
from bench.training.record import Record, clipping_blocks, facts
from bench.training.replica import Replica
from bench.training.run_state import RunState
from bench.training.update import Limit, PackOptimizer
from tasks.task import Batch, Task


@dataclass(frozen=True)
class Progress:
    """Where a pack stands: updates done, which of its replicas have solved their task, and the best skill of each."""

    update: int
    solved: tuple[bool, ...]
    skill: tuple[float, ...]


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
        self.optimizer = PackOptimizer(replicas, self.network, device)
        self.remedies = {name: joined([r.remedies[name] for r in replicas], device) for name in first.remedies}
        self.engine, self.interventions = engine, Interventions(self.optimizer.clipping, self.remedies)
        self.sequences = Sequences(self.task, self.interventions, self.seeds, first.dtype, device)
        self.judge: Program = engine.program(self.network, self.task, self.interventions)
        if self.network.cell.population_size:
            self.judge.population = self.sequences.population(self.network.cell.population_size)
        self.program = self.judge
        self.records = [Record() for _ in replicas]
        self.evaluator = Evaluator(replicas, self.judge, self.sequences, self.records)
        threads, looked_at = 0, self.sequences
        if device.type == "cuda":
            threads, looked_at = max(1, len(os.sched_getaffinity(0)) - 1), self._on_the_host()
        self.monitor = Monitor(
            first.measurement,
            self.network,
            self.task,
            self.records,
            looked_at.probe,
            looked_at.population,
            self.updates,
            threads,
        )
        self.update = 0
        self.alive = np.ones(len(replicas), dtype=bool)
        self.clock, self.seconds = np.zeros(len(replicas)), np.zeros(len(replicas))
        self._trained = self.network.mask().to(device)
        self._has_run = False
        self._captured: CapturedFunction | None = None
        if states:
            self._go_on_from(states)
        self._ticked = time.perf_counter()

    def _on_the_host(self) -> Sequences:
        """The pack's sequences in the host's memory."""
        host = torch.device("cpu")
        remedies = {name: joined([r.remedies[name] for r in self.replicas], host) for name in self.remedies}
        return dataclasses.replace(self.sequences, interventions=Interventions(None, remedies), device=host)

    def run(self, report: Report = lambda progress: None) -> list[Record]:
        """Train to the end; one record per replica."""
        for _ in self.each_update(report):
            pass
        return self.finish()

    def each_update(self, report: Report = lambda progress: None) -> Iterator[int]:
        """Train to the end, and yield after every update how many are done; `states` may be read then.

        Ends after the measurements and the evaluation at update `updates`, or as soon as no replica goes on.
        """
        for update, batch in enumerate(self.batches(self.update), self.update):
            if self.optimizer.ended.all():
                return
            ending: list[int] = []
            if update in self.evaluator.updates:
                self._evaluate(update)
                ending = self.evaluator.ending(self._active()) if update < self.updates else []
                report(Progress(update, self.evaluator.solved, self.evaluator.skill))
            due = self.monitor.due(update)
            last = [name for name in self.monitor.measurements if ending and name not in due]
            gradients = None
            if self.monitor.needs_gradient((*due, *last)):
                batch, gradients = self.gradients(update, batch, traced=self.monitor.needs_trace((*due, *last)))
            if due:
                self.monitor.measure(update, due, self.flat, gradients, self._active(), self.program.task)
            if last:
                self.monitor.measure(update, last, self.flat, gradients, ending, self.program.task)
            if update < self.updates:
                self.optimizer.end(update, ending)
                self.advance(update, batch, gradients)
                self.update = update + 1
                self._tick()
                yield self.update

    @property
    def flat(self) -> Tensor:
        """All parameters, [R, P]."""
        return self.optimizer.flat

    @property
    def ended(self) -> np.ndarray:
        """True for each replica that does not go on: it has diverged, or the stop rule has ended it; bool [R]."""
        self.optimizer.read()
        return self.optimizer.ended.copy()

    def _active(self) -> list[int]:
        return np.flatnonzero(~self.ended).tolist()

    def _tick(self) -> None:
        """Add the time since the last call to the clocks."""
        now = time.perf_counter()
        self.clock += now - self._ticked
        self.seconds += (now - self._ticked) / len(self.replicas)
        self._ticked = now

    def states(self) -> list[RunState]:
        """The state of every replica, from which another process can go on."""
        self.monitor.collect()
        standing = self.optimizer.standing(self.update)
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
        self.optimizer.go_on_from(states)
        self.alive = np.array([state.alive for state in states])
        self.seconds = np.array([state.seconds for state in states])
        self.clock = np.array([state.clock for state in states])
        for record, state in zip(self.records, states, strict=True):
            record.tables.update({name: [columns] for name, columns in state.tables.items()})

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """The batches of update `first` and on, including `updates`, which is measured and not trained on."""
        return self.sequences.training(
            self.replicas[0].batch_size, range(first, self.updates + 1), self.replicas[0].task_at
        )

    def advance(self, update: int, batch: Batch, gradients: Gradients | None = None) -> None:
        """One update of all active replicas; with the batch's gradients, where they are known.

        Where an engine records its passes, and every update is the same operations, a GPU gets a whole update as one
        CUDA graph, from the second untraced one on: the first sets up what kernels and optimizer keep.
        """
        lr = self.optimizer.lrs[update]
        if gradients is None and self._capturable:
            if self._captured is None:
                self._captured = CapturedFunction(self._captured_step, batch, lr, memory=self.program.memory, warm_up=0)
            self.optimizer.note(update, self._captured(batch, lr))
            return
        if gradients is None:
            batch, gradients = self.gradients(update, batch)
            self._has_run = True
        view = self._view(update, batch)
        limits = self._limits(view)
        self.optimizer.note(update, self.optimizer.step(gradients, lr, update, self._noises(view), limits))

    @property
    def _capturable(self) -> bool:
        return self._has_run and self.program.capturable and self.optimizer.capturable and not self.remedies

    def _captured_step(self, batch: Batch, lr: Tensor) -> Tensor:
        return self.optimizer.step(self.program.gradients(self.flat, batch), lr)

    def gradients(self, update: int, batch: Batch, traced: bool = False) -> tuple[Batch, Gradients]:
        """Gradients of the loss with its penalties, on the batch as the remedies leave it, which is returned too."""
        self._set_up(self.replicas[0].task_at(update))
        batch, masks = self.program.prepared(batch, lambda name: self._stream(name, update))
        gradients = self.program.gradients(self.flat, batch, traced, masks)
        view = self._view(update, batch)
        for remedy in self.remedies.values():
            penalty = remedy.penalty(view)
            if penalty is not None:
                gradients = gradients._replace(gradient=gradients.gradient + penalty)
        return batch, gradients

    def _set_up(self, task: Task) -> None:
        """Let `program` be that of a task to train on; of those before it only the one for judging is kept."""
        if task != self.program.task:
            same = task == self.task
            self.program = self.judge if same else self.engine.program(self.network, task, self.interventions)
            self.program.judged = self.task

    def _noises(self, view: PackView) -> list[Tensor]:
        """Noise that remedies add to the clipped gradient, each [R, P]."""
        noises = [remedy.noise(view, self._stream(name, view.update)) for name, remedy in self.remedies.items()]
        return [noise for noise in noises if noise is not None]

    def _limits(self, view: PackView) -> list[Limit]:
        """What remedies make of the weights after the step, each of those that do; they see the weights before it."""
        limiting = [remedy for remedy in self.remedies.values() if type(remedy).after is not Remedy.after]
        before = dataclasses.replace(view, flat=view.flat.clone()) if limiting else view
        return [functools.partial(remedy.after, before) for remedy in limiting]

    def _stream(self, name: str, update: int) -> Stream:
        return self.sequences.stream(f"remedy/{name}", update)

    def _view(self, update: int, batch: Batch) -> PackView:
        """The pack at one update, as remedies see it."""
        task = self.program.task
        losses = self.interventions.losses(task)
        return PackView(self.network, task, self.flat, self._trained, batch, losses, update, self.updates)

    def _evaluate(self, update: int) -> None:
        """Judge every active replica on its held-out set, and beside it on what it is trained on."""
        judged, fitted = self.evaluator.judged(self.flat), self.evaluator.fitted(self.flat, update)
        active = self._active()
        self._tick()
        for r in active:
            self.alive[r] = judged.alive[r]
            training = {"train_loss": self._training_loss(r, update), **{name: of[r] for name, of in fitted.items()}}
            self.evaluator.add(r, update, judged.loss[r], judged.accuracy[r], training, self.clock[r])

    def _training_loss(self, r: int, update: int) -> float:
        """One replica's mean loss over the updates since its last evaluation; NaN before the first."""
        if update == 0:
            return np.nan
        before = self.evaluator.history(r)["update"][-1]
        return float(np.ascontiguousarray(self.optimizer.history["losses"][before:update, r]).mean())

    def finish(self) -> list[Record]:
        """Judge every replica once more on fresh sequences, and give its record an outcome, also if it could go on."""
        self.monitor.collect()
        judged = self.evaluator.judged_finally(self.flat)
        going_on, descent = self._active(), self.optimizer
        self._tick()
        weights = {name: view.cpu().numpy() for name, view in self.network.views(self.flat).items()}
        for r, (replica, record) in enumerate(zip(self.replicas, self.records, strict=True)):
            record.weights = {name: of_all[r].copy() for name, of_all in weights.items()}
            diverged_at, ended_at = descent.diverged_at[r], descent.ended_at[r]
            diverged = diverged_at is not None
            done = next(at for at in (diverged_at, ended_at, self.update) if at is not None)
            if r not in going_on:
                self.evaluator.complete(r, diverged, self.clock[r])
            rules = self.evaluator.rules
            met = {name: self.evaluator.first_met(r, rule) for name, rule in rules.items()}
            final_loss, final_accuracy = (np.nan if diverged else float(values[r]) for values in judged[:2])
            final_skill = 1 - final_loss / self.task.baseline_loss
            final = {"skill": final_skill, "accuracy": final_accuracy}
            word = ended(
                self.evaluator.history(r)["skill"],
                final_skill,
                diverged=diverged,
                alive=bool(self.alive[r]),
                solved_at=met["solved"],
                kept=final[rules["solved"].quantity] >= rules["solved"].kept,
                given_up=ended_at is not None,
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
            steps = {name: values[:, r] for name, values in descent.history.items() if name != "losses"}
            record.tables["clipping"].append(clipping_blocks(**steps))
        return self.records
