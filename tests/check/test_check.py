"""`python -m bench.check`: right gradients pass for every cell and task, a wrong one is found and named."""

from __future__ import annotations

import re

import pytest
import torch

from bench.check import gradcheck as checking
from bench.check.__main__ import main
from bench.check.gradcheck import check
from bench.engines.batched import BatchedProgram
from bench.engines.eager import Eager, EagerProgram
from bench.engines.engine import Interventions
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.methods.remedies.remedy import Remedy
from bench.pack.streams import Stream
from tests.conftest import accepted_task, choices, remedies_with

ACT_WITHIN_A_PASS = sorted({name for place in ("inputs", "mask", "losses") for name in remedies_with(place)})
LEAST_COMPARED = 0.75  # of a parameter's entries; the others are too near a kink, or too small


def exact(cell):
    return not example(f"cell/{cell}").surrogate_gradient


@pytest.mark.parametrize("cell", [cell for cell in choices("cell") if exact(cell)])
def test_every_cell_agrees(cell):
    assert_agrees(check([f"cell={cell}", "task=adding"], 1e-6))


@pytest.mark.parametrize("cell", [cell for cell in choices("cell") if not exact(cell)])
def test_a_surrogate_gradient_is_refused_in_a_line(cell, capsys):
    assert main([f"cell={cell}", "task=adding"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "bench.check: cell: it trains by a surrogate gradient, which is not that of its loss; choose another cell"
    ]


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("cell", ["cornn", "lem"])
def test_a_cell_of_two_parts_and_16_units_agrees_after_a_few_passes(monkeypatch, cell, engine):
    """How long that takes is counted in steps of the cell, each for a whole pack of nets, and not in seconds."""
    kind, steps = type(example(f"cell/{cell}")), []
    step = kind.step
    monkeypatch.setattr(kind, "step", lambda *arguments: steps.append(0) or step(*arguments))
    assert_agrees(check([f"cell={cell}", "cell.hidden=16", "task=adding", f"engine={engine}"], 1e-6))
    assert len(steps) < 200 * 12  # 12 time steps; one replica at a time, with all differences, there are 100 times more


@pytest.mark.parametrize("remedies", [[], *([name] for name in ACT_WITHIN_A_PASS)])
@pytest.mark.parametrize("cell", ["lstm", "lru"])
def test_the_loss_alone_is_that_of_the_gradients(cell, remedies):
    task = accepted_task(remedies[0]) if remedies else ()
    overrides = [f"cell={cell}", *task, f"remedies={remedies}", "cell.hidden=6", "precision=float64"]
    replica = checked_job(composed(*overrides)).replica
    program = Eager().program(replica.network, replica.task, Interventions(remedies=replica.remedies))
    seeds = [0, 1, 2]
    drawn = replica.task.sample(Stream(seeds, "train", dtype=torch.float64), 4)
    batch, masks = program.prepared(drawn, lambda name: Stream(seeds, name, dtype=torch.float64))
    flat = replica.network.initial([replica.initializer] * 3, seeds)
    whole = program.gradients(flat, batch, masks=masks).loss
    assert torch.allclose(program.loss_alone(flat, batch, masks), whole, rtol=1e-13)


@pytest.mark.parametrize("task", choices("task"))
def test_every_task_agrees(task):
    smaller = ["task.kinds=9"] if task == "permutation" else []
    assert_agrees(check([f"task={task}", "cell=tanh", *smaller], 1e-6))


@pytest.mark.parametrize("engine", ["eager", "batched", "library"])
def test_every_engine_agrees(engine):
    assert_agrees(check(["cell=lstm", "task.length=4", "cell.hidden=3", f"engine={engine}"], 1e-6))


def has_a_price(name):
    """Whether what a remedy adds to the gradient is the gradient of something."""
    kind = type(example(f"remedies/{name}"))
    return (kind.penalty is Remedy.penalty or kind.price is not Remedy.price) and kind.truncation is Remedy.truncation


@pytest.mark.parametrize("remedy", [name for name in choices("remedies") if has_a_price(name)])
@pytest.mark.parametrize("cell", ["tanh", "lstm"])
@pytest.mark.usefixtures("quickly_compiled")
def test_every_remedy_agrees(cell, remedy):
    assert_agrees(check([f"cell={cell}", f"remedies=[{remedy}]", *accepted_task(remedy), "cell.hidden=4"], 1e-6))


@pytest.mark.parametrize("remedy", sorted({*remedies_with("price")} & {*remedies_with("penalty")}))
def test_a_wrong_penalty_is_named(capsys, monkeypatch, remedy):
    kind = type(example(f"remedies/{remedy}"))
    honest = kind.penalty
    monkeypatch.setattr(kind, "penalty", lambda self, view: 2 * honest(self, view))
    assert main([*accepted_task(remedy), f"remedies=[{remedy}]", f"remedies.{remedy}.strength=1"]) == 1
    assert "W_hh: relative error" in capsys.readouterr().err


def assert_agrees(result):
    assert result.faults == ""
    for one in result.comparisons:
        assert one.known >= LEAST_COMPARED * one.entries
        assert one.norm > 0


def test_the_table_has_a_row_for_every_parameter(capsys):
    assert main(["cell=lstm", "task=adding", "cell.hidden=4", "engine=batched"]) == 0
    printed = capsys.readouterr().out
    assert "batched on lstm and adding (hidden=4, 12 steps, batch_size=3)" in printed
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    names, shapes = zip(*([cell.strip() for cell in line.split("|")[1:3]] for line in lines[2:]), strict=True)
    assert names == ("W_hh", "W_xh", "b", "W_hy", "b_y")
    assert shapes == ("4 x 4 x 4", "4 x 4 x 2", "4 x 4", "1 x 4", "1")
    assert len({len(line) for line in lines}) == 1
    assert "all agree to 1e-06" in printed


@pytest.mark.parametrize(
    ("cell", "engine", "program"), [("tanh", "batched", BatchedProgram), ("lru", "eager", EagerProgram)]
)
def test_a_gradient_that_is_one_percent_off_is_named(capsys, monkeypatch, cell, engine, program):
    honest = program.gradients

    def dishonest(self, *arguments, **named):
        result = honest(self, *arguments, **named)
        self.network.views(result.gradient)["W_xh"].mul_(1.01)
        return result

    monkeypatch.setattr(program, "gradients", dishonest)
    given = [f"cell={cell}", f"engine={engine}", "task=adding", "cell.hidden=4"]
    assert main(given) == 1
    said = capsys.readouterr().err
    assert said == "bench.check: W_xh: relative error 9.9e-03, tolerance 1e-06\n"
    assert main([*given, "--tolerance", "0.02"]) == 0


@pytest.mark.parametrize("wrong", [0.0, float("nan"), float("inf")])
def test_a_single_entry_that_is_wrong_is_found(monkeypatch, wrong):
    honest = BatchedProgram.gradients

    def dishonest(self, *arguments, **named):
        result = honest(self, *arguments, **named)
        self.network.views(result.gradient)["W_hh"][..., 1, 2] = wrong
        return result

    monkeypatch.setattr(BatchedProgram, "gradients", dishonest)
    result = check(["cell=tanh", "engine=batched", "task=adding", "cell.hidden=4"], 1e-6)
    assert re.match(r"W_hh: relative error (1\.0e\+00|inf), tolerance 1e-06$", result.faults)


def test_differences_that_no_long_step_knows_are_taken_with_all_steps_and_of_nothing_with_three():
    """|w - 1/3| .001 off its kink, a parabola, and a number that the loss does not depend on."""
    nets = []

    def counted(flat):
        nets.append(len(flat))
        return (flat[:, 0] - 1 / 3).abs() + flat[:, 1].square()

    flat = torch.tensor([[1 / 3 + 1e-3, 0.4, 0.7]], dtype=torch.float64)
    slope, uncertainty = checking._slopes(counted, flat, torch.arange(3))
    assert slope.tolist() == pytest.approx([1, 0.8, 0], rel=1e-8)
    assert (uncertainty < 1e-8).all()
    assert nets == [1, *[3] * 6, *[1] * 10]


def test_a_kink_is_walked_around_or_left_out_and_counted():
    """|w - 1/3| and |w|^2: far from a kink, 1e-3 off it, and 1e-7 off it."""

    def kinked(flat):
        return (flat - 1 / 3).abs().sum(-1) + flat.square().sum(-1)

    flat = torch.tensor([[0.9, 1 / 3 + 1e-3, 1 / 3 - 1e-7]], dtype=torch.float64)
    slope, uncertainty = checking._slopes(kinked, flat, torch.arange(3))
    truth = 2 * flat[0] + (flat[0] - 1 / 3).sign()
    assert torch.allclose(slope[:2], truth[:2], rtol=1e-8)
    assert (uncertainty[:2] < 1e-8).all()
    assert uncertainty[2] > 1e-5
    for tolerance in (1e-6, 0.1):
        one = checking._comparison("w", truth, slope, uncertainty, tolerance)
        assert (one.known, one.entries) == (2, 3)
        assert one.agrees(1e-6)


def test_a_tolerance_below_what_differences_can_tell_is_not_met(capsys):
    assert main(["cell=tanh", "task=adding", "--tolerance", "1e-18"]) == 1
    assert "no difference is known to 1e-18" in capsys.readouterr().err


def test_what_the_command_line_says_wins():
    assert "hidden=3, 5 steps, batch_size=2" in check(["cell.hidden=3", "task.length=5", "batch_size=2"], 1e-6).checked
    with pytest.raises(ConfigError, match="precision=float32: differences of a loss need float64"):
        check(["precision=float32"], 1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["cell=lstn"], "cell=lstn: no such choice"),
        (["optimizer.lr=abc"], "optimizer.lr=abc: must be a number"),
        (["task.length=1"], "task.length=1: must be a whole number >= 2"),
        (["--tolerance", "-1"], "--tolerance -1: must be greater than 0"),
        (["engine=library", "cell=lru"], "engine=library: cannot train lru"),
    ],
)
def test_mistakes_are_one_line(capsys, given, said):
    assert main(given) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"bench.check: {said}")
    assert printed.count("\n") == 1
