from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.analysis.figures.figure import all_figures
from bench.analysis.figures.plot import EXTENSIONS
from bench.analysis.figures.style import STYLES
from bench.analysis.report.absences import unfinished
from bench.analysis.report.claims import QUANTITIES, claims
from bench.analysis.report.page import WIDTH, _environments, beyond, warnings
from bench.analysis.statistics.summaries import wilson
from bench.analysis.tables import memory
from bench.report import main
from bench.runs.directory import note_asked
from bench.runs.tables import load
from tests.analysis.conftest import OF_SWEEPS

FIGURES = {figure.name for figure in all_figures()} - OF_SWEEPS
OF_ANY_RUN = {figure.name for figure in all_figures() if set(figure.needs) <= {"evaluations"}} - OF_SWEEPS
UPDATES = 3000  # of a made-up run
ONE_FIGURE = ("--only", "scores")  # where a test is about what is said around the figures
TABLES = ("overview", "solved", "estimates", "comparisons", "clipping")


class Page(HTMLParser):
    """Tags of a page with their attributes; `open_tags` is empty at its end if they nest."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open_tags: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def folder(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "report"
    assert main([str(results), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "report.html")


@pytest.fixture
def few(make_up, tmp_path) -> Path:
    """Two runs that were not measured."""
    return make_up(tmp_path / "few", {"adding": 20}, ["tanh"], [1.0], seeds=2, only=("evaluations",))


def fail(results: Path, message: str) -> None:
    """Let the first run of a folder fail."""
    run = min(results.iterdir())
    (run / "finished").unlink()
    (run / "outcome.json").write_text(json.dumps({"outcome": "failed", "message": message, "seconds": 1.0}))


def test_all_files_are_written(folder):
    assert {path.name for path in folder.iterdir()} == {"report.html", "figures", "tables"}
    figures = {f"{name}.{extension}" for name in FIGURES for extension in EXTENSIONS}
    assert {path.name for path in (folder / "figures").iterdir()} == figures
    tables = {path.name for path in (folder / "tables").iterdir()}
    assert tables == {f"{name}.{x}" for name in TABLES for x in ("csv", "md", "tex")}


def test_prints_the_overview_and_last_where_the_report_lies(few, capsys):
    assert main([str(few), *ONE_FIGURE]) == 0
    *table, last = capsys.readouterr().out.strip().split("\n")
    assert Path(last) == few / "report" / "report.html"
    assert "0/2 [0.00, 0.66]" in table[-1]


def test_page_asks_nothing_of_any_host(page):
    own = re.sub(r'src="data:[^"]*"|<script>.*?</script>', "", page.text, flags=re.DOTALL)  # a library names its home
    assert not re.search(r'https?://|="//|url\(', own)
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    (detail, *scripts) = page.all("script")  # within the page, and known to the policy by their digests
    assert detail == {"type": "application/octet-stream", "id": "detail"}
    assert set(map(str, scripts)) == {"{}"}
    texts = [part.partition("</script>")[0] for part in page.text.split("<script>")[1:]]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    assert len(digests) == len(scripts) >= 2
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    told = [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "script-src " + " ".join(f"'sha256-{digest}'" for digest in digests),
    ]
    assert policy.split("; ") == told


def test_page_nests(page):
    assert page.open_tags == []


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")} <= set(ids)
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)


def test_links_to_files_lead_to_files(page, folder):
    links = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    for file in ("config.yaml", "run.log"):
        assert sum(link.endswith(file) for link in links) == 54
    assert all((folder / link).exists() for link in links)


def test_every_figure_is_within_the_page_with_alt_text_and_caption(page, folder):
    assert {figure["id"] for figure in page.all("figure")} == FIGURES
    assert len(page.all("figcaption")) == len(FIGURES)
    for figure, image in zip(page.all("figure"), page.all("img"), strict=True):
        svg = (folder / "figures" / f"{figure['id']}.svg").read_bytes()
        assert base64.b64decode(image["src"].partition(",")[2]) == svg
        assert len(image["alt"]) > 50


def test_page_has_a_language_a_title_a_skip_link_and_tables_one_can_scroll(page):
    assert page.all("html")[0]["lang"] == "en"
    assert "<title>Report: quick</title>" in page.text
    assert page.all("a")[0]["href"] == "#main"
    assert all(div.get("tabindex") == "0" for div in page.all("div") if div.get("class") == "scroll")


def test_page_knows_light_dark_and_paper(page):
    assert "prefers-color-scheme: dark" in page.text
    assert "@media print" in page.text


def test_settings_and_environment_are_told(page):
    for key, value in (("optimizer.lr", "0.001"), ("task.length", "40 (adding); 10 (copying)"), ("torch", "2.13.0")):
        assert f'<th scope="row">{key}</th><td>{value}</td>' in page.text


def test_writing_again_gives_the_same_bytes(few):
    def written() -> dict[Path, bytes]:
        assert main([str(few), "--only", "scores,learning_curves"]) == 0
        return {path: path.read_bytes() for path in (few / "report").rglob("*") if path.is_file()}

    first = written()
    assert {path.suffix for path in first} == {".html", ".pdf", ".png", ".svg", ".csv", ".txt", ".md", ".tex"}
    assert written() == first


def test_a_figure_without_data_is_left_out_and_named(few):
    figures = few / "report" / "figures"
    figures.mkdir(parents=True)
    (figures / "spectral_radius.pdf").write_text("of an older report")
    (few / "report" / "tables").mkdir()
    (few / "report" / "tables" / "clipping.csv").write_text("of an older report")
    assert main([str(few)]) == 0
    page = Page(few / "report" / "report.html")
    assert {figure["id"] for figure in page.all("figure")} == OF_ANY_RUN
    assert "The figure spectral radius is left out: these results hold no table spectrum." in page.text
    assert {path.stem for path in figures.iterdir()} == OF_ANY_RUN
    assert {path.stem for path in (few / "report" / "tables").iterdir()} == {"overview", "solved", "estimates"}


def test_more_settings_than_lines_can_tell_apart_are_drawn_as_points_alone(few, monkeypatch):
    monkeypatch.setattr("bench.analysis.figures.figure.MOST_LINES", 0)
    assert main([str(few)]) == 0
    page = Page(few / "report" / "report.html")
    assert {figure["id"] for figure in page.all("figure")} == {"scores"}
    assert "The figure learning curves is left out: 1 settings are more than lines can tell apart" in page.text


def test_warnings_say_who_diverged(runs):
    (diverged,) = warnings(runs)
    count = (runs["outcome"] == "diverged").sum()
    assert diverged.startswith(f"{count} of 54 runs diverged and count as not solved (adding, irnn, none: 2;")


def test_the_page_opens_with_the_question_what_was_found_and_what_so_few_seeds_can_tell(page):
    order = [
        "<h1>Which of tanh, irnn or lstm solves adding and copying, clipped at 1 or 10 or not at all?</h1>",
        "3 seeds of each setting: 3/3 solved is a rate of 0.44 to 1",
        "tanh in 0 of 18.",
        '<h2 id="findings">',
        '<h2 id="learned">',
        '<h2 id="why">',
        '<h2 id="health">',
    ]
    places = [page.text.find(text) for text in order]
    assert -1 not in places
    assert places == sorted(places)


def test_figures_and_tables_stand_in_their_groups(page):
    learned, why, health = (page.text.partition(f'<h2 id="{name}">')[2] for name in ("learned", "why", "health"))
    assert 'figure id="scores"' in learned.removesuffix(why)
    assert 'figure id="spectral_radius"' in why.removesuffix(health)
    assert 'figure id="clipping"' in health
    assert 'id="table-clipping"' in health
    assert "runs diverged and count as not solved" in health


def test_that_no_comparison_can_be_decided_is_one_sentence(page):
    told = page.text.partition('id="table-comparisons"')[2].partition("</section>")[0]
    assert "With so few seeds none of the 30 comparisons can be decided" in told


def test_a_failed_run_is_told_and_counted(few):
    fail(few, "MemoryError: 3 < 4")
    assert main([str(few), *ONE_FIGURE]) == 0
    text = (few / "report" / "report.html").read_text()
    assert "1 of 2 runs failed and count as not solved" in text
    assert "MemoryError: 3 &lt; 4" in text


def test_several_folders_make_one_report(few, make_up, tmp_path):
    other = make_up(tmp_path / "other", {"adding": 30}, ["tanh"], [1.0], seeds=2, only=("evaluations",))
    for k, run in enumerate(sorted(other.iterdir())):
        run.rename(other / f"{k + 100:012x}")
    assert main([str(few), str(other), "--out", str(tmp_path / "both"), *ONE_FIGURE]) == 0
    text = (tmp_path / "both" / "report.html").read_text()
    assert "<title>Report: few, other</title>" in text
    assert "adding, length=30" in text


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_runs_is_one_line_and_nothing_is_written(name, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name in error
    assert not (tmp_path / "out").exists()


def test_runs_that_all_failed_are_one_line(few, capsys):
    fail(few, "MemoryError")
    shutil.rmtree(max(few.iterdir()))
    assert main([str(few)]) == 2
    told = f"{few}: no run came to an end, 1 failed, the first with MemoryError"
    assert capsys.readouterr().err == f"{told}; see {min(few.iterdir()) / 'run.log'}\n"
    (min(few.iterdir()) / "run.log").unlink()
    assert main([str(few)]) == 2
    assert capsys.readouterr().err == f"{told}\n"
    assert not (few / "report").exists()


def test_what_was_trained_by_several_commits_is_told_with_the_environment():
    def trained(*commits):
        return [{"update": 40 * k, "bench": "1.0", "commit": commit} for k, commit in enumerate(commits)]

    one, other, third, old = trained("a"), trained("a", "a"), trained("a", None), float("nan")
    table = pd.DataFrame({"run": list("abcd"), "commit": ["a", "a", None, "a"], "stretches": [one, other, third, old]})
    assert _environments(table) == {
        "commit": "a (3 runs); unknown (1 runs)",
        "more than one commit": "1.0 a from update 0, 1.0 (commit unknown) from update 40 (1 runs)",
    }
    assert _environments(table[:2]) == {"commit": "a"}


# What is not there


def test_a_report_of_all_runs_says_nothing_of_others(few, capsys):
    note_asked(few, {run.name: "cell=tanh" for run in few.iterdir()})
    assert main([str(few), *ONE_FIGURE]) == 0
    assert capsys.readouterr().err == ""
    assert "not finished" not in (few / "report" / "report.html").read_text()


def test_the_report_of_an_unfinished_sweep_says_so_on_the_page_and_in_the_terminal(few, capsys):
    for cell, count in (("tanh", 3), ("irnn", 4)):
        missing = {f"{cell}{k}": f"task=adding cell={cell} seed={k + 2}" for k in range(count)}
        note_asked(few, missing | {run.name: "task=adding cell=tanh" for run in few.iterdir() if run.name[0] == "0"})
    assert main([str(few), *ONE_FIGURE]) == 0
    told = (
        "This sweep is not finished, and no number here is its last: 2 of the 9 runs that were asked for are here, "
        "7 missing: task=adding cell=irnn: all 4; task=adding cell=tanh: 3."
    )
    assert capsys.readouterr().err == f"{told}\n"
    assert f"<li>{told}</li>" in (few / "report" / "report.html").read_text()


def test_an_unfinished_sweep_with_empty_panels_has_a_report(make_up, tmp_path, svg_alone):
    """A threshold has finished on one task, another one on the other: two panels of four are empty."""
    folder = make_up(tmp_path / "begun", {"adding": 20}, ["lstm"], [1.0], seeds=1)
    make_up(folder, {"copying": 10}, ["lstm"], [10.0], seeds=1)
    assert main([str(folder)]) == 0


def test_that_early_finishers_are_the_solved_ones_is_told_where_runs_end_when_solved(few):
    note_asked(few, {"more": "cell=tanh"})
    results = load(few)
    assert len(unfinished(results)) == 1
    results.runs["evaluation.enough"] = 5
    _, told = unfinished(results)
    assert told.startswith("A run ends here once it is solved (evaluation.enough), so the first to finish are those")


@pytest.mark.parametrize("marked", ["by digests", "by sizes"])
@pytest.mark.parametrize("name", ["evaluations.npz", "config.yaml"])
def test_a_damaged_run_is_named_and_left_out_and_the_others_are_reported(few, capsys, marked, name):
    bad, good = sorted(run for run in few.iterdir())
    if marked == "by sizes":
        sizes = {path.name: path.stat().st_size for path in bad.iterdir() if path.name != "finished"}
        (bad / "finished").write_text(json.dumps(sizes))
    data = (bad / name).read_bytes()
    half = len(data) // 2
    (bad / name).write_bytes(data[:half] + bytes(16) + data[half + 16 :])
    assert main([str(few), *ONE_FIGURE]) == 0
    told = f"Left out because files are damaged: {bad}."
    assert told in capsys.readouterr().err
    page = Page(few / "report" / "report.html")
    assert told in page.text
    assert f">{good.name}<" in page.text
    assert f">{bad.name}<" not in page.text


def test_a_report_of_damaged_runs_alone_is_one_line(few, capsys):
    for run in few.iterdir():
        data = (run / "config.yaml").read_bytes()
        (run / "finished").write_text(json.dumps({"config.yaml": len(data)}))
        (run / "config.yaml").write_bytes(b"[" + data[1:])
    assert main([str(few)]) == 2
    runs = ", ".join(str(run) for run in sorted(few.iterdir()))
    told = "The command that asked for them trains them again."
    assert capsys.readouterr().err == f"{few}: Left out because files are damaged: {runs}. {told}\n"


def test_a_file_in_the_place_of_the_folder_is_one_line(few, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main([str(few), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "out").read_text() == "mine"


# Layouts and styles


def test_any_setting_may_be_hue_row_and_column(make_up, tmp_path, capsys):
    for length in (100, 20):
        measured = {"seeds": 2, "lrs": (0.1, 0.2), "only": ("evaluations",)}
        make_up(tmp_path / "two", {"adding": length}, ["tanh", "lstm"], [1.0, np.inf], **measured)
    out = tmp_path / "out"
    axes = ["--hue", "cell", "--col", "task.length", "--row", "clipping.threshold", "--style", "icml"]
    drawn = ("--only", "learning_curves,success")
    assert main([str(tmp_path / "two"), "--out", str(out), *axes, *drawn]) == 0
    drawn = pd.read_csv(out / "figures" / "learning_curves.csv", keep_default_na=False)
    assert list(drawn)[:4] == ["clip", "by task.length", "cell", "update"]
    assert sorted(drawn["by task.length"].unique()) == ["length=100", "length=20"]
    assert sorted(drawn["cell"].unique()) == ["lstm, lr=0.1", "lstm, lr=0.2", "tanh, lr=0.1", "tanh, lr=0.2"]
    assert (drawn["n"] == 2).all()  # seeds, and nothing else, are pooled
    caption = (out / "figures" / "learning_curves.txt").read_text()
    assert "n = 2 seeds" in caption
    (box,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ", (out / "figures" / "learning_curves.pdf").read_bytes())
    assert float(box) / 72 == STYLES["icml"].column


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--hue", "length"], "--hue=length: these runs have no such setting; nearest: task.length"),
        (["--row", "optimiser.lr"], "--row=optimiser.lr: these runs have no such setting; nearest: optimizer.lr"),
        (["--hue", "clip", "--col", "clip"], "--col=clip: is the hue already; give each axis a setting of its own"),
        (["--x", "cell"], "--x=cell: is the hue or the column already; give x a setting of its own"),
        (["--against", "quik"], "--against quik: no such reference; there are "),
    ],
)
def test_an_axis_that_there_is_not_is_one_line_with_the_nearest(few, given, said, capsys):
    assert main([str(few), *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1
    assert not (few / "report").exists()


def test_pgf_without_tex_is_one_line_and_nothing_is_written(few, monkeypatch, capsys):
    monkeypatch.setattr("bench.analysis.figures.plot.TEX", ())
    assert main([str(few), "--pgf"]) == 2
    assert capsys.readouterr().err.startswith("--pgf: needs one of")
    assert not (few / "report").exists()


# What the page says of its runs


def test_every_image_has_its_size(page):
    for image in page.all("img"):
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0


def test_a_curve_is_the_skill_over_the_updates(page, folder, tables):
    paths = [attributes["d"] for attributes in page.all("path")]
    assert len(paths) == 54
    run = page.text.partition("data-fixed>files")[2].partition('<th scope="row">')[2][:12]
    table = tables.evaluations[tables.evaluations["run"] == run]
    ends = [float(number) for number in re.findall(r"[\d.]+", paths[0])]
    skills = table["skill"].dropna()
    assert ends[:2] == [0, 19]  # worse than nothing: at the bottom, which is a dot from the edge
    assert ends[-2:] == [table["update"].max() * WIDTH / UPDATES, round(19 - 18 * min(max(skills.iloc[-1], 0), 1), 1)]


def test_of_many_runs_the_page_has_no_curves(few, monkeypatch):
    monkeypatch.setattr("bench.analysis.report.page.MOST_CURVES", 2)
    assert main([str(few), *ONE_FIGURE]) == 0
    assert not Page(few / "report" / "report.html").all("path")


def test_runs_stopped_from_outside_are_told(runs):
    stopped = runs.assign(stopped=(runs["cell"] == "tanh") & (runs["seed"] == 0))
    (told,) = (warning for warning in warnings(stopped) if "stopped from outside" in warning)
    assert told.startswith(
        "6 of 54 runs were stopped from outside; their times to solve are censored (adding, tanh, 1: 1"
    )


def test_a_length_outside_of_those_tried_is_told(runs):
    lengths = pd.concat([runs[runs["cell"] == "tanh"].assign(**{"task.length": length}) for length in (20, 40)])
    (told,) = (warning for warning in beyond([memory(lengths)]) if "T50" in warning)
    assert "adding, tanh, 1" in told  # which never solves


def test_what_a_source_says_stands_beside_what_we_got(few):
    for run in (path for path in few.iterdir() if path.is_dir()):
        text = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(f"{text}experiment: digits\n")
        (run / "overrides.yaml").write_text((run / "overrides.yaml").read_text().replace("adding", "digits"))
        sizes = {path.name: path.stat().st_size for path in run.iterdir() if path.name != "finished"}
        (run / "finished").write_text(json.dumps(sizes))
    assert main([str(few), *ONE_FIGURE]) == 0
    page = (few / "report" / "report.html").read_text()
    row = page.partition('<th scope="row">Bai et al. 2018, table of results</th>')[2].partition("</tr>")[0]
    assert "Sequential MNIST, accuracy: LSTM 87.2 %, RNN 21.5 %." in row
    assert re.search(r"<td>tanh: accuracy [\d.]+% \(median of 2, [\d.]+% to [\d.]+%\)</td>", row)


def test_a_claim_is_told_of_the_runs_that_it_is_about(runs):
    told = claims(runs.assign(experiment="quick", cell=runs["cell"].astype(str)))
    assert [claim["source"].split()[0] for claim in told] == ["Hochreiter", "Vorontsov"]
    own = runs[(runs["task"] == "adding") & (runs["cell"] == "lstm")]
    solved = own["solved_at"].notna().sum()
    median = own["solved_at"].median() * 16
    assert f"lstm: {median:.0f} sequences (median of {solved}), {solved}/9 solved" in told[0]["got"]
    assert told[1]["got"].startswith("irnn: ")
    low, high = wilson(0, 3)
    assert f"tanh: 0/9 solved [{low:.2f}, {high:.2f}] (of 3 seeds)" in told[1]["got"]  # each at three thresholds
    at_one = claims(runs[runs["clip"] == "1"].assign(experiment="quick"))
    assert f"tanh: 0/3 solved [{low:.2f}, {high:.2f}]" in at_one[1]["got"]
    assert "seeds" not in at_one[1]["got"]


def test_claims_are_complete_and_their_quantities_known():
    experiments = Path("conf/experiment").glob("*.yaml")
    found = [claim for path in experiments for claim in yaml.safe_load(path.read_text()).get("claims", [])]
    assert len(found) >= 3
    for claim in found:
        assert set(claim) - {"differs"} == {"says", "source", "where", "quantity"}
        assert claim["quantity"] in QUANTITIES


def test_only_the_figures_that_are_asked_for_are_drawn(few, tmp_path, capsys):
    assert main([str(few), "--out", str(tmp_path), "--only", "scores,learning_curves"]) == 0
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"scores", "learning_curves"}
    assert main([str(few), "--out", str(tmp_path / "no"), "--only", "score"]) == 2
    assert "--only=score: there is no such figure; there are learning_curves, " in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_a_gif_is_written_where_it_is_asked_for(make_up, tmp_path):
    one = make_up(tmp_path / "one", {"adding": 20}, ["tanh"], [1.0], seeds=1)
    for asked in ([], ["--gif"]):
        assert main([str(one), "--out", str(tmp_path / "out"), "--only", "eigenvalues", *asked]) == 0
        page = (tmp_path / "out" / "report.html").read_text()
        assert ("eigenvalues.gif" in page) == (tmp_path / "out" / "figures" / "eigenvalues.gif").exists() == bool(asked)


def test_a_figure_says_the_command_that_draws_it_again(page, results):
    commands = [
        button["data-copy"] for button in page.all("button") if "command of" in (button.get("aria-label") or "")
    ]
    assert f"python -m bench.report {results} --only success" in commands
    assert len(commands) == len(FIGURES)
