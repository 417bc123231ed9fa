"""A measurement with its figure is two new files and a yaml in a package of one's own; nothing else is edited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.__main__ import main
from bench.exports.logger import series
from bench.report import main as report
from bench.runs.tables import load
from tests.conftest import ROOT

FILES = {
    "toy_package/__init__.py": "",
    "toy_package/conf/__init__.py": "",
    "toy_package/conf/measurement/mean_weight.yaml": """
# @package measurement.mean_weight
_target_: toy_package.mean_weight.MeanWeight
every: 10
points_per_decade: 1
""".lstrip(),
    "toy_package/mean_weight.py": '''
from dataclasses import dataclass

import numpy as np

from bench.extending import Measurement


@dataclass(frozen=True)
class MeanWeight(Measurement):
    """Mean absolute entry of all parameters."""

    table = "mean_weight"
    series = ()

    def measure(self, snapshot):
        means = snapshot.parameters.double().abs().mean(-1)
        return [{"mean_weight": np.array([mean])} for mean in means.tolist()]
''',
    "toy_package/figures.py": '''
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.plot import Plot
from bench.analysis.statistics.summaries import quartiles


@figure("mean_weight", place=35)
def mean_weight(facets: Facets) -> Plot:
    """Mean absolute weight, by updates."""
    band = quartiles(facets.joined("mean_weight"), [*facets.by, "update"], "mean_weight")
    panels = facets.panels(band, "updates", "mean |weight|")
    panels.draw_bands(band, "update")
    caption = f"Mean absolute weight, {facets.seeds()}. {facets.conditions}"
    return Plot("mean_weight", panels.figures, band, caption, panels.alt("Mean weight"))
''',
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Runs of a package with a measurement and a figure of its own."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        own = ["hydra.searchpath=[pkg://toy_package.conf]", "extensions=[toy_package]", "measurement=[mean_weight]"]
        small = ["task.length=6", "cell.hidden=4", "batch_size=2", "updates=20", "hydra.launcher.workers=0"]
        judged = ["evaluation.sequences=4", "evaluation.final=4", "evaluation.every=10"]
        assert main(["-m", *own, *small, *judged, "cell=tanh,irnn", "seed=0,1", f"results={folder}/results"]) == 0
        yield folder / "results"
    for name in [name for name in sys.modules if name.split(".")[0] == "toy_package"]:
        del sys.modules[name]


def test_its_table_is_an_attribute_of_the_results(results):
    tables = load(results)
    assert tables.mean_weight["update"].tolist() == [0, 10, 20] * 4
    assert "mean_weight" in tables.names


def test_its_numbers_are_exported(results):
    exported = {name: (updates.tolist(), values) for name, updates, values in series(load(results).directories[0])}
    assert exported["mean_weight/mean_weight"][0] == [0, 10, 20]


def test_its_figure_stands_in_the_part_of_the_report_that_says_why(results, svg_alone):
    assert report([str(results)]) == 0
    page = (results / "report" / "report.html").read_text()
    places = [page.index(tag) for tag in ('<figure id="scores">', '<h2 id="why">', '<figure id="mean_weight">')]
    assert places == sorted(places)  # what was measured beside outcomes and evaluations says why
    drawn = pd.read_csv(results / "report" / "figures" / "mean_weight.csv")
    assert set(drawn["n"]) == {2}


def test_where_the_package_is_not_there_the_report_does_without_its_figure(results, tmp_path):
    command = [sys.executable, "-m", "bench.report", str(results), "--out", str(tmp_path / "out")]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert not (tmp_path / "out" / "figures" / "mean_weight.csv").exists()
    assert (tmp_path / "out" / "figures" / "scores.csv").exists()
