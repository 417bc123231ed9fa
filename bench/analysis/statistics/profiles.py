"""Performance profiles: the share of runs that score at least so much, over all that there is to score.

Sources: Dolan & Moré 2002 (Math. Program. 91:201); Agarwal et al. 2021, section 4.2 (arXiv:2108.13264). Differs from
the second: Wilson's band where they have that of a bootstrap, which has no width where all runs agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis.statistics.summaries import score, wilson

LEVELS = np.round(np.linspace(0, 1, 101), 2)


def performance_profiles(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Share of a group's runs with score >= tau, for tau from 0 to 1.

    Columns: those of `by`, n, tau, share, and the pointwise 95 % band low, high: Wilson's interval, which is on the
    wide side for several tasks together, whose shares differ.
    """
    judged = runs.assign(score=score(runs["final_skill"], runs["outcome"]))
    profiles = []
    for key, group in judged.groupby(list(by), observed=True):
        held = (group["score"].to_numpy()[:, None] >= LEVELS).sum(axis=0)
        low, high = wilson(held, len(group))
        columns = {"n": len(group), "tau": LEVELS, "share": held / len(group), "low": low, "high": high}
        profiles.append(pd.DataFrame({**dict(zip(by, key, strict=True)), **columns}))
    table = pd.concat(profiles, ignore_index=True)
    return table.astype({name: runs[name].dtype for name in by})
