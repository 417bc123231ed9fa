"""README and docs/: links lead somewhere, code runs, commands are accepted, recommendations are composed."""

from __future__ import annotations

import ast
import importlib
import re
import shlex

import matplotlib.pyplot as plt
import pytest
import yaml

import bench
from bench.__main__ import main
from bench.analysis.experiments import described
from bench.jobs.lines import lines
from bench.sweep import call, planning
from bench.sweep.executors import InThisProcess
from bench.sweep.launcher import PackLauncher
from bench.sweep.sweeper import UnionSweeper
from docs.hooks import recommendations
from docs.notebook import pictures
from tests.analysis.conftest import make_up
from tests.conftest import NOTEBOOKS, PAGES, ROOT, WRITTEN, choices, text_of

LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md"]
SMALL = [
    *("task.length=8", "batch_size=2", "updates=3", "evaluation.sequences=4", "evaluation.final=4", "seed=0"),
    *("clipping.threshold=1", "hydra.launcher.where=here"),
]
RECOMMENDED = lines(described("recommendations")["sweep"])
GENERATED = ("reference/components.md", "reference/recommendations.md")


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """The code blocks of a page in a language, without the files of a package that it shows."""
    found = re.finditer(r"([^\n]*)\n\n?```(\w*)\n(.*?)\n```", text_of(page), re.DOTALL)
    return [code for before, what, code in (one.groups() for one in found) if what == language and before[:1] != "`"]


def anchors(page):
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists() or path in GENERATED or (page in NOTEBOOKS and path in pictures(page)), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_stands_in_the_navigation():
    nav = re.findall(r"\S+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2])
    assert len(set(nav)) == len(nav)
    pages = {str(page.relative_to(ROOT / "docs").with_suffix(".md")) for page in PAGES if page.parent != ROOT}
    assert set(nav) == pages | {*GENERATED, *WRITTEN}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_of_a_page_runs(page, tmp_path, monkeypatch, request):
    """The Python of a page runs from top to bottom: small nets, few updates, made-up results of `quick`."""
    monkeypatch.chdir(tmp_path)
    if page not in NOTEBOOKS:
        request.getfixturevalue("svg_alone")
    make_up(tmp_path / "results" / "quick")
    carry_out = call.carry_out
    made_small = {word.partition("=")[0] for word in SMALL}

    def small(words):
        carry_out([*(word for word in words if word.partition("=")[0] not in made_small), *SMALL])

    monkeypatch.setattr(call, "carry_out", small)
    names = {"__name__": "__main__", "ax": None}
    for number, code in enumerate(blocks(page, "python")):
        path = tmp_path / f"block_{number}.py"
        path.write_text(code)
        shown = ran(code, path, names)
        if page in NOTEBOOKS and shown is not None:
            show = getattr(shown, "_repr_png_", None) or shown._repr_markdown_
            assert show()
    plt.close("all")


def ran(code, path, names):
    """Run a block; returns what a notebook shows of it, which is the value of its last line."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(path), "exec", dont_inherit=True), names)
    return last and eval(compile(ast.Expression(last.value), str(path), "eval", dont_inherit=True), names)


def test_the_versions_that_are_named_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    versions = re.findall(r"^## (\d\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert bench.__version__ == citation["version"] == versions[0]


def commands(page):
    lines = [line for code in blocks(page, "") for line in code.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("python -m bench")]


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands(page)))


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("python -m bench ")])
def test_commands_that_train_are_accepted(command, tmp_path, capsys, monkeypatch):
    """As a plan of the first job; what needs a cluster or an extra says that it does."""
    monkeypatch.setattr(planning, "pace", lambda jobs: planning.Pace(1.0, 1.0))
    monkeypatch.setattr(PackLauncher, "_executor", lambda *rest: InThisProcess())
    launched = UnionSweeper.launched
    monkeypatch.setattr(UnionSweeper, "launched", lambda self, jobs: launched(self, jobs[:1]))
    words = [word for word in shlex.split(command)[3:] if not word.startswith("results=")]
    if "--help" in words or any("my_package" in word for word in words):  # the latter is tests/test_own_package.py
        return
    code = main([*words, f"results={tmp_path / 'results'}", "hydra.launcher.dry_run=true"])
    said = capsys.readouterr().err
    assert code == 0 or "a search decides" in said or "pip install" in said, said


@pytest.mark.parametrize("command", [one for one in COMMANDS if not one.startswith("python -m bench ")])
def test_other_commands_have_the_options_that_are_shown(command, capsys):
    module = shlex.split(command)[2]
    try:
        run = importlib.import_module(module).main
    except AttributeError:
        run = importlib.import_module(f"{module}.__main__").main
    with pytest.raises(SystemExit) as ended:
        run(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for option in re.findall(r" (--[a-z]+)", command):
        assert option in said


def test_every_cell_remedy_and_clipping_rule_is_recommended_by_somebody():
    said = {word for line in RECOMMENDED for word in line.own}
    assert {f"remedies=[{name}]" for name in choices("remedies")} <= said
    for group in ("clipping", "cell"):
        assert {f"{group}={name}" for name in set(choices(group)) - {"linear"}} <= said


def test_every_recommendation_has_what_came_of_it():
    rows = [row.split(" | ") for row in recommendations().splitlines() if row.startswith("| `") and "..." not in row]
    assert [row[0] for row in rows] == [f"| `{' '.join(line.own)}`" for line in RECOMMENDED]
    assert all(re.match("[0-5]/5, ", row[2]) for row in rows)
