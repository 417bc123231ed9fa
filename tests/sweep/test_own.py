"""Components of one's own as values of `bench.sweep`."""

import sys
import textwrap
from types import ModuleType

import pytest

import bench
from bench.jobs.compose import example
from bench.sweep.own import Own

SMALL = {
    "task__length": 6,
    "batch_size": 2,
    "updates": 3,
    "measurement": [],
    "evaluation__sequences": 4,
    "evaluation__final": 4,
}
NOTEBOOK = """
    from __future__ import annotations  # types are words then, which are looked up where the class is
    from dataclasses import dataclass
    import torch
    from bench.extending import Cell, Clipping, H, I, Parameter, PerReplica, Share, column

    @dataclass(frozen=True)
    class SlowNet(Cell):
        rate: Share

        @property
        def parameters(self):
            return {"W_hh": Parameter("recurrent", (H, H)), "W_xh": Parameter("input", (H, I))}

        def step(self, weights, x, state):
            (h,) = state
            return ((1 - self.rate) * h + RATE * torch.tanh(h @ weights["W_hh"].mT + x @ weights["W_xh"].mT),)

        def recurrent_blocks(self, weights):
            return {"W_hh": weights["W_hh"]}

    @dataclass(frozen=True)
    class Sign(Clipping):
        size: PerReplica

        def clip(self, step):
            return column(self.size, step.gradient) * step.gradient.sign()
"""


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Runs a cell of a notebook, whose classes are those of `__main__`."""

    def run(code):
        path = tmp_path / f"cell_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(textwrap.dedent(code))
        main = ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        exec(compile(path.read_text(), str(path), "exec"), vars(main))
        return vars(main)

    return run


def test_classes_of_a_notebook_are_trained_and_their_source_is_kept(notebook, tmp_path):
    names = notebook(NOTEBOOK.replace("RATE", "self.rate"))
    cells = [names["SlowNet"](hidden=4, rate=0.1), "tanh", names["SlowNet"](hidden=4, rate=0.5)]
    clipping = [names["Sign"](size=0.01), "norm"]
    results = bench.sweep(**SMALL, cell=cells, clipping=clipping, results=tmp_path / "r")
    assert set(results.runs["cell"]) == {"slow_net", "slow_net_2", "tanh"}
    assert set(results.runs["clipping"]) == {"sign", "norm"}
    assert len(results.runs) == 6
    (kept,) = (tmp_path / "r").glob("own_*.py")
    assert "class SlowNet(Cell)" in kept.read_text()
    assert results.plot("learning_curves", hue="cell").name == "learning_curves"


def test_a_class_that_is_changed_is_another(notebook, tmp_path):
    found = []
    for rate in ("self.rate", "self.rate", "0.3"):
        cell = notebook(NOTEBOOK.replace("RATE", rate))["SlowNet"](hidden=4, rate=0.1)
        found.append(set(bench.sweep(**SMALL, cell=cell, results=tmp_path / "r").runs["run"]))
    assert found[0] == found[1]
    assert len(found[2]) == 2


def test_a_component_of_the_suite_is_written_as_its_yaml(tmp_path):
    own = Own({"remedies": [example("remedies/max_norm", limit=2.0)], "seed": 3}, tmp_path)
    assert own.settings["remedies"] == ["max_norm"]
    assert own.settings["seed"] == 3
    assert "limit: 2.0" in (tmp_path / "remedies" / "max_norm.yaml").read_text()
