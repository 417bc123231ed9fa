"""The bridge from yaml to dataclasses: what is wrong is said in one line, what is right is recorded whole."""

import dataclasses
import importlib.util
import re
import sys

import pytest

from bench.jobs import compose
from bench.jobs.build import ConfigError, build
from bench.jobs.compose import composed, example
from bench.jobs.job import Job, checked_job
from bench.methods.optimizers import Adam
from bench.pack.identity import class_label
from tests.conftest import CONF, choices

SEVERAL = ("measurement", "remedies")
ROLES = ("initializer/recurrent", "initializer/input", "initializer/bias", "initializer/readout")


def job(*overrides) -> Job:
    return checked_job(composed(*overrides))


@pytest.mark.parametrize(
    "groups",
    [
        ("cell", "clipping", "nonfinite", "optimizer", "schedule", "measurement", "remedies", "engine"),
        ("task", *ROLES),  # a cell may have the steps of a task, and settings of a role's initialiser
        ("initializer",),
    ],
)
def test_every_yaml_builds_what_a_composition_has_of_it(groups, monkeypatch):
    """Each composition chooses something in every group."""
    names = {group: choices(group) for group in groups}
    alone = {choice: example(choice) for group in groups for choice in (f"{group}/{name}" for name in names[group])}
    assert all(map(dataclasses.is_dataclass, alone.values()))
    monkeypatch.setattr(compose, "_of_one_file", lambda *_: None)
    for n in range(max(map(len, names.values()))):
        chosen = {group: names[group][n % len(names[group])] for group in groups}
        whole = composed(*(f"{g}=[{name}]" if g in SEVERAL else f"{g}={name}" for g, name in chosen.items()))
        monkeypatch.setattr(compose, "composed", lambda *_, whole=whole: whole)
        for group, name in chosen.items():
            assert example(f"{group}/{name}") == alone[f"{group}/{name}"]


def test_no_component_hides_a_number_in_its_code():
    """Every field of every component has its value in `conf/`."""
    for path in CONF.glob("*/*.yaml"):
        if path.parent.name in ("initializer", "experiment"):
            continue
        if path.parent.name == "logger" and importlib.util.find_spec(path.stem) is None:
            continue  # an export to a library that is not installed
        component = example(f"{path.parent.name}/{path.stem}")
        defaults = [f.name for f in dataclasses.fields(component) if f.default is not dataclasses.MISSING]
        assert defaults == []


ADAM = {
    "_target_": "bench.methods.optimizers.Adam",
    "lr": 0.1,
    "weight_decay": 0.0,
    "decoupled_decay": 0.0,
    "beta1": 0.9,
    "beta2": 0.99,
    "eps": 1e-8,
}
ADAM = {**ADAM, "amsgrad": False}


def test_a_whole_number_serves_as_a_number():
    assert build(Adam, {**ADAM, "lr": 1}, "optimizer").lr == 1.0


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({**ADAM, "lr": "abc"}, "optimizer.lr=abc: must be a number"),
        ({**ADAM, "lr": True}, "optimizer.lr=True: must be a number"),
        ({**ADAM, "amsgrad": 1}, "optimizer.amsgrad=1: must be true or false"),
        (
            {**ADAM, "weight_deca": 0.9},
            "optimizer.weight_deca: no such setting of Adam; did you mean weight_decay?",
        ),
        ({k: v for k, v in ADAM.items() if k != "eps"}, "optimizer.eps: Adam needs a value for it"),
        ({**ADAM, "lr": -1}, "optimizer.lr=-1.0: must be a finite number >= 0"),
        ({**ADAM, "_target_": "os.path.join"}, "optimizer._target_=os.path.join: not of bench, tasks"),
        ({**ADAM, "_target_": "bench.methods.optimizers.Adem"}, "there is no such class"),
        ({**ADAM, "_target_": "bench.methods.clipping.NormClipping"}, "is not an Adam"),
        ("adam", "optimizer=adam: must be a component with its settings"),
    ],
)
def test_mistakes_are_one_line(node, message):
    with pytest.raises(ConfigError) as error:
        build(Adam, node, "optimizer")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_run_id_depends_on_the_question_and_not_on_how_it_is_carried_out():
    asked = job().replica.run_id
    assert asked == job("device=cpu", "engine=eager", "results=/somewhere", "extensions=[mine]").replica.run_id
    assert asked == job("clipping.threshold=1", "optimizer.lr=1e-3").replica.run_id
    others = [
        "seed=1",
        "clipping.threshold=2",
        "cell=lstm",
        "updates=7",
        "initializer/bias=zeros",
        "precision=float64",
    ]
    ids = {job(other).replica.run_id for other in others}
    assert len(ids | {asked}) == len(others) + 1


def test_run_id_changes_with_the_version_of_a_component(monkeypatch):
    before = job().replica.run_id
    monkeypatch.setattr(Adam, "version", Adam.version + 1)
    assert job().replica.run_id != before


def test_a_class_moved_to_another_module_keeps_run_id_and_pack_key(monkeypatch):
    asked = job().replica
    before = asked.run_id, asked.pack_key
    for module in ("bench.methods.elsewhere", "my_package.optimizers"):
        monkeypatch.setitem(sys.modules, module, sys.modules[Adam.__module__])
    monkeypatch.setattr(Adam, "__module__", "bench.methods.elsewhere")
    assert (job().replica.run_id, job().replica.pack_key) == before
    monkeypatch.setattr(Adam, "__module__", "my_package.optimizers")  # of a user's own package another question
    assert job().replica.run_id != before[0]


def test_no_two_components_of_a_kind_share_the_name_that_tells_them_apart():
    """Identity names a class without its module, so within a group of `conf/` each name belongs to one class."""
    classes: dict[tuple[str, str], set[str]] = {}
    for path in CONF.glob("*/**/*.yaml"):
        for target in re.findall(r"_target_: (\S+)", path.read_text()):
            classes.setdefault((path.relative_to(CONF).parts[0], class_label(target)), set()).add(target)
    assert {key: found for key, found in classes.items() if len(found) > 1} == {}


def test_replicas_that_differ_in_seed_rate_threshold_decay_or_start_share_a_pack():
    key = job().replica.pack_key
    for same in ("seed=5", "optimizer.lr=0.5", "clipping.threshold=.inf", "initializer=orthogonal"):
        assert job(same).replica.pack_key == key
    for other in (
        "cell.hidden=10",
        "optimizer.beta1=0.8",
        "optimizer=sgd",
        "updates=9",
        "task.length=50",
        "cell=irnn",
    ):
        assert job(other).replica.pack_key != key


def test_auto_engine_is_resolved():
    assert type(job().engine).__name__ in ("Compiled", "Batched")  # the second without a compiler
    assert job().device in ("cpu", "cuda")


def test_extensions_let_a_users_package_in():
    node = {**ADAM, "_target_": "collections.OrderedDict"}
    with pytest.raises(ConfigError, match="is not an Adam"):
        build(Adam, node, "optimizer", ("bench", "collections"))
