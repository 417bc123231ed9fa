"""Imports point downward only, room by room, and who must not load torch does not."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# from the ground up; a room imports from itself and from the rooms before it
ROOMS = (
    "tasks",
    "bench.pack",
    "bench.nets",
    "bench.methods",
    "bench.measurements",
    "bench.engines",
    "bench.training",
    "bench.runs",
    "bench.analysis",
    "bench.exports",
    "bench.jobs",
    "bench.sweep",
    "bench.check",
    "bench.show",
    "bench.speed",
    "bench",  # the commands, and the names for those who extend
    "hydra_plugins",
)
COMMANDS = sorted((ROOT / "bench").glob("[!_]*.py"))
MODULES = sorted(path for room in ("bench", "tasks", "hydra_plugins") for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The room with the longest name that the module lies in."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def imports(path: Path) -> set[str]:
    """The modules of the suite that a file imports, the names taken from a package among them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if (ROOT / Path(*name.split("."))).with_suffix(".py").exists()}
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("bench", "tasks", "hydra_plugins") and name != "bench"}


@pytest.mark.parametrize("path", [path for path in MODULES if path != ROOT / "bench" / "__init__.py"], ids=name_of)
def test_imports_point_downward(path):
    here = room_of(name_of(path))
    for module in sorted(imports(path)):
        there = room_of(module)
        if ROOMS.index(there) > ROOMS.index(here):
            allowed = ", ".join(ROOMS[: ROOMS.index(here) + 1])
            pytest.fail(
                f"{name_of(path)} imports {module}: {here} may import from {allowed}; move what both need there"
            )


def test_every_folder_is_a_room():
    folders = {name_of(path.parent) for path in MODULES} - {"bench"}
    missing = sorted(name for name in folders if room_of(name) == "bench")
    assert not missing, f"{missing}: no room; say in ROOMS what it may import"


@pytest.mark.parametrize(
    "room", ["bench/nets/cells", "bench/measurements", "bench/methods", "bench/methods/remedies", "tasks"]
)
def test_siblings_do_not_import_each_other(room):
    """A component is what a yaml names; what several share stands in a module that no yaml names."""
    yaml = "".join(path.read_text() for path in (ROOT / "conf").rglob("*.yaml"))
    named = set(re.findall(r"_target_: (\S+)\.", yaml))
    for path in (ROOT / room).glob("*.py"):
        assert not imports(path) & named & {name_of(sibling) for sibling in (ROOT / room).glob("*.py")}


def test_tasks_know_no_net_and_no_config():
    assert all(name.startswith("tasks") for path in (ROOT / "tasks").glob("*.py") for name in imports(path))


@pytest.mark.parametrize("path", COMMANDS, ids=name_of)
def test_commands_are_short(path):
    assert len(path.read_text().splitlines()) < 80


def test_no_torch_where_none_is_needed():
    modules = (
        "bench.runs.tables",
        "bench.report",
        "bench",
        "bench.analysis.results",
        "bench.jobs.choices",
        "bench.list",
        "bench.answer",
        "bench.reference",
        "bench.status",
        "bench.show.picture",
        "hydra_plugins.bench_plugins",
    )
    code = (
        f"import importlib, sys\nfor name in {modules}:\n"
        " importlib.import_module(name)\n assert 'torch' not in sys.modules, name"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
