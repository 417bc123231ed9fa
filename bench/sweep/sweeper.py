"""The sweeper: the union of an experiment's override sets, each a product, times what the command line sweeps."""

from __future__ import annotations

import itertools
import logging
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from bench.jobs.errors import ConfigError
from bench.jobs.groups import Groups
from bench.jobs.lines import lines_of
from bench.sweep.launcher import PackLauncher

log = logging.getLogger(__name__)


class RunsFailed(RuntimeError):
    """Some runs of a sweep could not be carried out, or a search found nothing; what else was asked for is finished."""


class UnionSweeper(Sweeper):
    """Runs the union of `sweep:`, command lines in a list or under headings, without duplicates.

    A key on the command line replaces the same key in every set: `experiment=quick seed=0` has one seed. Without
    `sweep:` this is Hydra's own product of the command line.
    """

    def __init__(self) -> None:
        self.parser = OverridesParser.create()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.parser = Groups(hydra_context.config_loader, config).parser()
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(self.launcher, PackLauncher):
            raise ConfigError(f"hydra/launcher: {type(self.launcher).__name__} trains nothing; use packs")

    def sweep(self, arguments: list[str]) -> object:
        """Launch all jobs at once, so that those of one shape find each other."""
        return self.launched(self.jobs(arguments))

    def jobs(self, arguments: Sequence[str]) -> list[list[str]]:
        """The jobs of the experiment's sets and the command line. Raises ConfigError on sets that are none."""
        assert self.config is not None
        return union([line.words for line in lines_of(self.config)], arguments, self.parser)

    def launched(self, jobs: list[list[str]]) -> object:
        """What the jobs return. Raises RunsFailed if some runs could not be carried out; jobs may share a run."""
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        if not getattr(self.launcher, "dry_run", False):
            folders = dict.fromkeys(str(Path(str(result.working_dir)).parent) for result in returns)
            log.info("report: %s", shlex.join(["python", "-m", "bench.report", *folders]))
        runs = {result.working_dir for result in returns}
        failed = {result.working_dir: result for result in returns if result.status is JobStatus.FAILED}
        if failed:
            first = next(iter(failed.values()))
            raise RunsFailed(f"{len(failed)} of {len(runs)} runs failed, the first with {first._return_value}")
        return returns


def union(sets: Iterable[Sequence[str]], arguments: Sequence[str], parser: OverridesParser) -> list[list[str]]:
    """The jobs of the sets (one empty set if there is none) with the command line `arguments`, in order, each once.

    Raises ConfigError if a set or a sweep makes no sense.
    """
    given = parser.parse_overrides(list(arguments))
    taken = {override.key_or_group for override in given}
    jobs: dict[tuple[str, ...], None] = {}
    for words in sets or [()]:
        own = [override for override in parser.parse_overrides(list(words)) if override.key_or_group not in taken]
        for job in product([*given, *own]):
            jobs.setdefault(tuple(job))
    return [list(job) for job in jobs]


def product(overrides: Iterable[Override]) -> Iterable[list[str]]:
    """Every combination of the values that are swept. Raises ConfigError on a sweep that has none."""
    choices = []
    for override in overrides:
        key, line = override.get_key_element(), override.input_line
        if override.is_sweep_override() and override.key_or_group in ("experiment", "sweep"):
            raise ConfigError(f"{line}: one at a time, for each has a `sweep:` of its own")
        if override.is_interval_sweep():
            raise ConfigError(
                f"{line}: an interval cannot be run through; give values or a range, or let hydra/sweeper=search "
                f"choose: hydra.sweeper.space=['{key} linear LOW HIGH']"
            )
        if override.is_sweep_override():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            if not choices[-1]:
                raise ConfigError(f"{line}: comes to no value")
        else:
            choices.append([line or f"{key}={override.get_value_element_as_str()}"])
    return (list(combination) for combination in itertools.product(*choices))
