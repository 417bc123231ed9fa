"""The launcher: composes the jobs of a sweep, trains those that are not finished in packs, delivers the outcomes."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from bench.jobs.composer import Composer
from bench.jobs.errors import ConfigError
from bench.sweep.progress import bar, starting
from tasks.ranges import Count, CountOrZero, OneOf, hints, require

log = logging.getLogger(__name__)


TASKS = ".tasks"  # submitit's files, in the results folder
WHERE = ("here", "workers", "submitit", "slurm", "ray")


class PackLauncher(Launcher):
    """Trains jobs in packs.

    where: in this process, in worker processes of this machine, or in tasks of submitit's local processes, Slurm, or
        Ray.
    workers: how many at a time, each with one thread; None for one per core, or one per GPU where runs train there, of
        Slurm and Ray for as many as they take; 0 trains in this process too.
    width: most replicas in a pack. memory: GiB that one pack may take.
    settings: of submitit's executor or Ray's tasks. dry_run: whether only to say what would be trained, and how long.
    Raises ConfigError on a wrong type or value.
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
        given = {"where": where, "workers": workers, "width": width, "memory": memory, "dry_run": dry_run}
        with starting():
            check_settings(PackLauncher.__init__, "hydra.launcher", given)
        if not isinstance(settings, Mapping):
            raise ConfigError(f"hydra.launcher.settings={settings}: use +hydra.launcher.settings.NAME=VALUE")
        self.where = where
        self.workers = workers
        self.width = width
        self.memory = memory * 2**30
        self.settings = settings
        self.dry_run = dry_run

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        sweeper = str(config.hydra.sweeper._target_)
        if config.get("sweep") and not sweeper.startswith("hydra_plugins.bench_plugins."):
            raise ConfigError(f"hydra/sweeper: {sweeper} does not read an experiment's `sweep:`; use union or search")
        self.loader = hydra_context.config_loader
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Carry out all jobs; nothing is written before every one of them has been checked."""
        with bar(iterable=job_overrides, desc="checking", unit=" jobs", leave=False) as each:
            # not at the top: it imports torch, which a plugin must not do when Hydra looks for plugins
            from bench.jobs.compose import plain
            from bench.jobs.job import checked_job
            from bench.runs.directory import RunDirectory
            from bench.sweep.execution import Execution

            composer = Composer(self.loader, self.config)
            checked_job(plain(composer.compose(job_overrides[0])))  # thousands take long: most mistakes are in all
            composed = [composer.compose(overrides) for overrides in each]
            configs = [plain(config) for config in composed]
            jobs = [checked_job(config) for config in configs]
        overrides = [{"overrides": list(given), "choices": composer.choices(given)} for given in job_overrides]

        places = [RunDirectory(job.results, job.replica.run_id) for job in jobs]
        unique = {place.path: k for k, place in reversed(list(enumerate(places)))}  # jobs may ask for the same run
        todo = {k: places[k] for k in sorted(unique.values()) if not places[k].is_finished}
        lost: dict[Path, str] = {}
        if todo:
            executor = self._executor(jobs[0])
            if not self.dry_run:
                asked: dict[str, dict[str, str]] = defaultdict(dict)
                for k in sorted(unique.values()):
                    asked[jobs[k].results][places[k].run_id] = " ".join(job_overrides[k])
                make_folders({results: asked[results] for results in dict.fromkeys(jobs[k].results for k in todo)})
        log.info("runs: %d, finished before: %d", len(unique), len(unique) - len(todo))
        if todo:
            execution = Execution(jobs, configs, overrides, self.width, self.memory, executor)
            for part in each_run_once(todo):
                try:
                    (execution.log_plan if self.dry_run else execution.carry_out)(part)
                except KeyboardInterrupt:
                    raise KeyboardInterrupt(_how_far(places[k] for k in unique.values())) from None
                lost |= {
                    place.path: execution.lost[place.run_id]
                    for place in part.values()
                    if place.run_id in execution.lost
                }
                execution.lost.clear()
                if jobs[0].budget.fail_fast and any(place.has_failed for place in part.values()):
                    break

        returns = []
        for index, (place, config, given) in enumerate(zip(places, composed, job_overrides, strict=True)):
            outcome = place.outcome if place.is_there else {}
            result = JobReturn(overrides=list(given), cfg=config, task_name=f"bench.{initial_job_idx + index}")
            result.working_dir = str(place.path)
            message = lost.get(place.path) or (
                "message" in outcome and f"{outcome['message']}; see {place.path}/run.log"
            )
            result.status, result.return_value = _delivered(outcome.get("final_loss"), message or None)
            returns.append(result)
        return returns

    def _executor(self, job: Any) -> Any:
        from torch import cuda

        from bench.sweep.executors import InThisProcess, WorkerExecutor

        if self.where == "here" or self.workers == 0:
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


def each_run_once(todo: Mapping[int, Any]) -> list[dict[int, Any]]:
    """The jobs in parts of different runs: one part, unless a run is asked for in several folders."""
    parts: dict[int, dict[int, Any]] = defaultdict(dict)
    before = Counter[str]()
    for k, place in todo.items():
        parts[before[place.run_id]][k] = place
        before[place.run_id] += 1
    return list(parts.values())


def make_folders(asked: Mapping[str, Mapping[str, str]]) -> None:
    """Make every results folder and note there what is asked for, by run id; all of them or none.

    Raises ConfigError if that is not allowed, something else is there, or there is no room.
    """
    from bench.runs.directory import note_asked

    made: list[Path] = []
    try:
        for results in asked:
            _make_folder(results, made)
        for results, runs in asked.items():
            try:
                note_asked(results, runs)
            except OSError as error:
                raise ConfigError(
                    f"results={results}: {error.strerror}; make room there, or choose another folder"
                ) from None
    except ConfigError:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # it holds something by now
                path.rmdir()
        raise


def _make_folder(results: str, made: list[Path]) -> None:
    """Make a folder and those above it, each noted in `made`."""
    folder = Path(results)
    try:
        for path in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            path.mkdir(exist_ok=True)
            made.append(path)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"results={results}: {error.strerror}; choose a folder that can be made") from None
    if not os.access(results, os.W_OK):
        raise ConfigError(f"results={results}: no permission to write there; choose another folder")


def check_settings(init: Any, path: str, given: Mapping[str, Any]) -> None:
    """Raises ValueError if a setting of a plugin is not what its `__init__` says; `path` is the plugin's node."""
    from bench.jobs.build import converted  # not at the top: it imports torch

    for name, value in given.items():
        converted(hints(init)[name], value, f"{path}.{name}", ())
    require(init, given, f"{path}.")


def _delivered(loss: float | None, message: str | None) -> tuple[JobStatus, object]:
    """What Hydra hands to whoever asked for a run: its final held-out loss (None if not begun) or failure."""
    if message is not None:
        return JobStatus.FAILED, RuntimeError(message)
    return JobStatus.COMPLETED, loss
