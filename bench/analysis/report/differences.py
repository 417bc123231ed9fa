"""What else differs between two groups of runs that are compared: a difference of results may come from it."""

from __future__ import annotations

import pandas as pd

from bench.analysis.settings import settings_of, text_of

WORTH = ("updates", "batch_size", "optimizer", "cell.hidden")  # keys, or their first parts, told with both values
APART = ("seed", "task", "cell", "clipping")  # parts of the configuration that are told otherwise, or not at all


def differences(a: pd.DataFrame, b: pd.DataFrame) -> str:
    """`optimizer.lr 0.001 vs 0.01; 5 vs 20 seeds; initializer`, or the empty word.

    a, b: rows of `runs`. Budget, batch size, optimizer with its numbers and H are told with their values, the number of
    seeds too, any other part of the configuration by its name alone. Task, cell and clipping are what is compared.
    """
    told, others = [], []
    for key in settings_of(pd.concat([a, b])):
        if key.endswith("_target_") or (first := _values(a, key)) == (second := _values(b, key)):
            continue
        part = key.replace("/", ".").split(".")[0]
        if key in WORTH or part in WORTH:
            told.append(f"{key} {first} vs {second}")
        elif part not in APART:
            others.append(part)
    seeds = [set(runs["seed"]) for runs in (a, b)]
    if seeds[0] != seeds[1]:
        told.append(f"{len(seeds[0])} vs {len(seeds[1])} seeds, {len(seeds[0] & seeds[1])} in common")
    return "; ".join([*told, *dict.fromkeys(others)])


def _values(runs: pd.DataFrame, key: str) -> str:
    found = runs[key].drop_duplicates()
    return ", ".join(sorted({"none" if pd.isna(value) else text_of(value) for value in found}))
