"""Recurrent batch normalisation: torch's own at every step in training, the population's statistics in judging."""

import re

import pytest
import torch
from torch.nn import functional

from bench.engines.eager import Eager
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.nets.network import Network
from bench.pack.streams import Stream
from bench.training.loop import Training
from tests.conftest import EVERYTHING_MEASURED, assert_same_tables, with_seeds
from tests.engines.test_engines import SEEDS, START, assert_close
from tests.nets.test_cells import network_of, random_weights, unrolled

CPU = torch.device("cpu")


def setting(sequences=6):
    task = example("task/adding", length=9)
    network = Network(example("cell/batch_norm_lstm", hidden=5, gain=0.7), task.inputs, task.outputs)
    flat = 2 * network.initial([START] * 3, SEEDS)
    draw = Stream(SEEDS, "train", dtype=torch.float64)
    return network, task, flat, task.sample(draw, sequences), task.sample(draw, 20)


def test_in_training_a_step_is_torchs_batch_norm_of_the_papers_equations():
    cell = example("cell/batch_norm_lstm", hidden=5)
    weights = network_of(cell).views(random_weights(network_of(cell), 1)[0][0])
    weights["g_h"].copy_(torch.linspace(0.5, 1.5, 20).view(4, 5))
    x = torch.rand(7, 6, 3, dtype=torch.float64)
    h, c, hidden = torch.zeros(7, 5, dtype=torch.float64), torch.zeros(7, 5, dtype=torch.float64), []

    def normal(values, gain, bias=None):
        return functional.batch_norm(values, None, None, gain.flatten(), bias, training=True, eps=cell.eps)

    for t in range(6):
        from_h = normal(h @ weights["W_hh"].flatten(0, 1).T, weights["g_h"])
        from_x = normal(x[:, t] @ weights["W_xh"].flatten(0, 1).T, weights["g_x"])
        i, f, g, o = (from_h + from_x + weights["b"].flatten()).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * normal(c, weights["g_c"], weights["b_c"]).tanh()
        hidden.append(h)
    assert torch.allclose(unrolled(cell, weights, x), torch.stack(hidden, 1), rtol=1e-11, atol=1e-13)


def test_judged_by_its_own_batch_it_answers_as_in_training():
    network, task, flat, batch, _ = setting()
    program = Eager().program(network, task)
    assert_close(
        task.losses(program.answers(flat, batch).outputs, batch.targets).flatten(1).mean(-1),
        program.gradients(flat, batch).loss,
        1e-12,
    )


def test_judged_by_a_population_an_answer_depends_on_its_own_sequence_alone():
    network, task, flat, batch, population = setting()
    program = Eager().program(network, task)
    of_batch = program.answers(flat, batch).outputs
    program.population = population
    together = program.answers(flat, batch).outputs
    alone = [program.answers(flat, batch.at((slice(None), [b]))).outputs for b in range(6)]
    assert_close(torch.cat(alone, dim=1), together, 1e-12)
    assert (together - of_batch).abs().max() > 1e-3


def test_the_populations_statistics_are_mean_and_variance_of_its_sums_at_each_step():
    network, _, flat, _, population = setting()
    cell, weights = network.cell, network.prepared(flat)
    whole = cell.with_population(weights, population.inputs)
    state = network.zero_state(weights, 20)
    for t in range(9):
        a = state[0] @ weights["W_hh"].flatten(-3, -2).mT
        now = cell.at(whole, t)
        assert_close(now["mean_h"], a.mean(-2), 1e-11)
        assert_close(now["var_h"], a.var(-2, correction=0), 1e-11)
        state = cell.step(weights, population.inputs[:, :, t], state)
        assert_close(now["mean_c"], state[1].mean(-2), 1e-11)


def test_a_run_judges_and_measures_by_sequences_like_those_it_trains_on_in_the_same_bits_in_every_pack(make_replica):
    replicas = with_seeds(make_replica("cell=batch_norm_lstm", "cell.population=12", *EVERYTHING_MEASURED), range(3))
    together, alone = (Training(some, Eager(), CPU) for some in (replicas, replicas[1:2]))
    assert together.judge.population.inputs.shape[:2] == (3, 12)
    assert_same_tables(together.run()[1], alone.run()[0])
    states = []
    again = Training(replicas, Eager(), CPU)
    for update in again.each_update():
        states.append(again.states()) if update == 2 else None
    rest = Training(replicas[1:2], Eager(), CPU, states[0][1:2])
    assert_same_tables(rest.run()[0], again.finish()[1])
    assert torch.equal(rest.flat[0], again.flat[1])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ("engine=compiled",),
            "engine=compiled: cannot train batch_norm_lstm, whose weights differ from step to step; ",
        ),
        (("task=temporal_order", "task.variant=hochreiter"), "cell=batch_norm_lstm: needs sequences of one length"),
        (("cell.layers=2",), "cell.layers=2: batch_norm_lstm takes statistics of one layer; use layers=1"),
        (("remedies=[state_normalization]",), "remedies: batch_norm_lstm takes statistics of its own steps; leave out"),
    ],
)
def test_what_it_cannot_be_joined_with_is_one_line(overrides, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        checked_job(composed("cell=batch_norm_lstm", *overrides))
