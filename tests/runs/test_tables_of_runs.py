"""The files of a run: whole or not there, and back as tidy tables."""

import logging

import numpy as np
import pandas as pd
import pytest

from bench.runs.directory import RunDirectory
from bench.runs.tables import load

CONFIG = {
    "seed": 3,
    "clipping": {"_target_": "x", "threshold": float("inf")},
    "task": {"length": 10},
    "extensions": [],
}
CHOICES = {"overrides": ["seed=3"], "choices": {"task": "adding", "cell": "tanh"}}
OUTCOME = {"outcome": "solved", "solved_at": 40, "diverged_at": None, "final_loss": np.float64(0.25)}
TABLES = {
    "evaluations": {"update": np.array([0, 10], np.int32), "loss": np.array([1.0, np.nan])},
    "spectrum": {
        "update": np.array([0, 0]),
        "block": np.array(["W_hi", "W_hf"]),
        "spectral_radius": np.ones(2),
    },
}


def write(results, run_id="abc", tables=TABLES):
    directory = RunDirectory(results, run_id)
    directory.begin(CONFIG, CHOICES, {"device": "cpu"})
    directory.finish(OUTCOME, tables, ["a line"])
    return directory


def test_a_run_comes_back_as_it_was_written(tmp_path):
    write(tmp_path)
    tables = load(tmp_path)
    (row,) = tables.runs.to_dict("records")
    assert row["run"] == "abc"
    assert row["outcome"] == "solved"
    assert row["clipping.threshold"] == float("inf")
    assert row["task.length"] == 10
    assert (row["task"], row["cell"]) == ("adding", "tanh")
    assert np.isnan(row["diverged_at"])
    expected = pd.DataFrame({"run": ["abc", "abc"], "update": [0, 10], "loss": [1.0, np.nan]})
    pd.testing.assert_frame_equal(tables.evaluations, expected, check_dtype=False, check_categorical=False)
    assert tables.spectrum["block"].tolist() == ["W_hi", "W_hf"]
    assert tables.state_jacobian.empty


def test_several_folders_make_one_table(tmp_path):
    write(tmp_path / "a", "one")
    write(tmp_path / "b", "two")
    tables = load(tmp_path / "a", tmp_path / "b")
    assert tables.runs["run"].tolist() == ["one", "two"]
    assert tables.evaluations["run"].tolist() == ["one", "one", "two", "two"]


def test_a_run_without_its_marker_is_not_there(tmp_path):
    directory = write(tmp_path)
    (directory.path / "finished").unlink()
    assert not directory.is_finished
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "torn", "marker"])
def test_a_torn_run_is_not_finished_and_is_said_to_be_torn(tmp_path, damage, caplog):
    directory = write(tmp_path)
    assert directory.is_finished
    if damage == "missing":
        (directory.path / "spectrum.npz").unlink()
    elif damage == "torn":
        (directory.path / "evaluations.npz").write_bytes(b"PK")
    else:
        (directory.path / "finished").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert not directory.is_finished
    assert "torn" in caplog.text


def test_a_failed_run_has_a_row_and_is_not_finished(tmp_path):
    directory = RunDirectory(tmp_path, "bad")
    directory.begin(CONFIG, CHOICES, {})
    directory.fail({"outcome": "failed", "message": "ValueError: x", "seconds": 1.0}, ["trace"])
    assert not directory.is_finished
    (row,) = load(tmp_path).runs.to_dict("records")
    assert row["outcome"] == "failed"
    assert row["message"] == "ValueError: x"


def test_no_temporary_file_is_left(tmp_path):
    directory = write(tmp_path)
    names = {path.name for path in directory.path.iterdir()}
    tables = {f"{name}.npz" for name in TABLES}
    files = {"config.yaml", "overrides.yaml", "environment.json", "outcome.json", "run.log", "finished"}
    assert names == files | tables
