"""The files of a run, and the tidy tables made from many: the only module that knows what lies on disk.

results/<experiment>/<run id>/
    config.yaml       the resolved configuration
    overrides.yaml    the command line, and the yaml chosen in every group
    environment.json  version, commit, machine, precision
    run.log           what happened, evaluation by evaluation
    outcome.json      one value per column
    <table>.npz       the rows of a table, one array per column
    finished          written last: the names and sizes of the files above

Every file is written to a temporary name, flushed and renamed. A run without `finished`, or with files that do not
match it, is not there and is done again.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

log = logging.getLogger(__name__)


class RunDirectory:
    """The directory of one run."""

    def __init__(self, results: str | Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = Path(results) / run_id

    def begin(self, config: Mapping[str, Any], overrides: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Say what is going to be done, before the first update; what an earlier attempt left is no longer true."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("finished", "outcome.json"):
            (self.path / name).unlink(missing_ok=True)
        self._write("overrides.yaml", _yaml(overrides))
        self._write("environment.json", _json(environment))
        self._write("config.yaml", _yaml(config))  # last: `load` takes it for a sign that the others are there

    def finish(
        self, outcome: Mapping[str, Any], tables: Mapping[str, Mapping[str, np.ndarray]], lines: Sequence[str]
    ) -> None:
        """Keep the answer."""
        self._close(outcome, lines)
        for name, columns in tables.items():
            buffer = BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **columns)
            self._write(f"{name}.npz", buffer.getvalue())
        sizes = {file.name: file.stat().st_size for file in sorted(self.path.glob("[!.]*")) if file.name != "finished"}
        self._write("finished", _json(sizes))

    def fail(self, outcome: Mapping[str, Any], lines: Sequence[str]) -> None:
        """Keep the failure; the same command tries again."""
        self._close(outcome, lines)

    def _close(self, outcome: Mapping[str, Any], lines: Sequence[str]) -> None:
        self._write("outcome.json", _json(outcome))
        self._write("run.log", "".join(f"{line}\n" for line in lines).encode())

    @property
    def is_finished(self) -> bool:
        """Whether the answer is there, and whole."""
        marker = self.path / "finished"
        if not marker.exists():
            return False
        try:
            sizes = json.loads(marker.read_bytes())
            whole = all((self.path / name).stat().st_size == size for name, size in sizes.items())
        except (FileNotFoundError, ValueError):
            whole = False
        if not whole:
            log.warning("%s is torn: it is ignored and done again", self.path)
        return whole

    @property
    def is_there(self) -> bool:
        """Whether the run has an outcome: finished, or failed."""
        return (self.path / "outcome.json").exists() and (self.is_finished or self.outcome["outcome"] == "failed")

    @property
    def outcome(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "outcome.json").read_bytes()))

    @property
    def config(self) -> dict[str, Any]:
        return dict(yaml.load((self.path / "config.yaml").read_bytes(), _Loader))

    @property
    def environment(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "environment.json").read_bytes()))

    @property
    def overrides(self) -> dict[str, Any]:
        return dict(yaml.load((self.path / "overrides.yaml").read_bytes(), _Loader))

    def table(self, name: str) -> pd.DataFrame | None:
        """One table of this run, or None if it was not measured."""
        path = self.path / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as columns:
            frame = pd.DataFrame({column: _categories(columns[column]) for column in columns.files})
        frame.insert(0, "run", self.run_id)
        return frame

    def _write(self, name: str, data: bytes) -> None:
        temporary = self.path / f".{name}.{os.getpid()}"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)


class Tables:
    """Tidy tables of one or several results folders: one row per observation, `run` says of which run.

    runs: one row per run: its outcome, its configuration (`task.length`, `clipping.threshold`, ...) and, per group,
        the name of the yaml chosen (`task`, `cell`, ...).
    environments: one row per run: with what it was made.
    evaluations, spectrum, eigenvalues, state_jacobian, state, lyapunov, jacobian_product, gradient_through_time,
        clipping: read when first asked for.
    """

    def __init__(self, directories: Sequence[RunDirectory]) -> None:
        self._directories = directories

    @functools.cached_property
    def runs(self) -> pd.DataFrame:
        return pd.DataFrame([_run_row(directory) for directory in self._directories])

    @functools.cached_property
    def environments(self) -> pd.DataFrame:
        return pd.DataFrame([{"run": one.run_id, **one.environment} for one in self._directories])

    @functools.cached_property
    def evaluations(self) -> pd.DataFrame:
        return self._table("evaluations")

    @functools.cached_property
    def spectrum(self) -> pd.DataFrame:
        return self._table("spectrum")

    @functools.cached_property
    def eigenvalues(self) -> pd.DataFrame:
        return self._table("eigenvalues")

    @functools.cached_property
    def state_jacobian(self) -> pd.DataFrame:
        return self._table("state_jacobian")

    @functools.cached_property
    def state(self) -> pd.DataFrame:
        return self._table("state")

    @functools.cached_property
    def lyapunov(self) -> pd.DataFrame:
        return self._table("lyapunov")

    @functools.cached_property
    def jacobian_product(self) -> pd.DataFrame:
        return self._table("jacobian_product")

    @functools.cached_property
    def gradient_through_time(self) -> pd.DataFrame:
        return self._table("gradient_through_time")

    @functools.cached_property
    def clipping(self) -> pd.DataFrame:
        return self._table("clipping")

    def _table(self, name: str) -> pd.DataFrame:
        frames = [frame for directory in self._directories if (frame := directory.table(name)) is not None]
        if not frames:
            return pd.DataFrame({"run": pd.Series(dtype=str)})
        table = pd.concat(frames, ignore_index=True)
        texts = table.select_dtypes(exclude="number").columns
        return table.astype(dict.fromkeys(texts, "category"))


def load(*folders: str | Path) -> Tables:
    """Tables of all finished and failed runs below the folders.

    Raises FileNotFoundError if a folder is not there or holds no run.
    """
    directories = []
    for folder in map(Path, folders):
        candidates = [RunDirectory(folder, path.parent.name) for path in sorted(folder.glob("*/config.yaml"))]
        there = [directory for directory in candidates if directory.is_there]
        if not there:
            raise FileNotFoundError(f"{folder}: holds no finished run; give a results folder such as results/quick")
        directories += there
    return Tables(directories)


def _run_row(directory: RunDirectory) -> dict[str, Any]:
    row: dict[str, Any] = {"run": directory.run_id, "folder": str(directory.path.parent), "message": None}
    for name, value in directory.outcome.items():
        row[name] = np.nan if value is None else value
    config = directory.config
    remedies = ", ".join(config.get("remedies", {})) or "none"
    return {**row, **flat(config), **directory.overrides["choices"], "remedies": remedies}


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Nested configuration as one level of dotted keys."""
    if isinstance(node, Mapping):
        inner = [flat(value, f"{path}.{name}" if path else str(name)) for name, value in node.items()]
        return {name: value for part in inner for name, value in part.items()}
    return {path: str(node) if isinstance(node, list) else node}


def _categories(values: np.ndarray) -> Any:
    if values.dtype.kind != "U":
        return values
    names, codes = np.unique(values, return_inverse=True)
    return pd.Categorical.from_codes(codes, names)


def _json(data: Mapping[str, Any]) -> bytes:
    def number(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"{type(value)} in a json file")

    return (json.dumps(data, indent=2, default=number) + "\n").encode()


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The C library where it is there, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _yaml(data: Mapping[str, Any]) -> bytes:
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, encoding="utf-8")
