"""`bench.sweep`: the command line with Python's values."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.__main__ import main
from bench.runs.tables import load
from bench.sweep import sweeper
from bench.sweep.call import words_of
from tests.conftest import ROOT

SMALL = {
    "task__length": 6,
    "cell__hidden": 4,
    "batch_size": 2,
    "updates": 3,
    "measurement": ["spectrum"],
    "evaluation__sequences": 4,
    "evaluation__final": 4,
    "hydra__launcher__where": "here",
}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": range(3)}, ["seed=0,1,2"]),
        ({"seed": 3}, ["seed=3"]),
        ({"cell": ["tanh", "lstm"]}, ["cell=tanh,lstm"]),
        ({"cell": ("tanh",)}, ["cell=tanh"]),
        ({"clipping__threshold": [1, math.inf]}, ["clipping.threshold=1,.inf"]),
        ({"optimizer__lr": np.array([0.001, 0.01])}, ["optimizer.lr=0.001,0.01"]),
        ({"optimizer__lr": np.float64(0.5)}, ["optimizer.lr=0.5"]),
        ({"initializer__recurrent": "orthogonal"}, ["initializer/recurrent=orthogonal"]),
        ({"initializer__recurrent__gain": 2}, ["initializer.recurrent.gain=2"]),
        ({"hydra__sweeper": "search"}, ["hydra/sweeper=search"]),
        ({"remedies": ["skip", "max_norm"]}, ["remedies=[skip,max_norm]"]),
        ({"remedies": [["skip"], []]}, ["remedies=[skip],[]"]),
        ({"measurement": []}, ["measurement=[]"]),
        ({"extensions": ["my_package"]}, ["extensions=[my_package]"]),
        ({"evaluation__every": None}, ["evaluation.every=null"]),
        ({"engine__tf32": True}, ["engine.tf32=true"]),
        ({"results": Path("results/my sweep")}, ["results='results/my sweep'"]),
        ({"results": "it's"}, [r"results='it\'s'"]),
    ],
)
def test_python_values_as_words_of_a_command_line(settings, words):
    assert words_of(settings) == words


def test_a_call_trains_what_the_command_line_trains(tmp_path, capsys):
    called = bench.sweep(**SMALL, cell=["tanh", "lstm"], clipping__threshold=[1, math.inf], seed=[4], results=tmp_path)
    there = [*words_of(SMALL), "cell=tanh,lstm", "clipping.threshold=1,.inf", "seed=4", f"results={tmp_path}"]
    assert main(there) == 0
    assert "runs: 4, finished before: 4" in capsys.readouterr().err
    assert set(called.runs["run"]) == set(load(tmp_path).runs["run"])
    assert set(called.spectrum["run"]) == set(called.runs["run"])


def test_after_a_sweep_stands_the_command_of_its_report(tmp_path, capsys):
    bench.sweep(**SMALL, results=tmp_path)
    assert f"report: python -m bench.report {tmp_path}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "lst"}, "cell=lst: no such choice; use one of antisymmetric"),
        ({"task__lenght": 10}, "task.lenght: no such key; did you mean task.length?"),
        ({"clipping__threshold": -1}, "clipping.threshold=-1.0: must be a number > 0"),
        ({"seed": []}, "seed=[]: comes to no value"),
    ],
)
def test_a_mistake_is_the_command_lines_one_line(tmp_path, settings, said):
    with pytest.raises(bench.ConfigError) as raised:
        bench.sweep(results=tmp_path / "results", **settings)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "results").exists()


def test_a_plan_has_no_results(tmp_path):
    planned = bench.sweep(**SMALL, results=tmp_path / "results", hydra__launcher__dry_run=True)
    assert repr(planned) == "<results of no run>"
    assert planned.runs.empty


def test_runs_that_fail_give_a_warning_and_have_a_row(tmp_path, monkeypatch):
    from bench.sweep import worker

    def failing(*rest):
        raise RuntimeError("too hot")

    monkeypatch.setattr(worker, "Training", failing)
    with pytest.warns(UserWarning, match="1 of 1 runs failed"):
        results = bench.sweep(**SMALL, results=tmp_path)
    assert results.runs["outcome"].tolist() == ["failed"]


def test_the_package_is_still_a_package():
    assert bench.sweep.sweeper is sweeper


def test_a_script_needs_no_guard_against_its_workers(tmp_path):
    """Two packs in worker processes, which would run a script again that they find."""
    settings = {**SMALL, "hydra__launcher__where": "workers", "hydra__launcher__workers": 2, "cell": ["tanh", "irnn"]}
    script = tmp_path / "mine.py"
    script.write_text(f"import bench\nprint('asked')\nbench.sweep(results={str(tmp_path / 'r')!r}, **{settings!r})\n")
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "asked\n"
    assert len(load(tmp_path / "r").runs) == 2


@pytest.mark.parametrize("name", bench.__all__)
def test_every_name_of_the_interface_is_there(name):
    assert getattr(bench, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sweeep'"):
        bench.sweeep  # noqa: B018
