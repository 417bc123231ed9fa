"""Schedules are torch's: their factors, and a whole run with them."""

import dataclasses
import warnings

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from bench.engines.batched import Batched
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.methods.schedules import Constant, Cosine, Linear
from bench.pack.fields import joined
from bench.training.loop import Training
from tests.conftest import choices

UPDATES = 40
CPU = torch.device("cpu")


def torchs(schedule, optimizer, updates) -> LRScheduler:
    """The same schedule made from torch's parts."""
    warmup = int(schedule.warmup)
    decay = updates - warmup
    if isinstance(schedule, Cosine):
        least = schedule.final * optimizer.param_groups[0]["lr"]
        after: LRScheduler = CosineAnnealingLR(optimizer, decay, eta_min=least)
    else:
        final = schedule.final if isinstance(schedule, Linear) else 1.0
        after = LinearLR(optimizer, start_factor=1.0, end_factor=final, total_iters=decay)
    if warmup == 0:
        return after
    rise = LinearLR(optimizer, start_factor=1 / warmup, end_factor=1.0, total_iters=warmup - 1)
    return SequentialLR(optimizer, [rise, after], milestones=[warmup])


PLAIN = [example(f"schedule/{name}") for name in choices("schedule")]
SETTINGS = [
    *PLAIN,
    *(dataclasses.replace(plain, warmup=7.0) for plain in PLAIN),
    *(dataclasses.replace(plain, warmup=2.0, final=0.25) for plain in PLAIN if hasattr(plain, "final")),
]


@pytest.mark.parametrize("schedule", [setting for setting in SETTINGS if setting.warmup < UPDATES], ids=str)
def test_factors_are_torchs(schedule):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    scheduler = torchs(schedule, optimizer, UPDATES)
    for update in range(UPDATES):
        assert 0.3 * float(schedule.factor(update, UPDATES)) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-11)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # SequentialLR's own use of the argument `epoch`
            scheduler.step()


@pytest.mark.parametrize("schedule", SETTINGS, ids=str)
def test_factors_lie_in_the_unit_interval_and_a_pack_has_one_for_each_replica(schedule):
    warmups = [0.0, 1.0, 5.0, 100.0]
    members = [dataclasses.replace(schedule, warmup=warmup) for warmup in warmups]
    for update in range(UPDATES):
        factors = joined(members).factor(update, UPDATES)
        assert factors.dtype == torch.float64
        assert (factors > 0).all()
        assert (factors <= 1).all()
        assert factors.tolist() == [float(member.factor(update, UPDATES)) for member in members]


def test_warm_up_rises_in_equal_steps_to_the_whole_rate_and_then_the_decay_begins():
    factors = [float(Linear(warmup=4.0, final=0.0).factor(n, 8)) for n in range(8)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_a_constant_schedule_is_exactly_one():
    assert all(Constant(warmup=0.0).factor(n, 9) == 1 for n in range(9))


@pytest.mark.parametrize("name", choices("schedule"))
@pytest.mark.parametrize("warmup", [-1.0, 2.5, float("inf"), float("nan")])
def test_a_warm_up_is_a_whole_number_of_updates(name, warmup):
    with pytest.raises(ConfigError, match=f"^schedule.warmup={warmup}: must be a whole number >= 0$"):
        example(f"schedule/{name}", warmup=warmup)


@pytest.mark.parametrize("final", [-0.1, 1.1])
def test_a_final_share_lies_between_none_and_all(final):
    with pytest.raises(ConfigError, match=rf"^schedule.final={final}: must be a number in \[0, 1\]$"):
        example("schedule/cosine", final=final)


@pytest.mark.parametrize("schedule", ["schedule=cosine", "schedule=linear"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("optimizer=adamw", lambda weights: torch.optim.AdamW(weights, lr=0.02, weight_decay=0.5)),
        ("optimizer=nesterov", lambda weights: torch.optim.SGD(weights, lr=0.02, momentum=0.9, nesterov=True)),
    ],
)
def test_a_run_is_a_plain_torch_loop_with_its_scheduler(make_replica, schedule, ours, theirs):
    """nn.RNN, an optimizer and a scheduler of torch, on the same batches, in float64."""
    decay = ["optimizer.decoupled_decay=0.5"] if "adamw" in ours else []
    rate = ("optimizer.lr=0.02", schedule, "schedule.warmup=5", "schedule.final=0.1", *decay)
    replica = make_replica("cell=tanh", "clipping=none", "precision=float64", f"updates={UPDATES}", ours, *rate)
    training = Training([replica], Batched(), CPU)
    batches = list(training.batches())
    weights = training.network.views(training.flat.clone())
    module = torch.nn.RNN(2, 8, batch_first=True, dtype=torch.float64)
    readout = torch.nn.Linear(8, 1, dtype=torch.float64)
    parameters = [module.weight_hh_l0, module.weight_ih_l0, module.bias_ih_l0, readout.weight, readout.bias]
    with torch.no_grad():
        module.bias_hh_l0.zero_()
        for name, parameter in zip(weights, parameters, strict=True):
            parameter.copy_(weights[name][0])
    optimizer = theirs(parameters)
    scheduler = torchs(replica.schedule, optimizer, UPDATES)
    for batch in batches[:UPDATES]:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(readout(module(batch.inputs[0])[0][:, -1]), batch.targets[0]).backward()
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            scheduler.step()
    training.run()
    for name, parameter in zip(weights, parameters, strict=True):
        assert torch.allclose(training.network.views(training.flat)[name][0], parameter, rtol=1e-9, atol=1e-12)


def test_a_schedule_is_part_of_the_question_and_its_numbers_share_a_pack():
    plain, cosine, warm = (
        checked_job(composed(*given)).replica for given in ([], ["schedule=cosine"], ["schedule.warmup=10"])
    )
    assert len({plain.run_id, cosine.run_id, warm.run_id}) == 3
    assert plain.pack_key == warm.pack_key != cosine.pack_key


def test_replicas_of_a_pack_follow_their_own_schedules(make_replica):
    replica = make_replica("schedule=cosine", "optimizer=adamw", "optimizer.lr=0.05", "updates=30")
    members = [
        dataclasses.replace(
            replica,
            seed=k,
            schedule=dataclasses.replace(replica.schedule, warmup=float(k), final=k / 10),
            optimizer=dataclasses.replace(replica.optimizer, decoupled_decay=k / 5),
        )
        for k in range(3)
    ]
    pack = Training(members, Batched(), CPU)
    pack.run()
    for k, member in enumerate(members):
        alone = Training([member], Batched(), CPU)
        alone.run()
        assert torch.equal(alone.flat[0], pack.flat[k])
