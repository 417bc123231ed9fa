from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.analysis.captions import conditions
from bench.analysis.settings import Layout, NoSuchAxis, column_of, described, distinguished, laid_out, layout, levels
from bench.jobs.compose import composed
from bench.pack.identity import HOW
from bench.runs.tables import load
from bench.training.replica import Replica


def test_what_was_varied_within_a_cell_is_named_in_the_order_of_its_values(make_up, tmp_path):
    make_up(tmp_path, {"adding": 8}, ["lstm", "tanh"], [1.0], seeds=1, lrs=(0.01, 0.001))
    runs = distinguished(load(tmp_path).runs)
    assert levels(runs["cell"]) == ["tanh, lr=0.001", "tanh, lr=0.01", "lstm, lr=0.001", "lstm, lr=0.01"]


def test_a_cell_names_what_was_varied_in_it_and_not_in_others(runs):
    changed = runs.assign(cell=runs["cell"].astype(str), task=runs["task"].astype(str), initializer="orthogonal")
    changed.loc[(changed["cell"] == "tanh") & (changed["seed"] == 0), "initializer"] = "pytorch"
    assert levels(distinguished(changed)["cell"]) == [
        "tanh, initializer=orthogonal",
        "tanh, initializer=pytorch",
        "irnn",
        "lstm",
    ]


def test_lengths_are_told_apart_as_tasks(make_up, tmp_path):
    for length in (100, 20):
        make_up(tmp_path, {"adding": length}, ["tanh"], [1.0], seeds=1)
    assert levels(distinguished(load(tmp_path).runs)["task"]) == ["adding, length=20", "adding, length=100"]


def test_a_setting_that_belongs_to_a_cell_is_not_named(runs):
    changed = runs.assign(**{"cell": runs["cell"].astype(str), "task": runs["task"].astype(str)})
    changed.loc[changed["cell"] == "irnn", ["optimizer.lr", "initializer"]] = [0.01, "identity"]
    assert levels(distinguished(changed)["cell"]) == ["tanh", "irnn", "lstm"]


def test_what_changes_no_answer_tells_nothing_apart(tables):
    odd = tables.runs.index % 2
    runs = tables.runs.assign(**{"device": odd, "engine": odd, "measurement.probe.sequences": odd, "pack_width": odd})
    assert levels(distinguished(runs)["cell"]) == ["tanh", "irnn", "lstm"]


def test_a_key_that_the_configuration_gains_tells_runs_apart(tables):
    runs = tables.runs[tables.runs["cell"] == "tanh"]
    runs = runs.assign(accumulate=[1 + k % 2 for k in range(len(runs))])
    assert levels(distinguished(runs)["cell"]) == ["tanh, accumulate=1", "tanh, accumulate=2"]


def test_every_key_of_a_run_is_part_of_its_question_or_says_how_it_is_carried_out():
    fields = {field.name for field in dataclasses.fields(Replica)}
    assert set(composed()) == fields | set(HOW)
    assert not fields & set(HOW)


def test_thresholds_ascend_to_none(tables):
    assert levels(distinguished(tables.runs.sample(frac=1, random_state=0))["clip"]) == ["1", "10", "none"]


def test_a_rule_without_threshold_goes_by_its_name(tables):
    runs = tables.runs.drop(columns="clipping.threshold").assign(clipping="adaptive")
    assert levels(distinguished(runs)["clip"]) == ["adaptive"]


def test_two_rules_with_one_threshold_are_told_apart(tables):
    runs = tables.runs[tables.runs["cell"] == "tanh"].assign(seed=0)
    runs["clipping"] = ["norm", "value", "norm"] * (len(runs) // 3)
    assert levels(distinguished(runs)["cell"]) == ["tanh, clipping=norm", "tanh, clipping=value"]


def test_a_new_cell_stands_after_the_known_ones(tables):
    runs = tables.runs.assign(cell=tables.runs["cell"].replace("tanh", "antisymmetric"))
    assert levels(distinguished(runs)["cell"]) == ["irnn", "lstm", "antisymmetric"]


def test_a_setting_is_described_by_who_has_which():
    runs = pd.DataFrame({"task": list("aabb"), "cell": list("xyxy"), "one": 1.0, "lr": [0.1, 0.2, 0.1, 0.2]})
    runs = runs.assign(updates=[3, 3, 4, 4], seed=range(4), bias=[None, 1.0, None, 1.0])
    told = {key: described(runs, key) for key in ("one", "lr", "updates", "bias")}
    assert told == {"one": "1", "lr": "0.1 (x); 0.2 (y)", "updates": "3 (a); 4 (b)", "bias": "1 (y)"}


def test_the_usual_layout_is_what_tells_settings_apart(tables):
    assert layout(tables.runs) == Layout() == Layout(hue="cell", row="clip", col="task", x="clip")
    pd.testing.assert_frame_equal(laid_out(tables.runs, Layout()), distinguished(tables.runs))


@pytest.mark.parametrize(
    ("given", "hue", "row", "col", "x"),
    [
        ({"hue": "clip"}, "clip", "cell", "task", "cell"),
        ({"hue": "task"}, "task", "clip", "cell", "clip"),
        ({"col": "cell"}, "task", "clip", "cell", "clip"),
        ({"row": "task"}, "cell", "task", "clip", "task"),
        ({"row": "optimizer.lr"}, "cell", "optimizer.lr", "task", "clip"),
        ({"col": "task.length", "row": "clipping.threshold"}, "cell", "clip", "task.length", "clip"),
        ({"x": "optimizer.lr"}, "cell", "clip", "task", "optimizer.lr"),
        ({"hue": "folder"}, "folder", "clip", "task", "clip"),
    ],
)
def test_what_is_not_asked_for_takes_what_is_left(tables, given, hue, row, col, x):
    assert layout(tables.runs, **given) == Layout(hue, row, col, x, fixed=bool({"row", "col"} & given.keys()))


@pytest.mark.parametrize(
    "given", [{"hue": "cels"}, {"hue": "cell", "row": "cell"}, {"x": "task"}, {"col": "nothing.here"}]
)
def test_an_axis_that_cannot_be_is_refused(tables, given):
    with pytest.raises(NoSuchAxis, match=r"^\w+=[\w.]+: "):
        layout(tables.runs, **given)


@pytest.fixture(scope="module")
def swept(make_up, tmp_path_factory) -> pd.DataFrame:
    """Two tasks, one of them at two lengths, two cells, two thresholds and two learning rates."""
    folder = tmp_path_factory.mktemp("swept")
    for tasks in ({"adding": 100, "copying": 10}, {"adding": 20}):
        make_up(folder, tasks, ["lstm", "tanh"], [1.0, 10.0], seeds=1, lrs=(0.1, 0.2))
    return load(folder).runs


@pytest.mark.parametrize(
    "asked",
    [
        *({}, {"hue": "task.length"}, {"hue": "clip"}, {"hue": "optimizer.lr", "row": "task", "col": "cell"}),
        *({"row": "seed"}, {"col": "task.length", "row": "clipping.threshold"}),
    ],
)
def test_no_two_settings_are_pooled_whatever_the_layout(swept, asked):
    chosen = layout(swept, **asked)
    runs = laid_out(swept, chosen)
    assert (runs.groupby(list(chosen.columns.values()), observed=True).size() == 1).all()  # of one seed


def test_what_no_axis_tells_apart_is_named_in_the_hue(swept):
    runs = laid_out(swept, layout(swept, col="task.length", row="clipping.threshold"))
    assert levels(runs["by task.length"]) == ["length=10", "length=20", "length=100"]
    assert levels(runs["clip"]) == ["1", "10"]
    assert levels(runs["cell"]) == ["tanh, lr=0.1", "tanh, lr=0.2", "lstm, lr=0.1", "lstm, lr=0.2"]
    runs = laid_out(swept, layout(swept, col="clip", row="optimizer.lr"))
    tasks = ["adding, length=20", "adding, length=100", "copying, length=10"]
    assert levels(runs["cell"]) == [f"{cell}, task={task}" for cell in ("tanh", "lstm") for task in tasks]


def test_what_lies_along_x_is_told_apart_too(swept):
    along = laid_out(swept, Layout(), "optimizer.lr")
    assert levels(along[column_of("optimizer.lr")]) == ["lr=0.1", "lr=0.2"]
    assert levels(along["cell"]) == ["tanh", "lstm"]


def test_a_component_without_a_setting_is_a_level_of_its_own(tables):
    runs = tables.runs.assign(**{"cell.rate": [0.5 if cell == "lstm" else np.nan for cell in tables.runs["cell"]]})
    named = laid_out(runs, layout(runs, row="cell.rate"))["by cell.rate"]
    assert levels(named) == ["rate=0.5", "no rate"]
    assert named.notna().all()


def test_captions_say_how_settings_were_chosen(runs):
    assert "settings chosen by hand." in conditions(runs)
    searched = runs.assign(selection="optimizer.lr searched on seeds 100, 101; these are fresh")
    assert "searched on seeds 100, 101" in conditions(searched)
    assert "by hand" not in conditions(searched)
    mixed = searched.assign(selection=searched["selection"].mask(searched["cell"] == "tanh"))
    assert "settings chosen by hand or optimizer.lr searched" in conditions(mixed)
