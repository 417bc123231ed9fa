"""The compiled engine: exact at every size, no less exact than torch.nn in float32, and harmless."""

import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.engines import building, compiled, kernels
from bench.engines.auto import Auto
from bench.engines.batched import Batched
from bench.engines.compiled import Compiled, CompiledProgram
from bench.engines.eager import Eager
from bench.engines.engine import NO_INTERVENTIONS, Interventions
from bench.engines.library import Library
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.methods.clipping import Clipping
from bench.nets.network import Network
from bench.pack.streams import Stream
from bench.speed.precision import CASES, errors
from bench.training.loop import Training
from tasks.adding import Adding
from tests.conftest import choices, remedies_with
from tests.engines.test_engines import SEEDS, START, Cubed, assert_close, example, network_mask, setting

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
CELLS = ("tanh", "irnn", "lstm", "gru")

pytestmark = pytest.mark.skipif(not compiled.available(), reason="there is no C compiler")


@pytest.mark.parametrize("sequences", [1, 5, 16])
@pytest.mark.parametrize("hidden", [1, 3, 16, 17, 24, 25, 64, 100, 128])
@pytest.mark.parametrize("cell_name", CELLS)
def test_every_size_agrees_with_eager(cell_name, hidden, sequences):
    """17 scored steps and more: deltas are gathered over 8 steps at a time, tiles are of 4 rows and up to 7 vectors."""
    network, task, flat, batch = setting(cell_name, "copying", hidden=hidden, sequences=sequences, scale=1.0)
    oracle = Eager().program(network, task).gradients(flat, batch, trace=True)
    result = Compiled().program(network, task).gradients(flat, batch, trace=True)
    assert_close(result.loss, oracle.loss)
    for name, view in network.views(result.gradient).items():
        assert_close(view, network.views(oracle.gradient)[name])
    for name, norms in oracle.trace.items():
        assert_close(result.trace[name], norms)
    assert (result.gradient[~network_mask(network, flat)] == 0).all()


@pytest.mark.parametrize("hidden", [17, 64, 100, 256])
@pytest.mark.parametrize("cell_name", CELLS)
def test_every_instruction_set_of_this_cpu_agrees_with_eager(cell_name, hidden):
    """The shorter its vectors, the more panels a matrix has; with 64 and 256 units in float64 they may be packed."""
    network, task, flat, batch = setting(cell_name, "adding", hidden=hidden, sequences=5)
    oracle = Eager().program(network, task).gradients(flat, batch).gradient
    for march in building.instruction_sets():
        assert_close(CompiledProgram(network, task, NO_INTERVENTIONS, march).gradients(flat, batch).gradient, oracle)


@pytest.mark.parametrize("steps", [1, 7, 8, 9, 16, 17])
def test_every_number_of_steps_agrees_with_eager(steps):
    task = example("task/parity", length=steps, bits=1)
    network = Network(example("cell/lstm", hidden=5), task.inputs, task.outputs)
    flat = network.initial([START] * 3, SEEDS)
    batch = task.sample(Stream(SEEDS, "train", dtype=torch.float64), 3)
    oracle = Eager().program(network, task).gradients(flat, batch).gradient
    assert_close(Compiled().program(network, task).gradients(flat, batch).gradient, oracle)


@pytest.mark.parametrize("case", CASES)
def test_float32_is_as_exact_as_torch_nn(case):
    """At most twice its error, or 1e-6 if that is more: per parameter, and for dL/dh at the first step."""
    ours, theirs = errors(Compiled(), case, steps=150), errors(Library(tf32=False), case, steps=150)
    print(f"\n{case}:", ", ".join(f"{name} {ours[name]:.1e} (torch.nn {theirs[name]:.1e})" for name in ours))
    assert all(ours[name] <= max(2 * theirs[name], 1e-6) for name in ours)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["x", "W_xh", "W_hh"])
@pytest.mark.parametrize("cell_name", CELLS)
def test_nan_and_infinity_come_through_where_they_do_in_eager(cell_name, where, poison):
    network, task, flat, batch = setting(cell_name, "adding", dtype=torch.float32)
    if where == "x":
        batch.inputs[1, 2, 3, 0] = poison
    else:
        network.views(flat)[where][1, ..., 1, 0] = poison
    ours, theirs = (engine.program(network, task) for engine in (Compiled(), Eager()))
    result, expected = ours.gradients(flat, batch, trace=True), theirs.gradients(flat, batch, trace=True)
    assert_same_poison(result.loss, expected.loss)
    for name, view in network.views(result.gradient).items():
        assert_same_poison(view, network.views(expected.gradient)[name])
    for name, norms in result.trace.items():
        assert_same_poison(norms, expected.trace[name])
    outputs = ours.answers(flat, batch).outputs
    assert_same_poison(outputs, theirs.answers(flat, batch).outputs)
    assert outputs[[0, 2]].isfinite().all()
    assert result.gradient[[0, 2]].isfinite().all()


def assert_same_poison(ours, theirs):
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert torch.equal(ours.isinf(), theirs.isinf())


@pytest.mark.parametrize("factor", [0.3, 3.0])
@pytest.mark.parametrize("sequences", [4, 21])
@pytest.mark.parametrize("hidden", [3, 19, 64])
def test_trace_reaches_to_the_ends_of_float32(hidden, sequences, factor):
    """3^72 is 2e34 and .3^72 1e-38: their squares are infinite and nothing in float32, the gradients are not."""
    task = example("task/adding", length=73)
    network = Network(example("cell/tanh", hidden=hidden), task.inputs, task.outputs)
    flat = torch.zeros(1, network.flat_size)
    views = network.views(flat)
    views["W_hh"].copy_(factor * torch.eye(hidden))  # the state stays 0, where tanh is linear
    views["W_hy"].fill_(0.1)
    batch = task.sample(Stream([0], "train"), sequences)
    slope = Compiled().program(network, task).gradients(flat, batch, trace=True).trace["h"].log().diff(dim=-1)
    assert torch.allclose(slope, torch.full_like(slope, -np.log(factor)), rtol=1e-4)


def test_denormals_stay_what_they_are():
    network, task, flat, batch = setting("irnn", "adding", dtype=torch.float32)
    for precision in (torch.float32, torch.float64):
        kernels.kernel(network, False).library(precision)
    assert (torch.tensor([1e-39]) * 0.5).item() == pytest.approx(5e-40, rel=1e-5)
    assert np.float64(5e-324) * 1.0 == 5e-324
    views = network.views(flat.zero_())
    views["W_xh"].fill_(1e-39)
    views["W_hy"].fill_(1.0)
    assert (Compiled().program(network, task).answers(flat, batch).outputs > 0).all()


def test_bits_do_not_depend_on_the_number_of_threads():
    network, task, flat, batch = setting("lstm", "lengths of a sequence", hidden=17, dtype=torch.float32)
    program = Compiled().program(network, task)
    alone, answers = program.gradients(flat, batch, trace=True), program.answers(flat, batch)
    torch.set_num_threads(2)
    try:
        together, answers_together = program.gradients(flat, batch, trace=True), program.answers(flat, batch)
    finally:
        torch.set_num_threads(1)
    assert len(program._passes) == 4
    for name in alone.trace:
        assert torch.equal(alone.trace[name], together.trace[name])
    for one, other in zip((*alone[:2], *answers), (*together[:2], *answers_together), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("cell", ["irnn", "lstm"])
def test_bits_of_a_run_depend_on_no_neighbour_and_on_no_measurement(make_replica, cell):
    small = (f"cell={cell}", "cell.hidden=10", "batch_size=3", "task.length=5", "updates=60", "optimizer.lr=0.01")
    replica, watched = make_replica(*small), make_replica(*small, "measurement=[training_gradient,probe]")
    weights = trained([dataclasses.replace(replica, seed=seed) for seed in range(7)])
    for members in ([5], [6, 2], [3, 1, 0, 4]):
        assert torch.equal(trained([dataclasses.replace(replica, seed=seed) for seed in members]), weights[members])
    assert torch.equal(trained([dataclasses.replace(watched, seed=seed) for seed in range(7)]), weights)


def trained(replicas):
    training = Training(replicas, Compiled(), CPU)
    training.run()
    return training.flat


def test_a_unit_that_was_active_once_is_alive():
    task = example("task/adding", length=9)
    network = Network(example("cell/irnn", hidden=4), task.inputs, task.outputs)
    flat = torch.zeros(2, network.flat_size)
    network.views(flat)["W_xh"][0] = 1.0
    batch = task.sample(Stream([0, 1], "train"), 2)
    batch.inputs[:, :, 1:] = 0.0
    assert Compiled().program(network, task).answers(flat, batch).alive.tolist() == [True, False]


def test_a_batch_of_another_task_is_refused():
    """The kernel would read beyond its end."""
    network, task, flat, batch = setting("irnn", "adding")
    program = Compiled().program(network, task)
    with pytest.raises(ValueError, match="do not fit this program"):
        program.answers(flat, batch._replace(inputs=batch.inputs[:, :, 1:]))
    with pytest.raises(ValueError, match="do not fit this program"):
        program.answers(flat[:2], batch)
    with pytest.raises(ValueError, match=r"targets \[3, 4, 1\] do not fit this program"):
        program.gradients(flat, batch._replace(targets=batch.targets[:, 1:]))


@pytest.mark.parametrize("wrong", [-1, 9])
def test_a_target_that_is_no_class_is_refused(wrong):
    network, task, flat, batch = setting("tanh", "copying")
    targets = batch.targets.clone()
    targets[2, 4, -1] = wrong
    with pytest.raises(ValueError, match="a target is none of the classes 0 to 8"):
        Compiled().program(network, task).gradients(flat, batch._replace(targets=targets))


@pytest.mark.parametrize("wrong", [29, 34])
def test_a_length_that_is_none_of_the_task_is_refused(wrong):
    network, task, flat, batch = setting("tanh", "lengths of a sequence")
    lengths = batch.lengths.clone()
    lengths[2, 4] = wrong
    with pytest.raises(ValueError, match="or a length not 30 to 33"):
        Compiled().program(network, task).gradients(flat, batch._replace(lengths=lengths))


@pytest.mark.parametrize(
    "asked",
    [("clipping=state_norm",), ("cell=silu",), ("cell=lru",), (f"remedies=[{','.join(remedies_with('mask'))}]",)],
)
def test_it_does_what_is_done_within_a_pass(asked):
    assert checked_job(composed(*asked)).engine == Compiled()


def test_a_rule_that_clips_on_the_way_back_in_another_way_is_left_to_others():
    network = setting("lstm", "adding")[0]
    refusal = Compiled().refusal(network, CPU, Interventions(Halving()))
    assert refusal == "cannot clip the gradient on its way back as Halving does"
    assert Auto().chosen(network, CPU, Interventions(Halving())) == Batched()


class Halving(Clipping):
    """Half of dL/dh_t goes on."""

    def clip(self, step):
        return step.gradient

    def clipped_state_gradient(self, d_state):
        return d_state / 2


def test_a_loss_of_a_remedy_is_trained_on():
    network, task, flat, batch = setting("lstm", "copying")
    assert_agrees_with_eager(network, task, flat, batch, Interventions(remedies={"cubed": Cubed()}), loss="given")


class Distance(Adding):
    """|y - target|, a loss that is not in the kernel."""

    def losses(self, outputs, targets):
        return (outputs.squeeze(-1) - targets).abs()


@pytest.mark.parametrize("variant", ["halves", "pascanu"])
def test_a_loss_of_a_task_of_its_own_is_trained_on(variant):
    task = Distance(**vars(example("task/adding", length=20, variant=variant)))
    network = Network(example("cell/gru", hidden=5), task.inputs, task.outputs)
    batch = task.sample(Stream(SEEDS, "train", dtype=torch.float64), 3)
    assert_agrees_with_eager(network, task, network.initial([START] * 3, SEEDS), batch, NO_INTERVENTIONS, loss="given")


def assert_agrees_with_eager(network, task, flat, batch, interventions, loss):
    program = Compiled().program(network, task, interventions)
    assert program.loss == loss
    oracle = Eager().program(network, task, interventions).gradients(flat, batch, trace=True)
    result = program.gradients(flat, batch, trace=True)
    assert_close(result.loss, oracle.loss)
    assert_close(result.gradient, oracle.gradient)
    assert_close(result.trace["h"], oracle.trace["h"])


def test_no_task_needs_torch_for_its_loss():
    losses = {name: compiled._loss(example(f"task/{name}"), NO_INTERVENTIONS) for name in choices("task")}
    numbers = ["adding", "multiplication"]
    assert losses == {name: "squared error" if name in numbers else "cross-entropy" for name in losses}


def test_squared_error_has_the_bits_of_torch():
    _, (ours, by_torch) = both_ways("adding", torch.float32)
    assert torch.equal(ours.gradient, by_torch.gradient)


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_cross_entropy_is_no_less_exact_than_that_of_torch(size):
    """Also where a net is sure of its answer, right or wrong."""
    _, (_, exact) = both_ways("copying", torch.float64, size)
    network, (ours, by_torch) = both_ways("copying", torch.float32, size)
    for name, part in network.views(exact.gradient).items():
        mine, theirs = (network.views(found.gradient)[name] for found in (ours, by_torch))
        assert (mine - part).norm() <= max(1.5 * (theirs - part).norm(), 2e-7 * part.norm())
    assert_close(ours.loss, exact.loss, tolerance=2e-7)


def both_ways(task_name, dtype, size=1.0):
    """The gradients of a float32 net and batch, with the kernel's loss and with torch's; `size` multiplies W_hy."""
    network, task, flat, batch = setting("lstm", task_name, dtype=torch.float32, sequences=7)
    network.views(flat)["W_hy"].mul_(size)
    batch = batch._replace(inputs=batch.inputs.to(dtype))
    ours, by_torch = (Compiled().program(network, task) for _ in range(2))
    by_torch.loss = "given"
    return network, [program.gradients(flat.to(dtype), batch) for program in (ours, by_torch)]


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf, 1e30, -1e30])
@pytest.mark.parametrize("task_name", ["adding", "copying"])
def test_what_comes_out_of_the_readout_has_the_loss_that_torch_gives_it(task_name, poison):
    network, task, flat, batch = setting("tanh", task_name, dtype=torch.float32)
    network.views(flat)["b_y"][1, 0] = poison
    ours, theirs = (engine.program(network, task).gradients(flat, batch) for engine in (Compiled(), Eager()))
    assert_same_poison(ours.loss, theirs.loss)
    for name, view in network.views(ours.gradient).items():
        assert_same_poison(view, network.views(theirs.gradient)[name])
    finite = theirs.loss.isfinite()
    assert torch.allclose(ours.loss[finite], theirs.loss[finite], rtol=1e-5)


def test_a_library_is_compiled_once(tmp_path, monkeypatch):
    source = "int answer(void) { return ANSWER; }"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert building.load(source, "ANSWER=42").answer() == 42
    (library,) = building.cache_folder().iterdir()
    before = library.stat().st_mtime_ns
    assert building.load(source, "ANSWER=42").answer() == 42
    assert library.stat().st_mtime_ns == before
    assert building.load(source, "ANSWER=43").answer() == 43
    assert len(list(building.cache_folder().iterdir())) == 2
    assert building.cache_folder().stat().st_mode & 0o777 == 0o700


def test_a_library_is_compiled_anew_after_a_change_of_a_header(tmp_path, monkeypatch):
    source = '#include "number.h"\nint answer(void) { return NUMBER; }'
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in (42, 43):
        written(tmp_path / "number.h", f"#define NUMBER {number}")
        assert building.load(source, headers=tmp_path).answer() == number


def test_a_cache_that_cannot_be_used_does_no_harm(tmp_path, monkeypatch):
    source = "int answer(void) { return 42; }"
    monkeypatch.setenv("XDG_CACHE_HOME", str(written(tmp_path / "no_folder", "")))
    assert building.load(source).answer() == 42


def test_a_source_that_does_not_compile_leaves_nothing_behind(tmp_path, monkeypatch):
    source = "int answer(void) { return; "
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(building.NoCompiler, match=r"failed: .*error"):
        building.load(source)
    assert list(building.cache_folder().iterdir()) == []


def written(path, text):
    path.write_text(text)
    return path


def test_why_there_is_no_compiler_is_logged_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    for cached in (building._about, compiled.available):
        cached.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            engines = [checked_job(composed()).engine for _ in range(2)]
    finally:
        for cached in (building._about, compiled.available):
            cached.cache_clear()
    assert engines == [Batched(), Batched()]
    (record,) = caplog.records
    assert "found no C compiler" in record.getMessage()


def test_without_a_compiler_everything_still_runs(tmp_path):
    small = ("cell.hidden=4", "task.length=4", "updates=2", "batch_size=2", "measurement=[training_gradient]")
    judged = ("evaluation.sequences=2", "evaluation.final=2", f"results={tmp_path / 'results'}")
    environment = {name: value for name, value in os.environ.items() if name != "CC"} | {"PATH": str(tmp_path)}
    command = [sys.executable, "-m", "bench", "cell=lstm", *small, *judged]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (run.stdout + run.stderr).count("no compiled engine") == 1
    (environment_file,) = (tmp_path / "results").rglob("environment.json")
    assert '"engine": "batched"' in environment_file.read_text()
