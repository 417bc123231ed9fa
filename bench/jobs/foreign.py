"""Whether a module of the user's has the name of one of the suite's packages; asked before any of them is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

OWN = ("tasks", "conf", "hydra_plugins")  # packages of the suite with names that others use too


def in_the_way() -> str | None:
    """What is said of a module that Python finds in place of the suite's own, which lie beside `bench`."""
    home = Path(__file__).resolve().parents[2]
    for name in OWN:
        spec = importlib.util.find_spec(name)
        found = [str(path) for path in (spec.submodule_search_locations or [spec.origin or ""])] if spec else []
        if found and home not in [Path(path).resolve().parent for path in found]:
            return (
                f"{found[0]}: stands in the way of the suite's own `{name}`; rename it, start elsewhere, or use the "
                "command recurrent-memory-bench, which does not look into the current folder"
            )
    return None
