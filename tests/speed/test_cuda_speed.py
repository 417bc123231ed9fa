"""What is timed on a GPU runs, tried on the CPU with tiny nets: so that a machine with a GPU is not lent for a typo."""

import importlib.util
import json
import math

import pytest
import torch

from bench.engines.batched import Batched
from bench.speed import test_cuda as speed

TINY = ("tanh", 4, 6, 2)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(speed, "DEVICE", torch.device("cpu"))
    monkeypatch.setattr(speed, "ENGINES", {"fused": Batched(), "graphed": Batched()})
    for name, value in {"ROUNDS": 2, "LEAST_SECONDS": 0.0, "LARGE": 16, "COPIED": 1024}.items():
        monkeypatch.setattr(speed, name, value)


def test_whole_steps():
    found = speed.step_figures(TINY, replicas=3)
    jax = ["jax"] if importlib.util.find_spec("jax") else []
    assert list(found) == ["torch.nn", "torch.nn in TF32", "fused", "graphed", "torch.func", *jax]
    assert found["torch.nn"]["times_torch_nn"] == 1
    for figures in found.values():
        assert all(0 < value < math.inf for value in figures.values())


def test_a_rate_counts_every_replica_of_a_pack(monkeypatch):
    """With a clock by which every call takes two seconds."""
    monkeypatch.setattr(speed, "seconds", lambda function, count: function() or 2.0)
    monkeypatch.setattr(speed, "peers", lambda replicas, setting: {})
    monkeypatch.setattr(speed, "floor_of", lambda pack, setting: 0.25)
    found = speed.step_figures(TINY, replicas=3)
    assert found["torch.nn"] == {"replica_updates_per_second": 0.5, "times_torch_nn": 1, "times_floor": 8}
    assert found["fused"] == {
        "replica_updates_per_second": 1.5,
        "times_torch_nn": 3,
        "times_floor": pytest.approx(8 / 3),
    }


def test_the_floor_is_what_takes_longer(monkeypatch):
    pack = speed.training(Batched(), 1, TINY)
    moved, useful = 4 * 5 * 2 * 4 * 6, 6 * 2 * (6 * 4 * (4 + 2) + 4)
    for peak, bandwidth, floor in ((1.0, math.inf, useful), (math.inf, 1.0, moved)):
        monkeypatch.setattr(speed, "matmul_peak", lambda peak=peak: peak)
        monkeypatch.setattr(speed, "copy_bandwidth", lambda bandwidth=bandwidth: bandwidth)
        assert speed.floor_of(pack, TINY) == floor


def test_what_the_trace_costs():
    assert math.isfinite(speed.trace_figures(TINY, replicas=3)["share"])


@pytest.mark.parametrize("case", speed.CASES)
def test_errors(case):
    found = speed.error_figures(case, hidden=4, steps=6)
    assert list(found) == ["fused", "graphed", "torch.nn", "torch.nn in TF32"]
    assert all(0 <= error < 1e-5 for error in found.values())


def test_layouts_of_which_no_other_is_there(capsys):
    assert list(speed.layout_figures(TINY, replicas=3)) == ["fused"]
    assert capsys.readouterr().out.split("\n")[1::2] == [
        "flashrnn is not installed and is left out",
        "xma is not installed and is left out",
    ]


def test_several_processes():
    assert speed.together(TINY, processes=1, least=0.1) > 0


def test_a_peer_that_fails_is_left_out_with_a_line(capsys):
    found = {}
    speed.add(found, "works", lambda: lambda: None)
    speed.add(found, "breaks", lambda: lambda: 1 / 0)
    assert list(found) == ["works"]
    assert capsys.readouterr().out == "\nbreaks fails here and is left out: ZeroDivisionError: division by zero\n"


def test_figures_are_told_and_kept_as_they_come(tmp_path):
    file = tmp_path / "speed" / "cuda.json"
    speed.save(file, "first", {"fused": {"rate": 1.5}})
    speed.save(file, "second", {"share": 0.25})
    kept = json.loads(file.read_text())
    assert list(kept) == ["first", "second"]
    assert kept["first"]["fused"] == {"rate": 1.5}
    assert list(speed.told({"fused": {"rate": 1.5, "times": 2}, "share": 0.25})) == [
        "  fused                rate 1.5, times 2",
        "  share                0.25",
    ]
