"""`docs/howto/own.md`: a cell, a clipping rule and an initialiser of a package outside the repository."""

import re
import sys

import pytest

from bench import report
from bench.__main__ import main
from bench.runs.tables import load
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "howto" / "own.md").read_text()


@pytest.fixture
def my_package(tmp_path, monkeypatch):
    """The files that the page shows, each under the name it gives there."""
    files = re.findall(r"^`(my_package/\S+)`:\n\n```(?:python|yaml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(files) == 4
    for name, text in [*files, ("my_package/__init__.py", ""), ("my_package/conf/__init__.py", "")]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def test_what_the_page_adds_trains_is_measured_and_appears_in_the_report(my_package, tmp_path, svg_alone):
    command = re.search(r"^(python -m bench -m 'hydra.searchpath=\[pkg://my_package.conf\]'.*)$", PAGE, re.MULTILINE)[1]
    arguments = [argument.replace("'", "") for argument in command.split()[3:]]
    small = ["updates=30", "task.length=10", "seed=0", "cell.hidden=8", "hydra.launcher.workers=0"]
    judged = ["evaluation.final=64", "evaluation.sequences=64"]
    results = tmp_path / "results"
    assert main([*arguments, *small, *judged, f"results={results}"]) == 0
    tables = load(results)
    assert set(tables.runs["cell"]) == {"leaky", "tanh"}
    assert set(tables.runs["clipping"]) == {"sign", "norm"}
    assert set(tables.runs["initializer/recurrent"]) == {"shift"}
    for table in (tables.spectrum, tables.gradient_through_time, tables.state_jacobian):
        assert set(table["run"]) == set(tables.runs["run"])
    start = tables.spectrum[tables.spectrum["update"] == 0]
    assert (abs(start["spectral_radius"] - 1) < 1e-6).all()  # a shift is a permutation
    assert report.main([str(results)]) == 0
    page = (results / "report" / "report.html").read_text()
    assert "leaky" in page
    assert "sign" in page
