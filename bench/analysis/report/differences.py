"""What else differs between two groups of runs that are compared: a difference of results may come from it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bench.analysis.settings import settings_of, text_of

WORTH = ("updates", "batch_size", "optimizer", "cell.hidden")  # keys, or their first parts, told with both values
APART = ("seed", "task", "cell", "clipping")  # parts of the configuration that are told otherwise, or not at all


def values(runs: pd.DataFrame) -> dict[str, str]:
    """What a group of runs has of every setting, its seeds among them, as text."""
    return {key: _listed(runs[key]) for key in settings_of(runs) if not key.endswith("_target_")}


def differences(a: Mapping[str, str], b: Mapping[str, str]) -> str:
    """`optimizer.lr 0.001 vs 0.01; 5 vs 20 seeds; initializer`, or the empty word.

    a, b: as `values` returns them. Budget, batch size, optimizer with its numbers and H are told with their values, the
    number of seeds too, any other part of the configuration by its name alone. Task, cell and clipping are what is
    compared.
    """
    told, others = [], []
    for key in a:
        part = key.replace("/", ".").split(".")[0]
        if a[key] == b[key]:
            continue
        if key in WORTH or part in WORTH:
            told.append(f"{key} {a[key]} vs {b[key]}")
        elif part not in APART:
            others.append(part)
    seeds = [set(of["seed"].split(", ")) for of in (a, b)]
    if seeds[0] != seeds[1]:
        told.append(f"{len(seeds[0])} vs {len(seeds[1])} seeds, {len(seeds[0] & seeds[1])} in common")
    return "; ".join([*told, *dict.fromkeys(others)])


def _listed(column: pd.Series) -> str:
    return ", ".join(sorted({"none" if pd.isna(value) else text_of(value) for value in column.unique()}))
