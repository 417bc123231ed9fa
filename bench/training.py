"""The one training loop: a pack of replicas, update by update, watched and judged on the way."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.clipping import Step, gradient_norm
from bench.engines.engine import Engine, Gradients, Program, Treatment
from bench.fields import joined
from bench.measurements.measurement import Columns, Snapshot
from bench.network import Network
from bench.outcomes import Rule, outcome
from bench.remedies.remedy import Look
from bench.replicas import Replica
from bench.streams import Stream
from tasks.task import Batch

EVALUATION_BATCH = 64  # held-out sequences at a time; each such chunk has its own stream, so this is part of the data
NUMBERS_AHEAD = 2**20  # training data is drawn for so many updates at once that it has about this many numbers
CLIPPING_BLOCKS = 10_000


@dataclass
class Record:
    """What is known of a run: `outcome`, one value per column, and tables, one list of row blocks each."""

    outcome: dict[str, object] = field(default_factory=dict)
    tables: dict[str, list[Columns]] = field(default_factory=lambda: defaultdict(list))

    def table(self, name: str) -> dict[str, np.ndarray]:
        """All rows of a table, by column."""
        blocks = self.tables[name]
        return {column: np.concatenate([block[column] for block in blocks]) for column in blocks[0]}


class Judgement(NamedTuple):
    """Mean loss and accuracy on sequences never trained on, and whether any unit was ever non-zero; each [R]."""

    loss: np.ndarray
    accuracy: np.ndarray
    alive: np.ndarray


@dataclass(frozen=True)
class Progress:
    """Where a pack stands: updates done, and how many of its replicas have solved their task."""

    update: int
    solved: int


Report = Callable[[Progress], None]


class Training:
    """Trains the replicas of one pack; `run` does it all.

    replicas: of one `pack_key`. engine: how gradients are computed. device: where.
    """

    def __init__(self, replicas: Sequence[Replica], engine: Engine, device: torch.device) -> None:
        first = replicas[0]
        self.replicas = replicas
        self.device = device
        self.task = first.task
        self.network: Network = first.network
        self.updates = first.updates
        self.seeds = [replica.seed for replica in replicas]
        self.clipping = joined([replica.clipping for replica in replicas], device)
        self.remedies = {name: joined([r.remedies[name] for r in replicas], device) for name in first.remedies}
        treatment = Treatment(self.clipping, self.remedies)
        self.program: Program = engine.program(self.network, self.task, treatment)
        self.records = [Record() for _ in replicas]

        start = self.network.initial([replica.initializer for replica in replicas], self.seeds)
        self.flat = start.to(device, first.dtype)
        self.policy = joined([replica.nonfinite for replica in replicas], device)
        self._recurrent, self._trained = self.network.mask("recurrent").to(device), self.network.mask().to(device)
        self.optimizer = joined([replica.optimizer for replica in replicas], device)
        self.delta = torch.zeros_like(self.flat)
        self.stepper = self.optimizer.build(self.delta)
        self.weight_decay = self._column(self.optimizer.weight_decay)
        self.schedule = joined([replica.schedule for replica in replicas], device)
        self.active = torch.ones(len(replicas), dtype=torch.bool, device=device)
        self.diverged_at: list[int | None] = [None] * len(replicas)
        self.norms = np.zeros((self.updates, len(replicas)))
        self.shrinks = np.full((self.updates, len(replicas)), np.nan)  # NaN where no step was made
        self.nonfinite = np.zeros((self.updates, len(replicas)), dtype=bool)
        self._probes: dict[int, Batch] = {}
        self.heldout = self._sequences("heldout", first.evaluation.sequences)

    def run(self, report: Report = lambda progress: None) -> list[Record]:
        """Train to the end; one record per replica."""
        first, began = self.replicas[0], time.perf_counter()
        evaluations = first.evaluation.updates(self.updates)
        measurements = {name: m.updates(self.updates) for name, m in first.measurement.items()}
        for update, batch in enumerate(self._training_batches()):
            due = [name for name, updates in measurements.items() if update in updates]
            traced = any(first.measurement[name].needs_trace for name in due)
            if update < self.updates or traced:
                batch, gradients = self._gradients(update, batch, traced)
            if due:
                self._measure(update, due, gradients.trace if traced else {})
            if update in evaluations:
                self._evaluate(update, time.perf_counter() - began)
                report(self._progress(update))
            if update < self.updates:
                self._step(update, gradients, batch)
        self._finish(time.perf_counter() - began)
        return self.records

    def _training_batches(self) -> Iterator[Batch]:
        """The batches of update 0, 1, ... up to and including `updates`, which is measured and not trained on."""
        size = self.task.steps * (self.task.inputs + 1) * self.replicas[0].batch_size * len(self.replicas)
        ahead = max(1, NUMBERS_AHEAD // size)
        for start in range(0, self.updates + 1, ahead):
            updates = range(start, min(start + ahead, self.updates + 1))
            stream = Stream(self.seeds, "train", updates, self.flat.dtype, self.device)
            batches = self.task.sample(stream, self.replicas[0].batch_size)
            yield from map(batches.at, range(len(updates)))

    def _sequences(self, purpose: str, count: int) -> list[Batch]:
        """`count` sequences that are never trained on, in chunks; each chunk has a stream of its own.

        Where a task has a collection to be judged by, they are its first ones, the same for every replica.
        """
        collection = self._collection(purpose, count)
        if collection is not None:
            starts = range(0, collection.inputs.shape[1], EVALUATION_BATCH)
            return [collection.at((slice(None), slice(start, start + EVALUATION_BATCH))) for start in starts]
        starts = range(0, count, EVALUATION_BATCH)
        streams = [Stream(self.seeds, purpose, [k], self.flat.dtype, self.device) for k in range(len(starts))]
        sizes = [min(EVALUATION_BATCH, count - start) for start in starts]
        batches = [self.task.sample(stream, size) for stream, size in zip(streams, sizes, strict=True)]
        return [batch.at(0) for batch in batches]

    def _collection(self, purpose: str, count: int) -> Batch | None:
        """The first `count` of a task's own collection, for every replica; None where it has none."""
        collection = self.task.collection(purpose)
        if collection is None:
            return None
        first = collection._replace(inputs=collection.inputs.to(self.flat.dtype)).at(slice(count))
        return first.mapped(lambda part: part.to(self.device).expand(len(self.replicas), *part.shape))

    def _probed(self, count: int) -> Batch:
        """`count` sequences for measurements, the same at every update."""
        if count not in self._probes:
            stream = Stream(self.seeds, "probe", dtype=self.flat.dtype, device=self.device)
            batch = self._collection("heldout", count) or self.task.sample(stream, count)
            self._probes[count] = batch._replace(inputs=batch.inputs.double())
        return self._probes[count]

    def _gradients(self, update: int, batch: Batch, traced: bool) -> tuple[Batch, Gradients]:
        """Gradients of the loss with its penalties, on the batch as the remedies leave it, which is returned too."""
        batch, masks = self.program.prepared(batch, lambda name: self._stream(name, update))
        gradients = self.program.gradients(self.flat, batch, traced, masks)
        look = self._look(update, batch)
        for remedy in self.remedies.values():
            penalty = remedy.penalty(look)
            if penalty is not None:
                gradients = gradients._replace(gradient=gradients.gradient + penalty)
        return batch, gradients

    def _stream(self, name: str, update: int) -> Stream:
        return Stream(self.seeds, f"remedy/{name}", update, self.flat.dtype, self.device)

    def _look(self, update: int, batch: Batch) -> Look:
        """What a remedy may look at."""
        losses = self.program.treatment.losses(self.task)
        return Look(self.network, self.task, self.flat, self._trained, batch, losses, update)

    def _step(self, update: int, gradients: Gradients, batch: Batch) -> None:
        """One update of all active replicas.

        In this order: non-finite policy, clip, noise, L2, optimizer, decoupled decay, weights.
        """
        gradient = gradients.gradient
        finite = gradient.isfinite().all(-1)
        stepping = self.active & finite
        self.nonfinite[update] = (self.active & ~finite).cpu().numpy()
        if self.policy.stops:
            for replica in (self.active & ~finite).nonzero().flatten().tolist():
                self.diverged_at[replica] = update + 1
            self.active = stepping
        replacement = self.policy.replacement(self.flat, self._recurrent)
        if replacement is not None:
            gradient, stepping = gradient.where(finite[:, None], replacement), self.active
        norm = gradient_norm(gradient)
        gradient = gradient.where(stepping[:, None], torch.zeros_like(gradient))
        norm_of_steps = norm.where(stepping, torch.zeros_like(norm))
        clipped = self.clipping.clip(self._clipping_step(update, gradient, norm_of_steps))
        self._note_clipping(update, norm, gradient_norm(clipped), stepping)
        look = self._look(update, batch)
        for name, remedy in self.remedies.items():
            noise = remedy.noise(look, self._stream(name, update))
            clipped = clipped if noise is None else clipped + noise

        kept = None if bool(stepping.all()) else self._optimizer_rows(~stepping)
        self.delta.zero_()
        self.delta.grad = clipped + self.weight_decay * self.flat
        self.stepper.step()
        if kept is not None:
            self._restore(kept, ~stepping)
        step = self.delta.where(stepping[:, None], torch.zeros_like(self.delta))
        lr = self.optimizer.lr * self.schedule.factor(update, self.updates)
        remaining = (1 - lr * self.optimizer.decoupled_decay).where(stepping, torch.ones_like(lr))
        self.flat = self._column(remaining) * self.flat + self._column(lr) * step

    def _column(self, values: Tensor | float) -> Tensor:
        """A number per replica, as it multiplies the rows of `flat`: [R] -> [R, 1] in the run's precision."""
        return torch.as_tensor(values).to(self.flat.dtype)[:, None]

    def _clipping_step(self, update: int, gradient: Tensor, norm: Tensor) -> Step:
        past = torch.from_numpy(self.norms[:update]).to(self.device)
        return Step(gradient, norm, self.flat, self.network.views, update, self.updates, past)

    def _optimizer_rows(self, rows: Tensor) -> dict[str, Tensor]:
        state = self.stepper.state[self.delta]
        return {name: value[rows].clone() for name, value in state.items() if _per_replica(value, self.delta)}

    def _restore(self, kept: dict[str, Tensor], rows: Tensor) -> None:
        for name, value in self.stepper.state[self.delta].items():
            if _per_replica(value, self.delta):
                value[rows] = kept.get(name, torch.zeros_like(value[rows]))

    def _note_clipping(self, update: int, norm: Tensor, clipped: Tensor, stepping: Tensor) -> None:
        """The norm before clipping, and the factor by which clipping shortened it (1 for a zero gradient)."""
        shrink = torch.where(norm > 0, clipped / norm, torch.ones_like(norm))
        self.norms[update] = norm.cpu().numpy()
        self.shrinks[update] = shrink.where(stepping, torch.full_like(norm, torch.nan)).cpu().numpy()

    def _measure(self, update: int, names: list[str], trace: dict[str, Tensor]) -> None:
        snapshot = Snapshot(
            network=self.network,
            task=self.task,
            weights=self.network.views(self.flat.double()),
            heldout=self._probed,
            trace=trace,
        )
        for name in names:
            measurement = self.replicas[0].measurement[name]
            for record, columns, active in zip(self.records, measurement.measure(snapshot), self.active, strict=True):
                if active:
                    rows = len(next(iter(columns.values())))
                    record.tables[measurement.table].append({"update": np.full(rows, update, np.int32), **columns})

    def _judge(self, batches: list[Batch]) -> Judgement:
        """Mean over the sequences of all batches."""
        count = sum(batch.inputs.shape[1] for batch in batches)
        loss, accuracy = (torch.zeros(len(self.replicas), dtype=torch.float64, device=self.device) for _ in range(2))
        alive = torch.zeros_like(self.active)
        for batch in batches:
            answers = self.program.answers(self.flat, batch)
            share = batch.inputs.shape[1] / count
            loss += share * self.program.mean_loss(answers.outputs, batch.targets).double()
            accuracy += share * self.task.correct(answers.outputs, batch.targets).flatten(1).double().mean(-1)
            alive |= answers.alive
        return Judgement(*(value.cpu().numpy() for value in (loss, accuracy, alive)))

    def _evaluate(self, update: int, seconds: float) -> None:
        """Judge every replica on its held-out set; one that has diverged scores NaN from then on."""
        judged = self._judge(self.heldout)
        self.alive = judged.alive
        active = self.active.cpu().numpy()
        loss, accuracy = (np.where(active, values, np.nan) for values in (judged.loss, judged.accuracy))
        for r, record in enumerate(self.records):
            row = {"loss": loss[r], "skill": 1 - loss[r] / self.task.baseline_loss, "accuracy": accuracy[r]}
            row = {"update": np.int32(update), **row, "seconds": seconds}
            record.tables["evaluations"].append({name: np.array([value]) for name, value in row.items()})

    def _progress(self, update: int) -> Progress:
        rule = self.replicas[0].rules["solved"]
        solved = sum(_first_met(rule, _evaluations(record)) is not None for record in self.records)
        return Progress(update, solved)

    def _finish(self, seconds: float) -> None:
        """Judge once more on a fresh set, and name the outcomes."""
        judged = self._judge(self._sequences("final", self.replicas[0].evaluation.final))
        for r, (replica, record) in enumerate(zip(self.replicas, self.records, strict=True)):
            history, diverged = _evaluations(record), self.diverged_at[r] is not None
            rules = replica.rules
            met = {name: _first_met(rule, history) for name, rule in rules.items()}
            final_loss, final_accuracy = (np.nan if diverged else float(values[r]) for values in judged[:2])
            final_skill = 1 - final_loss / self.task.baseline_loss
            final = {"skill": final_skill, "accuracy": final_accuracy}
            record.outcome = {
                "outcome": outcome(
                    history["skill"],
                    diverged=diverged,
                    alive=bool(self.alive[r]),
                    solved_at=met["solved"],
                    kept=final[rules["solved"].quantity] >= rules["solved"].kept,
                ),
                "solved_rule": str(rules["solved"]),
                "solved_at": met["solved"],
                "mastered_at": met["mastered"],
                "diverged_at": self.diverged_at[r],
                "final_loss": final_loss,
                "final_skill": final_skill,
                "final_accuracy": final_accuracy,
                **self._facts(),
                "sequences": (self.diverged_at[r] or self.updates) * replica.batch_size,
                "seconds": seconds / len(self.replicas),
                "pack_width": len(self.replicas),
            }
            record.tables["clipping"].append(self._clipping_blocks(r))

    def _facts(self) -> dict[str, object]:
        """What the task and the network are, as every table row should say."""
        task = self.task
        return {
            "baseline_loss": task.baseline_loss,
            "chance_accuracy": task.chance_accuracy,
            "min_lag": task.min_lag,
            "mean_lag": task.mean_lag,
            "steps": task.steps,
            "scored_first": task.scored.start + 1,
            "scored_last": task.scored.stop,
            "parameters": self.network.parameter_count,
            "recurrent_parameters": self.network.recurrent_parameter_count,
        }

    def _clipping_blocks(self, replica: int) -> dict[str, np.ndarray]:
        """The norms before clipping: of every update of a short run, else in at most 10 000 blocks of equal length."""
        length = -(-self.updates // CLIPPING_BLOCKS)
        starts = np.arange(0, self.updates, length)
        norms, shrinks = self.norms[:, replica], self.shrinks[:, replica]
        seen = ~np.isnan(shrinks)
        with np.errstate(divide="ignore"):
            logs = np.where(seen, np.log(norms), 0.0)
        count = np.add.reduceat(seen, starts, dtype=np.int32)
        nonfinite = np.add.reduceat(self.nonfinite[:, replica], starts, dtype=np.int32)
        columns = {
            "update": np.minimum(starts + length, self.updates).astype(np.int32),
            "count": count,
            "clipped": np.add.reduceat(seen & (shrinks < 1), starts, dtype=np.int32),
            "nonfinite": nonfinite,
            "shrink_sum": np.add.reduceat(np.where(seen, shrinks, 0.0), starts).astype(np.float32),
            "norm_min": np.minimum.reduceat(np.where(seen, norms, np.inf), starts).astype(np.float32),
            "norm_max": np.maximum.reduceat(np.where(seen, norms, -np.inf), starts).astype(np.float32),
            "norm_log_mean": (np.add.reduceat(logs, starts) / np.maximum(count, 1)).astype(np.float32),
        }
        return {name: values[count + nonfinite > 0] for name, values in columns.items()}


def _per_replica(value: object, delta: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == delta.shape


def _first_met(rule: Rule, history: dict[str, np.ndarray]) -> int | None:
    return rule.first_met(history["update"], history[rule.quantity])


def _evaluations(record: Record) -> dict[str, np.ndarray]:
    return record.table("evaluations")
