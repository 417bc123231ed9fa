"""What the page draws on demand is what was recorded, thinned and rounded."""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from bench.analysis.report import detail as module
from bench.analysis.report.detail import _number, _thinned, detail, packed
from bench.analysis.settings import distinguished
from bench.analysis.statistics.comparisons import compare, every_pair
from bench.analysis.statistics.summaries import score
from bench.runs.tables import load


@pytest.fixture(scope="module")
def results(make_up, tmp_path_factory):
    return load(make_up(tmp_path_factory.mktemp("detail") / "few", {"adding": 20}, thresholds=(1.0, np.inf), seeds=3))


@pytest.fixture(scope="module")
def found(results):
    return detail(distinguished(results.runs), results)


def test_unpacking_gives_what_was_packed_and_packing_again_the_same_bytes(found):
    text = packed(found)
    assert json.loads(gzip.decompress(base64.b64decode(text))) == json.loads(json.dumps(found))
    assert packed(found) == text


def test_every_run_is_there_with_its_place_on_the_axes(results, found):
    runs = distinguished(results.runs).set_index("run")
    scores = score(runs["final_skill"], runs["outcome"])
    assert {run["run"] for run in found["runs"]} == set(runs.index)
    for run in found["runs"]:
        row = runs.loc[run["run"]]
        axes = [found["axes"][axis][place] for axis, place in zip(("task", "cell", "clip"), run["at"], strict=True)]
        assert axes == [row["task"], row["cell"], row["clip"]]
        assert run["score"] == pytest.approx(scores[run["run"]], rel=0.01)
        assert (
            dict(zip(found["keys"], run["own"], strict=True))["clipping.threshold"] == f"{row['clipping.threshold']:g}"
        )


def test_curves_are_the_evaluations_over_the_baseline(results, found):
    for run in found["runs"][::5]:
        own = results.evaluations[results.evaluations["run"] == run["run"]]
        baseline = results.runs.set_index("run").loc[run["run"], "baseline_loss"]
        updates, values = run["loss"]
        assert updates == own["update"].tolist()
        recorded = np.array(values, dtype=float)
        assert np.isnan(recorded).tolist() == (~np.isfinite(own["loss"])).tolist()
        np.testing.assert_allclose(recorded, (own["loss"] / baseline).to_numpy(), rtol=0.005)


def test_the_gradient_is_ln_gamma_of_the_memory(results, found):
    (lstm,) = (
        run
        for run in found["runs"]
        if found["axes"]["cell"][run["at"][1]] == "lstm" and run["seed"] == 0 and run["at"][2] == 0
    )
    gradient = lstm["gradient"]
    assert gradient["state"] == "c"
    table = results.gradient_through_time
    own = table[(table["run"] == lstm["run"]) & (table["kind"] == "probe") & (table["state"] == "c")]
    last = own[own["update"] == own["update"].max()].sort_values("lag")
    expected = (last["log_norm"] - last["log_norm"].iloc[0]).to_numpy()
    np.testing.assert_allclose(gradient["ln"][-1], expected, rtol=0.006, atol=1e-3)


def test_eigenvalues_are_those_with_an_imaginary_part_of_at_least_zero(results, found):
    run = found["runs"][0]
    table = results.eigenvalues
    own = table[(table["run"] == run["run"]) & (table["update"] == 0) & (table["imag"] >= 0)]
    ((real, imag),) = (clouds[0] for clouds in run["cloud"]["blocks"].values())
    np.testing.assert_allclose(sorted(real), sorted(own["real"]), rtol=0.006)
    assert min(imag) >= 0


def test_what_was_clipped_is_the_share_in_windows(results, found):
    for run in found["runs"][::4]:
        blocks = results.clipping[results.clipping["run"] == run["run"]]
        updates, shares = run["clipped"]
        first = blocks[blocks["update"] <= updates[0]]
        assert shares[0] == pytest.approx(first["clipped"].sum() / first["count"].sum(), rel=0.01)


def test_many_runs_have_less_of_each(results, found, monkeypatch):
    monkeypatch.setattr(module, "MANY", 2)
    sparse = detail(distinguished(results.runs), results)
    assert len(packed(sparse)) < 0.6 * len(packed(found))
    run = sparse["runs"][0]
    assert "cloud" not in run
    assert sparse["pairs"] == []
    assert len(found["pairs"]) == 15
    assert len(run["loss"][0]) <= 24
    assert [run["loss"][0][end] for end in (0, -1)] == [found["runs"][0]["loss"][0][end] for end in (0, -1)]
    assert len(run["gradient"]["updates"]) == 2


@pytest.mark.parametrize(("length", "most"), [(1, 5), (5, 5), (6, 5), (1000, 24)])
def test_thinning_keeps_the_first_and_the_last(length, most):
    places = _thinned(length, most)
    assert len(places) <= most
    assert (places[0], places[-1]) == (0, length - 1)


def test_numbers_have_three_digits_and_what_is_not_finite_is_missing():
    numbers = [np.nan, np.inf, 1234.56, 2500.0, 0.000123456, -3.0]
    assert [_number(value) for value in numbers] == [None, None, 1230.0, 2500, 0.000123, -3]


def test_any_two_settings_are_tested_as_if_they_were_the_only_ones(results):
    runs = distinguished(results.runs)
    pairs, family = every_pair(runs, seed=0), compare(runs, seed=0)
    assert len(pairs) == 6 * 5 / 2
    for _, row in family[family["kind"] == "cells"].iterrows():
        at = (pairs["clip"] == row["within"]) & (pairs["clip_b"] == row["within"])
        (same,) = (one for _, one in pairs[at].iterrows() if (one["cell"], one["cell_b"]) == (row["a"], row["b"]))
        assert (same["p_solved"], same["p_score"], same["difference"]) == (
            row["p_solved"],
            row["p_score"],
            row["difference"],
        )


def test_of_one_setting_there_is_no_pair(results):
    runs = distinguished(results.runs)
    assert every_pair(runs[(runs["cell"] == "tanh") & (runs["clip"] == "1")], seed=0).empty
    assert isinstance(every_pair(runs, seed=0), pd.DataFrame)
