"""Files of the user's that have the name of one of the suite's packages."""

import importlib
import os
import subprocess
import sys
import tomllib

import pytest

from bench.__main__ import main
from bench.check.__main__ import main as check
from bench.jobs.foreign import OWN
from bench.show.__main__ import main as show
from tests.conftest import ROOT

SMALL = [
    *("task.length=6", "cell.hidden=4", "batch_size=2", "updates=3", "measurement=[]"),
    *("evaluation.sequences=4", "evaluation.final=4"),
]


@pytest.mark.parametrize("command", [main, check, show])
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("kind", ["module", "package"])
def test_a_foreign_module_in_the_way_is_named(tmp_path, monkeypatch, capsys, command, name, kind):
    foreign = tmp_path / f"{name}.py" if kind == "module" else tmp_path / name / "__init__.py"
    foreign.parent.mkdir(exist_ok=True)
    foreign.touch()
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert command(["cell=tanh"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    path = foreign if kind == "module" else foreign.parent
    assert f": {path}: stands in the way of the suite's own `{name}`; rename it, start elsewhere" in line


def test_the_installed_command_does_not_look_into_the_current_folder(tmp_path):
    """Neither the command itself nor its workers, which are interpreters of their own."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["recurrent-memory-bench"]
    module, _, function = entry.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    for name in (*OWN, "bench"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "recurrent-memory-bench"  # as pip writes it
    script.write_text(
        f"import sys\nfrom {module} import {function}\nif __name__ == '__main__':\n    sys.exit({function}())\n"
    )
    sweep = [*SMALL, "cell=tanh,lstm", "hydra.launcher.workers=2", "results=results"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, script, *sweep], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "results").glob("*/finished"))) == 2
