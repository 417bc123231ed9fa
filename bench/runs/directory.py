"""The files of a run: the only module that knows what lies on disk.

results/<experiment>/<run id>/
    config.yaml       the resolved configuration
    overrides.yaml    the command line, and the yaml chosen in every group
    environment.json  version, commit, machine, precision
    run.log           what happened, evaluation by evaluation
    outcome.json      one value per column
    <table>.npz       the rows of a table, one array per column
    weights.npz       the weights that it ended with, one array per parameter
    finished          written last: the names and digests of the files above
    .checkpoint       of a run that is not finished: where it stands
    .lock             held by the process that trains the run
results/<experiment>/.asked/<digest>.json    the runs that a command asked for

Every file is written to a temporary name, flushed and renamed. A run without `finished`, or with files that do not
match it, is not there and is done again. A run that failed, or was stopped from outside by a time limit, has an
outcome and no `finished`: it has its row, and the same command goes on with it. Where `finished` was written before
there were digests, it holds sizes.

The lock is an flock, which the system takes back when its holder ends, however it ends. On a network disk it holds
between machines where the disk passes it on (NFS from Linux 2.6.12 and Lustre mounted with `flock` do); where it does
not, it holds between the processes of one machine, and two machines must not be given one folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import yaml

from bench.runs.arrays import arrays
from bench.runs.checkpoint import HEAD, update_in

log = logging.getLogger(__name__)

CHECKPOINT, LOCK, ASKED, WEIGHTS = ".checkpoint", ".lock", ".asked", "weights.npz"
Columns: TypeAlias = Mapping[str, np.ndarray]
FILES = ("[!.]*.yaml", "[!.]*.json", "[!.]*.npz", "run.log")  # that `finished` vouches for


class Damaged(ValueError):
    """A file of a run that cannot be read, although the run counts as there; says which and why.

    path: the run's directory.
    """

    def __init__(self, file: Path, reason: Exception) -> None:
        super().__init__(f"{file} cannot be read ({' '.join(str(reason).split())})")
        self.path = file.parent


class RunDirectory:
    """The directory of one run."""

    def __init__(self, results: str | Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = Path(results) / run_id

    def begin(self, config: Mapping[str, Any], overrides: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Say what is going to be done, before the first update; what an earlier attempt left is no longer true."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "finished").unlink(missing_ok=True)  # first: it vouches for the others
        for name in ("outcome.json", "run.log", "*.npz", ".*.tmp"):
            for old in self.path.glob(name):
                old.unlink(missing_ok=True)
        self._write("overrides.yaml", _yaml(overrides))
        self._write("environment.json", _json(environment))
        self._write("config.yaml", _yaml(config))  # last: `load` takes it for a sign that the others are there

    def finish(
        self,
        outcome: Mapping[str, Any],
        tables: Mapping[str, Columns],
        lines: Sequence[str],
        weights: Columns = MappingProxyType({}),
    ) -> None:
        """Keep the answer."""
        self.stop(outcome, tables, lines, weights)
        _flush_folder(self.path)  # after a power cut too: no marker without its files, no loss of both it and ...
        files = sorted(file for name in FILES for file in self.path.glob(name))
        self._write("finished", _json({file.name: _digest(file) for file in files}))
        _flush_folder(self.path)  # ... the checkpoint
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def stop(
        self,
        outcome: Mapping[str, Any],
        tables: Mapping[str, Columns],
        lines: Sequence[str],
        weights: Columns = MappingProxyType({}),
    ) -> None:
        """Keep what is known of a run that was stopped from outside; the same command goes on with it."""
        if weights:
            buffer = BytesIO()
            np.savez(buffer, allow_pickle=False, **weights)
            self._write(WEIGHTS, buffer.getvalue())
        for name, columns in tables.items():
            buffer = BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **columns)
            self._write(f"{name}.npz", buffer.getvalue())
        self.fail(outcome, lines)

    def fail(self, outcome: Mapping[str, Any], lines: Sequence[str]) -> None:
        """Keep the failure; the same command tries again."""
        self._write("run.log", "".join(f"{line}\n" for line in lines).encode())
        self._write("outcome.json", _json(outcome))  # last: the sign that the others are there

    def save_checkpoint(self, data: bytes) -> None:
        """Keep where the run stands, in place of what was kept before."""
        self._write(CHECKPOINT, data)

    def checkpoint(self) -> bytes | None:
        """What was kept, unchecked; None if nothing."""
        path = self.path / CHECKPOINT
        return path.read_bytes() if path.exists() else None

    @property
    def checkpointed_update(self) -> int:
        """The update that its checkpoint tells, 0 without one; it is checked when it is read whole."""
        try:
            with (self.path / CHECKPOINT).open("rb") as file:
                return update_in(file.read(HEAD))
        except OSError:
            return 0

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the run against all other processes; False if another one does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("ab") as file:
            yield _flock(file.fileno(), fcntl.LOCK_EX)

    @property
    def is_locked(self) -> bool:
        """Whether a process trains the run now."""
        try:
            with (self.path / LOCK).open("rb") as file:
                return not _flock(file.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    @property
    def is_whole(self) -> bool:
        """Whether the answer is there, with all that its marker names, byte for byte."""
        try:
            marks = dict(json.loads((self.path / "finished").read_bytes()))
            return all(_matches(self.path / name, mark) for name, mark in marks.items())
        except (FileNotFoundError, NotADirectoryError, TypeError, ValueError):
            return False

    @property
    def is_finished(self) -> bool:
        """Whether the answer is there whole; one whose marker is there and which is not whole is told."""
        whole = self.is_whole
        if not whole and (self.path / "finished").exists():
            log.warning("%s is torn: it is ignored and done again by the same command", self.path)
        return whole

    @property
    def is_there(self) -> bool:
        """Whether the run has an outcome: finished, failed, or stopped from outside."""
        try:
            outcome = self.outcome
        except FileNotFoundError:
            return False
        except Damaged:
            log.warning("%s is torn: it is ignored and done again by the same command", self.path / "outcome.json")
            return False
        return outcome.get("outcome") == "failed" or outcome.get("stopped", False) or self.is_whole

    @property
    def standing(self) -> str:
        """One of finished, running, failed, stopped, interrupted (begun, and to go on), torn, missing."""
        if self.is_locked:
            return "running"
        if self.is_there:
            outcome = self.outcome
            return "failed" if outcome["outcome"] == "failed" else "stopped" if outcome.get("stopped") else "finished"
        if (self.path / "finished").exists():
            return "torn"
        return "interrupted" if self.is_begun else "missing"

    @property
    def is_begun(self) -> bool:
        return (self.path / "config.yaml").exists()

    @property
    def has_failed(self) -> bool:
        return self.is_there and bool(self.outcome["outcome"] == "failed")

    @property
    def outcome(self) -> dict[str, Any]:
        return self._parsed("outcome.json", json.loads)

    @property
    def config(self) -> dict[str, Any]:
        return self._parsed("config.yaml", _from_yaml)

    @property
    def environment(self) -> dict[str, Any]:
        return self._parsed("environment.json", json.loads)

    @property
    def overrides(self) -> dict[str, Any]:
        return self._parsed("overrides.yaml", _from_yaml)

    def _parsed(self, name: str, parse: Callable[[bytes], Any]) -> dict[str, Any]:
        """What a file says. Raises Damaged where it says nothing."""
        file = self.path / name
        try:
            return dict(parse(file.read_bytes()))
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise Damaged(file, error) from None

    @property
    def tables(self) -> list[str]:
        """The names of the tables that this run has."""
        return sorted(path.stem for path in self.path.glob("[!.]*.npz") if path.name != WEIGHTS)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The weights that the run ended with, by symbol. Raises FileNotFoundError where it kept none, and Damaged."""
        return self._arrays(WEIGHTS)

    def table(self, name: str, columns: Collection[str] | None = None) -> dict[str, np.ndarray] | None:
        """One table of this run, or some of its columns; None if it was not measured. Raises Damaged."""
        file = f"{name}.npz"
        return self._arrays(file, columns) if (self.path / file).exists() else None

    def _arrays(self, name: str, chosen: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """What a file of arrays holds, or some of it, by name. Raises Damaged."""
        path = self.path / name
        try:
            return arrays(path, chosen)
        except OSError:
            raise
        except Exception as error:  # what damaged bytes raise in zlib, zipfile and numpy is of a dozen kinds
            raise Damaged(path, error) from None

    def _write(self, name: str, data: bytes) -> None:
        write(self.path / name, data)


def _flock(descriptor: int, kind: int) -> bool:
    """Whether the lock is ours now; it is given back when the file is closed."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write(path: Path, data: bytes) -> None:
    """Put a file there whole, or leave what was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _digest(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()


def _matches(file: Path, mark: str | int) -> bool:
    """Whether a file is as its marker says, by digest; by size where the marker is of a time without digests."""
    return file.stat().st_size == mark if isinstance(mark, int) else _digest(file) == mark


def _flush_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def note_asked(results: str | Path, overrides: Mapping[str, str]) -> None:
    """Note the runs that a command asks for: run id and what was said to ask for it."""
    data = _json(overrides)
    path = Path(results) / ASKED / f"{hashlib.blake2b(data, digest_size=6).hexdigest()}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write(path, data)


def asked(results: str | Path) -> dict[str, str]:
    """All runs that any command asked for in this folder, as `note_asked` noted them."""
    found: dict[str, str] = {}
    for path in sorted((Path(results) / ASKED).glob("[!.]*.json")):
        try:
            found |= dict(json.loads(path.read_bytes()))
        except (TypeError, ValueError):
            log.warning("%s is torn: it is ignored", path)
    return found


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


def _from_yaml(data: bytes) -> Any:
    return yaml.load(data, _Loader)


def _yaml(data: Mapping[str, Any]) -> bytes:
    text: bytes = yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, encoding="utf-8")
    return text
