"""Sweeps carried out by submitit and by Ray, where these are there: the numbers of one process."""

import importlib.util
import sys

import pytest
from commands import assert_same_results, directories

from bench.__main__ import main

SMALL = [
    *("task.length=6", "cell.hidden=4", "batch_size=2", "measurement=[spectrum,training_gradient]"),
    *("evaluation.sequences=4", "evaluation.final=4", "updates=12", "evaluation.every=4"),
]


@pytest.mark.parametrize(("where", "package"), [("submitit", "submitit"), ("ray", "ray")])
@pytest.mark.filterwarnings("ignore")  # theirs
def test_a_sweep_elsewhere_gives_the_numbers_of_one_process(tmp_path, capsys, where, package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    sweep = [*SMALL, "seed=0,1,2"]
    assert main([*sweep, f"results={tmp_path / 'here'}", "hydra.launcher.workers=0", "-m"]) == 0
    elsewhere = [f"hydra.launcher.where={where}", "hydra.launcher.workers=1"]
    assert main([*sweep, f"results={tmp_path / where}", *elsewhere, "-m"]) == 0
    assert "packs: 1 of width 3" in capsys.readouterr().err
    assert_same_results(tmp_path / "here", tmp_path / where)
    assert len(directories(tmp_path / where)) == 3


@pytest.mark.parametrize(("where", "package", "extra"), [("slurm", "submitit", "slurm"), ("ray", "ray", "ray")])
def test_a_package_that_is_not_there_is_asked_for_in_a_line(tmp_path, capsys, monkeypatch, where, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    assert main([*SMALL, f"results={tmp_path / 'results'}", f"hydra.launcher.where={where}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    wanted = f"hydra.launcher.where={where}: needs {package}; pip install 'recurrent-memory-bench[{extra}]'"
    assert line == f"bench: {wanted}"
    assert not (tmp_path / "results").exists()
