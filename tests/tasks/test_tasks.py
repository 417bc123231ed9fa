"""Every task and variant keeps its contract, and asks what its definition asks.

`ANSWERS` says a second time, sequence by sequence and from the inputs alone, what each task asks: the oracle of the
targets and, by changing one input after the other, of the lags.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from bench.engines.eager import Eager
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.nets.network import Network
from bench.pack.streams import Stream
from tests.conftest import choices, small_task

IMAGES = ("digits", "mnist")
VARIANTS = [(name, variant) for name in choices("task") for variant in small_task(name).variants]
GENERATED = [(name, variant) for name, variant in VARIANTS if name not in IMAGES]


@pytest.fixture(params=VARIANTS, ids="-".join)
def task(request):
    name, variant = request.param
    return small_task(name, variant=variant)


@pytest.fixture(params=GENERATED, ids="-".join)
def generated(request):
    name, variant = request.param
    return small_task(name, variant=variant)


def sequences_of(batch):
    """Inputs [l, I] without padding, and targets [A], one sequence after the other."""
    lengths = [batch.inputs.shape[1]] * len(batch.inputs) if batch.lengths is None else batch.lengths.tolist()
    return [(x[:n].numpy(), y.numpy()) for x, y, n in zip(batch.inputs, batch.targets, lengths, strict=True)]


# --- what is asked, from the inputs alone


def marked_values(task, x):
    value, marker = (x[:, task.channels.index(name)] for name in ("value", "marker"))
    return value[marker == 1]


def adding(task, x):
    first, second = marked_values(task, x)
    return [
        {"pascanu": (first + second) / 2, "hochreiter": 0.5 + (first + second) / 4}.get(task.variant, first + second)
    ]


def multiplication(task, x):
    return [np.prod(marked_values(task, x))]


def delayed_xor(task, x):
    first, second = marked_values(task, x)
    return [first != second]


def symbols_shown(task, x):
    """Symbols as words, `_` for a blank and `!` for the marker."""
    if task.symbolic:
        return [task.channels[place] for place in x.argmax(-1)]
    words = ["_", *map(str, range(task.kinds)), "!"]
    return [words[int(code)] for code in x[:, 0]]


def copying(task, x):
    shown = [word for word in symbols_shown(task, x) if word.isdigit()]
    answers = ["_"] * (task.steps - len(shown)) + shown
    return [task.classes.index(answers[t]) for t in task.scored]


def temporal_order(task, x):
    seen = [word for word in symbols_shown(task, x) if word in "XY"]
    return [sum(2**k for k, word in enumerate(seen) if word == "Y")]


def permutation(task, x):
    return [x[0].argmax()]


def parity(task, x):
    ones = x[:, 0] > 0
    return [ones[t - task.lag - task.bits + 1 : t - task.lag + 1].sum() % 2 for t in task.scored]


ANSWERS = {
    "Adding": adding,
    "Multiplication": multiplication,
    "DelayedXOR": delayed_xor,
    "Copying": copying,
    "TemporalOrder": temporal_order,
    "Permutation": permutation,
    "Parity": parity,
}


def answers(task, x):
    return np.array(ANSWERS[type(task).__name__](task, x), dtype=float)


# --- the contract


def test_shapes_are_as_declared(task):
    batch = task.sample(Stream([0, 1], "train", updates=[0, 1, 2]), 5)
    assert batch.inputs.shape == (3, 2, 5, task.steps, task.inputs)
    assert batch.targets.shape == (3, 2, 5, len(task.scored))
    outputs = torch.zeros(3, 2, 5, len(task.scored), task.outputs)
    assert task.losses(outputs, batch.targets).shape == batch.targets.shape
    assert task.probe_step in task.scored
    assert len(task.channels) == task.inputs
    assert len(task.classes) == (task.outputs if batch.targets.dtype == torch.int64 else 0)
    assert (batch.lengths is None) == (task.least_steps == task.steps)
    if task.symbolic:
        padded = torch.zeros(3, 2, 5) if batch.lengths is None else task.steps - batch.lengths
        assert torch.equal(batch.inputs.sum((-1, -2)), task.steps - padded.float())


def test_a_sequence_depends_on_its_seed_and_update_alone(task):
    together = task.sample(Stream([4, 5], "train", updates=[7, 8]), 6)
    alone = task.sample(Stream([5], "train", updates=[8]), 6)
    again = task.sample(Stream([5], "train", updates=[9]), 6)
    for part, one in zip(together, alone, strict=True):
        if part is not None:
            assert torch.equal(part[1, 1], one[0, 0])
    assert not torch.equal(alone.inputs, again.inputs)


def test_both_precisions_see_the_same_sequences(task):
    single, double = (task.sample(Stream([3], "train", dtype=dtype), 20) for dtype in (torch.float32, torch.float64))
    assert torch.allclose(single.inputs.double(), double.inputs, rtol=0, atol=1e-7)
    assert torch.allclose(single.targets.double(), double.targets.double(), rtol=0, atol=1e-6)


def test_targets_are_what_the_definition_asks(generated):
    batch = generated.sample(Stream(0, "train", dtype=torch.float64), 300)
    for x, y in sequences_of(batch):
        assert np.allclose(answers(generated, x), y, rtol=0, atol=1e-12)


def test_lengths_reach_from_the_least_to_the_greatest_and_padding_is_zero(generated):
    batch = generated.sample(Stream(range(40), "train"), 20)
    if batch.lengths is None:
        return
    assert set(batch.lengths.unique().tolist()) == set(range(generated.least_steps, generated.steps + 1))
    padded = torch.arange(generated.steps) >= batch.lengths[..., None]
    assert (batch.inputs[padded] == 0).all()


def changed(task, x, t):
    """The inputs with another value, bit or symbol at step t; None where there is nothing to change."""
    x = x.copy()
    if "value" in task.channels:
        channel = task.channels.index("value")
        x[t, channel] = 1 - x[t, channel] if type(task).__name__ == "DelayedXOR" else 0.123 + x[t, channel]
    elif task.channels == ("bit",):
        x[t] = -x[t]
    elif task.symbolic:
        relevant = {"TemporalOrder": ["X", "Y"], "Permutation": ["0", "1"]}.get(
            type(task).__name__, [word for word in task.channels if word.isdigit()]
        )
        word = task.channels[x[t].argmax()]
        if word not in relevant:
            return None
        x[t] = 0
        x[t, task.channels.index(next(other for other in relevant if other != word))] = 1
    else:  # one number codes a symbol
        if not 1 <= x[t, 0] <= task.kinds:
            return None
        x[t, 0] = 1 + x[t, 0] % task.kinds
    return x


def observed_lags(task, count):
    """Step of the earliest cue's answer minus the earliest step whose change changes an answer."""
    found = []
    for x, _ in sequences_of(task.sample(Stream(1, "train", dtype=torch.float64), count)):
        before = answers(task, x)
        for t in range(len(x)):
            other = changed(task, x, t)
            differ = np.zeros(1) if other is None else answers(task, other) != before
            if differ.any():
                found.append(task.scored[int(differ.argmax())] - (task.steps - len(x)) - t)
                break
    return np.array(found)


def test_lags_are_those_of_the_earliest_input_that_changes_an_answer(generated):
    lags = observed_lags(generated, 400)
    assert len(lags) == 400
    assert lags.min() >= generated.min_lag
    assert abs(lags.mean() - generated.mean_lag) <= 4 * lags.std() / math.sqrt(len(lags)) + 1e-9


def test_the_least_lag_is_reached(generated):
    assert observed_lags(generated, 3000).min() == generated.min_lag


def test_only_scored_steps_enter_the_loss(task):
    """In a net without recurrence ||dL/dh_t|| is what step t's own output wants: 0 where nothing is scored."""
    network = Network(example("cell/tanh", hidden=8), task.inputs, task.outputs)
    initializer = checked_job(composed("initializer=pytorch")).replica.initializer
    flat = network.initial([initializer], [0])
    network.views(flat)["W_hh"].zero_()
    batch = task.sample(Stream([0], "train", dtype=torch.float64), 4)
    trace = Eager().program(network, task).gradients(flat, batch, trace=True).trace["h"][0]
    scored = torch.zeros(task.steps, dtype=torch.bool)
    scored[list(task.scored)] = True
    assert torch.equal(trace > 0, scored[task.steps - task.least_steps :].expand_as(trace))


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
    outputs = best_memoryless_outputs(task, batch)
    if type(task).__name__ == "Copying":  # 0 at every step: all symbols are alike
        outputs = torch.nn.functional.one_hot(torch.tensor(0), task.outputs).expand(outputs.shape)
    right = task.correct(outputs, batch.targets).double().flatten()
    standard_error = math.sqrt(task.chance_accuracy * (1 - task.chance_accuracy) / len(right))
    assert abs(right.mean() - task.chance_accuracy) < 4 * standard_error


def test_right_answers_are_right_and_wrong_ones_wrong(task):
    batch = task.sample(Stream(0, "train", dtype=torch.float64), 50)
    if task.outputs == 1:
        right, wrong = batch.targets[..., None], batch.targets[..., None] + 1.01 * task.tolerance
    else:
        right = torch.nn.functional.one_hot(batch.targets, task.outputs).double()
        wrong = right.roll(1, dims=-1)
    assert task.correct(right, batch.targets).all()
    assert not task.correct(wrong, batch.targets).any()


def test_an_unknown_variant_is_refused_with_those_there_are():
    with pytest.raises(
        ConfigError, match=r"^task.variant=pascanu: must be one of arjovsky, exprnn, tcn.* for copying$"
    ):
        example("task/copying", variant="pascanu")


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("adding", {"length": 1}, "length=1: must be a whole number >= 2"),
        (
            "multiplication",
            {"variant": "pascanu", "length": 9},
            "length=9: must be >= 10 for multiplication as pascanu",
        ),
        ("adding", {"variant": "hochreiter", "length": 10}, "length=10: must be >= 11 for adding as hochreiter"),
        ("temporal_order", {"symbols": 4}, "symbols=4: must be a whole number in \\[2, 3\\]"),
        ("temporal_order", {"length": 9}, "length=9: must be a whole number >= 10"),
        ("permutation", {"kinds": 2}, "kinds=2: must be a whole number > 2"),
        ("permutation", {"length": 1}, "length=1: must be a whole number >= 2"),
        ("parity", {"length": 4, "lag": 3, "bits": 2}, "length=4: must be >= lag . bits = 5"),
        ("parity", {"lag": -1}, "lag=-1: must be a whole number >= 0"),
        ("parity", {"bits": 0}, "bits=0: must be a whole number >= 1"),
        ("copying", {"length": 0}, "length=0: must be a whole number >= 1"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        example(f"task/{name}", **fields)


# --- as published


def test_adding_halves_marks_one_value_in_each_half():
    markers = example("task/adding", length=9).sample(Stream(0, "train"), 2000).inputs[..., 1]
    assert torch.equal(markers[:, :4].sum(-1), torch.ones(2000))
    assert torch.equal(markers[:, 4:].sum(-1), torch.ones(2000))
    assert (markers.sum(0) > 0).all()  # every step of a half is reached


def test_adding_anywhere_marks_two_different_steps_all_pairs_alike():
    task = example("task/adding", variant="anywhere", length=5)
    markers = task.sample(Stream(0, "train"), 20000).inputs[..., 1]
    assert torch.equal(markers.sum(-1), torch.full((20000,), 2.0))
    counts = (markers.mT @ markers)[torch.triu(torch.ones(5, 5), diagonal=1) > 0]
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


@pytest.mark.parametrize("name", ["adding", "multiplication", "delayed_xor"])
def test_pascanu_marks_in_the_first_tenth_and_then_before_the_half_of_a_batch_of_one_length(name):
    """Their code: l = T + U{0 .. int(.1 T) - 1}; int(.1 l) first places, int(.4 l) second ones; marker first."""
    task = example(f"task/{name}", variant="pascanu", length=40)
    batch = task.sample(Stream(range(200), "train"), 50)
    assert task.channels == ("marker", "value")
    assert (batch.lengths == batch.lengths[:, :1]).all()
    for length in (40, 43):
        markers = batch.inputs[batch.lengths == length][..., 0]
        first, second = markers.argmax(-1), markers.shape[-1] - 1 - markers.flip(-1).argmax(-1)
        assert set(first.tolist()) == set(range(4))
        assert set(second.tolist()) == set(range(4, 4 + int(0.4 * length)))


@pytest.mark.parametrize(("name", "neutral", "low"), [("adding", 0.0, -1.0), ("multiplication", 1.0, 0.0)])
def test_hochreiter_marks_the_ends_and_neutralises_a_first_pair_drawn_first(name, neutral, low):
    task = example(f"task/{name}", variant="hochreiter", length=30)
    batch = task.sample(Stream(0, "train", dtype=torch.float64), 20000)
    values, markers = batch.inputs.unbind(-1)
    assert (markers == 1).sum(-1).eq(2).all()
    unmarked = markers != 1
    assert (markers[:, 0][unmarked[:, 0]] == -1).all()
    assert (markers.gather(-1, batch.lengths[:, None] - 1) == -1).all()
    assert ((markers == -1).sum(-1) == 1 + unmarked[:, 0].int()).all()
    latest = markers.shape[-1] - 1 - (markers == 1).flip(-1).int().argmax(-1)
    assert latest.max() == 30 // 2 - 1  # the first T/2 - 1 of the pairs still unmarked reach one step further
    first_marked = ~unmarked[:, 0]
    share = (values[first_marked][:, 0] == neutral).double().mean()
    # drawn first: .1; drawn second: .9 x 1/(T/2 - 1)
    assert abs(share - 0.1 / (0.1 + 0.9 / 14)) < 0.04
    there = torch.arange(task.steps) < batch.lengths[:, None]
    assert values[there].min() < low + 0.01
    assert values.max() <= 1


def test_copying_shows_symbols_blanks_marker_and_asks_for_the_symbols():
    task = example("task/copying", length=4, symbols=3, kinds=8)
    inputs, targets, _ = task.sample(Stream(0, "train"), 500)
    shown = inputs.argmax(-1)
    blank, marker = 8, 9
    assert task.steps == 10
    assert (shown[:, 3:6] == blank).all()
    assert (shown[:, 6] == marker).all()  # one step before the first answer
    assert (shown[:, 7:] == blank).all()
    assert (targets[:, :7] == blank).all()
    assert torch.equal(targets[:, 7:], shown[:, :3])
    assert task.probe_step == 7


@pytest.mark.parametrize(
    ("variant", "marked", "outputs", "scored"),
    [
        ("exprnn", [7], 9, range(10)),
        ("memorization", [7], 9, range(10)),
        ("tcn", [6, 7, 8, 9], 10, range(10)),
        ("recall", [7, 8, 9], 10, range(7, 10)),
        ("selective", [7, 8, 9], 10, range(7, 10)),
    ],
)
def test_other_variants_of_copying_differ_in_marker_classes_and_scored_steps(variant, marked, outputs, scored):
    task = example("task/copying", variant=variant, length=4, symbols=3, kinds=8)
    inputs = task.sample(Stream(0, "train"), 500).inputs
    for x in inputs:
        shown = symbols_shown(task, x)
        assert [t for t, word in enumerate(shown) if word == "!"] == marked
        symbols = [t for t, word in enumerate(shown) if word.isdigit()]
        assert symbols == [0, 1, 2] if variant != "selective" else len(symbols) == 3 and max(symbols) < 7
    assert (task.outputs, task.scored, task.probe_step) == (outputs, scored, 7)


def test_selective_copying_scatters_its_symbols_over_all_places_alike():
    task = example("task/copying", variant="selective", length=3, symbols=2, kinds=8)
    shown = task.sample(Stream(0, "train"), 20000).inputs.argmax(-1)
    places = (shown[:, :5] < 8).double()
    counts = (places.mT @ places)[torch.triu(torch.ones(5, 5), diagonal=1) > 0]
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


def test_memorization_is_right_only_if_every_symbol_is():
    task = example("task/memorization", length=4, symbols=3)
    _, targets, _ = task.sample(Stream(0, "train"), 4)
    outputs = torch.nn.functional.one_hot(targets, task.outputs).double()
    outputs[1, -2] = outputs[1, -2].roll(1)
    outputs[2, 0] = outputs[2, 0].roll(1)  # a blank: counts for the loss, not for the memory
    assert task.correct(outputs, targets).tolist() == [[True], [False], [True], [True]]


@pytest.mark.parametrize(("length", "published"), [(100, 0.17329), (200, 0.09452), (500, 0.03999), (1000, 0.02039)])
def test_copying_baseline_is_the_published_one(length, published):
    task = example("task/copying", length=length, symbols=10, kinds=8)
    assert abs(task.baseline_loss - published) < 1e-5


@pytest.mark.parametrize(
    ("name", "fields", "baseline", "chance"),
    [
        ("adding", {}, 1 / 6, 0.078),
        ("adding", {"variant": "pascanu"}, 1 / 24, 0.640),
        ("adding", {"variant": "hochreiter"}, 0.03958, 0.154),
        ("multiplication", {}, 7 / 144, None),
        ("temporal_order", {}, math.log(4), 0.25),
        ("temporal_order", {"symbols": 3}, math.log(8), 0.125),
        ("permutation", {}, math.log(2), 0.5),
        ("parity", {}, math.log(2), 0.5),
        ("delayed_xor", {}, math.log(2), 0.5),
        ("memorization", {}, 10 * math.log(5) / 120, 5.0**-10),
    ],
)
def test_baselines_and_chances_are_those_of_the_definitions(name, fields, baseline, chance):
    task = example(f"task/{name}", **fields)
    assert task.baseline_loss == pytest.approx(baseline, rel=1e-3)
    if chance is not None:
        assert task.chance_accuracy == pytest.approx(chance, abs=5e-4)


@pytest.mark.parametrize(
    ("variant", "symbols", "places"),
    [
        ("pascanu", 2, [range(10, 20), range(50, 60)]),
        ("pascanu", 3, [range(10, 20), range(30, 40), range(60, 70)]),
        ("hochreiter", 2, [range(10, 21), range(50, 61)]),
        ("hochreiter", 3, [range(10, 21), range(33, 44), range(66, 77)]),
    ],
)
def test_temporal_order_places_its_symbols_as_published(variant, symbols, places):
    task = example("task/temporal_order", variant=variant, symbols=symbols, length=100)
    batch = task.sample(Stream(0, "train"), 3000)
    shown = batch.inputs.argmax(-1)
    there = batch.inputs.sum(-1) > 0
    relevant = (shown < 2) & there
    assert (relevant.sum(-1) == symbols).all()
    found = relevant.nonzero()[:, 1].reshape(3000, symbols)
    for k, expected in enumerate(places):
        assert set(found[:, k].tolist()) == set(expected)
    if variant == "hochreiter":
        last = batch.lengths[:, None] - 1
        assert (shown[:, 0] == task.channels.index("E")).all()
        assert (shown.gather(-1, last) == task.channels.index("B")).all()
        assert set(batch.lengths.tolist()) == set(range(100, 111))
        inner = shown[:, 1:100]
        assert (inner[relevant[:, 1:100].logical_not() & (torch.arange(1, 100) < last)] < 6).all()


def test_permutation_repeats_its_first_symbol_among_the_noise_of_the_others():
    inputs, targets, _ = example("task/permutation", length=6, kinds=100).sample(Stream(0, "train"), 5000)
    shown = inputs.argmax(-1)
    assert set(shown[:, 0].tolist()) == {0, 1}
    assert set(shown[:, 1:].flatten().tolist()) == set(range(2, 100))
    assert torch.equal(targets[:, 0], shown[:, 0])


def test_parity_counts_the_bits_of_its_window():
    task = example("task/parity", length=8, bits=2, lag=1)
    assert task.scored == range(2, 8)
    bits = torch.tensor([1, 1, 0, 1, 0, 0, 1, 1])

    class Given:
        dtype = torch.float32

        def integers(self, high, *shape):
            return bits.expand(*shape)

    inputs, targets, _ = task.sample(Given(), 1)
    assert inputs[0, :, 0].tolist() == [1, 1, -1, 1, -1, -1, 1, 1]
    assert targets[0].tolist() == [0, 1, 1, 1, 0, 1]  # the docstring's example
