"""From a command line to jobs, packs and places."""

import dataclasses
from collections import Counter

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.types import RunMode
from omegaconf import open_dict

from bench import config
from bench.sweep.launcher import Composer
from bench.sweep.packs import packs
from bench.sweep.sweeper import union

BIG = 2.0**40


def test_union_of_products_without_duplicates():
    jobs = union(["a=1 b=1,2", "a=1,3 b=2"], ["seed=0,1"])
    assert jobs == [
        *(["seed=" + s, "a=1", "b=" + b] for s in "01" for b in "12"),
        *(["seed=" + s, "a=3", "b=2"] for s in "01"),
    ]


def test_command_line_replaces_a_key_of_every_set():
    assert union(["a=1 seed=range(3)", "a=2 seed=range(3)"], ["seed=7"]) == [
        ["seed=7", "a=1"],
        ["seed=7", "a=2"],
    ]


def test_without_sets_it_is_hydras_product():
    assert union([], ["x=1,10,.inf", "y=range(2)"]) == [
        [f"x={x}", f"y={y}"] for x in ("1", "10", ".inf") for y in (0, 1)
    ]
    assert union([], []) == [[]]


@pytest.fixture
def loader():
    search_path: ConfigSearchPath = create_automatic_config_search_path(None, None, "pkg://conf")
    return ConfigLoaderImpl(config_search_path=search_path)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["cell=lstm", "seed=3"],
        ["cell=irnn", "initializer=orthogonal", "initializer.recurrent.gain=0.5"],
        ["task=copying", "task.length=7", "clipping=value", "clipping.threshold=.inf"],
        ["measurement=[spectrum]", "optimizer=rmsprop", "optimizer.lr=0.01", "evaluation.every=5"],
        ["remedies=[l1_penalty,gradient_noise]", "remedies.l1_penalty.strength=0.1", "schedule=cosine"],
        ["extensions=[one,two]", "engine=eager", "+measurement.spectrum.extra=1"],
    ],
)
def test_fast_composition_equals_hydras_own(loader, overrides):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    slow = loader.load_sweep_config(master, list(overrides))
    with open_dict(slow):
        del slow["hydra"]
    composer = Composer(loader, master)
    composer.compose(["cell=lstm"])
    assert config.plain(composer.compose(overrides)) == config.plain(slow)


def test_a_sweep_composes_once_per_choice_of_files_and_parses_every_override_once(loader, monkeypatch):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    composer, composed, parsed = Composer(loader, master), [], []
    whole = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *rest: composed.append(rest) or whole(*rest))
    parse = composer._parser.parse_override
    monkeypatch.setattr(composer._parser, "parse_override", lambda text: parsed.append(text) or parse(text))
    sweep = [[f"cell={cell}", f"seed={seed}", "updates=9"] for cell in ("tanh", "lstm") for seed in range(20)]
    for overrides in sweep:
        composer.compose(overrides)
        composer.choices(overrides)
    assert len(composed) == 2
    assert len(parsed) == len(set(parsed)) == 2 + 20 + 1


def test_choices_name_the_yaml_of_every_group(loader):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    chosen = Composer(loader, master).choices(["cell=irnn", "seed=4"])
    assert chosen["cell"] == "irnn"
    assert chosen["task"] == "adding"
    assert chosen["initializer/recurrent"] == "identity"
    assert "engine" not in chosen


def jobs(**counts):
    result = []
    for cell, count in counts.items():
        job = config.job(config.composed(f"cell={cell}"))
        seeds = range(count)
        result += [dataclasses.replace(job, replica=dataclasses.replace(job.replica, seed=seed)) for seed in seeds]
    return result


def test_packs_hold_every_job_once_and_one_shape_each():
    asked = jobs(tanh=5, irnn=7, lstm=3)
    planned = packs(asked, width=4, memory=BIG, places=1)
    assert sorted(k for pack in planned for k in pack.jobs) == list(range(15))
    assert all(len({asked[k].replica.pack_key for k in pack.jobs}) == 1 for pack in planned)
    assert Counter(pack.width for pack in planned) == {4: 1, 3: 3, 2: 1}
    assert [pack.cost for pack in planned] == sorted((pack.cost for pack in planned), reverse=True)


def test_runs_that_stand_at_different_updates_train_apart():
    planned = packs(jobs(tanh=5), width=4, memory=BIG, places=1, reached=[0, 7, 0, 7, 0])
    assert sorted(pack.jobs for pack in planned) == [(0, 2, 4), (1, 3)]


def test_the_pack_that_takes_longest_comes_first():
    short, long = (config.job(config.composed(f"updates={updates}")) for updates in (10, 1000))
    first, _ = packs([short, long], width=4, memory=BIG, places=1)
    assert first.jobs == (1,)


def test_no_place_stands_idle():
    assert len(packs(jobs(tanh=8), width=32, memory=BIG, places=2)) == 2
    assert len(packs(jobs(tanh=1), width=32, memory=BIG, places=8)) == 1


def test_memory_bounds_the_width():
    wide, narrow = (packs(jobs(lstm=8), width=32, memory=memory, places=1) for memory in (BIG, 1.0))
    assert [pack.width for pack in wide] == [8]
    assert [pack.width for pack in narrow] == [1] * 8
