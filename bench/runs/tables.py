"""The tidy tables made from the runs of one or several sweeps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from bench.pack.identity import class_label
from bench.runs.directory import RunDirectory, asked

Keep: TypeAlias = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Source(Protocol):
    """What tables are made from: a run's directory, or a run that was kept in another way.

    path: of the directory; its parent is the folder that the run belongs to.
    """

    @property
    def run_id(self) -> str: ...

    @property
    def path(self) -> Path: ...

    @property
    def outcome(self) -> dict[str, Any]: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def overrides(self) -> dict[str, Any]: ...

    @property
    def environment(self) -> dict[str, Any]: ...

    @property
    def tables(self) -> Collection[str]: ...

    def table(self, name: str, columns: Collection[str] | None = None) -> dict[str, np.ndarray] | None: ...


@dataclass(frozen=True)
class Absent:
    """A run that was asked for or begun, and that has no row.

    path: of its directory, which may not be there. standing: as `RunDirectory` says. asked: the command line that asked
    for it, the empty word where none is noted.
    """

    path: Path
    standing: str
    asked: str


class Tables:
    """Tidy tables of one or several results folders: one row per observation, `run` says of which run.

    runs: one row per run: its outcome, its configuration (`task.length`, `clipping.threshold`, ...) and, per group,
        the name of the yaml chosen (`task`, `cell`, ...).
    environments: one row per run: with what it was made.
    absent: runs of the same folders that were asked for and have no row.
    Every table that one of the runs has on disk (`evaluations`, `clipping`, and the `table` of each measurement) is an
    attribute, read when it is first used; `names` lists them. Raises AttributeError for a table that no run has, and
    Damaged where a file of a run is not what was written and its marker could not tell.
    """

    def __init__(self, directories: Sequence[Source], absent: Sequence[Absent] = ()) -> None:
        self.directories = directories
        self.absent = absent
        self._replaced: dict[str, pd.DataFrame] = {}

    @functools.cached_property
    def runs(self) -> pd.DataFrame:
        return pd.DataFrame([_run_row(directory) for directory in self.directories])

    @functools.cached_property
    def environments(self) -> pd.DataFrame:
        return pd.DataFrame([{"run": one.run_id, **one.environment} for one in self.directories])

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The tables that one of the runs has, or more, in alphabetical order."""
        return tuple(sorted({*self._replaced, *(name for one in self.directories for name in one.tables)} - {"runs"}))

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name.startswith("_") or name not in self.names:
            raise AttributeError(f"these results hold no table {name}; they hold runs, {', '.join(self.names)}")
        table = self.read(name)
        vars(self)[name] = table
        return table

    def of(self, runs: Collection[str]) -> Tables:
        """The tables of some of the runs."""
        some = Tables([directory for directory in self.directories if directory.run_id in runs], self.absent)
        return some.replaced(**{name: table[table["run"].isin(list(runs))] for name, table in self._replaced.items()})

    def without(self, path: Path) -> Tables:
        """The tables of the other runs; the one in this directory counts as torn."""
        left = [directory for directory in self.directories if directory.path != path]
        return Tables(left, [*self.absent, Absent(path, "torn", "")])

    def replaced(self, **tables: pd.DataFrame) -> Tables:
        """Results with some tables in place of those on disk, such as `runs=` with fewer rows."""
        other = Tables(self.directories, self.absent)
        other._replaced = {**self._replaced, **tables}
        if "runs" in other._replaced:
            vars(other)["runs"] = other._replaced["runs"]
        return other

    def read(self, name: str, columns: Collection[str] | None = None, keep: Keep | None = None) -> pd.DataFrame:
        """A table, or as much of it as is wanted: of thousands of runs the whole may be more than fits.

        columns: only these. keep: which rows of a run, from its columns. A table that no run has is empty.
        """
        if name in self._replaced:
            return _part(self._replaced[name], columns, keep)
        parts = {}
        for directory in self.directories:
            if (part := directory.table(name, columns)) is not None:
                if keep is not None:
                    rows = keep(part)
                    part = {column: values[rows] for column, values in part.items()}
                parts[directory.run_id] = part
        return _joined(parts)


def _part(table: pd.DataFrame, columns: Collection[str] | None, keep: Keep | None) -> pd.DataFrame:
    """The columns and rows of a table in memory that `Tables.read` would take of it on disk."""
    kept = [name for name in table if columns is None or name == "run" or name in columns]
    if keep is None:
        return table[kept]
    own = (rows for _, rows in table.groupby("run", observed=True, sort=False))
    rows = [one[keep({str(name): one[name].to_numpy() for name in one})] for one in own]
    return pd.concat(rows)[kept] if rows else table[kept]


def _joined(parts: Mapping[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """The tables of several runs under each other; words as categories, NaN where a run has no such column.

    The parts are empty afterwards: of thousands of runs there is room for one copy.
    """
    if not parts:
        return pd.DataFrame({"run": pd.Series(dtype=str)})
    lengths = [len(next(iter(part.values()))) for part in parts.values()]
    names = sorted(parts)
    codes = np.repeat(np.searchsorted(names, list(parts)), lengths)
    found = {"run": pd.Categorical.from_codes(codes, names)}
    for column in list(dict.fromkeys(column for part in parts.values() for column in part)):
        pieces = [
            part.pop(column) if column in part else np.full(length, np.nan)
            for part, length in zip(parts.values(), lengths, strict=True)
        ]
        found[column] = _words(pieces) if any(piece.dtype.kind == "U" for piece in pieces) else np.concatenate(pieces)
    return pd.DataFrame(found, copy=False)


def _words(pieces: Sequence[np.ndarray]) -> pd.Categorical:
    """One column of words, run by run: each has few different ones; a run without them has NaN."""
    split = [np.unique(piece, return_inverse=True) for piece in pieces if piece.dtype.kind == "U"]
    names = sorted({str(name) for words, _ in split for name in words})
    codes = iter(np.searchsorted(names, words)[inverse].astype(np.int16) for words, inverse in split)
    missing = (np.full(len(piece), -1, np.int16) if piece.dtype.kind != "U" else next(codes) for piece in pieces)
    return pd.Categorical.from_codes(np.concatenate(list(missing)), names)


def load(*folders: str | Path) -> Tables:
    """Tables of all finished and failed runs below the folders.

    A run that lies in several folders is taken from the first. Raises FileNotFoundError if a folder is not there or
    holds no run.
    """
    directories: dict[str, RunDirectory] = {}
    absent: list[Absent] = []
    for folder in map(Path, folders):
        noted = asked(folder)
        begun = [path.parent.name for path in sorted(folder.glob("*/config.yaml"))]
        there = []
        for directory in (RunDirectory(folder, run_id) for run_id in dict.fromkeys([*begun, *noted])):
            if directory.is_begun and (directory.is_there or directory.is_finished):
                there.append(directory)
            else:
                absent.append(Absent(directory.path, directory.standing, noted.get(directory.run_id, "")))
        if not there:
            raise FileNotFoundError(f"{folder}: holds no finished run; give a results folder such as results/quick")
        directories |= {directory.run_id: directory for directory in there if directory.run_id not in directories}
    return Tables(list(directories.values()), [one for one in absent if one.path.name not in directories])


def _run_row(directory: Source) -> dict[str, Any]:
    row: dict[str, Any] = {"run": directory.run_id, "folder": str(directory.path.parent), "message": None}
    for name, value in directory.outcome.items():
        row[name] = np.nan if value is None else value
    config = directory.config
    remedies = ", ".join(config.get("remedies", {})) or "none"
    return {**row, "cell.layers": 1, **flat(config), **directory.overrides["choices"], "remedies": remedies}


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Nested configuration as one level of dotted keys; a class is named as in a run's identity, not by its file."""
    if isinstance(node, Mapping):
        inner = [flat(value, f"{path}.{name}" if path else str(name)) for name, value in node.items()]
        return {name: value for part in inner for name, value in part.items()}
    if path.rpartition(".")[2] == "_target_":
        return {path: class_label(node)}
    return {path: str(node) if isinstance(node, list) else node}
