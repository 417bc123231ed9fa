"""A training run as a checked configuration, and what may share a pack."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt, Le, Lt

from bench.engines.engine import MATHEMATICS, Interventions
from bench.measurements.measurement import Measurement
from bench.methods.clipping import Clipping
from bench.methods.nonfinite import Nonfinite
from bench.methods.optimizers import Optimizer
from bench.methods.remedies.remedy import Remedy
from bench.methods.schedules import Schedule
from bench.nets.cells.cell import Cell
from bench.nets.initializers import Initializers
from bench.nets.network import Network
from bench.pack.fields import per_replica_fields
from bench.pack.identity import class_label
from bench.training.outcome import Rule
from bench.training.start import Start
from tasks.ranges import Checked, Count, CountOrZero
from tasks.task import Task

MASTERED = 0.99
KEPT = 0.9  # skill that a run must end with to count as solved still
MAY_LOSE = 0.05  # of the accuracy that a historical rule asks for


@dataclass(frozen=True)
class Evaluation(Checked):
    """How a run is judged on sequences it never trained on.

    every: updates between evaluations; None for a sixtieth of the run.
    sequences: size of the held-out set, the same at every evaluation. final: of the fresh set for the last number.
        A task of collected data is judged on fewer where it has no more.
    rule: `skill`, the suite's rule, or `historical`, the accuracy that the task's source asks for, once.
    solved: skill that counts as solved. in_a_row: at so many evaluations in a row.
    enough: a run ends once the rule has held at so many evaluations in a row, at least as many as it asks for; None to
        train on.
    hopeless: a run that has never met the rule ends, as `hopeless`, once this share of its updates has brought its best
        skill (of the historical rule, its best accuracy) up by less than .01; None to train on.
    """

    version: ClassVar[int] = 2  # raised whenever a run that ends alike is judged otherwise

    every: Count | None
    sequences: Count
    final: Count
    rule: Literal["skill", "historical"]
    solved: Annotated[float, Gt(0), Le(1)]
    in_a_row: Count
    enough: Count | None
    hopeless: Annotated[float, Gt(0), Lt(1)] | None = field(metadata={"silent": None})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule == "skill" and self.enough is not None and self.enough < self.in_a_row:
            raise ValueError(f"enough={self.enough}: must be >= in_a_row={self.in_a_row}, or null")

    def moments(self, last: int) -> set[int]:
        """When to evaluate in a run of `last` updates."""
        return {*range(0, last, self.every or max(1, last // 60)), last}


@dataclass(frozen=True)
class Replica(Checked):
    """One training run: everything its result depends on.

    Its loss is averaged over the batch and the scored steps. updates: how many. batch_size: sequences per update.
    start: another run's weights to begin with; None draws them by `initializer`.
    precision: `float32` or `float64`. seed: of all its random numbers.
    Raises ValueError if the cell, a remedy or the rule of evaluation does not fit the task.
    """

    task: Task
    cell: Cell
    initializer: Initializers
    clipping: Clipping
    nonfinite: Nonfinite
    optimizer: Optimizer
    schedule: Schedule
    remedies: dict[str, Remedy]
    measurement: dict[str, Measurement]
    evaluation: Evaluation
    precision: Literal["float32", "float64"]
    seed: CountOrZero
    updates: Count
    batch_size: Count
    start: Start | None = field(metadata={"silent": None})

    def __post_init__(self) -> None:
        super().__post_init__()
        if reason := self.cell.refusal(self.task):
            raise ValueError(reason)
        if self.cell.population_size and self.network.cell != self.cell:
            raise ValueError(
                f"remedies: {self.cell.name} takes statistics of its own steps; leave out what changes a cell"
            )
        for name, remedy in self.remedies.items():
            reason = remedy.refusal(self.task)
            if reason is not None:
                raise ValueError(f"remedies={name}: {reason} ({self.task.name}); leave it out")
        if self.start and (reason := self.start.misfit(self.network)):
            raise ValueError(f"start={self.start.origin}: {reason}")
        if self.evaluation.rule == "historical" and self.task.historical_accuracy is None:
            variant = f"{self.task.name} as {self.task.variant}"
            raise ValueError(f"evaluation.rule=historical: the source of {variant} names none; use skill")

    @property
    def rules(self) -> dict[str, Rule]:
        """When the task counts as `solved`, and by the stricter skill as `mastered`."""
        judged, asked = self.evaluation, self.task.historical_accuracy
        solved = Rule("skill", judged.solved, judged.in_a_row, KEPT)
        if judged.rule == "historical" and asked is not None:
            solved = Rule("accuracy", asked, 1, asked - MAY_LOSE)
        return {"solved": solved, "mastered": Rule("skill", MASTERED, judged.in_a_row, KEPT)}

    @property
    def dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.precision]

    @property
    def network(self) -> Network:
        """The cell, as the remedies change it, with the readout that the task needs."""
        cell = self.cell
        for remedy in self.remedies.values():
            cell = cell.layerwise(remedy.cell)
        masked = any(remedy.masks for remedy in self.remedies.values())
        return Network(cell, self.task.inputs, self.task.outputs, masked)

    def task_at(self, update: int) -> Task:
        """The task that is trained on at an update: `task`, as the remedies change it. Judged is `task` itself."""
        task = self.task
        for remedy in self.remedies.values():
            task = remedy.task(task, update, self.updates)
        return task

    @property
    def interventions(self) -> Interventions:
        """What its clipping rule and its remedies may do within a pass."""
        return Interventions(self.clipping, self.remedies)

    @property
    def run_id(self) -> str:
        """Digest of the question that this run answers; the same question has the same id."""
        return _digest({"mathematics": MATHEMATICS, **described(self)})

    @property
    def pack_key(self) -> str:
        """Digest of all that replicas of one pack have in common."""
        shared = described(self, per_replica=False)
        return _digest({name: value for name, value in shared.items() if name not in ("seed", "initializer", "start")})


def described(component: Any, per_replica: bool = True) -> Any:
    """A component as plain data: its class and version, its fields, and the fingerprint of data outside the suite.

    Left out are fields whose metadata say that they are no part of its identity (`identity=False`: where data lie),
    those that hold the value with which they change nothing (`silent=VALUE`: runs from before there was such a field
    keep their ids), and on demand the `PerReplica` ones.
    """
    if dataclasses.is_dataclass(component) and not isinstance(component, type):
        kind = type(component)
        left_out = () if per_replica else per_replica_fields(component)
        names = [
            one.name
            for one in dataclasses.fields(component)
            if one.name not in left_out and one.metadata.get("identity", True) and not _is_silent(component, one)
        ]
        fields = {name: described(getattr(component, name), per_replica) for name in names}
        if isinstance(component, Task) and component.fingerprint:
            fields["data"] = component.fingerprint
        return {
            "class": class_label(f"{kind.__module__}.{kind.__name__}"),
            "version": getattr(kind, "version", 1),
            **fields,
        }
    if isinstance(component, Mapping):
        return {name: described(value, per_replica) for name, value in component.items()}
    return component


def _is_silent(component: Any, one: dataclasses.Field[Any]) -> bool:
    return "silent" in one.metadata and getattr(component, one.name) == one.metadata["silent"]


def _digest(data: object) -> str:
    return hashlib.blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=6).hexdigest()
