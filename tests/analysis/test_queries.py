"""What is left unread is what no figure shows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis import queries
from bench.analysis.figures.dynamics import gradient_map, state
from bench.analysis.figures.figure import Figure, all_figures
from bench.analysis.tables import clipping as clipping_table
from bench.runs.tables import Tables, load
from tests.analysis.conftest import OF_SWEEPS

CHOOSING = (gradient_map, state)  # of a table only the rows that are the memory, or the hidden state
FIGURES = [figure for figure in all_figures() if figure not in CHOOSING and figure.name not in OF_SWEEPS]


@pytest.mark.parametrize("figure", FIGURES, ids=repr)
def test_a_figure_of_what_it_reads_is_that_of_everything(figure: Figure, tables: Tables):
    """Whatever part of a table it asks for, it gets the whole."""

    class Whole(Tables):
        def read(self, name, columns=None, keep=None):
            return super().read(name)

    pd.testing.assert_frame_equal(figure(tables).data, figure(Whole(tables.directories)).data)


def test_the_table_of_clipping_too(runs, tables):
    part, whole = (clipping_table(runs, blocks).numbers for blocks in (queries.clipping(tables), tables.clipping))
    pd.testing.assert_frame_equal(part, whole)


def test_less_is_read(tables):
    assert len(queries.gradients_at_ends(tables)) < len(tables.gradient_through_time) / 3
    assert "log_q50" not in queries.probes(tables)


def test_windows_of_many_runs_do_not_depend_on_how_many_are_held_together(runs, tables, monkeypatch):
    from bench.analysis.statistics import summaries as statistics

    updates = runs.set_index("run")["updates"]
    whole = statistics.clipping_windows(tables.clipping, updates)
    monkeypatch.setattr(statistics, "TOGETHER", 7)
    some = statistics.clipping_windows(tables.clipping, updates)
    by = ["run", "update"]
    pd.testing.assert_frame_equal(
        some.astype({"run": str}).sort_values(by, ignore_index=True),
        whole.astype({"run": str}).sort_values(by, ignore_index=True),
    )


def test_a_run_that_lies_in_two_folders_counts_once_as_in_the_first(make_up, tmp_path):
    for folder in ("b", "a"):
        make_up(tmp_path / folder, {"adding": 8}, ["lstm"], [1.0], seeds=2, only=("evaluations",))
    (max((tmp_path / "a").iterdir())).rename(tmp_path / "a" / "ffffffffffff")
    runs = load(tmp_path / "b", tmp_path / "a").runs
    assert [folder[-1] for folder in runs["folder"]] == ["b", "b", "a"]
    assert runs["run"].is_unique


def test_some_runs_have_the_tables_of_those_runs(tables):
    chosen = tables.runs["run"][::5].tolist()
    some = tables.of(chosen)
    assert some.runs["run"].tolist() == chosen
    assert set(some.evaluations["run"]) == set(chosen)


def test_a_column_that_a_run_lacks_is_missing_there_only(make_up, tmp_path):
    make_up(tmp_path, {"adding": 8}, ["lstm"], [1.0], seeds=2, only=("evaluations",))
    first, second = sorted(tmp_path.iterdir())
    np.savez(first / "spectrum.npz", update=np.arange(2), block=np.array(["W_hi", "W_hf"]), old=np.ones(2))
    np.savez(second / "spectrum.npz", update=np.arange(3), old=np.ones(3), new=np.full(3, 2.0))
    for run in (first, second):
        (run / "finished").write_text("{}")
    table: pd.DataFrame = Tables(load(tmp_path).directories).spectrum
    assert table["run"].tolist() == [first.name] * 2 + [second.name] * 3
    assert table["block"].tolist()[:2] == ["W_hi", "W_hf"]
    assert table["block"].isna().tolist() == [False] * 2 + [True] * 3
    assert table["new"].isna().tolist() == [True] * 2 + [False] * 3
