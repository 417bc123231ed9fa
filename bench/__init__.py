"""Reference suite for long-range memory in recurrent networks.

    import bench

    results = bench.sweep(task="adding", cell=["tanh", "lstm"], clipping__threshold=[1, 10], seed=range(5))
    results.plot("learning_curves", hue="cell").save("figures")

Nothing is imported before it is used: `import bench` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.analysis.results import Results, load
    from bench.jobs.choices import (
        cells,
        choices,
        clipping_rules,
        engines,
        experiments,
        initializers,
        measurements,
        optimizers,
        remedies,
        schedules,
        tasks,
    )
    from bench.jobs.errors import ConfigError

__version__ = "0.2.0"
__all__ = [
    "ConfigError",
    "Results",
    "cells",
    "choices",
    "clipping_rules",
    "engines",
    "experiments",
    "initializers",
    "load",
    "measurements",
    "optimizers",
    "remedies",
    "schedules",
    "sweep",
    "tasks",
]


def __getattr__(name: str) -> object:
    """A name of the Python interface, from the module that has it; `sweep` is a package that can be called."""
    if name == "sweep":
        return importlib.import_module("bench.sweep")
    if name in __all__:
        for module in ("bench.jobs.errors", "bench.jobs.choices", "bench.analysis.results"):
            found = importlib.import_module(module)
            if hasattr(found, name):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
