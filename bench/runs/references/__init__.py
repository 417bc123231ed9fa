"""Results that come with the suite, so that a new cell can be seen beside the known ones after training only it.

NAME.json.gz holds, of every run of an experiment, its outcome, configuration, chosen yaml, environment and evaluations:
what overview, comparisons and learning curves are made from; and the numbers by which questions are answered.
`python -m bench.reference FOLDER` makes such a file.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from bench.pack.identity import HOW, WATCHED
from bench.runs.tables import Source, Tables, flat

HERE = Path(__file__).parent
ENDING = ".json.gz"
TABLES = {"evaluations": ("update", "loss", "skill", "accuracy")}  # kept of what lies on disk
DIGITS = 5  # of the numbers in tables


Columns: TypeAlias = Mapping[str, np.ndarray]
NOTHING: Mapping[str, Mapping[str, Columns]] = MappingProxyType({})


class NoReference(ValueError):
    """A reference that is not there, or has nothing to compare with; the message says what there is."""


@dataclass(frozen=True)
class StoredRun:
    """A run of a reference; to a reader the same as its directory was.

    path: where it would lie below the name of the reference. tables: by name, columns of numbers.
    """

    run_id: str
    path: Path
    outcome: dict[str, Any]
    config: dict[str, Any]
    overrides: dict[str, Any]
    environment: dict[str, Any]
    tables: dict[str, dict[str, list[float]]]

    def table(self, name: str, columns: Collection[str] | None = None) -> dict[str, np.ndarray] | None:
        if name not in self.tables:
            return None
        table = self.tables[name].items()
        return {column: np.asarray(values) for column, values in table if columns is None or column in columns}


def names() -> list[str]:
    """The references that there are."""
    return sorted(path.name.removesuffix(ENDING) for path in HERE.glob(f"*{ENDING}"))


def keep(
    runs: Sequence[Source], name: str, folder: Path = HERE, further: Mapping[str, Mapping[str, Columns]] = NOTHING
) -> Path:
    """Write the runs as the reference `name`: the same bytes for the same runs, wherever they lay.

    further: tables that are not on disk, by run and by name. Numbers of tables are kept to five digits.
    """
    kept = [
        {
            "run_id": run.run_id,
            "outcome": run.outcome,
            "config": run.config | {"results": f"results/{name}"},
            "overrides": run.overrides | {"overrides": _elsewhere(run.overrides["overrides"])},
            "environment": run.environment,
            "tables": {
                name: _lists(table)
                for name, table in [
                    *((name, run.table(name, columns)) for name, columns in TABLES.items()),
                    *further.get(run.run_id, {}).items(),
                ]
                if table is not None
            },
        }
        for run in sorted(runs, key=lambda run: run.run_id)
    ]
    path = folder / f"{name}{ENDING}"
    path.write_bytes(gzip.compress(json.dumps(kept, separators=(",", ":")).encode(), mtime=0))
    return path


def _elsewhere(overrides: Sequence[str]) -> list[str]:
    """A command line without where its results went."""
    return [override for override in overrides if not override.startswith("results=")]


def _lists(table: Columns) -> dict[str, list[float]]:
    return {column: [_short(value) for value in values.tolist()] for column, values in table.items()}


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def read(name: str, folder: Path = HERE) -> list[StoredRun]:
    """The runs of a reference. Raises NoReference if there is none of this name."""
    path = folder / f"{name}{ENDING}"
    if not path.exists():
        raise NoReference(f"against {name}: no such reference; there are {', '.join(names())}")
    runs = json.loads(gzip.decompress(path.read_bytes()))
    return [StoredRun(path=Path(name) / run["run_id"], **run) for run in runs]


def beside(results: Tables, name: str, folder: Path = HERE) -> Tables:
    """The results, followed by those runs of a reference that had the same data, and that are not among them.

    The same data: an equal task and batch size; runs of equal seed have the same sequences then. A run that was done
    again, in whatever version of the suite, counts once. Raises NoReference if there are none.
    """
    own = {_data(directory.config) for directory in results.directories}
    there = read(name, folder)
    alike = [run for run in there if _data(run.config) in own]
    if not alike:
        tasks = dict.fromkeys(_told(run) for run in there)
        raise NoReference(f"against {name}: has none of the tasks of these results; it has {'; '.join(tasks)}")
    known = {_question(directory.config) for directory in results.directories}
    others = [run for run in alike if _question(run.config) not in known]
    return Tables([*results.directories, *others], results.absent)


def _data(config: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    """What the sequences of a run depend on, beside its seed."""
    return frozenset(flat({key: config[key] for key in ("task", "batch_size")}).items())


def _question(config: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    """What a run asks, without what is watched, how it is carried out, and settings of a later version left empty."""
    asked = flat({key: config[key] for key in config if key not in (*HOW, *WATCHED)})
    return frozenset((key, value) for key, value in asked.items() if value is not None)


def _told(run: StoredRun) -> str:
    """The task in the words of a command line: `task=adding task.length=100`."""
    settings = {key: value for key, value in run.config["task"].items() if key != "_target_"}
    words = [f"task={run.overrides['choices']['task']}", *(f"task.{key}={value}" for key, value in settings.items())]
    return " ".join([*words, f"batch_size={run.config['batch_size']}"])
