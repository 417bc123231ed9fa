"""The one training loop: a pack of replicas, update by update, watched and judged on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.checkpoints import State
from bench.clipping import Step, cosine, gradient_norm
from bench.engines.engine import Engine, Gradients, Program, Treatment
from bench.fields import joined
from bench.measurements.measurement import Snapshot
from bench.network import Network
from bench.outcomes import Rule, outcome
from bench.records import Record, clipping_blocks, facts
from bench.remedies.remedy import Look
from bench.replicas import Replica
from bench.streams import Stream
from tasks.task import Batch

EVALUATION_BATCH = 64  # held-out sequences at a time; each such chunk has its own stream, so this is part of the data
NUMBERS_AHEAD = 2**20  # training data is drawn for so many updates at once that it has about this many numbers
WHOLE_REGISTERS = 16  # torch's vector loops take two registers at a time, on AVX512 16 numbers in float64
SERIES = ("norms", "shrinks", "cosines", "nonfinite")  # what is kept of every update, each [update, R]


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
        self, replicas: Sequence[Replica], engine: Engine, device: torch.device, states: Sequence[State] = ()
    ) -> None:
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
        self.update = 0
        self.policy = joined([replica.nonfinite for replica in replicas], device)
        self._recurrent, self._trained = self.network.mask("recurrent").to(device), self.network.mask().to(device)
        self.optimizer = joined([replica.optimizer for replica in replicas], device)
        self.delta = torch.zeros_like(self.flat)
        self.stepper = self.optimizer.build(self.delta)
        self.weight_decay = self._column(self.optimizer.weight_decay)
        decays = (self.optimizer.weight_decay, self.optimizer.decoupled_decay)
        self._decays = any(bool((torch.as_tensor(decay) != 0).any()) for decay in decays)
        self.schedule = joined([replica.schedule for replica in replicas], device)
        self.active = torch.ones(len(replicas), dtype=torch.bool, device=device)
        self.alive = np.ones(len(replicas), dtype=bool)
        self.diverged_at: list[int | None] = [None] * len(replicas)
        self.ended_at: list[int | None] = [None] * len(replicas)
        self.norms = np.zeros((self.updates, len(replicas)))
        self.shrinks = np.full((self.updates, len(replicas)), np.nan)  # NaN where no step was made
        self.cosines = np.ones((self.updates, len(replicas)))
        self.nonfinite = np.zeros((self.updates, len(replicas)), dtype=bool)
        self._probes: dict[int, Batch] = {}
        self.evaluations = first.evaluation.updates(self.updates)
        self.clock, self.seconds = np.zeros(len(replicas)), np.zeros(len(replicas))
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

        Ends after a last look at update `updates`, or as soon as no replica goes on.
        """
        first = self.replicas[0]
        measurements = {name: m.updates(self.updates) for name, m in first.measurement.items()}
        for update, batch in enumerate(self._training_batches(self.update), self.update):
            if self.ended.all():
                return
            ending: list[int] = []
            if update in self.evaluations:
                self._evaluate(update)
                ending = self._enough() if update < self.updates else []
                report(self._progress(update))
            due = [name for name, updates in measurements.items() if update in updates]
            last = [name for name in measurements if ending and name not in due]
            traced = any(first.measurement[name].needs_trace for name in (*due, *last))
            if update < self.updates or traced:
                batch, gradients = self._gradients(update, batch, traced)
            trace = gradients.trace if traced else {}
            if due:
                self._measure(update, due, trace)
            if last:
                self._measure(update, last, trace, ending)
            if update < self.updates:
                self._end(update, ending)
                self._step(update, gradients, batch)
                self.update = update + 1
                self._tick()
                yield self.update

    @property
    def ended(self) -> np.ndarray:
        """Which replicas do not go on, diverged or ended by the stop rule; bool [R]."""
        return ~self.active.cpu().numpy()

    def _tick(self) -> None:
        """Let the clocks go on."""
        now = time.perf_counter()
        self.clock += now - self._ticked
        self.seconds += (now - self._ticked) / len(self.replicas)
        self._ticked = now

    def states(self) -> list[State]:
        """Where every replica stands."""
        self._tick()
        kept = {name: value for name, value in self.stepper.state[self.delta].items() if value is not None}
        rows = {name: value.cpu().numpy() for name, value in kept.items() if _per_replica(value, self.delta)}
        numbers = {name: value.cpu().numpy() for name, value in kept.items() if name not in rows}
        flat = self.flat.cpu().numpy()
        return [
            State(
                update=self.update,
                weights=flat[r].copy(),
                optimizer={name: values[r].copy() for name, values in rows.items()} | numbers,
                series={name: getattr(self, name)[: self.update, r].copy() for name in SERIES},
                tables={name: record.table(name) for name, blocks in record.tables.items() if blocks},
                diverged_at=self.diverged_at[r],
                ended_at=self.ended_at[r],
                alive=bool(self.alive[r]),
                seconds=float(self.seconds[r]),
                clock=float(self.clock[r]),
            )
            for r, record in enumerate(self.records)
        ]

    def _go_on_from(self, states: Sequence[State]) -> None:
        self.update = states[0].update
        self.flat = torch.from_numpy(np.stack([state.weights for state in states])).to(self.device)
        for name, value in states[0].optimizer.items():
            rows = value.shape == states[0].weights.shape
            kept = np.stack([state.optimizer[name] for state in states]) if rows else value
            tensor = torch.from_numpy(kept.copy())
            self.stepper.state[self.delta][name] = tensor.to(self.device) if rows else tensor
        for name in SERIES:
            getattr(self, name)[: self.update] = np.stack([state.series[name] for state in states], axis=1)
        self.diverged_at = [state.diverged_at for state in states]
        self.ended_at = [state.ended_at for state in states]
        goes_on = [state.diverged_at is None and state.ended_at is None for state in states]
        self.active = torch.tensor(goes_on, device=self.device)
        self.alive = np.array([state.alive for state in states])
        self.seconds = np.array([state.seconds for state in states])
        self.clock = np.array([state.clock for state in states])
        for record, state in zip(self.records, states, strict=True):
            record.tables.update({name: [columns] for name, columns in state.tables.items()})

    @cached_property
    def heldout(self) -> list[Batch]:
        """The sequences of all evaluations."""
        return self._sequences("heldout", self.replicas[0].evaluation.sequences)

    def _training_batches(self, first: int = 0) -> Iterator[Batch]:
        """The batches of update `first` and on, including `updates`, which is measured and not trained on."""
        size = self.task.steps * (self.task.inputs + 1) * self.replicas[0].batch_size * len(self.replicas)
        ahead = max(1, NUMBERS_AHEAD // size)
        for start in range(first, self.updates + 1, ahead):
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
            self._probes[count] = batch._replace(inputs=batch.inputs.double()).mapped(self._as_looked_at)
        return self._probes[count]

    def _as_looked_at(self, values: Tensor) -> Tensor:
        """Numbers of every replica [R, ...] as measurements see them, at times with a copy of the last one's.

        What stands at the end of a tensor, and does not fill whole vector registers, is computed in another way than
        the rest, and so is the product of a single matrix: then that is the copy.
        """
        whole = self.network.cell.hidden % WHOLE_REGISTERS == 0
        return values if whole and len(values) > 1 else torch.cat((values, values[-1:]))

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
        norm = gradient_norm(gradient)
        finite = norm.isfinite()
        stepping = self.active & finite
        self.nonfinite[update] = (self.active & ~finite).cpu().numpy()
        if self.policy.stops:
            for replica in np.flatnonzero(self.nonfinite[update]):
                self.diverged_at[replica] = update + 1
            self.active = stepping
        replacement = self.policy.replacement(self.flat, self._recurrent)
        if replacement is not None:
            gradient, stepping = gradient.where(finite[:, None], replacement), self.active
            norm = gradient_norm(gradient)
        all_step = bool(stepping.all())
        norm_of_steps = norm
        if not all_step:
            gradient = gradient.where(stepping[:, None], torch.zeros_like(gradient))
            norm_of_steps = norm.where(stepping, torch.zeros_like(norm))
        clipped = self.clipping.clip(self._clipping_step(update, gradient, norm_of_steps))
        self._note_clipping(update, norm, gradient, clipped, stepping)
        look = self._look(update, batch)
        for name, remedy in self.remedies.items():
            noise = remedy.noise(look, self._stream(name, update))
            clipped = clipped if noise is None else clipped + noise

        kept = {} if all_step else self._optimizer_rows(~stepping)
        self.delta.zero_()
        self.delta.grad = clipped + self.weight_decay * self.flat if self._decays else clipped
        self.stepper.step()
        lr = self.optimizer.lr * self.schedule.factor(update, self.updates)
        after = self.flat
        if self._decays:
            after = self._column(1 - lr * self.optimizer.decoupled_decay) * after
        after = after + self._column(lr) * self.delta
        if not all_step:
            self._restore(kept, ~stepping)
            after = after.where(stepping[:, None], self.flat)
        self.flat = after

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

    def _note_clipping(self, update: int, norm: Tensor, gradient: Tensor, clipped: Tensor, stepping: Tensor) -> None:
        """The norm before clipping, the factor by which clipping shortened it (1 for a zero gradient), and the turn."""
        shrink = torch.ones_like(norm)
        if clipped is not gradient:
            shrink = torch.where(norm > 0, gradient_norm(clipped) / norm, shrink)
            if self.clipping.turns:
                self.cosines[update] = cosine(gradient, clipped).cpu().numpy()
        self.norms[update] = norm.cpu().numpy()
        self.shrinks[update] = shrink.where(stepping, torch.full_like(norm, torch.nan)).cpu().numpy()

    def _measure(
        self, update: int, names: list[str], trace: dict[str, Tensor], rows: Sequence[int] | None = None
    ) -> None:
        """Add what is measured to the records of all active replicas, or of those in `rows`."""
        snapshot = Snapshot(
            network=self.network,
            task=self.task,
            parameters=self._as_looked_at(self.flat),
            heldout=self._probed,
            trace={name: self._as_looked_at(norms) for name, norms in trace.items()},
        )
        chosen = np.flatnonzero(self.active.cpu().numpy()).tolist() if rows is None else rows
        for name in names:
            measurement = self.replicas[0].measurement[name]
            found = measurement.measure(snapshot)
            for r in chosen:
                at = np.full(len(next(iter(found[r].values()))), update, np.int32)
                self.records[r].tables[measurement.table].append({"update": at, **found[r]})

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

    def _evaluate(self, update: int) -> None:
        """Judge every active replica on its held-out set."""
        judged, active = self._judge(self.heldout), self.active.cpu().numpy()
        self.alive = np.where(active, judged.alive, self.alive)
        self._tick()
        for r in np.flatnonzero(active):
            self._add_evaluation(int(r), update, judged.loss[r], judged.accuracy[r])

    def _add_evaluation(self, r: int, update: int, loss: float, accuracy: float) -> None:
        skill = 1 - loss / self.task.baseline_loss
        row = {"loss": loss, "skill": skill, "accuracy": accuracy, "seconds": self.clock[r]}
        columns = {name: np.array([value]) for name, value in row.items()}
        self.records[r].tables["evaluations"].append({"update": np.array([update], np.int32), **columns})

    def _complete_evaluations(self, r: int) -> None:
        """What the evaluations after its end would give: NaN if it has diverged, else the same, as its weights are."""
        history = _evaluations(self.records[r])
        loss, accuracy = history["loss"][-1], history["accuracy"][-1]
        if self.diverged_at[r] is not None:
            loss = accuracy = np.nan
        for update in sorted(self.evaluations):
            if update > history["update"][-1]:
                self._add_evaluation(r, update, loss, accuracy)

    def _enough(self) -> list[int]:
        """Active replicas that the stop rule ends."""
        enough, rule = self.replicas[0].evaluation.enough, self.replicas[0].rules["solved"]
        if enough is None:
            return []
        active = self.active.nonzero().flatten().tolist()
        return [r for r in active if rule.held_lately(_evaluations(self.records[r])[rule.quantity]) >= enough]

    def _end(self, update: int, rows: Sequence[int]) -> None:
        for r in rows:
            self.ended_at[r] = update
            self.active[r] = False

    def _progress(self, update: int) -> Progress:
        rule = self.replicas[0].rules["solved"]
        return Progress(update, tuple(_first_met(rule, _evaluations(record)) is not None for record in self.records))

    def finish(self) -> list[Record]:
        """Judge once more on a fresh set, and name the outcomes; of a replica that could go on, as it stands."""
        judged = self._judge(self._sequences("final", self.replicas[0].evaluation.final))
        self._tick()
        for r, (replica, record) in enumerate(zip(self.replicas, self.records, strict=True)):
            diverged = self.diverged_at[r] is not None
            done = next(at for at in (self.diverged_at[r], self.ended_at[r], self.update) if at is not None)
            if not self.active[r]:
                self._complete_evaluations(r)
            history = _evaluations(record)
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
                "ended_at": self.ended_at[r],
                "stopped": bool(self.active[r]) and self.update < self.updates,
                "final_loss": final_loss,
                "final_skill": final_skill,
                "final_accuracy": final_accuracy,
                **facts(self.task, self.network),
                "sequences": done * replica.batch_size,
                "seconds": float(self.seconds[r]),
                "pack_width": len(self.replicas),
            }
            series = {name: getattr(self, name)[:, r] for name in SERIES}
            record.tables["clipping"].append(clipping_blocks(**series))
        return self.records


def _per_replica(value: object, delta: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == delta.shape


def _first_met(rule: Rule, history: dict[str, np.ndarray]) -> int | None:
    return rule.first_met(history["update"], history[rule.quantity])


def _evaluations(record: Record) -> dict[str, np.ndarray]:
    return record.table("evaluations")
