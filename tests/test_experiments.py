"""The experiments of `conf/` come to runs that can be carried out, and a paper's grid is the paper's."""

from collections import Counter

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.jobs.lines import Line, lines_of
from bench.sweep.sweeper import union
from tests.conftest import choices


def by_line(name, *arguments):
    """The command lines that an experiment comes to, those of each line of its sweep in a list of their own."""
    with initialize_config_module("conf", version_base="1.3"):
        found = lines_of(compose("config", overrides=[f"experiment={name}"])) or [Line((), ())]
    given, parser = [f"experiment={name}", *arguments], OverridesParser.create()
    return [union([line.words], given, parser) for line in found]


def jobs(name, *arguments):
    """All of them."""
    return [job for line in by_line(name, *arguments) for job in line]


def fields(job):
    return dict(override.split("=", 1) for override in job)


@pytest.mark.parametrize("name", choices("experiment"))
def test_the_first_run_of_every_line_can_be_carried_out(name):
    for line in by_line(name, "device=cpu"):
        one = checked_job(composed(*line[0]))
        assert one.results == f"results/{name}"
        assert one.replica.run_id


def test_le2015_has_the_papers_grid():
    """Lengths, learning rates and thresholds for every cell, and the forget-gate biases for LSTM; five seeds."""
    grid = [fields(job) for job in jobs("le2015_adding")]
    assert Counter(one["cell"] for one in grid) == {"tanh": 720, "irnn": 720, "lstm": 2880}
    lengths, seeds = {one["task.length"] for one in grid}, {one["seed"] for one in grid}
    assert (lengths, len(seeds)) == ({"150", "200", "300", "400"}, 5)
    for cell in ("tanh", "irnn", "lstm"):
        own = [one for one in grid if one["cell"] == cell]
        assert {float(one["optimizer.lr"]) for one in own} == {10.0**k for k in range(-9, 0)}
        assert {float(one["clipping.threshold"]) for one in own} == {1, 10, 100, 1000}
        biases = {one.get("initializer.bias.forget") for one in own}
        assert biases == ({"1", "4", "10", "20"} if cell == "lstm" else {None})
    assert len(jobs("le2015_adding", "task.length=150", "seed=0")) == 216


def test_le2015_is_told_as_in_the_paper():
    first = next(job for job in jobs("le2015_adding", "device=cpu", "seed=3") if fields(job)["cell"] == "lstm")
    replica = checked_job(composed(*first, "initializer.bias.forget=10")).replica
    assert (replica.cell.hidden, replica.batch_size, replica.updates * replica.batch_size) == (100, 16, 10 * 100_000)
    assert replica.optimizer.lr == 1e-9
    assert replica.initializer.bias.forget == 10
    assert replica.evaluation.final == 10_000
