"""The launcher: composes the jobs of a sweep, trains those that are not finished in packs, delivers the outcomes."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from tasks.ranges import Count, CountOrZero, OneOf, require

log = logging.getLogger(__name__)


TASKS = ".tasks"  # submitit's files, in the results folder
WHERE = ("workers", "submitit", "slurm", "ray")


class PackLauncher(Launcher):
    """Trains jobs in packs.

    where: in worker processes of this machine, or in tasks of submitit's local processes, Slurm, or Ray.
    workers: how many at a time, each with one thread; None for one per core, or one per GPU where runs train there, of
        Slurm and Ray for as many as they take; 0 trains in this process.
    width: most replicas in a pack. memory: GiB that one pack may take.
    settings: of submitit's executor or Ray's tasks. dry_run: whether only to say what would be trained, and how long.
    """

    def __init__(
        self,
        where: Annotated[str, OneOf(WHERE)],
        workers: CountOrZero | None,
        width: Count,
        memory: Annotated[float, Ge(0.01)],
        settings: dict[str, Any],
        dry_run: bool,
    ) -> None:
        require(PackLauncher.__init__, locals(), "hydra.launcher.")
        self.where = where
        self.workers = workers
        self.width = width
        self.memory = memory * 2**30
        self.settings = settings
        self.dry_run = dry_run

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader = hydra_context.config_loader
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Carry out all jobs; nothing is written before every one of them has been checked."""
        # not at the top: it imports torch, which a plugin must not do when Hydra looks for plugins
        from bench.jobs.compose import plain
        from bench.jobs.job import checked_job
        from bench.runs.directory import RunDirectory
        from bench.sweep.execution import Execution

        composer = Composer(self.loader, self.config)
        checked_job(
            plain(composer.compose(job_overrides[0]))
        )  # thousands take long to compose: most mistakes are in all
        composed = [composer.compose(overrides) for overrides in job_overrides]
        configs = [plain(config) for config in composed]
        jobs = [checked_job(config) for config in configs]
        overrides = [{"overrides": list(given), "choices": composer.choices(given)} for given in job_overrides]

        ids = [one.replica.run_id for one in jobs]
        unique = {run_id: index for index, run_id in reversed(list(enumerate(ids)))}
        directories = {run_id: RunDirectory(jobs[k].results, run_id) for run_id, k in unique.items()}
        todo = {k: directories[run_id] for run_id, k in unique.items() if not directories[run_id].is_finished}
        lost: dict[str, str] = {}
        if todo:
            executor = self._executor(jobs[0])
            if not self.dry_run:
                make_folder(jobs[0].results, {run_id: " ".join(job_overrides[k]) for run_id, k in unique.items()})
        log.info("runs: %d, finished before: %d", len(unique), len(unique) - len(todo))
        if todo:
            execution = Execution(jobs, configs, overrides, self.width, self.memory, executor)
            try:
                (execution.log_plan if self.dry_run else execution.carry_out)(dict(sorted(todo.items())))
            except KeyboardInterrupt:
                raise KeyboardInterrupt(_how_far(directories.values())) from None
            lost = execution.lost

        returns = []
        for index, (one, config, given) in enumerate(zip(jobs, composed, job_overrides, strict=True)):
            directory = directories[one.replica.run_id]
            outcome = directory.outcome if directory.is_there else {}
            message = lost.get(directory.run_id) or outcome.get("message")
            result = JobReturn(overrides=list(given), cfg=config, task_name=f"bench.{initial_job_idx + index}")
            result.status, result.return_value = _delivered(outcome.get("final_loss"), message)
            returns.append(result)
        return returns

    def _executor(self, job: Any) -> Any:
        from torch import cuda

        from bench.sweep.executors import InThisProcess, WorkerExecutor

        if self.workers == 0:
            return InThisProcess()
        cores = len(os.sched_getaffinity(0))
        if self.where == "workers":
            gpus = cuda.device_count() if job.device == "cuda" else 0
            return WorkerExecutor(self.workers or gpus or cores, gpus)
        from bench.sweep.cluster import RayExecutor, SubmititExecutor

        if self.where == "submitit":
            return SubmititExecutor(self.workers or cores, "local", self.settings, Path(job.results) / TASKS)
        if self.where == "slurm":
            return SubmititExecutor(self.workers, "slurm", self.settings, Path(job.results) / TASKS)
        return RayExecutor(self.workers, self.settings)


def _how_far(directories: Iterable[Any]) -> str:
    """What an interrupted sweep leaves, and how to go on."""
    finished, kept = 0, 0
    for directory in directories:
        finished += directory.is_whole
        kept += directory.checkpointed_update > 0
    return f"{finished} runs finished, {kept} in training kept; the same command goes on from there"


def make_folder(results: str, asked: dict[str, str]) -> None:
    """Make the results folder and note there what is asked for, by run id.

    Raises ConfigError if that is not allowed, something else is there, or there is no room.
    """
    from bench.jobs.build import ConfigError
    from bench.runs.directory import note_asked

    try:
        Path(results).mkdir(parents=True, exist_ok=True)
        writable = os.access(results, os.W_OK)
    except OSError as error:
        raise ConfigError(f"results={results}: {error.strerror}; choose a folder that can be made") from None
    if not writable:
        raise ConfigError(f"results={results}: no permission to write there; choose another folder")
    try:
        note_asked(results, asked)
    except OSError as error:
        raise ConfigError(f"results={results}: {error.strerror}; make room there, or choose another folder") from None


def _delivered(loss: float | None, message: str | None) -> tuple[JobStatus, object]:
    """What Hydra hands to whoever asked for a run: its final held-out loss (None if not begun) or failure."""
    if message is not None:
        return JobStatus.FAILED, RuntimeError(message)
    return JobStatus.COMPLETED, loss


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
        self._parsed: dict[str, Override] = {}  # most overrides of a sweep are those of many jobs

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of one job, Hydra's own part left out."""
        files, values = self._split(overrides)
        config = copy.deepcopy(self._of_files(files))
        with open_dict(config):
            del config["hydra"]
        ConfigLoaderImpl._apply_overrides_to_config([self._parse(text) for text in values], config)
        return config

    def choices(self, overrides: Sequence[str]) -> dict[str, str]:
        """The yaml chosen in every group, Hydra's own left out; a list of files is joined by +."""
        chosen = self._of_files(self._split(overrides)[0]).hydra.runtime.choices
        named = {str(group): name for group, name in chosen.items() if not str(group).startswith("hydra/")}
        return {
            group: name if isinstance(name, str) else "+".join(name)
            for group, name in named.items()
            if name is not None and group not in ("experiment", "engine", "logger")
        }

    def _split(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
        """Overrides that choose files, and overrides that set values."""
        files: list[str] = []
        values: list[str] = []
        for text in overrides:
            key = self._parse(text).key_or_group
            if key not in self._groups:
                self._groups[key] = bool(self._loader.get_group_options(key))
            is_file = self._groups[key] or key.startswith("hydra.")
            (files if is_file else values).append(text)
        return tuple(files), values

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_override(text)
        return self._parsed[text]

    def _of_files(self, files: tuple[str, ...]) -> DictConfig:
        if files not in self._composed:
            self._composed[files] = self._loader.load_sweep_config(self._config, list(files))
        return self._composed[files]
