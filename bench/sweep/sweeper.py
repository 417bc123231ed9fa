"""The sweeper: the union of an experiment's override sets, each a product, times what the command line sweeps."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class RunsFailed(RuntimeError):
    """Some runs of a sweep could not be carried out; the others are finished."""


class UnionSweeper(Sweeper):
    """Runs the union of `sweep:`, a list of command lines, without duplicates.

    A key on the command line replaces the same key in every set: `experiment=quick seed=0` has one seed. Without
    `sweep:` this is Hydra's own product of the command line.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> object:
        """Launch all jobs at once, so that those of one shape find each other."""
        assert self.config is not None
        return self.launched(union(list(self.config.sweep), arguments))

    def launched(self, jobs: list[list[str]]) -> object:
        """What the jobs return. Raises RunsFailed if some could not be carried out."""
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        failed = [result for result in returns if result.status is JobStatus.FAILED]
        if failed:
            reason = failed[0]._return_value
            raise RunsFailed(f"{len(failed)} of {len(returns)} runs failed, the first with {reason}; see their run.log")
        return returns


def union(sets: Sequence[str], arguments: Sequence[str]) -> list[list[str]]:
    """The jobs of the sets (one empty set if there is none) with the command line `arguments`, in order, each once."""
    parser = OverridesParser.create()
    given = parser.parse_overrides(list(arguments))
    taken = {override.key_or_group for override in given}
    jobs: dict[tuple[str, ...], None] = {}
    for line in sets or [""]:
        own = [override for override in parser.parse_overrides(shlex.split(line)) if override.key_or_group not in taken]
        for job in product([*given, *own]):
            jobs.setdefault(tuple(job))
    return [list(job) for job in jobs]


def product(overrides: Iterable[Override]) -> Iterable[list[str]]:
    """Every combination of the values that are swept."""
    choices = []
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([override.input_line or f"{key}={override.get_value_element_as_str()}"])
    return (list(combination) for combination in itertools.product(*choices))
