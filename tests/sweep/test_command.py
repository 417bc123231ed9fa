"""The command line, in this process: runs, sweeps, what it says, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import wait_until, workers_of

from bench.__main__ import main
from bench.runs.tables import load
from bench.sweep import worker

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    *("task.length=6", "cell.hidden=4", "batch_size=2", "updates=3", "measurement=[spectrum]"),
    *("evaluation.sequences=4", "evaluation.final=4"),
]
HERE = "hydra.launcher.workers=0"


def run(results, *overrides):
    return main(["-m", *SMALL, HERE, f"results={results}", *overrides])


def test_one_run_leaves_its_directory(tmp_path):
    assert run(tmp_path, "clipping.threshold=1", "seed=4") == 0
    (directory,) = tmp_path.glob("[!.]*")
    assert "threshold: 1" in (directory / "config.yaml").read_text()
    assert "seed=4" in (directory / "overrides.yaml").read_text()
    assert "update      3" in (directory / "run.log").read_text()
    environment = json.loads((directory / "environment.json").read_text())
    assert environment["threads"] == 1
    assert environment["precision"] == "float32"
    (row,) = load(tmp_path).runs.to_dict("records")
    assert row["run"] == directory.name
    assert row["seed"] == 4
    assert row["version"]


def test_a_sweep_is_trained_in_packs_and_only_once(tmp_path, capsys, monkeypatch):
    sweep = ["cell=tanh,irnn,lstm", "clipping.threshold=1,10,.inf", "seed=range(5)"]
    assert run(tmp_path, *sweep) == 0
    said = capsys.readouterr().err
    assert "runs: 45, finished before: 0" in said
    assert "packs: 3 of width 15" in said
    runs = load(tmp_path).runs
    assert len(runs) == runs["run"].nunique() == 45
    assert runs.groupby("cell").size().to_dict() == {"irnn": 15, "lstm": 15, "tanh": 15}
    assert np.isinf(runs["clipping.threshold"]).sum() == 15

    monkeypatch.setattr(worker, "Training", None)  # training again would raise
    assert run(tmp_path, *sweep) == 0
    assert "finished before: 45" in capsys.readouterr().err


def test_a_growing_sweep_trains_only_what_is_new_and_gives_the_same_bits(tmp_path):
    assert run(tmp_path / "a", "seed=0,1,2") == 0
    assert run(tmp_path / "b", "seed=1") == 0
    assert run(tmp_path / "b", "seed=0,1,2") == 0
    one, other = (load(tmp_path / name) for name in "ab")
    assert one.evaluations["loss"].tolist() == other.evaluations["loss"].tolist()
    assert one.spectrum["spectral_radius"].tolist() == other.spectrum["spectral_radius"].tolist()


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("task.lenght=10", "task.lenght: no such key; did you mean task.length?"),
        ("sed=1", "sed: no such key; did you mean seed?"),
        ("+task.depth=1", "task.depth: no such setting of Adding"),
        ("task.length=abc", "task.length=abc: must be a whole number"),
        ("task.length=0", "task.length=0: must be a whole number >= 2"),
        ("clipping.threshold=-1", "clipping.threshold=-1.0: must be a number > 0, or .inf"),
        ("cell=gr", "cell=gr: no such choice; use one of antisymmetric, "),
        ("cell=5", "cell=5: must name a choice, such as cell=tanh"),
        ("device=cuda", "device=cuda: there is no CUDA device"),
        ("device=tpu", "device=tpu: use auto, cpu or cuda"),
        ("updates=0", "updates=0: must be a whole number >= 1"),
        ("precision=half", "precision=half: must be one of float32, float64"),
        ("task=adding,,", "mismatched input"),
        ("seed", "seed"),
        ("hydra.launcher.width=0", "hydra.launcher.width=0: must be a whole number >= 1"),
        ("results=/proc/nowhere", "results=/proc/nowhere: "),
        ("results=/dev/null", "results=/dev/null: "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, capsys, mistake, said):
    import torch

    if mistake == "device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    results = tmp_path / "results"
    assert run(results, mistake) == 2
    printed = capsys.readouterr().err.strip()
    assert said in printed
    assert len(printed.splitlines()) == 1
    assert not results.exists()


def test_a_mistake_in_one_job_of_a_sweep_stops_it_before_anything_is_written(tmp_path, capsys):
    assert run(tmp_path / "results", "clipping.threshold=1,-1") == 2
    assert "clipping.threshold=-1.0" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_failing_pack_fails_alone_and_is_tried_again(tmp_path, capsys, monkeypatch):
    whole = worker.Training

    def failing(replicas, *rest):
        if replicas[0].cell.hidden == 5:
            raise MemoryError("no room")
        return whole(replicas, *rest)

    monkeypatch.setattr(worker, "Training", failing)
    assert run(tmp_path, "cell.hidden=4,5") == 1
    assert "1 of 2 runs failed, the first with MemoryError: no room" in capsys.readouterr().err
    runs = load(tmp_path).runs.set_index("cell.hidden")
    assert runs.loc[5, "outcome"] == "failed"
    assert runs.loc[4, "outcome"] != "failed"
    failed = tmp_path / runs.loc[5, "run"] / "run.log"
    assert "MemoryError" in failed.read_text()

    monkeypatch.setattr(worker, "Training", whole)
    assert run(tmp_path, "cell.hidden=4,5") == 0
    assert "finished before: 1" in capsys.readouterr().err


def test_workers_give_the_same_bits_as_this_process(tmp_path):
    sweep = ["cell=tanh,lstm", "seed=0,1"]
    assert run(tmp_path / "here", *sweep) == 0
    assert main([*SMALL, f"results={tmp_path / 'workers'}", "hydra.launcher.workers=2", *sweep]) == 0
    here, workers = (load(tmp_path / name) for name in ("here", "workers"))
    assert here.runs["final_loss"].tolist() == workers.runs["final_loss"].tolist()
    assert here.evaluations["loss"].tolist() == workers.evaluations["loss"].tolist()


def test_the_multirun_flag_may_stand_anywhere(tmp_path):
    assert main([*SMALL, HERE, f"results={tmp_path}", "seed=0,1", "-m", "cell=tanh"]) == 0
    assert len(load(tmp_path).runs) == 2


def test_cfg_job_prints_the_whole_record(capsys):
    assert main(["--cfg", "job", "cell=lstm", "clipping.threshold=7"]) == 0
    printed = capsys.readouterr().out
    assert "threshold: 7" in printed
    assert "bench.nets.cells.lstm.LSTM" in printed
    assert "forget: 1.0" in printed


def test_quick_is_the_main_job(tmp_path, capsys):
    small = [part for part in SMALL if "task.length" not in part and "measurement" not in part]
    assert main([*small, "experiment=quick", f"results={tmp_path}", HERE, "measurement=[]"]) == 0
    runs = load(tmp_path).runs
    assert runs.groupby(["task", "cell", "clipping.threshold"]).size().eq(5).all()
    assert len(runs) == 2 * 3 * 4 * 5
    assert set(runs["experiment"]) == {"quick"}


def start(results, *sweep):
    """A real command with real worker processes, in a session of its own."""
    command = [
        sys.executable,
        "-m",
        "bench",
        "-m",
        *SMALL,
        f"results={results}",
        "hydra.launcher.workers=2",
        *sweep,
    ]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def is_alive(process):
    return lambda: process.poll() is None


def count(results, name):
    return len(list(results.glob(f"*/{name}")))


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path, "updates=2,1000000", "evaluation.every=100")
    wait_until(lambda: count(tmp_path, "finished") == 1 and count(tmp_path, "config.yaml") == 2, is_alive(process))
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert load(tmp_path).runs["updates"].tolist() == [2]


def test_a_killed_worker_fails_its_own_pack(tmp_path):
    process = start(tmp_path, "cell.hidden=4,5", "updates=1000000", "evaluation.every=100")
    wait_until(lambda: count(tmp_path, "config.yaml") == 2, is_alive(process))
    for worker_pid in workers_of(process.pid):
        os.kill(worker_pid, signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "2 of 2 runs failed" in said
    assert set(load(tmp_path).runs["message"]) == {"the worker was killed by signal 9 (out of memory?)"}


def test_the_shell_completes_the_installed_command(capsys, monkeypatch):
    main(["-sc", "install=bash"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(" hydra_bash_completion recurrent-memory-bench")
    for line, completed in (("cell=ls", "cell=lstm"), ("task=adding clipping.thr", "clipping.threshold=")):
        monkeypatch.setenv("COMP_LINE", f"recurrent-memory-bench {line}")
        main(["-sc", "query=bash"])
        assert capsys.readouterr().out.split() == [completed]


def test_help_has_examples_and_every_other_command(capsys):
    """Examples are three lines, and what can be run is what has a `main`."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert len([line for line in said.splitlines() if line.startswith("python -m bench ")]) == 3
    modules = [*(ROOT / "bench").glob("[!_]*.py"), *(ROOT / "bench").glob("*/__main__.py")]
    commands = {path.stem if path.stem != "__main__" else path.parent.name for path in modules}
    for name in commands - {"extending"}:
        assert f"python -m bench.{name} " in said
    assert "cell: antisymmetric, " in said
