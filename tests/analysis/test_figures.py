"""What is drawn is what was measured, and the files are fit for a paper."""

from __future__ import annotations

import base64
import html
import re
import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fontTools.ttLib import TTFont
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text

from bench.analysis.captions import common
from bench.analysis.figures.clipping import clipping
from bench.analysis.figures.dynamics import GROWN, decay_and_exponent, gradient_map, jacobian_product
from bench.analysis.figures.eigenvalues import eigenvalues
from bench.analysis.figures.figure import Figure, all_figures
from bench.analysis.figures.gain import STD, gradient_gain
from bench.analysis.figures.gradients import gradient_probe, gradient_training
from bench.analysis.figures.labels import width_of, wrapped
from bench.analysis.figures.learning import WORST, learning_curves
from bench.analysis.figures.memory import memory_foretold, memory_growth, memory_map, memory_ranking
from bench.analysis.figures.panels import Panels
from bench.analysis.figures.plot import EXTENSIONS, NothingToDraw, Plot
from bench.analysis.figures.spectra import gate_spectral_radius, spectral_radius, state_jacobian
from bench.analysis.figures.style import ONE_COLUMN, STYLES, TWO_COLUMNS, Style, kept, paper, series_styles, styled
from bench.analysis.figures.success import memory_length, success
from bench.analysis.statistics.decay import decay
from bench.analysis.statistics.summaries import wilson
from bench.runs.tables import Tables, load

FIGURES = all_figures()
CELLS = ("tanh", "irnn", "lstm")
OVER_LENGTHS = (memory_length, memory_ranking, memory_growth, memory_foretold, memory_map)


def draw(figure: Figure, results: Tables) -> Plot:
    if figure in OVER_LENGTHS:
        lengths = [results.runs.assign(**{"task.length": length}) for length in (20, 40, 80)]
        return figure(results.replaced(runs=pd.concat(lengths)))
    if figure is gradient_gain:
        gains = [results.runs.assign(**{STD: std, "cell.activation": "identity"}) for std in (0.1, 0.2, 0.3)]
        return figure(results.replaced(runs=pd.concat(gains)))
    return figure(results)


class Plots(dict[Figure, Plot]):
    """Every figure of some results, each drawn when it is first looked at."""

    def __init__(self, results: Tables) -> None:
        super().__init__()
        self.results = results

    def __missing__(self, figure: Figure) -> Plot:
        self[figure] = draw(figure, self.results)
        self[figure].settle()
        return self[figure]


@pytest.fixture(scope="module")
def plots(tables: Tables) -> Plots:
    return Plots(tables)


@pytest.fixture(scope="module", params=FIGURES, ids=repr)
def plot(request: pytest.FixtureRequest, plots: Plots) -> Plot:
    return plots[request.param]


@pytest.fixture(scope="module")
def file(plot: Plot, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where a plot's file of an extension lies."""
    folder = tmp_path_factory.mktemp("figures")
    plot.save(folder)
    return lambda extension: folder / f"{plot.name}.{extension}"


@pytest.fixture(scope="module")
def two_rates(make_up, tmp_path_factory) -> Tables:
    """Three cells at two learning rates and two thresholds, of three seeds."""
    folder = tmp_path_factory.mktemp("rates")
    return load(make_up(folder, {"adding": 20}, CELLS, [1.0, np.inf], lrs=(0.1, 0.2)))


@pytest.fixture(scope="module")
def few_runs(make_up, tmp_path_factory) -> Tables:
    """Two tasks, three cells, two thresholds and one seed."""
    folder = tmp_path_factory.mktemp("few")
    return load(make_up(folder, {"adding": 20, "copying": 10}, CELLS, [1.0, np.inf], seeds=1))


@pytest.fixture
def one_run(make_up, tmp_path) -> Tables:
    return load(make_up(tmp_path / "one", {"adding": 20}, ["lstm"], [1.0], seeds=1))


def lines(figure: Drawing) -> dict[tuple[str, str], list[np.ndarray]]:
    """The curves of every panel, by row and column title."""
    panels = figure.axes
    columns = [panel.get_title() for panel in panels if panel.get_title()]
    rows = [text.get_text() for panel in panels for text in panel.texts]
    keys = [(row, column) for row in rows for column in columns]
    curves = [[line.get_ydata() for line in panel.lines if len(line.get_ydata()) > 2] for panel in panels]
    return dict(zip(keys, curves, strict=True))


# What every figure keeps


def test_caption_says_what_it_must(plot):
    for said in ("n = 3 seeds", "adam, lr 0.001", "mean over batch and scored steps", "settings chosen by hand"):
        assert said in plot.text
    shown = ("quartiles", "Wilson", "bootstrap", "a point a run", "One run", "of every run", "profile likelihood")
    assert any(what in plot.text for what in shown)


def test_caption_is_short_and_the_title_a_question(plot, file):
    assert 10 < len(plot.caption.split()) < 60
    assert plot.title.endswith("?")
    assert file("txt").read_text() == f"{plot.title}\n\n{plot.caption} {plot.details}\n"


def test_what_all_figures_share_is_said_once(runs):
    told = common(runs)
    assert told.startswith("In all figures: n = 3 seeds of each setting.")
    assert "Trained with adam, lr 0.001" in told


def test_alt_text_names_the_lines(plot):
    ungated, gated = ("tanh", "irnn"), ("lstm",)
    only = {"spectral_radius": ungated, "gate_spectral_radius": gated}
    assert all(cell in plot.alt for cell in only.get(plot.name, ungated + gated))


def test_files_are_all_there_and_equal_when_drawn_again(plot, file, tables, tmp_path, svg_alone):
    """A figure has all its files, and drawn anew, this time without being settled, the same bytes as SVG, CSV and text.

    The SVG has all that is drawn; `test_a_plot_can_be_saved_twice` has the other formats.
    """
    draw({figure.name: figure for figure in FIGURES}[plot.name], tables).save(tmp_path)
    for extension in EXTENSIONS:
        content = file(extension).read_bytes()
        assert len(content) > 0
        if extension not in ("pdf", "png"):
            assert (tmp_path / f"{plot.name}.{extension}").read_bytes() == content


@pytest.mark.parametrize("figure", [success, gradient_map, eigenvalues], ids=repr)  # lines; pictures; points
def test_a_plot_can_be_saved_twice(figure, plots, tmp_path):
    for folder in ("a", "b"):
        plots[figure].save(tmp_path / folder)
    for extension in EXTENSIONS:
        first, second = ((tmp_path / folder / f"{figure.name}.{extension}").read_bytes() for folder in ("a", "b"))
        assert first == second


def test_page_is_as_wide_as_a_column_or_a_page(plot, file):
    (box,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", file("pdf").read_bytes())
    assert float(box[0]) / 72 in (ONE_COLUMN, TWO_COLUMNS)


def test_more_than_two_columns_of_panels_take_the_whole_page(tables):
    plot = learning_curves(tables, row="task", col="clip")
    assert plot.figure.get_figwidth() == TWO_COLUMNS


def test_picture_has_300_dots_an_inch(plot, file):
    width = int.from_bytes(file("png").read_bytes()[16:20], "big")
    assert width == round(300 * plot.figure.get_figwidth())


def test_fonts_are_embedded_as_truetype(file):
    pdf = file("pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"STIXGeneral" in pdf


def test_svg_asks_no_other_host(file):
    svg = file("svg").read_text()
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", svg)


def test_text_of_an_svg_is_text_in_fonts_that_it_brings_along_and_in_generic_ones(file):
    svg = file("svg").read_text()
    brought = set(re.findall(r"@font-face{font-family:'([^']*)'", svg))
    families = re.findall(r"font-family: ([^;\"]*)", svg)
    assert families
    assert {family.split(",")[0].strip("'") for family in families} == brought
    assert all(family.endswith(", serif") for family in families)
    letters = set(html.unescape("".join(re.findall(r"<(?:text|tspan) style=[^>]*>([^<]+)<", svg))))
    (data,) = re.findall(r"'STIXGeneral';font-style:normal;src:url\(data:font/woff;base64,([^)]*)\)", svg)
    with TTFont(BytesIO(base64.b64decode(data))) as font:
        upright = set(map(chr, font.getBestCmap()))
    assert {letter for letter in letters if letter.isdigit()} <= upright


def test_no_letter_is_under_seven_points(plot):
    texts = [text for text in plot.figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 7


def test_nothing_lies_outside_the_page(plot):
    with paper():
        plot.figure.draw_without_rendering()
        box = plot.figure.get_tightbbox()
    width, height = plot.figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_every_axis_says_what_it_shows(plot):
    assert plot.figure.get_supxlabel()
    settings = plot.name in ("scores", "memory_ranking") and [
        label.get_text() for label in plot.figure.axes[0].get_yticklabels()
    ]
    assert plot.figure.get_supylabel() or settings or plot.figure.axes[0].get_ylabel()


def test_csv_holds_the_numbers(plot, file):
    read = pd.read_csv(file("csv"), keep_default_na=False, na_values=[""])
    assert list(read) == list(plot.data)
    numbers = plot.data.select_dtypes("number")
    np.testing.assert_allclose(read[list(numbers)], numbers)


@pytest.mark.parametrize("figure", [figure for figure in FIGURES if figure.needs], ids=repr)
def test_without_a_table_that_it_needs_there_is_no_figure(figure, tables):
    for absent in figure.needs:
        there = {name: getattr(tables, name) for name in ("runs", *figure.needs) if name != absent}
        with pytest.raises(NothingToDraw, match=f"^these results hold no table {absent}$"):
            figure(Tables([]).replaced(**there))
    empty = {name: getattr(tables, name).iloc[:0] for name in figure.needs}
    with pytest.raises(NothingToDraw, match=r"^these results hold no "):
        figure(Tables([]).replaced(runs=tables.runs, **empty))


def test_figures_stand_in_a_declared_order_under_names_of_their_own():
    assert [figure.name for figure in FIGURES][:4] == ["learning_curves", "accuracy", "success", "scores"]
    assert len({figure.name for figure in FIGURES}) == len({figure.place for figure in FIGURES}) == len(FIGURES)


@pytest.mark.parametrize("figure", FIGURES, ids=repr)
def test_a_figure_has_the_name_of_its_function_and_its_docstring(figure, plots):
    assert plots[figure].name == figure.name
    assert len(figure.__doc__) > 20


def test_settings_of_matplotlib_are_as_before(tables):
    before = dict(mpl.rcParams)
    success(tables)
    assert dict(mpl.rcParams) == before


def test_a_series_without_a_number_leaves_the_others_to_be_drawn():
    """The gradient of a part of the state that the last step's loss does not see has no size relative to it."""
    panel = Drawing().subplots()
    lags = np.arange(12)
    band = pd.concat(
        pd.DataFrame({"lag": lags, "part": part, "median": level, "q25": level, "q75": level})
        for part, level in (("h", -1.0), ("h-1", np.nan))
    )
    panels = Panels((panel.figure,), {("", "adding"): panel}, series_styles(["h", "h-1"]), "", "task", "part")
    panels.draw_bands(band.assign(task="adding"), "lag")
    panel.figure.canvas.draw()
    assert len(panel.lines) == 1


def test_known_cells_keep_their_look_and_new_ones_take_the_next():
    all_four, fewer = series_styles(["tanh", "irnn", "lstm", "mine"]), series_styles(["lstm", "mine"])
    assert all(fewer[cell] == all_four[cell] for cell in fewer)
    for part in ("color", "marker"):
        assert len({getattr(look, part) for look in all_four.values()}) == 4


def test_no_two_of_twelve_levels_look_the_same():
    drawn = series_styles([*"abcdefghijkl"]).values()
    assert len({(look.color, look.marker) for look in drawn}) == 12


def test_neighbours_are_told_apart_without_colour():
    drawn = list(series_styles(["tanh", "irnn", "lstm", *"abcdefghi"]).values())
    for place in range(len(drawn) - 7):
        assert len({look.marker for look in drawn[place : place + 7]}) == 7


WIDTHS = {"paper": (3.3, 6.75), "neurips": (5.5, 5.5), "icml": (3.25, 6.75), "ieee": (3.5, 7.16), "slides": (10, 10)}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("wide", [False, True])
def test_a_page_of_each_style_has_its_width_to_the_point(style, wide, tables, tmp_path):
    runs = tables.runs
    chosen = runs if wide else runs[np.isfinite(runs["clipping.threshold"])]  # three columns of panels, or two
    with styled(STYLES[style]):
        plot = success(tables.replaced(runs=chosen), col="clip", row="task", x="task")
    plot.save(tmp_path)
    (box,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) [\d.]+ ?\]", (tmp_path / "success.pdf").read_bytes())
    assert float(box) == pytest.approx(72 * WIDTHS[style][wide], abs=1e-9)
    assert plot.figure.legends[0].get_texts()[0].get_fontsize() == STYLES[style].letters
    family = b"DejaVuSans" if style == "slides" else b"STIXGeneral"
    assert family in (tmp_path / "success.pdf").read_bytes()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_pgf_is_set_by_latex_in_its_width(tables, tmp_path):
    """LaTeX sets a figure in PGF, whatever signs the names of cells have."""
    cells = tables.runs["cell"].replace({"irnn": "i_r&n#n", "tanh": "$W_{hh}$ <~3>|"})
    learning_curves(tables.replaced(runs=tables.runs.assign(cell=cells))).save(tmp_path, pgf=True)
    document = r"\documentclass{article}\usepackage{pgf}\begin{document}\input{learning_curves.pgf}\end{document}"
    (tmp_path / "page.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert (
        f"\\pgfpathrectangle{{\\pgfpointorigin}}{{\\pgfqpoint{{{ONE_COLUMN:.6f}in}}"
        in (tmp_path / "learning_curves.pgf").read_text()
    )


def test_the_csv_redraws_the_figure(plots, runs, tables, tmp_path):
    """The median and quartiles in the CSV file are the lines and bands, and need nothing else."""
    plots[learning_curves].save(tmp_path)
    read = pd.read_csv(tmp_path / "learning_curves.csv", keep_default_na=False)
    again = read.astype({name: runs[name].dtype for name in ("task", "cell", "clip")})
    drawn = lines(plots[learning_curves].figure)
    for (task, clip), part in again.groupby(["task", "clip"], observed=True):
        title = "no clipping" if clip == "none" else f"clipped at {clip}"
        curves = [line["median"].clip(upper=WORST).to_numpy() for _, line in part.groupby("cell", observed=True)]
        for one, other in zip(drawn[title, task], curves, strict=True):
            np.testing.assert_allclose(one, other)


def test_cells_have_one_colour_in_all_figures(plots):
    legends = [legend for figure in FIGURES for legend in plots[figure].figure.legends[:1]]
    handles = [handle for legend in legends for handle in legend.legend_handles]
    known = ("tanh", "irnn")
    assert len({(h.get_label(), to_hex(h.get_color())) for h in handles if h.get_label() in known}) == 2


@pytest.mark.parametrize("figure", [success, gate_spectral_radius, gradient_probe])
def test_a_new_cell_is_drawn_like_any_other(figure, tables):
    renamed = tables.runs.assign(cell=tables.runs["cell"].replace("lstm", "mine"))
    plot = draw(figure, tables.replaced(runs=renamed))
    assert any("mine" in text.get_text() for text in plot.figure.legends[0].get_texts())


@pytest.mark.parametrize("hue", ["seed", "optimizer.lr", "task.length"])
def test_any_setting_may_tell_lines_apart_and_the_others_are_told_apart_with_it(tables, hue):
    plot = learning_curves(tables, hue=hue)
    legend = plot.figure.legends[0]
    labels = {text.get_text() for text in legend.get_texts()}
    assert legend.get_title().get_text() == hue
    short = hue.rpartition(".")[2]
    values = {f"{value:g}" for value in tables.runs[hue].unique()}
    assert labels == {f"{short}={value}, cell={cell}" for value in values for cell in CELLS} | {"baseline"}


@pytest.mark.parametrize("figure", FIGURES, ids=repr)
@pytest.mark.parametrize("layout", [{"hue": "clip", "row": "task"}, {"col": "optimizer.lr"}])
def test_no_figure_pools_what_its_axes_do_not_name(figure, layout, two_rates):
    """Three cells and two learning rates, of three seeds: a line that pools any two has a count of six or more."""
    if figure in (*OVER_LENGTHS, gradient_gain):
        pytest.skip("has a sweep of its own")
    plot = figure(two_rates, **layout)
    if "n" in plot.data:
        assert plot.data["n"].max() == 3
    assert "n = 3 seeds" in plot.text
    if "run" in plot.data:  # a point a run
        axes = [name for name in plot.data if name in ("task", "cell", "clip") or name.startswith("by ")]
        varied = two_rates.runs.set_index("run")[["cell", "optimizer.lr", "task", "clipping.threshold"]]
        drawn = plot.data[["run", *axes]].drop_duplicates().join(varied.add_prefix("true "), on="run")
        trues = [name for name in drawn if name.startswith("true ")]
        assert drawn.groupby(axes, observed=True)[trues].nunique().max(axis=None) == 1


# Learning curves


def test_learning_curves_are_drawn_as_the_csv_says(plots):
    plot = plots[learning_curves]
    drawn = lines(plot.figure)
    for (task, clip), part in plot.data.groupby(["task", "clip"], observed=True):
        title = "no clipping" if clip == "none" else f"clipped at {clip}"
        expected = [line["median"].clip(upper=WORST) for _, line in part.groupby("cell", observed=True)]
        np.testing.assert_allclose(drawn[title, task], expected)


def test_band_is_the_quartiles_of_loss_over_baseline(plots, runs, tables):
    plot = plots[learning_curves]
    chosen = runs[(runs["task"] == "adding") & (runs["cell"] == "lstm") & (runs["clip"] == "1")]
    table = tables.evaluations
    losses = table.loc[table["run"].isin(chosen["run"]) & (table["update"] == 1200), "loss"] / (1 / 6)
    wanted = {"task": "adding", "cell": "lstm", "clip": "1", "update": 1200}
    (row,) = plot.data[(plot.data[list(wanted)] == pd.Series(wanted)).all(axis=1)].to_dict("records")
    assert row["n"] == 3
    np.testing.assert_allclose([row["q25"], row["median"], row["q75"]], np.quantile(losses, (0.25, 0.5, 0.75)))


def test_diverged_runs_count_as_infinite_and_lie_on_the_upper_edge(plots):
    plot = plots[learning_curves]
    lost = plot.data[(plot.data["cell"] == "irnn") & (plot.data["clip"] == "none") & (plot.data["update"] == 3000)]
    assert (lost["n"] == 3).all()
    assert np.isinf(lost["median"]).all()  # 2 of 3 diverge
    for task in ("adding", "copying"):
        assert lines(plot.figure)["no clipping", task][1][-1] == WORST


# Success


def test_success_is_drawn_with_its_wilson_interval(plots):
    plot = plots[success]
    (row,) = plot.data[
        (plot.data["task"] == "adding") & (plot.data["cell"] == "irnn") & (plot.data["clip"] == "none")
    ].to_dict("records")
    assert (row["n"], row["successes"]) == (3, 1)
    np.testing.assert_allclose((row["low"], row["high"]), np.ravel(wilson(1, 3)))
    ends = plot.figure.axes[0].collections[1].get_segments()[-1][:, 1]
    np.testing.assert_allclose(ends, (row["low"], row["high"]))


# Gradient through time


def test_gamma_is_the_gradient_over_that_at_the_loss(one_run):
    plot = gradient_probe(one_run)
    table = one_run.gradient_through_time
    end = table[(table["kind"] == "probe") & (table["state"] == "c") & (table["update"] == 3000)].set_index("lag")
    drawn = plot.data[(plot.data["moment"] == "1") & (plot.data["state"] == "c")].set_index("lag")
    assert drawn.loc[0, "median"] == 0
    np.testing.assert_allclose(drawn["median"], end["log_norm"][drawn.index] - end.loc[0, "log_norm"])


def test_at_the_start_each_seed_counts_once_whatever_the_threshold(plots):
    plot = plots[gradient_probe]
    assert set(plot.data.loc[plot.data["moment"] == "start", "n"]) == {3}


def test_a_vanished_gradient_is_minus_infinity_and_not_drawn(plots):
    plot = plots[gradient_probe]
    gone = plot.data[(plot.data["task"] == "adding") & (plot.data["cell"] == "tanh") & (plot.data["lag"] > 35)]
    assert (gone["median"] == -np.inf).all()
    tanh = lines(plot.figure)["adding", "start"][0]  # turned: a row for each task
    assert np.isfinite(tanh).sum() == 36


def test_scored_steps_are_shaded(plots):
    plot = plots[gradient_training]
    shades = [panel.patches[0].get_extents().transformed(panel.transData.inverted()) for panel in plot.figure.axes]
    assert {(round(s.x0, 6), round(s.x1, 6)) for s in shades} == {(39.5, 40.5), (0.5, 20.5)}  # adding, copying


# Spectra


def test_the_matrices_of_a_gated_cell_have_a_figure_of_their_own(plots):
    assert set(plots[spectral_radius].data["cell"]) == {"tanh", "irnn"}
    gates = plots[gate_spectral_radius].data["matrix"]
    assert list(gates.cat.categories) == [rf"lstm $W_{{{gate}}}$" for gate in ("hi", "hf", "hg", "ho")]


def test_gates_have_shades_of_their_cells_colour_and_differ_without_colour(plots):
    gates = plots[gate_spectral_radius].figure.legends[0].legend_handles[-4:]
    colors = [to_hex(gate.get_color()) for gate in gates]
    cells = series_styles(CELLS)
    assert colors[0] == cells["lstm"].color
    assert not set(colors) & {cells[cell].color for cell in ("tanh", "irnn")}
    assert len({gate.get_marker() for gate in gates}) == len(set(colors)) == 4


def test_without_a_gated_cell_there_is_no_figure_of_gates(tables):
    ungated = tables.runs[tables.runs["cell"] != "lstm"]
    with pytest.raises(NothingToDraw, match="gated cell"):
        gate_spectral_radius(tables.replaced(runs=ungated))


def test_a_median_of_few_survivors_is_not_drawn(plots):
    plot = plots[spectral_radius]
    irnn = plot.data[(plot.data["cell"] == "irnn") & (plot.data["clip"] == "none")]
    assert (irnn["n"] >= 2).all()
    assert irnn["update"].max() < 3000


@pytest.mark.parametrize("figure", [spectral_radius, gate_spectral_radius, state_jacobian])
def test_radius_1_is_drawn(figure, plots):
    for panel in plots[figure].figure.axes:
        assert any(list(line.get_ydata()) == [1, 1] for line in panel.lines)


def test_the_norm_is_drawn_beside_the_radius_and_the_moment_of_solving_is_marked(plots, runs):
    plot = plots[state_jacobian]
    assert set(plot.data["quantity"]) == {"spectral_radius", "spectral_norm"}
    lstm = runs[(runs["task"] == "adding") & (runs["cell"] == "lstm") & (runs["clip"] == "1")]
    panel = plot.figure.axes[0]  # adding, clipped at 1
    marks = [line.get_xdata()[0] for line in panel.lines if list(line.get_ydata()) == [0, 1]]
    assert lstm["solved_at"].median() in marks
    assert len(marks) == 2  # tanh never does


# Dynamics


def test_the_map_has_the_relative_gradient_at_every_update_and_lag(one_run):
    plot = gradient_map(one_run)
    table = one_run.gradient_through_time.query("kind == 'probe' and state == 'c' and update == 32").set_index("lag")
    drawn = plot.data[plot.data["update"] == 32].set_index("lag")["median"]
    np.testing.assert_allclose(drawn, table["log_norm"][drawn.index] - table.loc[0, "log_norm"])
    assert set(plot.data["state"].astype(str)) == {"c"}  # of an LSTM the memory
    (mesh,) = plot.figure.axes[0].collections
    assert mesh.get_array().shape == (20, 9)  # lags, updates


def test_decay_rates_are_drawn_against_exponents_at_start_and_end(one_run):
    plot = decay_and_exponent(one_run)
    rates = decay(one_run.gradient_through_time).query("state == 'c'").set_index("update")["decay_rate"]
    exponents = one_run.lyapunov.query("index == 1").set_index("update")["exponent"]
    assert plot.data["moment"].tolist() == ["start", "end"]
    np.testing.assert_allclose(plot.data["decay_rate"], rates[[0, 3000]])
    np.testing.assert_allclose(plot.data["exponent"], exponents[[0, 3000]])
    assert "Mean over 32 held-out sequences, of which 5 to 95 % lie within 0.04 nats per step" in plot.text
    assert "; 0 points not converged." in plot.text


def test_exponents_of_an_earlier_version_are_not_drawn_beside_those_of_now(tables):
    now = tables.lyapunov
    old = now.drop(columns="unconverged")
    with pytest.raises(NothingToDraw, match="of an earlier version"):
        decay_and_exponent(tables.replaced(lyapunov=old))
    first = now["run"].iloc[0]
    mixed = decay_and_exponent(
        tables.replaced(lyapunov=pd.concat([old[old["run"] == first], now[now["run"] != first]]))
    )
    assert first not in set(mixed.data["run"])


def test_lost_singular_values_are_not_drawn(plots):
    irnn = plots[jacobian_product].data.query("cell == 'irnn'")
    assert irnn["index"].max() == 4


def test_clouds_are_of_one_run_of_each_cell_from_start_to_end(plots, runs, tables, tmp_path):
    plot = plots[eigenvalues]
    assert plot.data.groupby("cell", observed=True)["run"].nunique().tolist() == [1, 1, 1]
    assert set(plot.data["block"]) == {"W_hh", "W_hi", "W_hf", "W_hg", "W_ho"}
    end = plot.data.query("moment == 'end' and cell == 'tanh'")
    source = tables.eigenvalues[(tables.eigenvalues["run"] == end["run"].iloc[0])]
    np.testing.assert_array_equal(end["real"], source.loc[source["update"] == 3000, "real"])
    for name in ("a.gif", "b.gif"):
        plot.animation(tmp_path / name)
    gif = (tmp_path / "a.gif").read_bytes()
    assert gif[:6] == b"GIF89a"
    assert gif == (tmp_path / "b.gif").read_bytes()


def test_dots_are_where_the_gradient_has_grown_and_nowhere_else(one_run):
    """In grey print, colours of gradients that vanished and of those that grew look alike."""
    table = one_run.gradient_through_time
    for slope in (0.15, -0.15, 0.02):  # nats a step, over 19 steps
        plot = gradient_map(one_run.replaced(gradient_through_time=table.assign(log_norm=slope * table["lag"])))
        panel, bar = plot.figure.axes
        (dots,), (legend,) = panel.lines, bar.lines
        expected = {lag for lag in range(1, 20, 2) if slope * lag > GROWN}  # every second of 20 lags has a dot
        assert set(dots.get_ydata()) == expected
        assert set(dots.get_xdata()) == (set(table["update"]) if expected else set())
        assert bool(expected) == (slope == 0.15)
        assert legend.get_xdata().min() > GROWN


# Clipping


def test_the_threshold_is_drawn_where_there_is_one(plots):
    panels = [panel for panel in plots[clipping].figure.axes if panel.get_yscale() == "log"]
    drawn = [[line.get_ydata()[0] for line in panel.lines if len(line.get_ydata()) == 2] for panel in panels]
    assert drawn == [[1], [10], [], [1], [10], []]  # on each task: clipped at 1, at 10, not at all


def test_no_panel_shows_shares_where_nothing_could_be_clipped(plots):
    shares = [panel for panel in plots[clipping].figure.axes if panel.get_yscale() == "linear"]
    assert len(shares) == 2 * 2  # tasks and finite thresholds
    assert all(any(len(line.get_ydata()) > 2 for line in panel.lines) for panel in plots[clipping].figure.axes)


def test_share_of_clipped_updates_is_counted(one_run):
    plot = clipping(one_run)
    table = one_run.clipping
    share = plot.data[plot.data["quantity"] == "clip_fraction"].set_index("update")["median"]
    assert len(share) == 50
    assert share[60] == (table.loc[table["update"] <= 60, "norm_max"] > 1).mean()


def test_norms_are_drawn_with_their_quantiles_over_the_updates_of_a_window(one_run):
    plot = clipping(one_run)
    seen = np.exp(one_run.clipping.query("60 < update <= 120")["norm_log_mean"])
    band = plot.data.query("update == 120").set_index("quantity")["median"]
    np.testing.assert_allclose(band[["norm_q05", "norm_q50", "norm_q95"]], seen.quantile([0.05, 0.5, 0.95]))


# Labels


def renamed(results: Tables, letters: int) -> Tables:
    """Results whose tasks and cells have names of so many letters."""
    names = {name: (name + "abcdefghijklmnopqrstuvwxyz")[:letters] for name in (*CELLS, "adding", "copying")}
    runs = results.runs
    return results.replaced(runs=runs.assign(task=runs["task"].map(names), cell=runs["cell"].map(names)))


def panel_sizes(plot: Plot) -> np.ndarray:
    """Width and height of every panel in inches, when laid out."""
    plot.settle()
    with paper():
        plot.figure.get_layout_engine().execute(plot.figure)
        box = plot.figure.get_tightbbox()
    width, height = plot.figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert (box.x1 <= width, box.y1 <= height) == (True, True)
    sizes = [(panel.get_position().width * width, panel.get_position().height * height) for panel in plot.figure.axes]
    return np.array(sizes)


@pytest.mark.parametrize("figure", FIGURES, ids=repr)
def test_panels_keep_their_size_whatever_the_length_of_labels(figure, few_runs):
    usual, long = (panel_sizes(draw(figure, results)) for results in (few_runs, renamed(few_runs, 30)))
    assert (long > 0.7 * usual).all()


def test_a_label_keeps_all_its_letters_where_there_is_room_and_else_its_ends():
    with paper():
        label = "lstm, hidden=64, recurrent=orthogonal"
        lines = wrapped(label, 1.0).split("\n")
        assert "".join(lines).replace(" ", "") == label.replace(" ", "")
        assert all(width_of(line) <= 1.0 for line in lines)
        short = wrapped("x" * 40 + "y" * 40, 0.5).split("\n")
        assert len(short) == 3
        assert (short[0][0], short[-1][-1]) == ("x", "y")
        assert "…" in "".join(short)
        assert wrapped("cell $W_{hi}$", 0.1).endswith("$W_{hi}$")  # mathematics is never cut


def test_gradient_gain_is_the_slope_of_the_probe_with_what_is_predicted_of_linear_nets(tables):
    """The made-up tanh loses .4 nats a step at any gain; of a linear net ln g and the spectral radius are drawn."""
    plot = draw(gradient_gain, tables)
    rates = plot.data[plot.data["cell"] == "tanh"]
    assert set(rates["gain"].round(6)) == {0.8, 1.6, 2.4}
    assert rates["median"].to_numpy() == pytest.approx(-0.4, abs=0.05)
    lines = [line for panel in plot.figure.axes for line in panel.lines if len(line.get_xdata()) == 50]
    assert all(np.allclose(line.get_ydata(), np.log(line.get_xdata())) for line in lines)
    assert lines


def test_what_lies_along_x_is_no_line(tables, monkeypatch):
    """Three cells at three gains are nine settings and three lines."""
    monkeypatch.setattr("bench.analysis.figures.figure.MOST_LINES", 3)
    assert draw(gradient_gain, tables).figure
    monkeypatch.setattr("bench.analysis.figures.figure.MOST_LINES", 2)
    with pytest.raises(NothingToDraw, match="3 settings are more than lines can tell apart"):
        draw(gradient_gain, tables)
    assert draw(memory_ranking, tables).figure  # has a row for each


def test_gradient_gain_needs_runs_of_several_gains(tables):
    with pytest.raises(NothingToDraw, match=re.escape(STD)):
        gradient_gain(tables)


# The page that a figure fits


@pytest.fixture(scope="module")
def many_rules(make_up, tmp_path_factory) -> Tables:
    """One task, two cells, twelve thresholds and two seeds."""
    folder = tmp_path_factory.mktemp("rules")
    thresholds = [*map(float, range(1, 12)), np.inf]
    return load(make_up(folder, {"adding": 20}, CELLS[:2], thresholds, seeds=2))


def texts(figure: Drawing) -> list[Text]:
    """What is written beside the panels, and in the legend."""
    found = [label for panel in figure.axes for label in (panel.title, *panel.texts)]
    found += [label for legend in figure.legends for label in (legend.get_title(), *legend.get_texts())]
    return [label for label in found if label.get_text() and label.get_visible()]


def assert_fits(plot: Plot, style: Style) -> None:
    """Every part has the width of a column or a page, is not too tall, and no two texts in it lie on each other."""
    plot.settle()
    for part in plot.figures:
        width, height = part.get_size_inches()
        assert width in (style.column, style.page)
        assert height <= min(style.ratio * width, 8) + 1e-9
        with kept(part):
            part.draw_without_rendering()
            box = part.get_tightbbox()
        assert min(box.x0, box.y0) >= -1e-9
        assert (box.x1 <= width + 1e-9, box.y1 <= height + 1e-9) == (True, True)
        dots = part.dpi * style.scale
        for panel in part.axes:
            size = panel.get_window_extent()
            if panel.get_label() != "<colorbar>":
                assert min(size.width, size.height) > 0.3 * dots
        boxes = [label.get_window_extent() for label in texts(part)]
        for k, one in enumerate(boxes):
            for other in boxes[:k]:
                across = min(one.x1, other.x1) - max(one.x0, other.x0)
                down = min(one.y1, other.y1) - max(one.y0, other.y0)
                assert min(across, down) < 0.02 * dots


@pytest.mark.parametrize("style", ["icml", "slides"])  # the narrowest column, and the least height
@pytest.mark.parametrize("figure", FIGURES, ids=repr)
def test_every_figure_fits_its_page_with_twelve_settings(figure, style, many_rules):
    with styled(STYLES[style]):
        try:
            plot = draw(figure, many_rules)
        except NothingToDraw:
            return
    assert_fits(plot, STYLES[style])


LETTERS = {"neurips": 14, "ieee": 5, "slides": 30}  # of a label; `paper` is drawn in every other test


@pytest.mark.parametrize(
    ("style", "figure"),
    [
        *(("slides", figure) for figure in FIGURES),  # the longest labels and the least height
        *(("neurips", figure) for figure in FIGURES[::2]),
        *(("ieee", figure) for figure in FIGURES[1::2]),
    ],
    ids=repr,
)
def test_every_figure_fits_its_page_whatever_the_length_of_labels(figure, style, few_runs):
    with styled(STYLES[style]):
        plot = draw(figure, renamed(few_runs, LETTERS[style]))
    assert_fits(plot, STYLES[style])


def test_a_figure_that_no_page_holds_comes_in_parts_with_files_of_their_own(many_rules, tmp_path):
    with styled(STYLES["slides"]):
        plot = learning_curves(many_rules)
    assert len(plot.figures) == 2
    plot.save(tmp_path)
    assert {path.name for path in tmp_path.glob("*.pdf")} == {"learning_curves.pdf", "learning_curves_2.pdf"}
    shown = [panel.get_title() for part in plot.figures for panel in part.axes]
    assert [title for title in shown if title] == [*(f"clipped at {k}" for k in range(1, 12)), "no clipping"]


def test_rows_stay_rows_where_they_were_asked_for_and_are_turned_where_that_fits_better(many_rules, tables):
    asked = learning_curves(tables, row="task", col="clip").figure
    assert [panel.get_title() for panel in asked.axes[:3]] == ["clipped at 1", "clipped at 10", "no clipping"]
    assert len(learning_curves(many_rules).figures) == 1  # twelve rows are folded into three of four


def test_a_cell_has_one_colour_whatever_the_others_and_whatever_is_drawn_of_it(tables):
    renamed_cells = tables.runs.assign(cell=tables.runs["cell"].replace({"irnn": "gru", "tanh": "zeta"}))
    results = tables.replaced(runs=renamed_cells)
    found = set()
    for figure in (learning_curves, spectral_radius, state_jacobian):
        handles = figure(results).figure.legends[0].legend_handles
        found |= {(h.get_label(), to_hex(h.get_color()), h.get_marker()) for h in handles if h.get_label() == "zeta"}
    assert len(found) == 1


def test_few_runs_have_a_line_each_and_many_a_band(tables, make_up, tmp_path):
    few = learning_curves(tables).figure.axes[0].collections
    assert [len(one.get_segments()) for one in few] == [3, 3, 3]  # seeds of each cell
    many = load(make_up(tmp_path / "many", {"adding": 20}, ["lstm"], [1.0], seeds=11, only=("evaluations",)))
    (band,) = learning_curves(many).figure.axes[0].collections
    assert isinstance(band, PolyCollection)


def test_maps_that_are_equal_share_a_panel(few_runs):
    table = few_runs.gradient_through_time
    slope = np.where(table["run"].isin(few_runs.runs.query("cell == 'irnn'")["run"]), table["run"].cat.codes, 1)
    plot = gradient_map(few_runs.replaced(gradient_through_time=table.assign(log_norm=-0.1 * slope * table["lag"])))
    titles = {panel.get_title() or text for panel in plot.figure.axes for text in [t.get_text() for t in panel.texts]}
    words = " ".join(titles | {panel.get_title() for panel in plot.figure.axes}).replace("\n", " ")
    assert words.count("clipped at 1, no clipping") == 2  # tanh and lstm
    assert len(plot.figure.axes) == 2 * (1 + 2 + 1) + 1  # and the bar of colours


def test_a_figure_of_one_panel_is_drawn_into_axes_of_yours(one_run, tables):
    yours = Drawing()
    ax = yours.add_subplot()
    plot = learning_curves(one_run, ax=ax)
    assert plot.figure is yours
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("updates", "held-out loss / baseline")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["lstm", "baseline"]
    with pytest.raises(ValueError, match=r"^ax: holds one panel, and there are 6, of clipped at 1, "):
        learning_curves(tables, ax=ax)


def test_a_notebook_shows_a_picture(one_run):
    picture = learning_curves(one_run)._repr_png_()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(picture[16:20], "big") == round(150 * ONE_COLUMN)


def test_a_figure_keeps_its_style_wherever_it_is_saved(one_run, tmp_path):
    plot = learning_curves(one_run)
    plot.figure.savefig(tmp_path / "mine.pdf")
    pdf = (tmp_path / "mine.pdf").read_bytes()
    assert b"STIXGeneral" in pdf
    assert b"/Type3" not in pdf
