"""What a component is called where a run's identity is at stake: by its class, never by the file that the class is in.

A class may move to another module without a change to any run id, pack key, or result on disk.
"""

from __future__ import annotations

OWN_PACKAGES = ("bench", "tasks")


def class_label(path: str) -> str:
    """The name of a class from its dotted path, with the package in front of it only where that is a user's own.

    `bench.methods.clipping.NormClipping` is `NormClipping`, and `my_package.cells.Leaky` is `my_package.Leaky`.
    """
    package, name = path.partition(".")[0], path.rpartition(".")[2]
    return name if package in OWN_PACKAGES else f"{package}.{name}"
