"""Lyapunov exponents of the trained net on its own task: how fast nearby states part or meet, in nats per step.

On a window of a few steps the exponents that QR gives depend on the directions that it starts from, which are
arbitrary; singular values of the whole product of Jacobians do not. In the long run the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.measurements.jacobian import Frame, random_directions, stepped, summaries
from bench.measurements.measurement import Columns, Measurement, Snapshot
from bench.measurements.singular_values import leading
from tasks.ranges import Count


def warm_up(steps: int) -> int:
    """How many first steps of `steps` are left out: in them the state settles."""
    return min(20, steps // 5)


@dataclass(frozen=True)
class Lyapunov(Measurement):
    """The largest finite-time Lyapunov exponents along held-out sequences, in nats per step.

    lambda_i = ln sigma_i(J_T ... J_{w+1}) / (T - w),    w = min(20, T//5)

    J_t = ds_t/ds_{t-1}, s the whole state, for an LSTM h and c side by side; sigma_1 >= sigma_2 >= ... the singular
    values of the product; T the steps that all sequences have. lambda_1 is the most that a small change of the state,
    or a gradient, can grow in a step on the average of this window. It depends on the window and on no choice of
    directions, so it is good for tasks of any length, and is not yet the net's behaviour in the long run. Costs the
    more passes the closer the singular values lie: 3 in most nets, up to 40 in a ReLU net near the identity.

    Columns: kind, `finite-time`; index i from 1, the largest; exponent, q05, q95: mean and quantiles over the sequences
    in which it is not -inf; lost: in how many it is, as in a ReLU net that shuts units off; unconverged: in how many it
    is not known to 1e-3 nats per step; sequences, steps: how many, T - w steps.

    sequences: how many. exponents: how many are followed; null for all, of which an LSTM has 2H.
    Source: Oseledets 1968, Trans. Moscow Math. Soc. 19:197 (the exponents are the limits of these for long windows).
    """

    version = 2
    table = "lyapunov"

    sequences: Count
    exponents: Count | None

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        length = snapshot.task.least_steps
        window = range(warm_up(length), length)
        values, converged = leading(snapshot, self.sequences, window, self.exponents)
        return [*_rows("finite-time", values / len(window), np.isneginf(values), ~converged, len(window))]


@dataclass(frozen=True)
class LongRunLyapunov(Measurement):
    """The largest Lyapunov exponents in the long run, by QR after every step, in nats per step.

    J_t Q_{t-1} = Q_t R_t,    lambda_i = mean over t of ln R_ii

    The net is driven by one held-out sequence after the other, the state carried on. The first steps, in which the
    directions settle, are left out: as many as `Lyapunov` leaves out. Every drive starts from random directions of its
    own, so the quantiles over drives hold what these still matter. Good for thousands of steps; on the few of a short
    task the start decides, and `Lyapunov` is the measurement to take.

    Columns: as those of `Lyapunov`, of kind `long-run`; index by the mean, the largest first; sequences: drives;
    lost: in how many drives the direction is (R_ii = 0); unconverged: NaN, for there is nothing to converge but time.

    sequences: how many drives. exponents: how many are followed; null for all, of which an LSTM has 2H.
    long_run: steps of a drive.
    Source: Benettin, Galgani, Giorgilli & Strelcyn 1980, Meccanica 15:9.
    """

    table = "lyapunov"
    series = ("kind", "index")

    sequences: Count
    exponents: Count | None
    long_run: Count

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        inputs = snapshot.heldout(self.sequences).inputs
        sequences, length, first = inputs.shape[1], snapshot.task.least_steps, warm_up(self.long_run)
        state = snapshot.network.zero_state(snapshot.weights, sequences)
        size = len(state) * snapshot.cell.hidden
        frame = Frame(random_directions((*state[0].shape[:-1], size), min(self.exponents or size, size), state[0]))
        total = torch.zeros_like(frame.lost, dtype=state[0].dtype)
        with torch.no_grad():
            for t in range(self.long_run):
                x = inputs[:, :, t % length].roll(-(t // length), dims=1)  # after its own sequence comes the next one
                weights = snapshot.cell.at(snapshot.weights, t % length)
                state, moved = stepped(snapshot.cell, weights, x, state, frame.directions)
                lengths = frame.turn(moved).diagonal(dim1=-2, dim2=-1)
                if t >= first:
                    total = total + lengths.log()
        kept = self.long_run - first
        values, lost = (total / kept).cpu().numpy(), frame.lost.cpu().numpy()
        rows = _rows("long-run", values, lost, np.full(values.shape, np.nan), kept)
        return [_falling(row) for row in rows]


def _falling(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows sorted by their mean, NaN where all are lost last, and counted anew."""
    order = np.argsort(-row["exponent"], kind="stable")
    return {name: column if name == "index" else column[order] for name, column in row.items()}


def _rows(
    kind: str, values: np.ndarray, lost: np.ndarray, unconverged: np.ndarray, steps: int
) -> list[dict[str, np.ndarray]]:
    """Rows of every replica from numbers [R, B, k]."""
    sequences, count = values.shape[1:]
    return [
        {
            "kind": np.full(count, kind),
            "index": np.arange(1, count + 1, dtype=np.int32),
            "exponent": found.pop("mean"),
            **found,
            "unconverged": of.sum(0).astype(np.float32),
            "sequences": np.full(count, sequences, np.int32),
            "steps": np.full(count, steps, np.int32),
        }
        for found, of in zip(summaries(values, lost), unconverged, strict=True)
    ]
