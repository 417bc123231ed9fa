"""`bench.load(...)`: what a report shows, for a notebook or a script."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import bench
from bench.analysis import tables as tables_module
from bench.analysis.figures.learning import learning_curves
from bench.analysis.report.write import NoSuchFigure
from bench.analysis.settings import NoSuchAxis, distinguished


@pytest.fixture(scope="module")
def loaded(results):
    return bench.load(results)


def test_runs_begin_with_what_people_look_for(loaded):
    names = list(loaded.runs)
    assert names[:2] == ["task", "cell"]
    assert names.index("clipping.threshold") < names.index("seed") < names.index("outcome")
    assert names.index("outcome") < names.index("final_skill") < names.index("optimizer.lr")
    pd.testing.assert_frame_equal(loaded.runs[list(loaded.tables.runs)], loaded.tables.runs)


@pytest.mark.parametrize("name", ["overview", "estimates", "memory", "clipping"])
def test_tables_are_those_of_the_report(loaded, name):
    table = loaded.table(name)
    assert table.name == name
    assert str(table) in table._repr_markdown_()


def test_the_overview_is_the_reports(loaded):
    expected = tables_module.overview(distinguished(loaded.tables.runs))
    assert loaded.table("overview").markdown() == expected.markdown()


def test_a_table_that_is_not_there_names_those_that_are():
    with pytest.raises(tables_module.NoSuchTable, match="overview, solved, estimates, comparisons, memory, clipping"):
        tables_module.named("overwiev", None, None)


def test_a_figure_by_name_is_the_figure(loaded):
    drawn = loaded.plot("learning_curves", hue="clipping.threshold")
    assert drawn.name == "learning_curves"
    pd.testing.assert_frame_equal(drawn.data, learning_curves(loaded.tables, hue="clipping.threshold").data)


def test_a_figure_of_one_panel_is_drawn_into_axes(loaded):
    some = loaded.tables.runs.query("`clipping.threshold` == 1 and task == 'adding'")["run"]
    figure, ax = plt.subplots()
    drawn = bench.Results(loaded.tables.of(list(some))).plot("learning_curves", ax=ax)
    assert drawn.figure is figure
    assert ax.lines


def test_mistakes_name_what_there_is(loaded):
    with pytest.raises(NoSuchFigure, match="learning_curves"):
        loaded.plot("learning_curve")
    with pytest.raises(NoSuchAxis, match=r"optimizer\.lr"):
        loaded.plot("learning_curves", hue="lr")
    with pytest.raises(AttributeError, match="hold no table spectra; they hold"):
        loaded.spectra  # noqa: B018


def test_tables_of_observations_are_attributes(loaded):
    assert loaded.evaluations is loaded.tables.evaluations
    assert "evaluations" in dir(loaded)


def test_a_report_is_written_and_its_page_returned(loaded, tmp_path):
    page = loaded.report(tmp_path / "out", only=["learning_curves"])
    assert page == tmp_path / "out" / "report.html"
    assert page.exists()
    assert (tmp_path / "out" / "figures" / "learning_curves.png").exists()


def test_results_say_how_many_runs_they_are(loaded):
    assert repr(loaded).startswith(f"<results of {len(loaded.runs)} runs: ")
