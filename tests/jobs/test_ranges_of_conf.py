"""Every number of every component in `conf/` is refused just outside the range of its annotation, accepted inside."""

import dataclasses
import math
import re

import pytest

from bench.jobs.build import ConfigError, build
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.jobs.limits import Budget, Checkpoints
from tasks.ranges import OneOf, ranges
from tests.conftest import CONF

OTHERS = ("hydra", "experiment", "engine", "logger")  # groups whose components have no numbers, or are none of ours


def one_yaml_of_each_class():
    found = {}
    for path in sorted(CONF.glob("*/**/*.yaml")):
        group = path.parent.relative_to(CONF)
        target = re.search(r"^ *_target_: (\S+)", path.read_text(), re.MULTILINE)
        if target and group.parts[0] not in OTHERS:
            found.setdefault(target[1], f"{group.as_posix()}/{path.stem}")
    return sorted(found.values())


def of_a_run(name):
    job = checked_job(composed())
    parts = {"evaluation": job.replica.evaluation, "checkpoint": job.checkpoint, "budget": job.budget}
    return {"": job.replica, **parts}[name]


def component(choice):
    return example(choice) if "/" in choice else of_a_run(choice)


def node(value):
    """A component as yaml would have it."""
    if not dataclasses.is_dataclass(value):
        return {name: node(part) for name, part in value.items()} if isinstance(value, dict) else value
    fields = {field.name: node(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {"_target_": f"{type(value).__module__}.{type(value).__name__}", **fields}


def edges(accepted):
    """Values just outside a range and just inside."""
    if isinstance(accepted, OneOf):
        return ["nonsense"], list(accepted.words)
    outside, inside = [], [None] * accepted.optional
    for bound, closed, away in (
        (accepted.low, accepted.low_closed, -math.inf),
        (accepted.high, accepted.high_closed, math.inf),
    ):
        if math.isinf(bound):
            (inside if closed else outside).append(bound)
            continue
        out, into = (
            (bound + math.copysign(1, s * away) for s in (1, -1))
            if accepted.whole
            else (math.nextafter(bound, s * away) for s in (1, -1))
        )
        outside.append(out if closed else bound)
        inside.append(bound if closed else into)
    return [*outside, math.nan, *[0.5] * accepted.whole], inside


def typed(value, like):
    """A number as the field holds it, int or float."""
    if isinstance(like, float) and value is not None:
        return float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def refusal(there, name, value):
    """Why a component may not have this value, or nothing."""
    try:
        dataclasses.replace(there, **{name: value})
    except ValueError as error:
        return str(error)
    return ""


CHOICES = [*one_yaml_of_each_class(), "", "evaluation", "checkpoint", "budget"]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_number_is_refused_outside_its_range_and_accepted_inside(choice):
    there, path = component(choice), choice.partition("/")[0]
    kind, fields = type(there), node(there)
    numbers = {name for name, value in vars(there).items() if type(value) in (int, float)}
    assert numbers <= ranges(kind).keys()
    for name, accepted in ranges(kind).items():
        outside, inside = edges(accepted)
        here = getattr(there, name)
        like = here if here is not None else 0 if "whole" in str(accepted) else 0.0
        for value in (typed(number, like) for number in outside):
            message = f"{name}={value}: must be "
            with pytest.raises(ValueError, match=rf"^{re.escape(f'{message}{accepted}')}$"):
                dataclasses.replace(there, **{name: value})
            with pytest.raises(ConfigError) as error:
                build(kind, {**fields, name: value}, path)
            assert str(error.value).startswith(f"{path}.{message}" if path else message)
            assert "\n" not in str(error.value)
        for value in (typed(number, getattr(there, name)) for number in inside):
            assert str(accepted) not in refusal(there, name, value)  # what depends on another field may refuse it


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("evaluation.solved=nan", "evaluation.solved=nan: must be a number in (0, 1]"),
        ("evaluation.solved=2", "evaluation.solved=2.0: must be a number in (0, 1]"),
        ("evaluation.solved=0", "evaluation.solved=0.0: must be a number in (0, 1]"),
        ("evaluation.every=0", "evaluation.every=0: must be a whole number >= 1, or null"),
        ("optimizer.lr=inf", "optimizer.lr=inf: must be a finite number >= 0"),
        ("clipping.threshold=nan", "clipping.threshold=nan: must be a number > 0, or .inf"),
        ("schedule.warmup=2.5", "schedule.warmup=2.5: must be a whole number >= 0"),
        (
            "cell.activation=step",
            "cell.activation=step: must be one of tanh, relu, sigmoid, silu, hard_sigmoid, hard_tanh, elu, "
            "binary_step, identity",
        ),
        ("seed=-1", "seed=-1: must be a whole number >= 0"),
        ("budget.run_seconds=inf", "budget.run_seconds=inf: must be a finite number >= 0, or null"),
        ("logger=wandb logger.figures=state", "logger.figures=state: must be a list, such as logger.figures=[state]"),
        ("logger=wandb logger.mode=disabled", "logger.mode=disabled: must be one of offline, online"),
        (
            "optimizer=nesterov optimizer.dampening=0.5",
            "optimizer.nesterov=true: must be false unless momentum > 0 and dampening = 0",
        ),
    ],
)
def test_a_number_out_of_range_is_one_line_that_names_field_value_and_range(mistake, message):
    with pytest.raises(ConfigError) as error:
        checked_job(composed(*mistake.split()))
    assert str(error.value) == message


def test_an_infinite_threshold_is_a_range_that_a_yaml_can_ask_for():
    assert checked_job(composed("clipping.threshold=.inf")).replica.clipping.threshold == math.inf


@pytest.mark.parametrize("kind", [Budget, Checkpoints])
def test_no_limit_is_null(kind):
    nothing = {field.name: None if "seconds" in field.name else False for field in dataclasses.fields(kind)}
    assert dataclasses.asdict(build(kind, nothing, "limits")) == nothing
