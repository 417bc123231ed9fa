"""Performance profiles: the share of runs that score at least so much, over all that there is to score.

Source: Dolan & Moré 2002 (Math. Program. 91:201); Agarwal et al. 2021, section 4.2 (arXiv:2108.13264).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis.resampling import generator, share_band
from bench.analysis.statistics import score

LEVELS = np.round(np.linspace(0, 1, 101), 2)


def performance_profiles(runs: pd.DataFrame, by: Sequence[str], seed: int) -> pd.DataFrame:
    """Share of a group's runs with score >= tau, for tau from 0 to 1.

    Columns: those of `by`, n, tau, share, and the pointwise 95 % bootstrap band low, high: runs are drawn again within
    each task.
    """
    judged = runs.assign(score=score(runs["final_skill"], runs["outcome"]))
    profiles = []
    for key, group in judged.groupby(list(by), observed=True):
        tasks = [part["score"].sort_values().to_numpy() for _, part in group.groupby("task", observed=True)]
        held = [(scores[:, None] >= LEVELS).astype(float) for scores in tasks]
        low, high = share_band(held, generator(seed, "profile", *key))
        columns = {"n": len(group), "tau": LEVELS, "share": np.concatenate(held).mean(axis=0), "low": low, "high": high}
        profiles.append(pd.DataFrame({**dict(zip(by, key, strict=True)), **columns}))
    table = pd.concat(profiles, ignore_index=True)
    return table.astype({name: runs[name].dtype for name in by})
