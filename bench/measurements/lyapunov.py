"""Lyapunov exponents of the trained net on its own task: how fast nearby states part or meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.measurements.jacobian import Frame, pushed, summaries
from bench.measurements.measurement import Columns, Measurement, Snapshot
from tasks.ranges import Count


@dataclass(frozen=True)
class Lyapunov(Measurement):
    """The largest Lyapunov exponents along held-out sequences, by QR after every step, in nats per step.

    J_t Q_{t-1} = Q_t R_t,    lambda_i = mean over t of ln R_ii

    J_t = ds_t/ds_{t-1}, s the whole state, for an LSTM h and c side by side. `finite-time` ones are those of the task:
    of each sequence's own steps, as many as all have. `long-run` ones are those of the same net in the long run: driven
    by one sequence after the other, the state carried on. The first min(20, T//5) steps, T all of them, are left out,
    for in these the directions settle.

    Columns: kind; index i from 1; exponent, q05, q95: mean and quantiles over the sequences that have not lost the
    direction; lost: how many have, as a ReLU net does that shuts a unit off (R_ii = 0); sequences, steps: how many.

    sequences: how many held-out sequences, or drives made of them. exponents: how many are followed, the largest first;
    null for all, of which an LSTM has 2H. long_run: steps of a drive; null for finite-time exponents.
    Source: Benettin, Galgani, Giorgilli & Strelcyn 1980, Meccanica 15:9.
    """

    table = "lyapunov"

    sequences: Count
    exponents: Count | None
    long_run: Count | None

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        inputs = snapshot.heldout(self.sequences).inputs
        sequences, length = inputs.shape[1], snapshot.task.least_steps
        steps = self.long_run or length
        warm_up = min(20, steps // 5)
        state = snapshot.network.zero_state(snapshot.weights, sequences)
        size = len(state) * snapshot.cell.hidden
        count = min(self.exponents or size, size)
        frame = Frame((*state[0].shape[:-1], size), count, state[0])
        total = torch.zeros_like(frame.lost, dtype=state[0].dtype)
        with torch.no_grad():
            for t in range(steps):
                x = inputs[:, :, t % length].roll(-(t // length), dims=1)  # after its own sequence comes the next one
                state, moved = pushed(snapshot.cell, snapshot.weights, x, state, frame.directions)
                lengths = frame.turn(moved).diagonal(dim1=-2, dim2=-1)
                if t >= warm_up:
                    total = total + lengths.log()
        kept = steps - warm_up
        kind = "finite-time" if self.long_run is None else "long-run"
        return [
            {
                "kind": np.full(count, kind),
                "index": np.arange(1, count + 1, dtype=np.int32),
                "exponent": found.pop("mean"),
                **found,
                "sequences": np.full(count, sequences, np.int32),
                "steps": np.full(count, kept, np.int32),
            }
            for found in summaries((total / kept).cpu().numpy(), frame.lost.cpu().numpy())
        ]
