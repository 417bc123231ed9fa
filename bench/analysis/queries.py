"""What figures need of tables that are too large to be read whole, where there are thousands of runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.runs.tables import Tables

PROFILE = ("update", "kind", "state", "step", "lag", "log_norm", "zero_share")  # drawn of a gradient through time
STATE = ("update", "state", "saturated", "dead")
BLOCKS = ("update", "count", "clipped", "shrink_sum", "cosine_sum", "norm_log_mean")


def gradients_at_ends(results: Tables) -> pd.DataFrame:
    """Gradients through time at update 0 and at the last update of each run, of each kind."""

    def at_ends(table: Mapping[str, np.ndarray]) -> np.ndarray:
        update, kind = table["update"], table["kind"]
        last: np.ndarray = update == 0
        for one in np.unique(kind):
            last |= (kind == one) & (update == update[kind == one].max())
        return last

    return results.read("gradient_through_time", PROFILE, at_ends)


def probes(results: Tables) -> pd.DataFrame:
    """Probes of the part of the state that is the memory: c where there is one, else h; at all updates."""
    return results.read("gradient_through_time", PROFILE, of_memory)


def of_memory(table: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether each row of a run's gradients through time is a probe of its memory, bool."""
    state = table["state"]
    probes: np.ndarray = table["kind"] == "probe"
    probes &= state == ("c" if (state == "c").any() else "h")
    return probes


def states(results: Tables) -> pd.DataFrame:
    """What the units of the hidden state do."""
    return results.read("state", STATE, lambda table: table["state"] == "h")


def clipping(results: Tables) -> pd.DataFrame:
    """What clipping did, without what no figure shows."""
    return results.read("clipping", BLOCKS)
