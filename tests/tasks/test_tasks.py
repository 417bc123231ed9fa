"""Every task keeps its contract: shapes, baseline, chance, lags; and the two classics look as published."""

import math

import pytest
import torch
from scipy import stats

from bench import config
from bench.streams import Stream
from tasks.adding import TOLERANCE
from tests.conftest import choices

EVERY_VARIANT = [(name, v) for name in choices("task") for v in config.example(f"task/{name}").variants]


@pytest.fixture(params=EVERY_VARIANT, ids="-".join)
def task(request):
    name, variant = request.param
    return config.example(f"task/{name}", variant=variant, length=12)


def test_shapes_are_as_declared(task):
    inputs, targets = task.sample(Stream([0, 1], "train", updates=[0, 1, 2]), 5)
    assert inputs.shape == (3, 2, 5, task.steps, task.inputs)
    assert targets.shape == (3, 2, 5, len(task.scored))
    outputs = torch.zeros(3, 2, 5, len(task.scored), task.outputs)
    assert task.losses(outputs, targets).shape == targets.shape
    assert task.probe_step in task.scored


def test_a_sequence_depends_on_its_seed_and_update_alone(task):
    together = task.sample(Stream([4, 5], "train", updates=[7, 8]), 6)
    alone = task.sample(Stream([5], "train", updates=[8]), 6)
    assert all(torch.equal(a[1, 1], b[0, 0]) for a, b in zip(together, alone, strict=True))


def best_memoryless_outputs(task, batch):
    """At each scored step the best constant: the mean answer, or the log frequencies of the classes."""
    if task.outputs == 1:
        return batch.targets.mean(0, keepdim=True)[..., None].expand(*batch.targets.shape, 1)
    counts = torch.nn.functional.one_hot(batch.targets, task.outputs).double().mean(0)
    return counts.clamp_min(1e-30).log().expand(*batch.targets.shape, task.outputs)


def test_monte_carlo_baseline_meets_the_analytic_one(task):
    batch = task.sample(Stream(0, "train", dtype=torch.float64), 20000)
    losses = task.losses(best_memoryless_outputs(task, batch), batch.targets).mean(-1)
    standard_error = losses.std() / math.sqrt(len(losses))
    assert abs(losses.mean() - task.baseline_loss) < 3 * standard_error + 1e-3 * task.baseline_loss
    assert abs(losses.mean() - task.baseline_loss) < 0.02 * task.baseline_loss


def test_monte_carlo_chance_meets_the_analytic_one(task):
    batch = task.sample(Stream(0, "train", dtype=torch.float64), 20000)
    constant = torch.ones(1) if task.outputs == 1 else torch.nn.functional.one_hot(torch.tensor(0), task.outputs)
    outputs = constant.double().expand(*batch.targets.shape, task.outputs)
    right = task.correct(outputs, batch.targets).double().flatten()
    standard_error = math.sqrt(task.chance_accuracy * (1 - task.chance_accuracy) / len(right))
    assert abs(right.mean() - task.chance_accuracy) < 4 * standard_error


def test_adding_halves_marks_one_value_in_each_half_and_asks_for_their_sum():
    task = config.example("task/adding", length=9)
    inputs, targets = task.sample(Stream(0, "train"), 2000)
    values, markers = inputs.unbind(-1)
    assert torch.equal(markers[:, :4].sum(-1), torch.ones(2000))
    assert torch.equal(markers[:, 4:].sum(-1), torch.ones(2000))
    assert torch.allclose((values * markers).sum(-1, keepdim=True), targets)
    assert (markers.sum(0) > 0).all()  # every step of a half is reached
    assert task.scored == range(8, 9)


@pytest.mark.parametrize(("variant", "least", "mean"), [("halves", 5, 3 * 10 / 4 - 1 / 2), ("anywhere", 1, 9 - 8 / 3)])
def test_adding_lags_are_those_of_the_first_marker(variant, least, mean):
    task = config.example("task/adding", variant=variant, length=10)
    markers = task.sample(Stream(0, "train"), 20000).inputs[..., 1]
    lags = 9 - markers.argmax(-1).double()
    assert lags.min() == task.min_lag == least
    assert task.mean_lag == pytest.approx(mean)
    assert abs(lags.mean() - mean) < 4 * lags.std() / math.sqrt(20000)


def test_adding_anywhere_marks_two_different_steps_all_pairs_alike():
    task = config.example("task/adding", variant="anywhere", length=5)
    inputs, targets = task.sample(Stream(0, "train"), 20000)
    values, markers = inputs.unbind(-1)
    assert torch.equal(markers.sum(-1), torch.full((20000,), 2.0))
    assert torch.allclose((values * markers).sum(-1, keepdim=True), targets)
    counts = (markers.mT @ markers)[torch.triu(torch.ones(5, 5), diagonal=1) > 0]
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


def test_adding_answer_is_right_within_the_tolerance():
    task = config.example("task/adding")
    outputs = torch.tensor([1.0 + 0.9 * TOLERANCE, 1.0 - 1.1 * TOLERANCE])[:, None, None]
    assert task.correct(outputs, torch.ones(2, 1)).flatten().tolist() == [True, False]


def test_copying_shows_symbols_blanks_marker_and_asks_for_the_symbols():
    task = config.example("task/copying", length=4, symbols=3, kinds=8)
    inputs, targets = task.sample(Stream(0, "train"), 500)
    shown = inputs.argmax(-1)
    blank, marker = 8, 9
    assert task.steps == 10
    assert torch.equal(inputs.sum(-1), torch.ones(500, 10))
    assert (shown[:, 3:6] == blank).all()
    assert (shown[:, 6] == marker).all()  # one step before the first answer
    assert (shown[:, 7:] == blank).all()
    assert (targets[:, :7] == blank).all()
    assert torch.equal(targets[:, 7:], shown[:, :3])
    assert task.probe_step == 7
    assert task.min_lag == task.mean_lag == 7


@pytest.mark.parametrize(
    ("variant", "marked", "outputs", "scored"),
    [("exprnn", [7], 9, range(10)), ("tcn", [6, 7, 8, 9], 10, range(10)), ("recall", [7, 8, 9], 10, range(7, 10))],
)
def test_other_variants_of_copying_differ_in_marker_classes_and_scored_steps(variant, marked, outputs, scored):
    task = config.example("task/copying", variant=variant, length=4, symbols=3, kinds=8)
    inputs, targets = task.sample(Stream(0, "train"), 500)
    if variant == "tcn":
        assert task.inputs == 1
        code = inputs[..., 0].long()
        shown = torch.where(code == 0, 8, code - (code < 9).long())  # back to symbols 0-7, blank 8, marker 9
        assert set(code.unique().tolist()) == set(range(10))
    else:
        shown = inputs.argmax(-1)
    assert (shown[0] == 9).nonzero().flatten().tolist() == marked
    assert (shown[:, :3] < 8).all()
    assert (shown[:, 3 : marked[0]] == 8).all()
    assert (task.outputs, task.scored, task.probe_step, task.min_lag) == (outputs, scored, 7, 7)
    assert torch.equal(targets[:, -3:], shown[:, :3])
    assert (targets[:, :-3] == 8).all()


def test_recall_alone_is_scored_at_its_answers_and_its_baseline_is_that_of_a_symbol():
    task = config.example("task/copying", variant="recall", length=4, symbols=3, kinds=8)
    assert task.baseline_loss == pytest.approx(math.log(8))


def test_an_unknown_variant_is_refused_with_those_there_are():
    with pytest.raises(config.ConfigError, match="variant=pascanu: copying has the variants arjovsky, exprnn, tcn"):
        config.example("task/copying", variant="pascanu")


@pytest.mark.parametrize(("length", "published"), [(100, 0.17329), (200, 0.09452), (500, 0.03999), (1000, 0.02039)])
def test_copying_baseline_is_the_published_one(length, published):
    task = config.example("task/copying", length=length, symbols=10, kinds=8)
    assert abs(task.baseline_loss - published) < 1e-5


def test_adding_baseline_is_one_sixth():
    assert config.example("task/adding").baseline_loss == 1 / 6
