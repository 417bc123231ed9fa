"""References are the results they were made from, and stand beside others as those would."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench import reference, report
from bench.analysis import tables
from bench.analysis.settings import distinguished
from bench.runs import references
from bench.runs.tables import Tables, load
from tests.analysis.conftest import make_up

ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder of runs of two cells on two tasks, kept as the reference `known` beside it."""
    known = make_up(tmp_path / "known", cells=["tanh", "lstm"], thresholds=[1.0], only=("evaluations",))
    assert reference.main([str(known), "--out", str(tmp_path)]) == 0
    return tmp_path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Another cell, on one of the tasks."""
    return rename(make_up(tmp_path / "mine", {"adding": 40}, ["irnn"], [1.0], only=("evaluations",)))


def said(results: Path, line: str) -> None:
    """Add a line to the configuration of every run."""
    for config in results.glob("*/config.yaml"):
        config.write_text(f"{config.read_text()}{line}\n")
        sizes = {path.name: path.stat().st_size for path in config.parent.iterdir() if path.name != "finished"}
        (config.parent / "finished").write_text(json.dumps(sizes))


def rename(results: Path) -> Path:
    """Give runs ids of their own, as different questions have."""
    for run in sorted(results.iterdir()):
        run.rename(results / f"f{run.name[1:]}")
    return results


def test_a_reference_has_the_tables_of_its_folder(made):
    folder, kept = load(made / "known"), Tables(references.read("known", made))
    for name in ("runs", "environments", "evaluations"):
        one, other = getattr(folder, name), getattr(kept, name)
        dropped = ["folder", "results"]  # where it lay
        one, other = (table.drop(columns=dropped, errors="ignore") for table in (one, other))
        one = one[other.columns] if name == "evaluations" else one  # of which what curves are made from is kept
        pd.testing.assert_frame_equal(one, other, check_dtype=False, check_categorical=False, rtol=1e-4)
    for table in (tables.overview, tables.estimates, tables.comparisons):
        one, other = (table(distinguished(results.runs)) for results in (folder, kept))
        pd.testing.assert_frame_equal(one.numbers, other.numbers)
        assert one.text.equals(other.text)


def test_its_bytes_say_nothing_of_when_and_where(made, tmp_path):
    said(made / "known", f"results: {made / 'known'}")
    references.keep(load(made / "known").directories, "known", made)
    again = tmp_path / "elsewhere" / "known"
    again.parent.mkdir()
    (made / "known").rename(again)
    references.keep(load(again).directories, "known", again.parent)
    assert (again.parent / "known.json.gz").read_bytes() == (made / "known.json.gz").read_bytes()
    assert str(tmp_path) not in gzip.decompress((made / "known.json.gz").read_bytes()).decode()


def test_a_new_cell_stands_beside_the_known_ones_in_paired_comparisons(made, mine):
    both = references.beside(load(mine), "known", made)
    runs = distinguished(both.runs)
    assert set(zip(runs["task"], runs["cell"], strict=True)) == {("adding", cell) for cell in ("tanh", "irnn", "lstm")}
    comparisons = tables.comparisons(runs).numbers
    assert set(zip(comparisons["a"], comparisons["b"], comparisons["pairing"], strict=True)) == {
        *((("tanh", "irnn", "paired (data)")), ("irnn", "lstm", "paired (data)"), ("tanh", "lstm", "paired (data)"))
    }


def test_a_run_that_was_done_again_counts_once(made):
    again = rename(make_up(made / "again", {"adding": 40}, ["tanh", "irnn"], [1.0], seeds=2, only=("evaluations",)))
    for config in again.glob("*/config.yaml"):
        config.write_text(config.read_text().replace("threshold: 1.0", "threshold: 1"))
    said(again, "of_a_later_version: null")
    runs = references.beside(load(again), "known", made).runs
    counts = runs.groupby(["cell", "folder"]).size()
    assert counts.to_dict() == {
        **{("irnn", str(again)): 2, ("tanh", str(again)): 2},
        **{("tanh", "known"): 1, ("lstm", "known"): 3},  # of three seeds, two were done again
    }


@pytest.mark.parametrize("task", [{"adding": 41}, {"copying": 10}])
def test_other_data_are_nothing_to_compare_with(made, task, tmp_path):
    other = rename(make_up(tmp_path / "other", task, ["irnn"], [1.0], seeds=1, only=("evaluations",)))
    if "copying" in task:
        assert set(references.beside(load(other), "known", made).runs["task"]) == {"copying"}
        return
    with pytest.raises(references.NoReference, match="has none of the tasks of these results; it has task=adding"):
        references.beside(load(other), "known", made)


def test_the_report_shows_them_and_says_that_they_are_references(made, mine, monkeypatch, capsys, svg_alone):
    monkeypatch.setattr(references, "HERE", made)
    beside: Callable[..., Tables] = references.beside
    monkeypatch.setattr(references, "beside", lambda results, name: beside(results, name, made))
    assert report.main([str(mine), "--against", "known"]) == 0
    page = (mine / "report" / "report.html").read_text()
    assert page.count("<td>reference</td>") == 6
    assert page.count(">config.yaml</a>") == 3
    assert "<title>Report: mine, known</title>" in page
    assert "| adding | lstm | 1    | 3 |" in capsys.readouterr().out


@pytest.mark.parametrize("name", references.names())
def test_references_of_the_suite_are_small_and_whole(name):
    path = references.HERE / f"{name}{references.ENDING}"
    assert path.stat().st_size < 5_000_000
    results = Tables(references.read(name))
    assert results.runs["outcome"].notna().all()
    assert set(results.evaluations["run"]) == set(results.runs["run"])
    assert {"commit", "torch", "processor"} <= set(results.environments)
    assert (results.runs["results"] == f"results/{name}").all()


def test_all_of_them_together_are_small():
    assert sum(path.stat().st_size for path in references.HERE.glob("*.json.gz")) < 10_000_000


def test_quick_is_among_them():
    assert "quick" in references.names()
    assert len(references.read("quick")) == 120


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    assert reference.main([str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def _words(page):
    return " ".join(page.read_text("utf-8").split())


def test_what_pages_say_of_quick_is_what_its_reference_came_to():
    """README's and the findings' table of `quick`, and what they say of its runs: ranges are those of single runs, and
    a run that exploded is not said to have learned nothing.
    """
    findings = _words(ROOT / "docs" / "explanation" / "findings.md")
    readme = _words(ROOT / "README.md")
    runs = Tables(references.read("quick")).runs
    runs["cell"] = runs["cell"].replace({"irnn": "IRNN", "lstm": "LSTM"})
    threshold, solved = runs["clipping.threshold"].astype(float), runs["solved_at"].notna()
    for (task, cell), of in runs.groupby(["task", "cell"]):
        counts = [f"{solved[of.index][threshold[of.index] == c].sum()}/5" for c in (1, 10, 100, math.inf)]
        median = of["solved_at"][threshold[of.index] == 10].median()
        times = "" if math.isnan(median) else f"{median:.0f} "
        for page in (findings, readme):
            assert f"| {task} | {cell} | {' | '.join(counts)} | {times}|" in page
    copied = runs[(runs["task"] == "copying") & (runs["cell"] == "LSTM")]["solved_at"]
    medians = copied.groupby(threshold).median().unique()
    said = f"solves after {copied.min():.0f} to {copied.max():.0f} updates here (medians by threshold: "
    assert said + " and ".join(f"{value:.0f}" for value in medians) in findings
    free = runs[(runs["task"] == "adding") & (runs["cell"] == "IRNN") & (threshold == math.inf)]
    going_on = free[free["outcome"] != "diverged"]
    times = sorted(going_on["final_loss"] / going_on["baseline_loss"])
    assert len(free) == 5
    assert len(times) == 3
    assert times[0] < 1.2
    assert f"two of five runs diverge, two end at {times[1]:.0f} and {times[2]:.0f} times the baseline" in findings
