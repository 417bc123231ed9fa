"""What is exported is what stands on disk."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.exports.logger import Logger, final, series
from bench.exports.mlflow import MLflow
from bench.exports.tensorboard import TensorBoard
from bench.exports.wandb import WandB
from bench.runs.directory import RunDirectory
from bench.runs.tables import Source, load
from tests.analysis.conftest import make_up

MOST = 1.7976931348623157e308  # what MLflow makes of infinity


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with three evaluations, one of them not finite, and the spectrum of two gates."""
    directory = RunDirectory(tmp_path / "results", "0123456789ab")
    choices = {"task": "adding", "cell": "lstm"}
    measurement = {
        name: {"_target_": f"bench.measurements.{name}"} for name in ("spectrum.Spectrum", "state.StateStatistics")
    }
    config = {"task": {"length": 20}, "updates": 20, "clipping": {"threshold": np.inf}, "measurement": measurement}
    directory.begin(config, {"overrides": [], "choices": choices}, {"torch": "2.13.0"})
    tables = {
        "evaluations": {
            "update": np.array([0, 10, 20], dtype=np.int32),
            "loss": np.array([1 / 3, 1e-17, np.inf]),
            "skill": np.array([0.1, np.nan, 1.0]),
        },
        "spectrum": {
            "update": np.array([0, 0, 20, 20], dtype=np.int32),
            "block": np.array(["W_hi", "W_hf"] * 2),
            "spectral_radius": np.array([0.5, 0.6, 0.7, 0.8]),
        },
        "state": {"update": np.array([0, 0]), "step": np.array([1, 2]), "dead": np.zeros(2)},  # too many for curves
    }
    directory.finish({"outcome": "solved", "solved_at": 10, "final_skill": 2 / 3, "diverged_at": None}, tables, [])
    return directory


@pytest.fixture
def expected(run: RunDirectory) -> dict[str, tuple[list[int], list[float]]]:
    """What a program must have afterwards, read off the files."""
    numbers = {name: (update.tolist(), value.tolist()) for name, update, value in series(run)}
    return numbers | {f"outcome/{name}": ([20], [value]) for name, value in final(run).items()}


def test_series_are_the_columns_of_the_tables(expected):
    assert expected["evaluations/loss"] == ([0, 10, 20], [1 / 3, 1e-17, np.inf])
    assert expected["spectrum/spectral_radius/W_hf"] == ([0, 20], [0.6, 0.8])
    assert expected["outcome/final_skill"] == ([20], [2 / 3])
    assert set(expected) == {
        *("evaluations/loss", "evaluations/skill", "spectrum/spectral_radius/W_hf", "spectrum/spectral_radius/W_hi"),
        *("outcome/solved_at", "outcome/final_skill"),
    }


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_has_the_numbers_of_the_disk(run, expected, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    logger = TensorBoard(str(tmp_path / "tensorboard"))
    for _ in range(2):  # the second takes the place of the first
        logger.export(run)
    events = EventAccumulator(str(tmp_path / "tensorboard" / run.run_id), {"tensors": 0})
    events.Reload()
    texts = {f"{name}/text_summary" for name in ("configuration", "outcome", "made with")}
    assert set(events.Tags()["tensors"]) == {*expected, *texts}
    for name, (updates, values) in expected.items():
        found = events.Tensors(name)
        assert [event.step for event in found] == updates
        np.testing.assert_array_equal([make_ndarray(event.tensor_proto).item() for event in found], values)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")  # of MLflow's own dependencies
def test_mlflow_has_the_numbers_of_the_disk(run, expected, tmp_path):
    logger = MLflow(f"sqlite:///{tmp_path}/store/mlflow.db", "memory")
    for _ in range(2):
        logger.export(run)
    import mlflow

    client = mlflow.MlflowClient(logger.uri)
    (made,) = client.search_runs([client.get_experiment_by_name("memory").experiment_id])
    assert made.data.tags["run"] == run.run_id
    assert made.data.params["task.length"] == "20"
    assert made.data.params["chosen/cell"] == "lstm"
    assert set(made.data.metrics) == set(expected)
    for name, (updates, values) in expected.items():
        history = client.get_metric_history(made.info.run_id, name)
        assert [metric.step for metric in history] == updates
        np.testing.assert_array_equal(
            [metric.value for metric in history], np.nan_to_num(values, nan=np.nan, posinf=MOST)
        )


def records(path: Path) -> Iterator[Any]:
    """What W&B keeps offline: protocol buffers in the log format of LevelDB, whose blocks have 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a record in one part, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def kept(folder: Path, run: Source, kind: str) -> list[Any]:
    """All that W&B keeps of a kind, in the one file of a run."""
    (file,) = (folder / "wandb").glob(f"offline-run-*/run-{run.run_id}.wandb")
    return [getattr(one, kind) for one in records(file) if one.WhichOneof("record_type") == kind]


def values_of(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")  # of W&B's own dependencies
def test_wandb_has_the_numbers_of_the_disk(run, expected, tmp_path):
    logger = WandB("memory", str(tmp_path / "there"), "offline", ())
    for _ in range(2):
        logger.export(run)
    (made,) = kept(tmp_path / "there", run, "run")
    assert (made.project, made.run_id, made.display_name) == ("memory", run.run_id, run.run_id)
    config = values_of(made.config.update)
    assert config["task"] == {"length": 20}
    assert config["chosen"]["cell"] == "lstm"

    rows = [values_of(row.item) for row in kept(tmp_path / "there", run, "history")]
    points = {name: [(row["_step"], row[name]) for row in rows if name in row] for name in expected}
    summary = {}
    for part in kept(tmp_path / "there", run, "summary"):
        summary |= values_of(part.update)
    assert summary["outcome/outcome"] == "solved"
    for name, (updates, values) in expected.items():
        if name.startswith("outcome/"):
            assert [summary[name]] == values
        else:
            np.testing.assert_array_equal(points[name], list(zip(updates, values, strict=True)))


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")
def test_wandb_has_the_figures_for_which_there_are_data(tmp_path):
    run = load(make_up(tmp_path / "results", only=["evaluations"])).directories[0]
    WandB("memory", str(tmp_path), "offline", ("learning_curves", "eigenvalues")).export(run)
    (artifact,) = kept(tmp_path, run, "artifact")
    assert artifact.name == f"figures-{run.run_id}"
    (file,) = artifact.manifest.contents
    assert file.path == "learning_curves.png"
    assert Path(file.local_path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_figures_that_are_not_there_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"^figures: there is no figure faces; there are learning_curves, "):
        WandB("memory", str(tmp_path), "offline", ("faces",))


@pytest.mark.parametrize(
    ("package", "kind", "fields"),
    [
        ("tensorboard", TensorBoard, ["x"]),
        ("mlflow", MLflow, ["x", "y"]),
        ("wandb", WandB, ["x", "y", "offline", ()]),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(package, kind, fields, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"^{package}: is not installed; pip install '.*\[{package}\]'$"):
        kind(*fields)


def test_an_export_that_fails_leaves_the_run_as_it_is(run, caplog):
    class Broken(Logger):
        def export(self, run):
            raise OSError("no space")

    Broken().hand_over(run)
    assert caplog.messages == [f"run {run.run_id} was not exported (logger=broken): OSError: no space"]
    assert run.is_finished
