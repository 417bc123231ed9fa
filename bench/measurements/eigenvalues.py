"""The eigenvalue cloud of the recurrent weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.measurements.measurement import Columns, Measurement, Snapshot


@dataclass(frozen=True)
class Eigenvalues(Measurement):
    """All H eigenvalues of every recurrent block, one row each."""

    table = "eigenvalues"

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        clouds = {name: values.cpu().numpy() for name, values in snapshot.eigenvalues.items()}
        hidden = snapshot.cell.hidden
        names = np.repeat(list(clouds), hidden)
        replicas = len(next(iter(clouds.values())))
        flat = [np.concatenate([cloud[r] for cloud in clouds.values()]) for r in range(replicas)]
        return [{"block": names, "real": values.real, "imag": values.imag} for values in flat]
