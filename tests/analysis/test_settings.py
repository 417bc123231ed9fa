from __future__ import annotations

import pandas as pd

from bench.analysis.settings import described, distinguished, levels
from bench.results import load


def test_what_was_varied_within_a_cell_is_named_in_the_order_of_its_values(make_up, tmp_path):
    make_up(tmp_path, {"adding": 8}, ["lstm", "tanh"], [1.0], seeds=1, lrs=(0.01, 0.001))
    runs = distinguished(load(tmp_path).runs)
    assert levels(runs["cell"]) == ["tanh, lr=0.001", "tanh, lr=0.01", "lstm, lr=0.001", "lstm, lr=0.01"]


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
