"""The files of a run: whole or not there, and back as tidy tables."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from bench.runs.directory import Damaged, RunDirectory, note_asked
from bench.runs.tables import Absent, load

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
    assert tables.names == ("evaluations", "spectrum")
    with pytest.raises(AttributeError, match=r"hold no table state; they hold runs, evaluations, spectrum$"):
        _ = tables.state
    assert tables.read("state").empty


def test_a_table_of_any_name_that_a_run_has_is_found(tmp_path):
    write(tmp_path, "old")
    write(tmp_path, "new", {**TABLES, "mine": {"update": np.arange(3), "value": np.ones(3)}})
    tables = load(tmp_path)
    assert tables.mine["run"].tolist() == ["new"] * 3
    assert hasattr(tables, "mine")
    assert not hasattr(tables, "other")
    assert tables.of(["old"]).names == ("evaluations", "spectrum")


def test_a_table_may_stand_in_place_of_the_one_on_disk(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    tables = load(tmp_path)
    losses = tables.evaluations.assign(loss=[1.0, 2.0, 3.0, 4.0])
    changed = tables.replaced(evaluations=losses, runs=tables.runs.assign(seed=[7, 8]))
    assert changed.evaluations["loss"].tolist() == [1, 2, 3, 4]
    assert changed.runs["seed"].tolist() == [7, 8]
    assert tables.evaluations["loss"].tolist() != [1, 2, 3, 4]
    late = changed.read("evaluations", ["loss"], lambda table: table["update"] > 0)
    assert late.to_dict("list") == {"run": ["a", "b"], "loss": [2, 4]}
    assert changed.of(["b"]).evaluations["loss"].tolist() == [3, 4]
    assert changed.of(["b"]).runs["seed"].tolist() == [8]
    assert changed.spectrum.equals(tables.spectrum)


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


def zeroed(data):
    return data[: len(data) // 2] + bytes(8) + data[len(data) // 2 + 8 :]


def bracketed(data):
    return data.replace(b": 10\n", b": [0\n") if b": 10\n" in data else b"[" + data[1:]


DAMAGES = {
    **{f"{table}.npz": zeroed for table in TABLES},
    **dict.fromkeys(("config.yaml", "overrides.yaml", "outcome.json", "environment.json", "run.log"), bracketed),
}


def spoil(directory, name):
    """Change a file, but not its size."""
    file = directory.path / name
    before = file.read_bytes()
    file.write_bytes(DAMAGES[name](before))
    assert file.read_bytes() != before
    assert file.stat().st_size == len(before)


def mark_by_sizes(directory):
    """A marker as it was written before there were digests."""
    files = [path for path in directory.path.glob("[!.]*") if path.name != "finished"]
    (directory.path / "finished").write_text(json.dumps({path.name: path.stat().st_size for path in files}))


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_of_unchanged_size_makes_its_run_torn_and_no_other(tmp_path, name):
    bad, good = write(tmp_path, "bad"), write(tmp_path, "good")
    spoil(bad, name)
    assert (bad.standing, good.standing) == ("torn", "finished")
    assert not bad.is_finished
    tables = load(tmp_path)
    assert tables.runs["run"].tolist() == ["good"]
    assert tables.absent == [Absent(bad.path, "torn", "")]


def test_a_marker_of_sizes_vouches_as_it_did(tmp_path):
    directory = write(tmp_path)
    mark_by_sizes(directory)
    assert directory.is_finished
    assert load(tmp_path).runs["run"].tolist() == ["abc"]
    (directory.path / "run.log").write_text("")
    assert not directory.is_finished


@pytest.mark.parametrize("name", sorted(set(DAMAGES) - {"run.log", "outcome.json"}))
def test_damage_that_a_marker_of_sizes_cannot_see_is_named_when_it_is_read(tmp_path, name):
    directory = write(tmp_path)
    mark_by_sizes(directory)
    spoil(directory, name)
    tables = load(tmp_path)

    def read():
        return [tables.runs, tables.environments, *(tables.read(table) for table in TABLES)]

    with pytest.raises(Damaged) as caught:
        read()
    assert str(caught.value).startswith(f"{directory.path / name} cannot be read (")
    assert caught.value.path == directory.path


def test_runs_that_were_asked_for_and_have_no_row_are_absent(tmp_path):
    write(tmp_path, "abc")
    note_asked(tmp_path, {"abc": "seed=1", "def": "seed=2", "begun": "seed=3"})
    RunDirectory(tmp_path, "begun").begin(CONFIG, CHOICES, {})
    tables = load(tmp_path)
    found = {(one.path.name, one.standing, one.asked) for one in tables.absent}
    assert found == {("begun", "interrupted", "seed=3"), ("def", "missing", "seed=2")}
    write(tmp_path / "other", "def")
    assert [one.path.name for one in load(tmp_path, tmp_path / "other").absent] == ["begun"]


def test_what_others_put_beside_a_run_is_not_vouched_for(tmp_path):
    directory = RunDirectory(tmp_path, "abc")
    directory.begin(CONFIG, CHOICES, {"device": "cpu"})
    (directory.path / "plots").mkdir()
    (directory.path / "events.out").write_text("first")
    directory.finish(OUTCOME, TABLES, [])
    (directory.path / "events.out").write_text("another")
    assert directory.is_finished


def test_what_an_earlier_attempt_said_is_gone_when_a_run_begins(tmp_path):
    directory = write(tmp_path)
    directory.begin(CONFIG, CHOICES, {})
    assert {path.name for path in directory.path.iterdir()} == {"config.yaml", "overrides.yaml", "environment.json"}


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
