"""Where a run stands in the middle of its training, as bytes that are either whole or refused.

A checkpoint is three parts in one file:

    recurrent-memory-bench checkpoint FORMAT DIGEST     one line; the digest is of all that follows
    {"run": ..., "maker": ..., "update": ..., ...}      one line of JSON, the numbers
    an .npz                                             the arrays

There is no pickle in it and none is read: numpy is told so, and sees the arrays only after the digest was right.
Random streams need no place here: they are pure functions of (seed, purpose, update).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from io import BytesIO

import numpy as np

from bench.training.run_state import RunState

FORMAT = 2  # raised whenever the layout changes
MAGIC = "recurrent-memory-bench checkpoint"
HEAD = 4096  # bytes that the two lines at most take


NUMBERS = ("update", "diverged_at", "ended_at", "alive", "seconds", "clock")


class Refused(ValueError):
    """Bytes that are no checkpoint of this run; says why."""


def packed(state: RunState, run: str, maker: Mapping[str, str]) -> bytes:
    """The checkpoint of a run. maker: with what the run is trained; it goes on only with the same."""
    arrays = {"weights": state.weights}
    arrays |= {f"optimizer/{name}": values for name, values in state.optimizer.items()}
    arrays |= {f"series/{name}": values for name, values in state.series.items()}
    for table, columns in state.tables.items():
        arrays |= {f"tables/{table}/{name}": values for name, values in columns.items()}
    numbers = {name: getattr(state, name) for name in NUMBERS}
    body = BytesIO()
    body.write(json.dumps({"run": run, "maker": dict(maker), **numbers}).encode() + b"\n")
    np.savez(body, allow_pickle=False, **arrays)
    return f"{MAGIC} {FORMAT} {_digest(body.getvalue())}\n".encode() + body.getvalue()


def unpacked(data: bytes, run: str, maker: Mapping[str, str]) -> RunState:
    """The state in a checkpoint. Raises Refused on bytes that are torn, edited, or of another format, run or maker."""
    first, _, body = data.partition(b"\n")
    title, _, digest = first.rpartition(b" ")
    if not title.startswith(MAGIC.encode()):
        raise Refused("is no checkpoint")
    if title != f"{MAGIC} {FORMAT}".encode():
        raise Refused(f"has format {title[len(MAGIC) :].decode(errors='replace').strip()}, not {FORMAT}")
    if digest != _digest(body).encode():
        raise Refused("is torn or was edited")
    line, _, arrays = body.partition(b"\n")
    header = json.loads(line)
    for name, expected in {"run": run, **maker}.items():
        found = header["run"] if name == "run" else header["maker"].get(name)
        if found != expected:
            raise Refused(f"was made with {name} {found}, not {expected}")
    try:
        with np.load(BytesIO(arrays), allow_pickle=False) as archive:
            parts = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise Refused(f"holds something else than plain arrays ({error})") from None
    tables: dict[str, dict[str, np.ndarray]] = {}
    for name, values in _below("tables", parts).items():
        table, _, column = name.partition("/")
        tables.setdefault(table, {})[column] = values
    return RunState(
        weights=parts["weights"],
        optimizer=_below("optimizer", parts),
        series=_below("series", parts),
        tables=tables,
        **{name: header[name] for name in NUMBERS},
    )


def update_in(head: bytes) -> int:
    """The update at which the checkpoint that begins with `head` was made, unchecked; 0 where that cannot be read."""
    try:
        return int(json.loads(head.split(b"\n")[1])["update"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0


def _below(folder: str, parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.partition("/")[2]: values for name, values in parts.items() if name.startswith(f"{folder}/")}


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()
