"""Sweeps carried out by submitit and by Ray, where these are there: the numbers of one process."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest
from commands import assert_same_results, directories

from bench.__main__ import main
from bench.sweep import cluster
from bench.sweep.worker import Order

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


@pytest.fixture
def slurm(monkeypatch):
    """A Slurm that answers what stands in `says`; None, and it cannot be reached. `asked`: how often it was."""
    slurm = SimpleNamespace(says="", asked=0, now=1000.0)

    def squeue(command, **rest):
        slurm.asked += 1
        assert command[0] == "squeue"
        return subprocess.CompletedProcess(command, int(slurm.says is None), slurm.says or "", "no contact\n")

    monkeypatch.setattr(cluster.subprocess, "run", squeue)
    monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=lambda: slurm.now))
    return slurm


def slurm_task(folder, queue, number):
    answer = folder / f"{number}.pkl"
    job = SimpleNamespace(
        job_id=number, paths=SimpleNamespace(result_pickle=answer), done=answer.exists, result=lambda: {"run": "lost"}
    )
    return cluster.SlurmJob(Order([], [], []), job, queue)


@pytest.mark.parametrize(
    ("says", "word"), [("7 RUNNING\n8 OUT_OF_MEMORY\n", "OUT_OF_MEMORY"), ("7 PENDING\n", "COMPLETED")]
)
def test_a_slurm_task_that_ended_without_an_answer_has_died(tmp_path, slurm, says, word):
    queue = cluster.Queue()
    living, dead = (slurm_task(tmp_path, queue, number) for number in ("7", "8"))
    slurm.says = says
    for _ in range(100):
        slurm.now += 1
        assert not living.has_ended(None)
        if dead.has_ended(None):
            break
    assert 1000 + cluster.SILENT < slurm.now <= 1000 + cluster.SILENT + 2
    assert dead.crash == f"the task ended without an answer, in Slurm's words {word}"
    assert slurm.asked <= 1 + cluster.SILENT / cluster.ASK  # once for both tasks, and not at every look


def test_a_slurm_that_does_not_answer_is_told_once_and_nothing_is_dead(tmp_path, slurm, caplog):
    task = slurm_task(tmp_path, cluster.Queue(), "7")
    slurm.says = None
    for _ in range(100):
        slurm.now += 10
        assert not task.has_ended(None)
    assert [record.getMessage() for record in caplog.records] == ["Slurm does not say how its tasks are: no contact"]


def test_the_answer_of_a_slurm_task_counts_whatever_the_queue_says(tmp_path, slurm):
    task = slurm_task(tmp_path, cluster.Queue(), "7")
    (tmp_path / "7.pkl").touch()
    assert task.has_ended(None)
    assert task.crash is None
    assert task.lost == {"run": "lost"}
    assert slurm.asked == 0


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed")
def test_a_setting_that_submitit_does_not_know_is_a_mistake_in_a_line(tmp_path, capsys):
    given = ["hydra.launcher.where=submitit", "+hydra.launcher.settings.hours=1"]
    assert main([*SMALL, f"results={tmp_path / 'results'}", *given]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("bench: hydra.launcher.where=local settings={'hours': 1}: ")
    assert not (tmp_path / "results").exists()
