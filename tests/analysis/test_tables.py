from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from bench.analysis.table import most_inches, rounded, shortened, two_digits
from bench.analysis.tables import clipping, comparisons, estimates, overview, solved


@pytest.fixture
def five() -> pd.DataFrame:
    """Five runs of one setting: two solved, one of them relapsed, one diverged, one failed, one stuck."""
    return pd.DataFrame(
        {
            "run": list("abcde"),
            "task": "adding",
            "cell": "tanh",
            "clip": "1",
            "outcome": ["solved", "relapsed", "diverged", "failed", "stuck"],
            "solved_at": [100, 300, np.nan, np.nan, np.nan],
            "updates": 3000,
            "final_skill": [0.99, 0.5, -1e9, np.nan, 0.02],
            "final_loss": [0.01, 0.2, np.nan, np.nan, 0.4],
            "final_accuracy": [0.98, 0.6, np.nan, np.nan, 0.1],
            "recurrent_parameters": 4096,
            "parameters": 4353,
            "sequences": [48000, 48000, 1000, np.nan, 48000],
            "seconds": 5.3,
        }
    )


def test_a_row_says_how_every_run_ended(five):
    (row,) = overview(five).numbers.to_dict("records")
    counts = {name: row[name] for name in ("n", "successes", "relapsed", "diverged", "dead", "failed")}
    assert counts == {"n": 5, "successes": 2, "relapsed": 1, "diverged": 1, "dead": 0, "failed": 1}
    assert (round(row["low"], 2), round(row["high"], 2)) == (0.12, 0.77)
    assert row["score"] == np.median([0.99, 0.5, 0, 0, 0.02])
    assert row["loss"] == 0.4  # 2 of 5 are infinite
    assert row["final_accuracy"] == 0.1  # and 2 of 5 are right never


def test_text_of_that_row(five):
    (row,) = overview(five).text.to_dict("records")
    assert row == {
        **{"task": "adding", "cell": "tanh", "clip": "1", "n": "5", "solved": "2/5 [0.12, 0.77]"},
        **{"relapsed": "1", "diverged": "1", "dead": "0", "failed": "1", "updates": "> 3000"},
        **{"score": "0.02 [0.00, 0.50]", "loss": "0.400", "accuracy": "10.0%", "parameters": "4.1k / 4.35k"},
        **{"sequences": "48k", "seconds": "5.3"},
    }


def test_a_hopeless_run_is_counted_and_has_not_solved(five):
    """It has a column only where there is one; the share of all runs has it in its denominator."""
    hopeless = five.assign(outcome=five["outcome"].replace("stuck", "hopeless"))
    (row,) = overview(hopeless).text.to_dict("records")
    assert (row["hopeless"], row["solved"], row["n"]) == ("1", "2/5 [0.12, 0.77]", "5")
    assert "hopeless" not in overview(five).text


def test_time_to_solve_is_a_median_over_all_runs(five):
    assert np.isinf(overview(five).numbers["updates_to_solve"][0])  # 2 of 5 solved
    three = five.assign(solved_at=[100, 300, 700, np.nan, np.nan])
    assert overview(three).text["updates"][0] == "700"


def test_failed_has_a_column_only_where_a_run_failed(five):
    assert "failed" not in overview(five[five["outcome"] != "failed"]).text


def test_overview_has_a_row_for_every_setting(runs):
    numbers = overview(runs).numbers
    assert len(numbers) == 2 * 3 * 3
    assert (numbers["n"] == 3).all()
    assert numbers["diverged"].sum() == (runs["outcome"] == "diverged").sum() > 0


def test_clipping_is_told_for_the_whole_run(runs, tables):
    numbers = clipping(runs, tables.clipping).numbers.set_index(["task", "cell", "clip"])
    of_run = tables.clipping.groupby("run", observed=True)
    share = (of_run["clipped"].sum() / of_run["count"].sum()).rename("share")
    chosen = runs[(runs["task"] == "adding") & (runs["cell"] == "lstm") & (runs["clip"] == "1")].merge(share, on="run")
    row = numbers.loc[("adding", "lstm", "1")]
    assert row["clip_fraction"] == chosen["share"].median()
    assert row["threshold_in_norms"] == pytest.approx(1 / row["norm"])
    assert np.isinf(numbers.loc[("adding", "lstm", "none"), "threshold_in_norms"])


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (0.0012345, 0.0004, "0.0012"),
        (0.16667, 0.0002, "0.1667"),
        (812.3, 40, "810"),
        (3.2, 40, "3"),  # a digit is left
        (0.5, 0, "0.500"),
        (0.5, np.inf, "0.500"),
        (1.234e27, 1e26, "1.2e+27"),
        (1.2e-7, 1e-8, "1.2e-07"),
        (0, 0.1, "0.0"),
        (np.inf, 1, "∞"),
        (np.nan, 1, "–"),
    ],
)
def test_numbers_are_rounded_to_their_uncertainty(value, spread, text):
    assert rounded(value, spread) == text


def test_counts_are_shortened():
    assert [shortened(n) for n in (999, 4096, 48000, 1.25e6, np.nan)] == ["999", "4.1k", "48k", "1.25M", "–"]
    assert [two_digits(x) for x in (166, 0.0123, 2.31e5)] == ["170", "0.012", "2.3e+05"]


def test_latex_has_booktabs_and_nothing_that_latex_cannot_print(runs, tables):
    for table in (overview(runs), clipping(runs, tables.clipping)):
        latex = table.latex()
        body = latex[latex.index("\\begin{tabular}") :]
        assert body.count("\\\\") == len(table.text) + 1
        assert all(rule in body for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
        assert body.isascii()
        assert "& > " not in body


@pytest.mark.parametrize(
    ("name", "set_as"),
    [
        ("my_cell", r"my\_cell"),
        ("</script>", "$<$/script$>$"),
        ("a<b>c", "a$<$b$>$c"),
        ("> 3000", "$>$ 3000"),
        ("a|b", "a$|$b"),
    ],
)
def test_latex_escapes_names(five, name, set_as):
    latex = overview(five.assign(cell=name)).latex()
    assert f"adding & {set_as} & 1 " in latex


def test_markdown_is_the_text(runs):
    table = overview(runs)
    head, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.markdown().split("\n")]
    assert head == list(table.text)
    assert all(set(cell) == {"-"} for cell in rule)
    assert rows == table.text.to_numpy().tolist()


def test_csv_is_the_numbers(runs, tmp_path):
    table = overview(runs)
    table.save(tmp_path)
    read = pd.read_csv(tmp_path / "overview.csv", keep_default_na=False)
    numbers = table.numbers.select_dtypes("number")
    np.testing.assert_allclose(read[list(numbers)].astype(float), numbers)
    assert {path.name for path in tmp_path.iterdir()} == {"overview.csv", "overview.md", "overview.tex"}


@pytest.fixture
def twenty() -> pd.DataFrame:
    """Twenty runs of each of two cells at two thresholds: at 1 all of one cell solve and none of the other."""
    solved = {("a", "1"): 20, ("b", "1"): 0, ("a", "10"): 12, ("b", "10"): 8}
    groups = []
    for (cell, clip), k in solved.items():
        outcome = ["solved"] * k + ["stuck"] * (20 - k)
        fixed = {"task": "adding", "cell": cell, "clip": clip, "updates": 3000, "batch_size": 16, "clipping": "norm"}
        cost = {"recurrent_parameters": 4096, "parameters": 4353, "sequences": 48000, "seconds": 5.3}
        runs = pd.DataFrame({"seed": range(20), "outcome": outcome, **fixed, **cost, "final_accuracy": 0.5})
        good = runs["outcome"] == "solved"
        groups.append(
            runs.assign(solved_at=np.where(good, 400, np.nan), final_skill=good * 0.9, final_loss=1 - good * 0.9)
        )
    runs = pd.concat(groups, ignore_index=True)
    return runs.assign(run=runs.index.astype(str))


def test_bold_is_the_best_of_a_threshold_only_where_its_interval_lies_apart(twenty):
    assert overview(twenty).best == {(0, "solved")}  # the row of a at 1; at 10 the intervals overlap
    assert estimates(twenty).best == {(0, "solved"), (0, "score"), (0, "updates")}  # the least updates
    few = twenty[twenty["seed"] < 4].reset_index(drop=True)
    assert set(estimates(few).text["score"].str.partition(" ")[2]) == {"[0.00, 1.00]"}
    assert estimates(few).best == {(0, "solved"), (0, "updates")}  # four runs do not tell the score
    alone = twenty[twenty["cell"] == "a"].reset_index(drop=True)
    assert overview(alone).best == frozenset()  # best of nobody


def test_bold_is_bold_in_every_format(twenty):
    table = overview(twenty)
    solved = table.text["solved"][0]
    assert f"\\textbf{{{solved}}}" in table.latex()
    assert table.latex().count("\\textbf") == 1
    assert f"| **{solved}**" in table.markdown()
    assert table.markdown().count("**") == 2


def test_every_row_says_how_many_diverged_and_what_it_cost(twenty, runs, tables):
    for table in (
        *(overview(twenty), estimates(twenty), comparisons(twenty), comparisons(runs)),
        clipping(runs, tables.clipping),
    ):
        assert {"n", "diverged", "parameters", "sequences", "seconds"} <= set(table.text)
    row = comparisons(twenty.assign(outcome=twenty["outcome"].mask(twenty.index == 39, "diverged"))).text.iloc[0]
    assert row["compared"] == "a vs b"
    assert (row["diverged"], row["parameters"]) == ("0 vs 1", "4.1k / 4.35k vs 4.1k / 4.35k")


def test_sides_of_a_comparison_of_thresholds_have_their_own_costs(twenty):
    costlier = twenty.assign(seconds=np.where(twenty["clip"] == "10", 50.0, 5.3))
    numbers = comparisons(costlier).numbers
    own = numbers[numbers["kind"] == "thresholds"]
    assert set(zip(own["a"], own["b"], own["seconds_a"], own["seconds_b"], strict=True)) == {("1", "10", 5.3, 50.0)}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_tables_are_set_by_latex_within_the_width_of_a_page(runs, twenty, tmp_path):
    made = [overview(runs), comparisons(runs), overview(twenty.assign(cell="my_cell"))]
    inputs = []
    for k, table in enumerate(made):
        (tmp_path / f"{k}.tex").write_text(table.latex(), encoding="utf-8")
        inputs.append(rf"\noindent\input{{{k}}}\clearpage")
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "page.tex").write_text("\n".join([head, *inputs, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    log = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    assert b"Overfull" not in log


def columns_of(table) -> list[str]:
    return list(table.text)


def test_the_table_for_a_column_of_a_page_says_how_many_solved(twenty):
    table = solved(twenty)
    assert columns_of(table) == ["task", "cell", "1", "10"]
    assert table.text.to_numpy().tolist() == [["adding", "a", "20/20", "12/20"], ["adding", "b", "0/20", "8/20"]]
    assert table.best == {(0, "1")}  # at 10 the intervals overlap
    assert table.numbers["best"].tolist() == [True, False, False, False]
    assert "a & \\textbf{20/20} & 12/20 \\\\" in table.latex()
    assert "resizebox" not in table.latex()
    assert "{\\fontsize{8}{9.5}\\selectfont" in table.latex()


@pytest.mark.parametrize("letters", [5, 14, 30])
@pytest.mark.parametrize("clips", [2, 12])
@pytest.mark.parametrize("cells", [2, 12])
def test_the_table_for_a_column_fits_it_whatever_the_labels(twenty, letters, clips, cells):
    one = twenty[(twenty["cell"] == "a") & (twenty["clip"] == "1")]
    runs = pd.concat(
        one.assign(cell=f"{c}{'x' * letters}"[:letters], clip=f"{k} rule" if clips > 2 else str(k), task="t" * letters)
        for c in range(cells)
        for k in range(clips)
    )
    table = solved(runs.assign(**{name: runs[name].astype("category") for name in ("task", "cell", "clip")}))
    _, *rows = [line for line in table.latex().split("\n") if " & " in line]
    form = re.search(r"begin{tabular}{(?:p{([\d.]+)in}|l)(r+)}", table.latex())
    values = columns_of(table)[2:]
    assert len(form[2]) == len(values)
    label = float(form[1]) if form[1] else most_inches(table.text.iloc[:, 1], columns_of(table)[1])
    assert label + sum(most_inches(table.text[name], name) + 5 / 72 for name in values) + 5 / 72 <= 3.25 + 1e-6
    assert len(rows) == len(table.text) == (cells * clips if columns_of(table)[1] == "setting" else len(rows))


def test_a_sentence_takes_the_place_of_comparisons_none_of_which_can_be_decided(twenty, runs, tmp_path):
    few = comparisons(runs)  # of three seeds
    assert set(few.numbers["verdict"]) == {"n too small to decide"}
    few.save(tmp_path)
    sentence = f"With so few seeds none of the {len(few.numbers)} comparisons can be decided"
    for ending in ("md", "tex"):
        assert (tmp_path / f"comparisons.{ending}").read_text().startswith(sentence)
    assert len(pd.read_csv(tmp_path / "comparisons.csv")) == len(few.numbers)
    assert comparisons(twenty).instead == ""
    assert comparisons(twenty).markdown().startswith("| task")
