"""What an export is: it takes a finished run from disk to another program, so that it never touches training."""

from __future__ import annotations

import importlib.util
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from hydra.utils import get_class

from bench.measurements.measurement import Measurement
from bench.runs.tables import Source
from tasks.naming import Named
from tasks.ranges import Checked

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Logger(Named, Checked, ABC):
    """Another program that is to have the numbers of a run."""

    @abstractmethod
    def export(self, run: Source) -> None:
        """Hand over a finished run; a run that was handed over before is replaced."""

    def hand_over(self, run: Source) -> None:
        """Export, and say so where that fails: the run itself is done, and stays."""
        try:
            self.export(run)
        except Exception as error:
            log.warning(
                "run %s was not exported (logger=%s): %s: %s", run.run_id, self.name, type(error).__name__, error
            )


def need(package: str, extra: str) -> None:
    """Raises ValueError if an optional package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{package}: is not installed; pip install 'recurrent-memory-bench[{extra}]'")


def series(run: Source) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, updates and values of everything that is a number per update: `spectrum/spectral_radius/W_hh`."""
    for name, keys in _exported(run).items():
        if (table := run.table(name)) is None:
            continue
        rows = pd.DataFrame(table)
        for key, group in rows.groupby(list(keys)) if keys else [((), rows)]:
            for column in rows.columns.drop(["update", *keys]):
                yield "/".join([name, column, *map(str, key)]), group["update"].to_numpy(), group[column].to_numpy()


def _exported(run: Source) -> dict[str, tuple[str, ...]]:
    """Tables that are a few numbers per update, and the columns that tell the numbers of one update apart."""
    kinds: list[type[Measurement]] = [
        get_class(node["_target_"]) for node in run.config.get("measurement", {}).values()
    ]
    return {"evaluations": (), **{kind.table: kind.series for kind in kinds if kind.series is not None}}


def final(run: Source) -> dict[str, float]:
    """The numbers of a run's outcome that there are."""
    outcome = run.outcome.items()
    return {name: float(value) for name, value in outcome if isinstance(value, int | float)}
