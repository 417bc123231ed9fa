"""MLflow: `logger=mlflow`, then `mlflow ui --backend-store-uri sqlite:///results/custom/mlflow.db`."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.exports.logger import Logger, final, need, series
from bench.runs.tables import Source, flat

LOCAL = "sqlite:///"
MOST_METRICS, MOST_PARAMETERS = 1000, 100  # of one call


@dataclass(frozen=True)
class MLflow(Logger):
    """A run of MLflow for every run: its settings, its outcome and its series, with the update as the step.

    An infinite number becomes the largest one that there is, which is how MLflow keeps it.
    uri: of its store, a file of SQLite or a server. experiment: its name there.
    Raises ValueError if mlflow is not installed.
    """

    uri: str
    experiment: str

    def __post_init__(self) -> None:
        super().__post_init__()
        need("mlflow", "mlflow")

    def export(self, run: Source) -> None:
        with _alone(self.uri):
            self._export(run)

    def _export(self, run: Source) -> None:
        mlflow = _quiet()
        client, entities = mlflow.MlflowClient(self.uri), mlflow.entities
        there = client.get_experiment_by_name(self.experiment)
        experiment = there.experiment_id if there else client.create_experiment(self.experiment)
        for old in client.search_runs([experiment], f"tags.run = '{run.run_id}'"):
            client.delete_run(old.info.run_id)
        made = client.create_run(experiment, run_name=run.run_id, tags={"run": run.run_id}).info.run_id

        settings = flat(run.config) | {f"chosen/{group}": name for group, name in run.overrides["choices"].items()}
        parameters = [entities.Param(name, str(value)) for name, value in settings.items()]
        points = [(name, *point) for name, *columns in series(run) for point in zip(*columns, strict=True)]
        points += [(f"outcome/{name}", run.config["updates"], value) for name, value in final(run).items()]
        metrics = [entities.Metric(name, float(value), 0, int(update)) for name, update, value in points]
        for k in range(0, len(parameters), MOST_PARAMETERS):
            client.log_batch(made, params=parameters[k : k + MOST_PARAMETERS])
        for k in range(0, len(metrics), MOST_METRICS):
            client.log_batch(made, metrics=metrics[k : k + MOST_METRICS])
        client.set_terminated(made, "FAILED" if run.outcome["outcome"] == "failed" else "FINISHED")


def _quiet() -> Any:
    """MLflow without reports of its use to its makers, and without a line for every table that it sets up."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time writes to a file of SQLite, which is set up by the first."""
    if not uri.startswith(LOCAL):
        yield
        return
    path = Path(uri.removeprefix(LOCAL))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
