"""The launcher: composes the jobs of a sweep, trains those that are not finished in packs, delivers the outcomes."""

from __future__ import annotations

import copy
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

log = logging.getLogger(__name__)


class PackLauncher(Launcher):
    """Trains jobs in packs, in worker processes.

    workers: processes at a time, each with one thread; None for one per core, 0 for none (train in this process).
    width: most replicas in a pack. memory: GiB that one pack may take.
    """

    def __init__(self, workers: int | None, width: int, memory: float) -> None:
        for name, value, least in (("workers", workers or 0, 0), ("width", width, 1), ("memory", memory, 0.01)):
            if not value >= least:
                raise ValueError(f"hydra.launcher.{name}={value}: at least {least}")
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        self.width = width
        self.memory = memory * 2**30

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader = hydra_context.config_loader
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Carry out all jobs; nothing is written before every one of them has been checked."""
        # not at the top: it imports torch, which a plugin must not do when Hydra looks for plugins
        from bench.config import job, plain
        from bench.results import RunDirectory

        composer = Composer(self.loader, self.config)
        composed = [composer.compose(overrides) for overrides in job_overrides]
        configs = [plain(config) for config in composed]
        jobs = [job(config) for config in configs]
        overrides = [{"overrides": list(given), "choices": composer.choices(given)} for given in job_overrides]

        unique = {one.replica.run_id: index for index, one in reversed(list(enumerate(jobs)))}
        directories = {run_id: RunDirectory(jobs[k].results, run_id) for run_id, k in unique.items()}
        todo = sorted(k for run_id, k in unique.items() if not directories[run_id].is_finished)
        if todo:
            make_folder(jobs[0].results)
        log.info("runs: %d, finished before: %d", len(unique), len(unique) - len(todo))
        if todo:
            self._train([jobs[k] for k in todo], [configs[k] for k in todo], [overrides[k] for k in todo])

        returns = []
        for index, (one, config, given) in enumerate(zip(jobs, composed, job_overrides, strict=True)):
            outcome = directories[one.replica.run_id].outcome
            returns.append(_delivered(outcome, config, list(given), initial_job_idx + index))
        return returns

    def _train(self, jobs: list[Any], configs: list[dict[str, Any]], overrides: list[dict[str, Any]]) -> None:
        from bench.sweep.packs import packs
        from bench.sweep.places import run_here, run_in_workers
        from bench.sweep.progress import SweepProgress
        from bench.sweep.worker import Order

        planned = packs(jobs, self.width, self.memory, max(1, self.workers))
        widths = Counter(pack.width for pack in planned)
        described = [f"{count} of width {width}" for width, count in sorted(widths.items(), reverse=True)]
        log.info("runs to train: %d, packs: %s", len(jobs), ", ".join(described))
        orders = [
            Order([jobs[k] for k in p.jobs], [configs[k] for k in p.jobs], [overrides[k] for k in p.jobs])
            for p in planned
        ]
        with SweepProgress([(pack.width, jobs[pack.jobs[0]].replica.updates) for pack in planned]) as progress:
            if self.workers == 0 or len(orders) == 1:
                run_here(orders, progress)
            else:
                run_in_workers(orders, self.workers, progress)


def make_folder(results: str) -> None:
    """Make the results folder. Raises ConfigError if that is not allowed or something else is there."""
    from bench.config import ConfigError

    try:
        Path(results).mkdir(parents=True, exist_ok=True)
        writable = os.access(results, os.W_OK)
    except OSError as error:
        raise ConfigError(f"results={results}: {error.strerror}; choose a folder that can be made") from None
    if not writable:
        raise ConfigError(f"results={results}: no permission to write there; choose another folder")


def _delivered(outcome: dict[str, Any], config: DictConfig, overrides: list[str], index: int) -> JobReturn:
    """What Hydra hands to whoever asked for the sweep: the final held-out loss, or the failure."""
    result = JobReturn(overrides=overrides, cfg=config, task_name=f"bench.{index}")
    if outcome["outcome"] == "failed":
        result.status, result.return_value = JobStatus.FAILED, RuntimeError(outcome["message"])
    else:
        result.status, result.return_value = JobStatus.COMPLETED, outcome["final_loss"]
    return result


class Composer:
    """Composes jobs faster than Hydra alone: one composition per choice of yaml files, plain values set on a copy.

    Hydra takes 50 ms a job, more than the training of a small replica. Equality with it is tested.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self._loader = loader
        self._config = config
        self._parser = OverridesParser.create()
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._groups: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of one job, Hydra's own part left out."""
        files, values = self._split(overrides)
        config = copy.deepcopy(self._of_files(files))
        with open_dict(config):
            del config["hydra"]
        ConfigLoaderImpl._apply_overrides_to_config(self._parser.parse_overrides(values), config)
        return config

    def choices(self, overrides: Sequence[str]) -> dict[str, str]:
        """The yaml chosen in every group, Hydra's own left out; a list of files is joined by +."""
        chosen = self._of_files(self._split(overrides)[0]).hydra.runtime.choices
        named = {str(group): name for group, name in chosen.items() if not str(group).startswith("hydra/")}
        return {
            group: name if isinstance(name, str) else "+".join(name)
            for group, name in named.items()
            if name is not None and group not in ("experiment", "engine")
        }

    def _split(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
        """Overrides that choose files, and overrides that set values."""
        files: list[str] = []
        values: list[str] = []
        for text in overrides:
            key = self._parser.parse_override(text).key_or_group
            if key not in self._groups:
                self._groups[key] = bool(self._loader.get_group_options(key))
            is_file = self._groups[key] or key.startswith("hydra.")
            (files if is_file else values).append(text)
        return tuple(files), values

    def _of_files(self, files: tuple[str, ...]) -> DictConfig:
        if files not in self._composed:
            self._composed[files] = self._loader.load_sweep_config(self._config, list(files))
        return self._composed[files]
