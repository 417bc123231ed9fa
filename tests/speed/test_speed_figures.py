"""The figures and the table of `make speed`, from a file such as pytest-benchmark writes."""

import json

import pandas as pd
import pytest

from bench.speed import figure


@pytest.fixture
def results(tmp_path):
    about = {"kind": "step", "task": "adding", "cell": "tanh", "length": 100}
    tests = []
    for hidden, replicas in ((64, 1), (64, 16), (128, 16)):
        nn, ours = [10.0, 20.0, 60.0], [50.0, 80.0, 70.0]
        contenders = {
            "compiled": {"rates": ours, "error": 1e-7, "flops": 5e10},
            "torch.nn": {"rates": nn, "error": 2e-7, "flops": 1e10},
        }
        tests.append({**about, "hidden": hidden, "replicas": replicas, "contenders": contenders, "matmul": 1e11})
    costs = {"length": {"50": 1e-4, "100": 1.1e-4}, "replicas": {"8": 2e-3, "16": 2e-3}}
    tests.append({"kind": "scaling", "cell": "tanh", "hidden": 100, **costs})
    path = tmp_path / "speed.json"
    path.write_text(json.dumps({"benchmarks": [{"extra_info": test} for test in tests]}))
    return path


def test_a_ratio_is_the_median_of_the_rounds_ratios(results):
    table = figure.steps(results).set_index(["hidden", "replicas", "contender"])
    ours = table.loc[(64, 16, "compiled")]
    assert (ours["rate"], ours["low"], ours["high"]) == (70, 60, 75)
    assert ours["times_torch_nn"] == 4  # of 5, 4 and 1.2; the ratio of the medians would be 3.5
    assert ours["share_of_matmul"] == 0.5
    assert table.loc[(64, 16, "torch.nn")]["times_torch_nn"] == 1


def test_all_is_written(results):
    figure.main(results)
    written = {path.name for path in results.parent.iterdir()}
    assert {"speed.png", "speed.pdf", "cost.png", "cost.svg", "speed_table.csv", "speed_table.md"} <= written
    drawn = pd.read_csv(results.parent / "speed.csv")
    assert set(drawn["replicas"]) == {16}
    assert "compiled in 2" in figure.side_by_side(figure.steps(results)).alt
    assert (
        "| adding | tanh | 64 | 100 | 1 | 70/s (4.0x) | 20/s (1.0x) |"
        in (results.parent / "speed_table.md").read_text()
    )


def test_nothing_measured_is_said(tmp_path):
    path = tmp_path / "speed.json"
    path.write_text('{"benchmarks": []}')
    with pytest.raises(figure.NothingToDraw, match="no timed training steps"):
        figure.side_by_side(figure.steps(path))
