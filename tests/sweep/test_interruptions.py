"""Sweeps that are killed, interrupted, run twice at once, limited, or given a bad disk: nothing is lost or torn."""

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import (
    AS_LONG_AS_IT_TAKES,
    assert_same_results,
    begun,
    directories,
    halt,
    is_asked_to_end,
    said,
    started,
    wait_until,
    workers_of,
)

import bench
from bench import status
from bench.__main__ import main
from bench.analysis.statistics.survival import times
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.runs.checkpoint import FORMAT
from bench.runs.directory import RunDirectory
from bench.runs.tables import load
from bench.sweep import environment, executors, worker
from bench.sweep import execution as sweep_execution
from bench.sweep.execution import Execution
from bench.sweep.executors import InThisProcess
from bench.training import replica
from bench.training.loop import Training
from bench.training.run_state import RunState

KILLS = int(os.environ.get("KILLS", "10"))  # `make torture` asks for more
SMALL = [
    *(
        "task.length=6",
        "cell.hidden=4",
        "batch_size=2",
    ),
    *("evaluation.sequences=4", "evaluation.final=4", "updates=30", "evaluation.every=10"),
    "measurement=[spectrum,training_gradient]",  # tests/runs/test_checkpoints.py has all
]
HERE = "hydra.launcher.workers=0"
SWEEP = [*SMALL, "cell=tanh,lstm", "seed=0,1,2", "checkpoint.seconds=0"]


def run(results, *overrides):
    return main([*SMALL, HERE, f"results={results}", *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in memory where there is one: a kill does the same there, and flushing takes no time."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path_factory.getbasetemp()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def uninterrupted(folder):
    """The results that `SWEEP` has when nothing happens to it, and how long that takes in a process of its own."""
    results = folder / "whole" / "results"
    process = started(results, HERE, *SWEEP)  # the first start waits for torch
    process.join()
    again, began = results.with_name("again"), time.monotonic()
    process = started(again, HERE, *SWEEP)
    process.join()
    assert process.exitcode == 0
    assert_same_results(results, again)
    return results, time.monotonic() - began


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_sweep_is_finished_by_the_same_command_in_the_same_bits(folder, uninterrupted, kill):
    """One in ten with worker processes, which end with their parent and keep what they train."""
    whole, seconds = uninterrupted
    results, in_workers = folder / f"{kill}" / "results", kill % 10 == 9
    process = started(results, "hydra.launcher.workers=2" if in_workers else HERE, *SWEEP)
    time.sleep(random.Random(kill).uniform(0, (4 if in_workers else 1) * seconds))
    process.kill()
    process.join()
    wait_until(lambda: not any(one.is_locked for one in directories(results)))
    before = {one.run_id: one.path.joinpath("finished").stat() for one in directories(results) if one.is_finished}
    results.with_suffix(".log").unlink(missing_ok=True)
    process = started(results, HERE, *SWEEP)
    process.join()
    assert process.exitcode == 0
    assert_same_results(whole, results)
    for run_id, marker in before.items():
        assert results.joinpath(run_id, "finished").stat() == marker
        assert run_id not in begun(results)
    assert all({path.name for path in one.path.glob(".*")} == {".lock"} for one in directories(results))


def test_two_copies_train_each_run_once(folder, uninterrupted):
    results = folder / "copies" / "results"
    copies = [started(results, HERE, *SWEEP) for _ in range(2)]
    for copy in copies:
        copy.join()
    assert [copy.exitcode for copy in copies] == [0, 0]
    assert len(begun(results)) == len(set(begun(results))) == 6
    assert_same_results(uninterrupted[0], results)


def test_what_was_finished_since_the_plan_was_made_is_not_trained_again(tmp_path, monkeypatch):
    assert run(tmp_path, "seed=0,1") == 0
    before = [one.path.joinpath("finished").stat() for one in directories(tmp_path)]
    monkeypatch.setattr(worker, "Training", None)  # training would raise, and leave a failure
    assert worker.train(order(tmp_path, "seed=0", "seed=1"), lambda standing: None, worker.StopRequest()) == {}
    assert [one.path.joinpath("finished").stat() for one in directories(tmp_path)] == before


def order(results, *jobs):
    jobs = [checked_job(composed(*SMALL, f"results={results}", job)) for job in jobs]
    return worker.Order(jobs, [{}] * len(jobs), [{}] * len(jobs))


def test_what_another_process_holds_is_waited_for_and_done_when_it_ends(tmp_path, capsys, monkeypatch):
    assert run(tmp_path / "a", "seed=0,1") == 0
    (held, other) = directories(tmp_path / "a")
    with contextlib.ExitStack() as holder:
        assert holder.enter_context(RunDirectory(tmp_path / "b", held.run_id).locked())
        waiting = SimpleNamespace(time=time.time, sleep=lambda seconds: holder.close())  # it ends at the first look
        monkeypatch.setattr(sweep_execution, "time", waiting)
        capsys.readouterr()
        assert run(tmp_path / "b", "seed=0,1") == 0
    said = capsys.readouterr().err
    assert said.count("packs: 1 of width 1") == 2
    assert "waiting for 1 runs that another process trains" in said
    assert_same_results(tmp_path / "a", tmp_path / "b")
    assert other.run_id != held.run_id


LONG = [*SMALL, "updates=30,1000000", "evaluation.every=1000", "seed=0,1", "checkpoint.seconds=null"]
ALL_KEPT = "bench: interrupted; 0 runs finished, 2 in training kept; the same command goes on from there"


def in_training(results, workers, grace=AS_LONG_AS_IT_TAKES):
    """A command of its own at the two long runs of `LONG`, of which nothing is kept yet."""
    process = started(results, f"hydra.launcher.workers={workers}", *LONG, grace=grace)
    wait_until(lambda: sum(one.is_begun for one in directories(results)) == 2, process.is_alive)
    return process


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGINT, signal.SIGTERM]])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_ends_a_sweep_and_keeps_what_is_in_training(tmp_path, capsys, numbers, workers):
    """Whether there is one signal or, at the same moment, another one; the training itself would take for ever."""
    results = tmp_path / "results"
    process = in_training(results, workers)
    halt(process.pid)  # so that all are there when it looks
    for number in numbers:
        os.killpg(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert process.exitcode == 130
    assert ALL_KEPT in said(results)
    assert "Traceback" not in said(results)
    assert status.main([str(results)]) == 1
    printed = capsys.readouterr().out
    assert "interrupted      2  " in printed
    assert "missing          2  asked for and not begun" in printed


def halted_workers(command):
    """Have the two workers of a command stand still, and the command ask them in vain to end."""
    wait_until(lambda: len(workers_of(command)) == 2)
    pids = workers_of(command)
    for pid in pids:
        halt(pid)
    os.killpg(command, signal.SIGINT)
    wait_until(lambda: all(map(is_asked_to_end, pids)))
    return pids


def test_what_is_kept_is_counted_when_the_workers_have_ended(tmp_path):
    """However often Ctrl-C is pressed until then."""
    results = tmp_path / "results"
    process = in_training(results, workers=2)
    pids = halted_workers(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    process.join()
    assert process.exitcode == 130
    assert ALL_KEPT in said(results)
    assert "Traceback" not in said(results)


def test_workers_that_do_not_answer_are_ended_all_the_same(tmp_path):
    results = tmp_path / "results"
    process = in_training(results, workers=2, grace=0.1)
    halted_workers(process.pid)
    process.join()
    assert process.exitcode == 130
    assert "0 runs finished, 0 in training kept" in said(results)


def test_whoever_is_asked_to_end_keeps_its_runs_at_the_next_update(tmp_path):
    asked = worker.StopRequest()

    def say(standing):
        if {update for update, *_ in standing.values()} == {10}:
            asked.now()

    with pytest.raises(worker.Interrupted):
        worker.train(order(tmp_path, "seed=0", "seed=1"), say, asked)
    assert [one.checkpointed_update for one in directories(tmp_path)] == [11, 11]
    assert not any(one.is_locked for one in directories(tmp_path))


# --- packs that fail


def test_a_failing_pack_is_halved_until_only_the_guilty_run_fails(tmp_path, capsys, monkeypatch):
    packs = []

    class Failing(Training):
        def advance(self, update, *rest):
            super().advance(update, *rest)
            if update == 5 and 3 in self.seeds:
                packs.append(list(self.seeds))
                raise MemoryError("no room")

    monkeypatch.setattr(worker, "Training", Failing)
    assert run(tmp_path / "a", "seed=range(8)", "checkpoint.seconds=0") == 1
    said = capsys.readouterr().err
    assert "a pack of 8 failed with MemoryError: no room: tried again in halves" in said
    assert "1 of 8 runs failed, the first with MemoryError: no room" in said
    assert packs == [list(range(8)), [0, 1, 2, 3], [2, 3], [3]]
    runs = load(tmp_path / "a").runs.set_index("seed")
    assert runs.index[runs["outcome"] == "failed"].tolist() == [3]
    assert "MemoryError" in (tmp_path / "a" / runs.loc[3, "run"] / "run.log").read_text()
    monkeypatch.undo()
    assert run(tmp_path / "a", "seed=range(8)") == 0  # from the checkpoint at update 5
    assert "runs to train: 1 (1 go on from a checkpoint)" in capsys.readouterr().err
    assert run(tmp_path / "b", "seed=range(8)") == 0
    assert_same_results(tmp_path / "a", tmp_path / "b")


GUILTY = """
import dataclasses, os, signal
from bench.methods.clipping import NormClipping

@dataclasses.dataclass(frozen=True)
class Guilty(NormClipping):
    def clip(self, step):
        if step.update == 5 and (self.threshold == 13).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().clip(step)
"""


def test_a_killed_worker_takes_no_other_run_along(tmp_path, capsys, monkeypatch):
    (tmp_path / "guilty.py").write_text(GUILTY)
    monkeypatch.syspath_prepend(tmp_path)
    guilty = ["extensions=[guilty]", "clipping._target_=guilty.Guilty"]
    assert run(tmp_path / "a", *guilty, "clipping.threshold=1,2,3,13,5,6", "hydra.launcher.workers=2") == 1
    said = capsys.readouterr().err
    assert "a pack of 3 failed, the worker was killed by signal 9 (out of memory?): tried again in halves" in said
    runs = load(tmp_path / "a").runs.set_index("clipping.threshold")
    assert runs.index[runs["outcome"] == "failed"].tolist() == [13]
    assert runs.loc[13, "message"] == "the worker was killed by signal 9 (out of memory?)"


ABSENT = """
import dataclasses, os
from bench.methods.clipping import NormClipping

@dataclasses.dataclass(frozen=True)
class Absent(NormClipping):
    def clip(self, step):
        if step.update == 5 and (self.threshold == 13).any():
            os._exit(0)
        return super().clip(step)
"""


def test_a_run_whose_worker_ends_without_an_outcome_fails_after_three_tries(tmp_path, capsys, monkeypatch):
    (tmp_path / "absent.py").write_text(ABSENT)
    monkeypatch.syspath_prepend(tmp_path)
    absent = ["extensions=[absent]", "clipping._target_=absent.Absent", "cell=tanh,irnn", "clipping.threshold=13"]
    assert run(tmp_path / "a", *absent, "hydra.launcher.workers=2") == 1
    said = capsys.readouterr().err
    assert said.count("runs to train: 2") == 3
    message = "its worker ended 3 times without an outcome and brought it no further"
    assert f"2 of 2 runs failed, the first with {message}" in said
    assert load(tmp_path / "a").runs["message"].tolist() == [message] * 2


def execution(results, executor, *jobs):
    asked = order(results, *jobs)
    there = Execution(asked.jobs, asked.configs, asked.overrides, 32, 2.0**32, executor)
    return there, dict(enumerate(asked.directories))


class Ending(InThisProcess):
    """Trains no run; of the first orders it leaves the checkpoints that it is given."""

    def __init__(self, *updates):
        self.tries, self.updates = 0, updates

    def run(self, orders, progress):
        self.tries += 1
        for one in (one for order in orders for one in order.directories):
            one.path.mkdir(exist_ok=True, parents=True)
            if self.tries <= len(self.updates):
                one.save_checkpoint(b'\n{"update": %d}\n' % self.updates[self.tries - 1])
        return {}


def test_only_tries_that_bring_a_run_no_further_count(tmp_path):
    there, todo = execution(tmp_path, place := Ending(3, 3, 3, 4, 5, 5, 6), "seed=0")
    there.carry_out(todo)
    assert place.tries == 7 + 3
    assert todo[0].has_failed


def test_a_run_that_another_process_has_taken_is_not_given_up(tmp_path):
    asked = order(tmp_path, "seed=0", "seed=1")
    held, free = asked.directories
    with held.locked():
        assert worker.give_up(asked, "no reason", 0.0) == {}
    assert free.has_failed
    assert not held.is_there


def test_the_first_failure_ends_a_sweep_that_is_to_fail_fast(tmp_path, capsys, monkeypatch):
    class Failing(Training):
        def run(self, *rest):
            raise AssertionError

        each_update = run

    monkeypatch.setattr(worker, "Training", Failing)
    assert run(tmp_path, "cell.hidden=4,5,6", "budget.fail_fast=true") == 1
    said = capsys.readouterr().err
    assert "0 runs stopped, 2 not begun" in said
    assert "1 of 3 runs failed" in said


# --- leaving a pack, and limits from outside


def test_what_has_ended_leaves_the_pack_and_changes_no_bit(tmp_path, monkeypatch):
    """One replica diverges at the first update, some solve: the others go on without them."""
    widths = []

    class Spied(Training):
        def each_update(self, *rest):
            widths.append(len(self.replicas))
            return super().each_update(*rest)

    task = ["task=permutation", "task.length=3", "task.kinds=4", "evaluation.rule=historical", "evaluation.enough=2"]
    sizes = ["cell.hidden=16", "updates=60", "optimizer.lr=0.01,1e30", "evaluation.every=5", "evaluation.sequences=64"]
    sweep = [*task, *sizes, "evaluation.final=64", "seed=range(3)", "cell=irnn", "initializer=pytorch"]
    monkeypatch.setattr(worker, "Training", Spied)
    assert run(tmp_path / "leave", *sweep) == 0
    assert widths[0] == 6
    assert len(widths) > 2
    assert widths == sorted(widths, reverse=True)
    monkeypatch.setattr(worker.PackWork, "_advance", lambda self, runs, training: _to_the_end(runs, training))
    assert run(tmp_path / "stay", *sweep) == 0
    assert_same_results(tmp_path / "leave", tmp_path / "stay")
    runs = load(tmp_path / "leave").runs
    assert runs["diverged_at"].notna().any()
    assert runs["ended_at"].notna().any()


def _to_the_end(runs, training):
    for _ in training.each_update():
        pass
    return np.ones(len(runs), dtype=bool)


def test_a_run_stopped_by_its_time_limit_is_censored_and_goes_on_later(tmp_path, capsys):
    assert run(tmp_path / "a", "seed=0,1", "budget.run_seconds=1e-9") == 0
    assert "2 runs stopped, 0 not begun: the same command goes on with them" in capsys.readouterr().err
    runs = load(tmp_path / "a").runs
    assert runs["stopped"].tolist() == [True, True]
    assert times(runs)["time"].tolist() == [1, 1]
    assert times(runs)["stopped"].all()
    assert run(tmp_path / "a", "seed=0,1", "budget.run_seconds=1e-9") == 0  # its time is over already
    assert load(tmp_path / "a").runs["sequences"].tolist() == runs["sequences"].tolist()
    assert status.main([str(tmp_path / "a")]) == 1
    assert "stopped          2  2 " in capsys.readouterr().out
    assert run(tmp_path / "a", "seed=0,1") == 0
    assert "(2 go on from a checkpoint)" in capsys.readouterr().err
    assert run(tmp_path / "b", "seed=0,1") == 0
    assert_same_results(tmp_path / "a", tmp_path / "b")
    assert status.main([str(tmp_path / "a")]) == 0


def test_a_sweep_ends_at_its_time_limit(tmp_path, capsys):
    assert run(tmp_path, "cell.hidden=4,5", "budget.sweep_seconds=0") == 0
    assert "0 runs stopped, 2 not begun: the same command goes on with them" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/config.yaml"))


def test_a_run_in_training_is_stopped_at_the_time_limit_of_its_sweep(tmp_path, capsys, monkeypatch):
    """By a clock that goes on by a second with every update."""
    clock = [0.0]

    class Clocked(Training):
        def advance(self, *rest):
            super().advance(*rest)
            clock[0] += 1

    clocks = SimpleNamespace(time=lambda: clock[0], monotonic=lambda: clock[0], perf_counter=time.perf_counter)
    for module in (sweep_execution, executors, worker):
        monkeypatch.setattr(module, "time", clocks)
    monkeypatch.setattr(worker, "Training", Clocked)
    assert run(tmp_path, "cell.hidden=4,5", "budget.sweep_seconds=10") == 0
    assert "1 runs stopped, 1 not begun" in capsys.readouterr().err
    (row,) = load(tmp_path).runs.to_dict("records")
    assert row["stopped"]
    assert row["sequences"] == 10 * 2


@pytest.mark.parametrize("limit", ["checkpoint.seconds=-1", "budget.run_seconds=-1", "budget.sweep_seconds=x"])
def test_a_limit_that_makes_no_sense_is_refused(tmp_path, capsys, limit):
    assert run(tmp_path / "results", limit) == 2
    assert limit.split("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


# --- files that are not as they were left


THIS = b"checkpoint %d " % FORMAT
DAMAGES = {
    "truncated": (lambda data: data[: len(data) // 2], "is torn or was edited"),
    "edited": (lambda data: data.replace(b'"update": 1', b'"update": 2'), "is torn or was edited"),
    "of another version": (
        lambda data: data.replace(b"checkpoint %d " % FORMAT, b"checkpoint 1 "),
        f"has format 1, not {FORMAT}",
    ),
    "a pickle": (lambda data: b"cos\nsystem\n(S'touch pwned'\ntR.", "is no checkpoint"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_checkpoint_is_told_in_a_line_and_its_run_starts_anew(tmp_path, capsys, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    spoilt, reason = DAMAGES[damage]
    assert run(tmp_path / "a", "seed=0,1", "budget.run_seconds=1e-9") == 0
    bad, _ = directories(tmp_path / "a")
    bad.save_checkpoint(spoilt(bad.checkpoint()))
    capsys.readouterr()
    updates = []
    monkeypatch.setattr(worker, "Training", lambda *rest: updates.append(len(rest[3])) or Training(*rest))
    assert run(tmp_path / "a", "seed=0,1") == 0
    (warning,) = [
        line for line in capsys.readouterr().err.splitlines() if "checkpoint " in line and "go on" not in line
    ]
    assert warning == f"{bad.path}: its checkpoint {reason}; the run starts anew"
    assert sorted(updates) == [0, 1]  # the other one goes on
    assert run(tmp_path / "b", "seed=0,1") == 0
    assert_same_results(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "pwned").exists()


def test_a_torn_results_file_is_told_in_a_line_and_only_its_run_is_done_again(tmp_path, capsys):
    assert run(tmp_path / "a", "seed=0,1") == 0
    torn, whole = directories(tmp_path / "a")
    marker = whole.path.joinpath("finished").stat()
    file = torn.path / "evaluations.npz"
    file.write_bytes(file.read_bytes()[:100])
    capsys.readouterr()
    assert status.main([str(tmp_path / "a")]) == 1
    assert "torn             1  done again by the same command" in capsys.readouterr().out
    assert run(tmp_path / "a", "seed=0,1") == 0
    printed = capsys.readouterr().err
    assert printed.count(f"{torn.path} is torn: it is ignored and done again") == 1
    assert "finished before: 1" in printed
    assert whole.path.joinpath("finished").stat() == marker
    assert run(tmp_path / "b", "seed=0,1") == 0
    assert_same_results(tmp_path / "a", tmp_path / "b")


# --- by whom a run was trained


def test_every_stretch_of_a_run_is_noted_with_the_commit_that_trained_it(tmp_path, monkeypatch):
    commits = iter(["first", "second", "third"])
    monkeypatch.setattr(environment, "_commit", lambda: next(commits))
    assert run(tmp_path, "seed=0,1", "budget.run_seconds=1e-9") == 0
    changed, whole = directories(tmp_path)
    assert [one["update"] for one in changed.environment["stretches"]] == [0]
    assert run(tmp_path, "seed=0,1") == 0
    for one in (changed, whole):
        found = [(part["update"], part["bench"], part["commit"]) for part in one.environment["stretches"]]
        assert found == [(0, bench.__version__, "first"), (1, bench.__version__, "second")]
        assert one.environment["commit"] == "second"
    (whole.path / "outcome.json").unlink()
    assert run(tmp_path, "seed=0,1") == 0  # from its start, since what was finished has no checkpoint
    assert [part["commit"] for part in whole.environment["stretches"]] == ["third"]


def test_a_run_begun_before_stretches_were_noted_names_what_it_can(tmp_path, monkeypatch):
    assert run(tmp_path, "seed=0", "budget.run_seconds=1e-9") == 0
    (one,) = directories(tmp_path)
    before = {name: value for name, value in one.environment.items() if name != "stretches"}
    (one.path / "environment.json").write_text(json.dumps({**before, "commit": "old"}))
    assert run(tmp_path, "seed=0") == 0
    first, second = one.environment["stretches"]
    assert (first["update"], first["commit"]) == (0, "old")
    assert second["update"] == 1


def test_who_gives_a_run_up_does_not_count_as_having_trained_it(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_commit", lambda: "first")
    assert run(tmp_path, "seed=0", "budget.run_seconds=1e-9") == 0
    (one,) = directories(tmp_path)
    noted = one.environment
    monkeypatch.setattr(environment, "_commit", lambda: "second")
    assert worker.give_up(order(tmp_path, "seed=0"), "no reason", 0.0) == {}
    assert one.environment == noted


def test_a_checkpoint_of_another_instruction_set_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(worker, "instructions", lambda device: "avx2 fma")
    assert run(tmp_path, "seed=0", "budget.run_seconds=1e-9") == 0
    capsys.readouterr()
    monkeypatch.setattr(worker, "instructions", lambda device: "avx512f avx2 fma")
    assert run(tmp_path, "seed=0") == 0
    told = "its checkpoint was made with instructions avx2 fma, not avx512f avx2 fma; the run starts anew"
    assert told in capsys.readouterr().err
    (one,) = directories(tmp_path)
    assert [part["update"] for part in one.environment["stretches"]] == [0]


def test_a_checkpoint_of_other_mathematics_or_component_is_no_checkpoint_of_the_run(tmp_path, monkeypatch):
    """Its run id is another one, which stands in the checkpoint too."""
    (job,) = order(tmp_path, "seed=0").jobs
    before = job.replica.run_id
    monkeypatch.setattr(type(job.replica.cell), "version", type(job.replica.cell).version + 1)
    assert job.replica.run_id != before
    monkeypatch.undo()
    assert job.replica.run_id == before
    monkeypatch.setattr(replica, "MATHEMATICS", replica.MATHEMATICS + 1)
    assert job.replica.run_id != before


def test_instructions_are_those_of_this_cpu():
    assert environment.instructions("cpu").endswith(f"(torch: {torch.backends.cpu.get_cpu_capability()})")
    assert (
        environment.instructions("cpu")
        == environment.describe_environment(order("x", "seed=0").jobs[0])["instructions"]
    )


@pytest.fixture
def disk(tmp_path):
    """Mounts a small disk of its own, with options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a disk is not allowed here")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def test_a_full_disk_is_told_in_a_line_and_the_runs_that_were_written_are_kept(tmp_path, disk, capsys):
    folder = disk("size=128k")
    sweep = ("cell.hidden=4,5,6,7,8", "checkpoint.seconds=0")
    assert run(folder / "results", *sweep) == 1
    printed = capsys.readouterr().err
    assert "No space left on device" in printed
    assert "Traceback" not in printed
    finished = {one.run_id for one in directories(folder / "results") if one.is_finished}
    assert 0 < len(finished) < 5
    with contextlib.suppress(OSError):
        (folder / "filler").write_bytes(bytes(2**20))
    assert run(folder / "other") == 2  # no room for anything
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "No space left on device; make room there" in line
    subprocess.run(["mount", "-o", "remount,size=10m", str(folder)], check=True)
    assert run(folder / "results", *sweep) == 0
    assert f"finished before: {len(finished)}" in capsys.readouterr().err
    assert run(tmp_path / "whole", *sweep) == 0
    assert_same_results(folder / "results", tmp_path / "whole")


def test_a_read_only_folder_is_a_mistake_in_a_line(disk, capsys):
    folder = disk("size=1m")
    (folder / "results").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    for results in (folder / "results", folder / "other"):
        assert run(results) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"results={results}: " in line


# --- how far a sweep is


def test_status_of_a_folder_without_runs_is_a_mistake(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "none"):
        assert status.main([str(folder)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"{folder}: holds no run" in line


def test_status_counts_every_run_once(tmp_path, capsys, monkeypatch):
    def failing(replicas, *rest):
        if replicas[0].cell.hidden == 5:
            raise ValueError("no good")
        return Training(replicas, *rest)

    monkeypatch.setattr(worker, "Training", failing)
    assert run(tmp_path, "cell.hidden=4,5", "seed=0,1") == 1
    capsys.readouterr()
    assert status.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}: 4 runs"
    assert [line.split()[:2] for line in lines[1:]] == [["finished", "2"], ["failed", "2"]]
    assert "2 with ValueError: no good" in lines[2]
    with directories(tmp_path)[0].locked():
        assert status.main([str(tmp_path)]) == 1
    assert "running          1" in capsys.readouterr().out


def test_status_is_a_command(tmp_path):
    command = [sys.executable, "-m", "bench.status", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_a_run_of_a_pack_is_grouped_by_where_it_stands(tmp_path, capsys):
    assert run(tmp_path / "a", "seed=0,1", "budget.run_seconds=1e-9") == 0
    assert run(tmp_path / "a", "seed=range(4)") == 0
    assert "runs to train: 4 (2 go on from a checkpoint), packs: 2 of width 2" in capsys.readouterr().err
    assert run(tmp_path / "b", "seed=range(4)") == 0
    assert_same_results(tmp_path / "a", tmp_path / "b")


def test_orders_of_a_stale_plan_are_grouped_by_where_their_runs_stand(make_replica):
    run = worker.Run(None, RunDirectory("x", "y"), None)
    state = RunState(3, *[None] * 9)
    grouped = worker.by_update([run, dataclasses.replace(run, state=state), run])
    assert [len(group) for group in grouped] == [2, 1]
