"""Singular values of J_T ... J_1: what a whole sequence does to a small change of the state at its beginning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.measurements.jacobian import summaries
from bench.measurements.measurement import Columns, Measurement, Snapshot
from bench.measurements.singular_values import leading
from tasks.ranges import Count


@dataclass(frozen=True)
class JacobianProduct(Measurement):
    """ln of all singular values of ds_T/ds_0 along held-out sequences, in nats over the whole sequence.

    s is the whole state, for an LSTM h and c side by side; T the steps that all sequences have. The largest is by how
    much a gradient can grow on its way through the sequence, and how many lie near it is in how many directions.

    Columns: index from 1, the largest; log_singular_value, q05, q95: mean and quantiles over the sequences in which it
    is not 0; lost: in how many it is 0; unconverged: in how many it is not known to 1e-9 nats (rounding aside);
    sequences, steps: how many.

    sequences: how many.
    """

    version = 2
    table = "jacobian_product"

    sequences: Count

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        steps = snapshot.task.least_steps
        values, converged = leading(snapshot, self.sequences, range(steps), None)
        sequences, size = values.shape[1:]
        return [
            {
                "index": np.arange(1, size + 1, dtype=np.int32),
                "log_singular_value": found.pop("mean"),
                **found,
                "unconverged": (~of).sum(0).astype(np.int32),
                "sequences": np.full(size, sequences, np.int32),
                "steps": np.full(size, steps, np.int32),
            }
            for found, of in zip(summaries(values, np.isneginf(values)), converged, strict=True)
        ]
