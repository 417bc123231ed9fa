"""What a task looks like: the first sequence that a run would be trained on, and a table of all tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from hydra.utils import get_class

from bench.analysis.table import Table
from bench.jobs.build import build
from bench.jobs.compose import composed, options
from bench.jobs.job import checked_job
from bench.pack.streams import Stream
from bench.show.picture import Example, three_digits
from tasks.task import Task

UNKNOWN = "-"
MOST_LISTED = 12  # words in a line


def example(overrides: list[str]) -> Example:
    """The first sequence of update 0 of the run that a command line asks for.

    Raises ConfigError, or an error of Hydra, on a mistake in it.
    """
    replica = checked_job(composed(*overrides)).replica
    task = replica.task
    batch = task.sample(Stream(replica.seed, "train"), replica.batch_size).at(0)
    steps = task.steps if batch.lengths is None else int(batch.lengths)
    earlier = task.steps - steps
    facts = {
        **_facts(task),
        "solved by": str(replica.rules["solved"]),
        "example": f"the first sequence of update 0 with seed={replica.seed}, {steps} steps",
    }
    return Example(
        task=task.name,
        variant=task.variant,
        facts=facts,
        inputs=batch.inputs[:steps].numpy(),
        channels=task.channels,
        symbolic=task.symbolic,
        scored=range(task.scored.start - earlier, task.scored.stop - earlier),
        targets=batch.targets.numpy(),
        classes=task.classes,
    )


def task_table() -> str:
    """All tasks of the suite in Markdown, a row for every yaml in conf/task and variant of its class.

    A yaml that is named otherwise than its class stands for its own variant alone, and that variant is not
    repeated. Numbers that depend on files which only a user has are left open, whether he has them or not.
    """
    names = options("task")
    rows = []
    for name in names:
        node = composed(f"task={name}")["task"]
        kind: type[Task] = get_class(node["_target_"])
        own = [variant for variant in kind.variants if variant == node["variant"] or variant not in names]
        for variant in own if name == kind.name else [node["variant"]]:
            rows.append({"task": name, "variant": variant, **_row(kind, {**node, "variant": variant})})
    table = pd.DataFrame(rows)
    return Table("tasks", table, table, "").markdown()


def _row(kind: type[Task], node: dict[str, Any]) -> dict[str, str]:
    numbers = dict.fromkeys(("steps", "baseline", "chance", "least lag", "mean lag", "source's rule"), UNKNOWN)
    if not _needs_files(kind):
        task = build(Task, node, "task")  # type: ignore[type-abstract]
        known = (_steps(task), _baseline(task), three_digits(task.chance_accuracy), str(task.min_lag))
        numbers = dict(zip(numbers, (*known, _lag(task.mean_lag), _rule(task)), strict=True))
    return {"settings": _settings(kind, node), **numbers, "source": kind.variants[node["variant"]]}


def _facts(task: Task) -> dict[str, str]:
    kind = type(task)
    facts = {
        "task": task.name,
        "variant": f"{task.variant}, {task.variants[task.variant]}",
        "settings": _settings(kind, vars(task)),
        "steps": f"{_steps(task)}, the first is 0",
        "inputs": f"{_counted(task.inputs, 'symbol' if task.symbolic else 'channel')}: {_listed(task.channels)}",
        "outputs": f"{_counted(task.outputs, 'class')}: {_listed(task.classes)}" if task.classes else "a number",
        "scored": _scored(task),
        "baseline loss": f"{_baseline(task)} per scored step",
        "chance accuracy": three_digits(task.chance_accuracy),
        "lag": f"{task.min_lag} at least, {_lag(task.mean_lag)} on average (time steps)",
        "source's rule": _rule(task),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _needs_files(kind: type[Task]) -> bool:
    """Whether a field says where data lie, which is no part of a task's identity."""
    return any(not field.metadata.get("identity", True) for field in dataclasses.fields(kind))


def _settings(kind: type[Task], values: Mapping[str, Any]) -> str:
    """All that may be set but the variant and where data lie: `length=100`."""
    fields = [field for field in dataclasses.fields(kind) if field.metadata.get("identity", True)]
    return ", ".join(f"{field.name}={values[field.name]}" for field in fields if field.name != "variant")


def _steps(task: Task) -> str:
    return str(task.steps) if task.least_steps == task.steps else f"{task.least_steps}-{task.steps}"


def _scored(task: Task) -> str:
    first, count = task.scored.start, len(task.scored)
    if count == task.steps:
        return "all steps"
    if task.scored.stop < task.steps:
        return f"steps {first} to {task.scored[-1]}"
    return "the last step" if count == 1 else f"the last {count} steps"


def _baseline(task: Task) -> str:
    return f"{three_digits(task.baseline_loss)} {'nats' if task.classes else 'squared error'}"


def _lag(mean: float) -> str:
    return f"{round(mean, 1):g}"


def _rule(task: Task) -> str:
    """When the variant's source calls it solved; empty if it does not say."""
    asked = task.historical_accuracy
    return "" if asked is None else f"accuracy >= {three_digits(asked)}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what if count == 1 else what + ('es' if what.endswith('s') else 's')}"


def _listed(words: Sequence[str]) -> str:
    """All words, or the first and the last ones."""
    return " ".join(words if len(words) <= MOST_LISTED else [*words[:3], "...", *words[-2:]])
