"""A run goes on from its checkpoint in the same bits, in whatever pack; what is not to be trusted is refused."""

import dataclasses
import hashlib
import io
import itertools
import math
import pickle
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch

from bench.engines.auto import Auto
from bench.jobs.build import ConfigError
from bench.jobs.compose import example
from bench.runs.checkpoint import FORMAT, HEAD, Refused, packed, unpacked, update_in
from bench.training.loop import Training
from bench.training.outcome import Rule
from bench.training.replica import described
from bench.training.run_state import RunState
from tests.conftest import EVERYTHING_MEASURED, accepted_task, choices, with_seeds

CPU = torch.device("cpu")
MAKER = {"engine": "Batched()", "device": "cpu"}
STATE = RunState(
    update=3,
    weights=np.arange(4, dtype=np.float32),
    optimizer={"exp_avg": np.ones(4, np.float32), "step": np.array(3.0, np.float32)},
    series={"norms": np.array([1.0, np.inf, np.nan])},
    tables={"spectrum": {"block": np.array(["W_hh"]), "update": np.array([0], np.int32)}},
    diverged_at=None,
    ended_at=2,
    alive=True,
    seconds=0.25,
    clock=1.5,
)


def engine_of(replica):
    return Auto().chosen(replica.network, CPU)


def advanced(replicas, update, states=()):
    """A pack taken to an update."""
    training = Training(replicas, engine_of(replicas[0]), CPU, states)
    for done in training.each_update():
        if done == update:
            break
    return training


def through_a_file(states):
    return [unpacked(packed(state, "id", MAKER), "id", MAKER) for state in states]


def assert_same_bits(one, other):
    """All tables and outcomes of two records, but for what a clock says and the width of the pack."""
    assert set(one.tables) == set(other.tables)
    for name in one.tables:
        mine, theirs = one.table(name), other.table(name)
        assert list(mine) == list(theirs)
        for column in mine:
            if column != "seconds":
                assert mine[column].dtype == theirs[column].dtype
                np.testing.assert_array_equal(mine[column], theirs[column])
    unlike = ("seconds", "pack_width")
    mine, theirs = ({k: v for k, v in asdict(x.outcome).items() if k not in unlike} for x in (one, other))
    np.testing.assert_equal(mine, theirs)


def assert_goes_on_in_the_same_bits(replicas, updates=(1, 3), regrouped=True):
    """Cut at some updates, and in packs of other members, against a pack that was never cut."""
    whole = Training(replicas, engine_of(replicas[0]), CPU)
    records = whole.run()
    states = advanced(replicas, updates[0]).states()
    for start, stop in itertools.pairwise((*updates, replicas[0].updates + 1)):
        assert [state.update for state in states] == [start] * len(replicas)
        states, order = through_a_file(states), list(range(len(replicas)))
        parts = [order[-1:], order[-2::-1]] if regrouped else [order]
        trained = [advanced([replicas[r] for r in part], stop, [states[r] for r in part]) for part in parts]
        states = [None] * len(replicas)
        for part, training in zip(parts, trained, strict=True):
            for r, state in zip(part, training.states(), strict=True):
                states[r] = state
    for part, training in zip(parts, trained, strict=True):
        assert torch.equal(training.flat, whole.flat[part])
        for r, record in zip(part, training.finish(), strict=True):
            assert_same_bits(record, records[r])


@pytest.mark.parametrize("name", choices("optimizer"))
def test_every_optimizer_goes_on_in_the_same_bits(make_replica, name):
    assert_goes_on_in_the_same_bits(with_seeds(make_replica(f"optimizer={name}"), range(3)))


@pytest.mark.parametrize("name", choices("clipping"))
def test_every_clipping_rule_goes_on_in_the_same_bits(make_replica, name):
    assert_goes_on_in_the_same_bits(with_seeds(make_replica(f"clipping={name}"), range(3)))


@pytest.mark.parametrize("name", choices("remedies"))
def test_every_remedy_goes_on_in_the_same_bits(make_replica, name):
    replica = make_replica(*accepted_task(name), f"remedies=[{name}]", "schedule=cosine")
    assert_goes_on_in_the_same_bits(with_seeds(replica, range(3)))


@pytest.mark.parametrize("cell", ["tanh", "lstm", "lru"])
def test_measured_and_interrupted_a_run_keeps_its_bits(make_replica, cell):
    """All measurements and none, uninterrupted and cut twice: one and the same answer, and the same observations."""
    measured = with_seeds(make_replica(f"cell={cell}", *EVERYTHING_MEASURED), range(2))
    # not regrouped, because Lyapunov exponents and Jacobians differ in their last bit between packs of one and of more
    assert_goes_on_in_the_same_bits(measured, updates=(2, 5), regrouped=False)  # at 5 only the last look is left
    plain = [dataclasses.replace(replica, measurement={}) for replica in measured]
    apart = [advanced(plain[r : r + 1], 6, through_a_file(advanced(plain, 2).states()[r : r + 1])) for r in range(2)]
    assert torch.equal(torch.cat([training.flat for training in apart]), advanced(measured, 6).flat)


@pytest.mark.parametrize("policy", choices("nonfinite"))
def test_a_sick_replica_goes_on_as_it_would_have(make_replica, policy):
    replica = make_replica("cell=irnn", "initializer=identity", "task.length=20", f"nonfinite={policy}")
    healthy, other = with_seeds(replica, range(2))
    recurrent = example("initializer/recurrent/identity", gain=1e9)
    sick = dataclasses.replace(other, initializer=dataclasses.replace(other.initializer, recurrent=recurrent))
    assert_goes_on_in_the_same_bits([healthy, sick, other])


def test_a_diverged_run_scores_nan_from_then_on(make_replica):
    """Also once it has ended, and has nothing left to go on for."""
    wild = make_replica("optimizer=sgd", "optimizer.lr=1e30", "clipping=none", "updates=20", "evaluation.every=1")
    (record,) = Training([wild], engine_of(wild), CPU).run()
    table, at = record.table("evaluations"), record.outcome.diverged_at
    assert 0 < at < 20
    assert table["update"].tolist() == list(range(21))
    assert np.isfinite(table["loss"][0])
    assert np.isnan(table["loss"][at:]).all()
    assert np.isnan(table["accuracy"][at:]).all()


def test_batches_are_the_same_from_any_update_on(make_replica):
    training = Training(with_seeds(make_replica(), range(2)), engine_of(make_replica()), CPU)
    whole, rest = list(training.batches()), list(training.batches(3))
    assert len(rest) == len(whole) - 3
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(rest, whole[3:], strict=True))


def test_clocks_go_on(make_replica):
    pair = with_seeds(make_replica(), range(2))
    (first, _) = advanced(pair, 2).states()
    assert 0 < first.clock == pytest.approx(2 * first.seconds)
    began = time.perf_counter()
    (later,) = advanced(pair[:1], 4, [dataclasses.replace(first, clock=100.0, seconds=50.0)]).states()
    assert later.clock - 100 == pytest.approx(later.seconds - 50)
    assert 0 < later.clock - 100 < time.perf_counter() - began


# --- the stop rule


def solved_soon(make_replica, enough):
    sizes = ("cell.hidden=16", "updates=60", "optimizer.lr=0.01", "evaluation.every=5", "evaluation.sequences=256")
    task = ("task=permutation", "task.length=3", "task.kinds=4", "evaluation.rule=historical", "evaluation.final=64")
    replica = make_replica(*sizes, *task, f"evaluation.enough={enough}", "measurement=[spectrum,training_gradient]")
    return with_seeds(replica, range(3))


def test_a_run_ends_when_it_has_solved_often_enough(make_replica):
    ended, whole = solved_soon(make_replica, 2), solved_soon(make_replica, "null")
    records, references = (Training(pack, engine_of(pack[0]), CPU).run() for pack in (ended, whole))
    for record, reference in zip(records, references, strict=True):
        table, full, at = record.table("evaluations"), reference.table("evaluations"), record.outcome.ended_at
        met = full["accuracy"] >= 0.99
        (second,) = [k for k in range(1, len(met)) if met[k] and met[k - 1]][:1]
        assert at == full["update"][second] < 60
        assert record.outcome.solved_at == reference.outcome.solved_at
        assert record.outcome.sequences == at * ended[0].batch_size
        assert not record.outcome.stopped  # from outside
        assert table["update"].tolist() == full["update"].tolist()
        np.testing.assert_array_equal(table["loss"][: second + 1], full["loss"][: second + 1])
        assert set(table["loss"][second:]) == {table["loss"][second]}  # its weights stay, and so does its loss
        assert record.table("spectrum")["update"][-1] == at  # a last look, as at the last update
        assert record.table("gradient_through_time")["update"].max() == at
    assert len({record.outcome.ended_at for record in records}) > 1


def test_a_run_that_the_rule_ends_goes_on_in_the_same_bits(make_replica):
    replicas = solved_soon(make_replica, 2)
    ends = [record.outcome.ended_at for record in Training(replicas, engine_of(replicas[0]), CPU).run()]
    at = min(ends)
    in_order = [replicas[r] for r in np.argsort(ends, kind="stable")]  # the last, which goes on alone, has not ended
    assert_goes_on_in_the_same_bits(in_order, updates=(at - 5, at, at + 1))


def test_the_stop_rule_is_part_of_the_question(make_replica):
    assert make_replica("evaluation.enough=5").run_id != make_replica().run_id
    with pytest.raises(ConfigError, match=r"evaluation.enough=2: must be >= in_a_row=3, or null"):
        make_replica("evaluation.enough=2")


@pytest.mark.parametrize(
    ("values", "hopeless_from"),
    [
        ([0.0] * 12, 4),
        ([math.nan] * 12, 4),
        ([0.0, 0.0, 0.0, 0.02, 0.02, 0.02, 0.02, 0.02], 7),  # the rise of update 30 is 40 updates old
        ([0.0, 0.009, 0.018, 0.027, 0.036, 0.045], None),  # less than .01 each, and in 40 updates more
        ([0.001 * k for k in range(12)], 4),  # it rises, and by less than .01 in 40 updates
        ([0.9, 0.5, 0.9, 0.5, 0.9], 4),  # its best does not rise
        ([0.0, 0.96, 0.9, 0.96, 0.9, 0.96, 0.9], None),  # what counts as solved, but never in a row
    ],
)
def test_a_run_is_hopeless_when_its_best_no_longer_rises(values, hopeless_from):
    """By an independent loop over all pairs too; patience: 40 updates, evaluations every 10."""
    rule = Rule("skill", 0.95, 3, 0.9)
    for count in range(1, len(values) + 1):
        updates = np.arange(count) * 10
        found = rule.is_hopeless(updates, values[:count], 40)
        assert found == (hopeless_from is not None and count > hopeless_from), (count, values)


def hopeless_soon(make_replica, patience):
    """A step so small that most skills do not rise; two of four ways to end: by the rule and by the budget."""
    sizes = ("updates=40", "evaluation.every=2", "evaluation.sequences=64", "evaluation.final=64", "task=permutation")
    task = ("task.length=3", "task.kinds=4", "optimizer.lr=0.0001", "cell.hidden=16")
    replica = make_replica(*sizes, *task, f"evaluation.hopeless={patience}", "measurement=[spectrum]")
    return with_seeds(replica, range(4))


def test_a_run_ends_when_it_is_hopeless(make_replica):
    ended, whole = hopeless_soon(make_replica, 0.2), hopeless_soon(make_replica, "null")
    records, references = (Training(pack, engine_of(pack[0]), CPU).run() for pack in (ended, whole))
    for record, reference in zip(records, references, strict=True):
        table, full, at = record.table("evaluations"), reference.table("evaluations"), record.outcome.ended_at
        best = np.maximum.accumulate(full["skill"])
        first = next((k for k in range(4, 20) if best[k] - best[k - 4] < 0.01), None)
        assert at == (None if first is None else full["update"][first])
        assert (record.outcome.outcome == "hopeless") == (at is not None)
        if at is not None:
            assert record.outcome.solved_at is None
            assert not record.outcome.stopped
            assert record.outcome.sequences == at * ended[0].batch_size
            np.testing.assert_array_equal(table["loss"][: first + 1], full["loss"][: first + 1])
            assert record.table("spectrum")["update"][-1] == at
    assert any(record.outcome.ended_at for record in records)


def test_a_hopeless_run_goes_on_in_the_same_bits(make_replica):
    replicas = hopeless_soon(make_replica, 0.2)
    ends = [record.outcome.ended_at or 40 for record in Training(replicas, engine_of(replicas[0]), CPU).run()]
    at = min(ends)
    in_order = [replicas[r] for r in np.argsort(ends, kind="stable")]
    assert_goes_on_in_the_same_bits(in_order, updates=(at - 3, at, at + 1))


def test_a_run_without_the_rule_has_the_id_from_before_there_was_one(make_replica):
    without = make_replica()
    assert "hopeless" not in described(without)["evaluation"]
    assert described(make_replica("evaluation.hopeless=0.4"))["evaluation"]["hopeless"] == 0.4
    assert make_replica("evaluation.hopeless=0.4").run_id != without.run_id
    with pytest.raises(ConfigError, match=r"evaluation.hopeless=1.0: must be a number in \(0, 1\), or null"):
        make_replica("evaluation.hopeless=1.0")


# --- the bytes


def test_a_state_comes_back_as_it_was():
    np.testing.assert_equal(dataclasses.asdict(through_a_file([STATE])[0]), dataclasses.asdict(STATE))


def test_the_update_stands_in_the_head():
    data = packed(STATE, "id", MAKER)
    assert update_in(data[:HEAD]) == 3
    assert [update_in(damaged) for damaged in (b"", data[:60], b"\x80\n{}", b"a\n[1]\n")] == [0] * 4


def forged(run="id", maker=MAKER, arrays=b""):
    """A checkpoint whose digest is right whatever it holds."""
    line = packed(STATE, run, maker).split(b"\n")[1]
    body = line + b"\n" + arrays
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    return f"recurrent-memory-bench checkpoint {FORMAT} {digest}\n".encode() + body


class Bomb:
    """Unpickled, it raises."""

    def __reduce__(self):
        return (eval, ("1 / 0",))


def archive(value):
    data = io.BytesIO()
    np.savez(data, weights=value)
    return data.getvalue()


WHOLE = packed(STATE, "id", MAKER)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no checkpoint"),
        (pickle.dumps(Bomb()), "is no checkpoint"),
        (WHOLE[:20], "is no checkpoint"),
        (WHOLE[:-1], "is torn or was edited"),
        (WHOLE[:80], "is torn or was edited"),
        (WHOLE.replace(b'"update": 3', b'"update": 4'), "is torn or was edited"),
        (WHOLE.replace(b"checkpoint %d " % FORMAT, b"checkpoint 99 "), f"has format 99, not {FORMAT}"),
        (packed(STATE, "other", MAKER), "was made with run other, not id"),
        (packed(STATE, "id", {**MAKER, "engine": "Eager()"}), r"was made with engine Eager\(\), not Batched\(\)"),
        (packed(STATE, "id", {}), "was made with engine None"),
        (forged(arrays=pickle.dumps(Bomb())), "something else than plain arrays"),
        (forged(arrays=archive(np.array([Bomb()], dtype=object))), "something else than plain arrays"),
        (forged(arrays=b""), "something else than plain arrays"),
        (forged(arrays=archive(np.ones(1))[:-9]), "something else than plain arrays"),
    ],
)
def test_what_is_not_to_be_trusted_is_refused(data, said):
    with pytest.raises(Refused, match=said):
        unpacked(data, "id", MAKER)


def test_the_bomb_would_go_off():
    with pytest.raises(ZeroDivisionError):
        pickle.loads(pickle.dumps(Bomb()))
