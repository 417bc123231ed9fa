"""The sweeper that searches: settings are chosen on tuning seeds, per cell and task, and confirmed on fresh ones."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from bench.sweep.sweeper import UnionSweeper, union
from tasks.ranges import Count, require

log = logging.getLogger(__name__)


class SearchSweeper(UnionSweeper):
    """Optuna's TPE over a space of settings, for every combination of what is swept but the seed.

    The objective of a trial is its mean final held-out loss over the seeds of the command line, infinite where a run
    diverged or failed. Trials are asked for `at_once` at a time, for all combinations together, so that they share
    packs. The best setting is then trained with `confirm` seeds that the search has not seen: those runs, and no
    others, stand in the results folder, and their `selection` says how they were chosen; the search's own stand in
    `tuning` below it. Nothing else is kept: the same command asks the same trials again and finds them finished.

    space: what is searched, each as `KEY SCALE LOW HIGH`, the scale `log` or `linear`. seed: of the search.
    Raises ValueError on numbers out of range or where optuna is not installed, ConfigError if only a plan is asked for.
    """

    def __init__(self, space: Sequence[str], trials: Count, at_once: Count, confirm: Count, seed: int) -> None:
        require(SearchSweeper.__init__, locals(), "hydra.sweeper.")
        try:
            import optuna
        except ImportError:
            raise ValueError(
                "hydra/sweeper=search: needs optuna; pip install 'recurrent-memory-bench[search]'"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna = optuna
        self.space = {line.split()[0]: self._stretch(line) for line in space}
        self.trials, self.at_once, self.confirm, self.seed = trials, at_once, confirm, seed

    def _stretch(self, line: str) -> Any:
        try:
            _, scale, low, high = line.split()
            logarithmic = {"log": True, "linear": False}[scale]
            return self.optuna.distributions.FloatDistribution(float(low), float(high), log=logarithmic)
        except (KeyError, ValueError):
            raise ValueError(
                f"hydra.sweeper.space: {line}: use KEY SCALE LOW HIGH, such as optimizer.lr log 1e-4 1e-1, LOW < HIGH"
            ) from None

    def sweep(self, arguments: list[str]) -> object:
        assert self.config is not None
        if getattr(self.launcher, "dry_run", False):
            from bench.jobs.build import ConfigError  # not at the top: it imports torch

            raise ConfigError(
                "hydra.launcher.dry_run=true: a search decides on its way; leave hydra/sweeper=search out"
            )
        jobs = union(list(self.config.sweep), arguments)
        questions = list(dict.fromkeys(tuple(part for part in job if not _is_seed(part)) for job in jobs))
        seeds = sorted({int(part.split("=")[1]) for job in jobs for part in job if _is_seed(part)}) or [0]
        best = self._searched(questions, seeds)
        fresh = list(itertools.islice((seed for seed in itertools.count() if seed not in seeds), self.confirm))
        how = f"{', '.join(self.space)} searched: the best of {self.trials} on seeds {', '.join(map(str, seeds))}"
        said = f"selection='{how}; these are fresh'"
        return self.launched(
            [[*question, said, *setting, f"seed={seed}"] for question, setting in best.items() for seed in fresh]
        )

    def _searched(self, questions: Sequence[tuple[str, ...]], seeds: Sequence[int]) -> dict[tuple[str, ...], list[str]]:
        """The best setting of every question, as overrides."""
        assert self.config is not None
        sampler = self.optuna.samplers.TPESampler
        studies = {
            question: self.optuna.create_study(sampler=sampler(seed=self.seed, constant_liar=True))
            for question in questions
        }
        for start in range(0, self.trials, self.at_once):
            count = min(self.at_once, self.trials - start)
            asked = [(q, study.ask(self.space)) for q, study in studies.items() for _ in range(count)]
            tuning = f"results={self.config.results}/tuning"
            jobs = [
                [
                    *(part for part in q if not part.startswith("results=")),
                    tuning,
                    *_overrides(trial.params),
                    f"seed={seed}",
                ]
                for q, trial in asked
                for seed in seeds
            ]
            losses = iter(map(_loss, self.launcher.launch(jobs, initial_job_idx=0)))
            for q, trial in asked:
                studies[q].tell(trial, sum(next(losses) for _ in seeds) / len(seeds))
        shared = set.intersection(*map(set, questions))
        for q, study in studies.items():
            log.info(
                "best of %d trials%s: %s, loss %.4g",
                *(self.trials, "".join(f", {part}" for part in q if part not in shared)),
                *(" ".join(_overrides(study.best_params)), study.best_value),
            )
        return {question: _overrides(study.best_params) for question, study in studies.items()}


def _is_seed(override: str) -> bool:
    return override.startswith("seed=")


def _overrides(setting: Mapping[str, float]) -> list[str]:
    return [f"{key}={value!r}" for key, value in setting.items()]


def _loss(result: JobReturn) -> float:
    """What the search minimises."""
    loss = result._return_value
    return math.inf if result.status is JobStatus.FAILED or loss is None or math.isnan(loss) else loss
