"""What a run's identity rests on: the names of classes, never the files that they are in, and the keys that matter.

A class may move to another module without a change to any run id, pack key, or result on disk.
"""

from __future__ import annotations

OWN_PACKAGES = ("bench", "tasks")

# Top-level keys of a configuration that change nothing that a run learns; every other key is part of what it asks.
HOW = ("device", "engine", "results", "experiment", "extensions", "checkpoint", "budget", "logger", "selection")
WATCHED = ("measurement",)  # part of the run id, since it decides which tables a run has, and of no comparison


def class_label(path: str) -> str:
    """The name of a class from its dotted path, with the package in front of it only where that is a user's own.

    `bench.methods.clipping.NormClipping` is `NormClipping`, and `my_package.cells.Leaky` is `my_package.Leaky`.
    """
    package, name = path.partition(".")[0], path.rpartition(".")[2]
    return name if package in OWN_PACKAGES else f"{package}.{name}"
