"""Imports point downward only, and who must not load torch does not."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# floor of every module; an import may stay on its floor only within what is named together
GROUND = ("tasks", "bench.pack", "bench.axes", "bench.streams", "bench.fields")
LEAVES = (
    "bench.cells",
    "bench.checkpoints",
    "bench.initializers",
    "bench.clipping",
    "bench.nonfinite",
    "bench.optimizers",
    "bench.outcomes",
    "bench.schedules",
)
NETWORK = ("bench.network",)
MEASUREMENTS = ("bench.measurements", "bench.remedies")
MACHINERY = (
    "bench.engines",
    "bench.records",
    "bench.replicas",
    "bench.training",
    "bench.descent",
    "bench.sequences",
    "bench.watch",
)
AROUND = (
    "bench.checking",
    "bench.config",
    "bench.directories",
    "bench.results",
    "bench.showing",
    "bench.sweep",
    "bench.analysis",
    "bench.exports",
    "bench.references",
    "bench.speed",
)
ENTRIES = (
    "bench.__main__",
    "bench.report",
    "bench.reference",
    "bench.show",
    "bench.check",
    "bench.status",
    "hydra_plugins",
)
FLOORS = (GROUND, LEAVES, NETWORK, MEASUREMENTS, MACHINERY, AROUND, ENTRIES)

MODULES = sorted(path for room in ("bench", "tasks", "hydra_plugins") for path in (ROOT / room).rglob("*.py"))


def floor(module: str) -> int:
    return next(k for k, names in enumerate(FLOORS) for name in names if f"{module}.".startswith(f"{name}."))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.split(".")[0] in ("bench", "tasks", "hydra_plugins") and name != "bench"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward(path):
    if name_of(path) != "bench":
        assert all(floor(module) <= floor(name_of(path)) for module in imports(path))


@pytest.mark.parametrize("room", ["bench/cells", "bench/measurements", "bench/remedies", "tasks"])
def test_siblings_do_not_import_each_other(room):
    """A component is what a yaml names; what several share stands in a module that no yaml names."""
    yaml = "".join(path.read_text() for path in (ROOT / "conf").rglob("*.yaml"))
    named = set(re.findall(r"_target_: (\S+)\.", yaml))
    for path in (ROOT / room).glob("*.py"):
        assert not set(imports(path)) & named & {name_of(sibling) for sibling in (ROOT / room).glob("*.py")}


def test_tasks_know_no_net_and_no_config():
    assert all(name.startswith("tasks") for path in (ROOT / "tasks").glob("*.py") for name in imports(path))


def test_entries_are_short():
    for name in ("__main__", "report", "reference", "show", "check", "status"):
        assert len((ROOT / "bench" / f"{name}.py").read_text().splitlines()) < 60


@pytest.mark.parametrize(
    "module",
    [
        "bench.results",
        "bench.report",
        "bench.reference",
        "bench.status",
        "bench.analysis.examples",
        "hydra_plugins.bench_plugins",
    ],
)
def test_no_torch_where_none_is_needed(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
