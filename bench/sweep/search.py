"""The sweeper that searches: settings are chosen on tuning seeds, per cell and task, and confirmed on fresh ones."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from bench.jobs.errors import ConfigError
from bench.sweep.launcher import check_settings
from bench.sweep.sweeper import RunsFailed, UnionSweeper
from tasks.ranges import Count, CountOrZero

BLIND = 10  # trials at random, before those that learn from others; half of them where a search has fewer than 20
log = logging.getLogger(__name__)


class SearchSweeper(UnionSweeper):
    """Optuna's TPE over a space of settings, for every combination of what is swept but the seed.

    The objective of a trial is its mean final held-out loss over the seeds of the command line, infinite where a run
    diverged or failed. Trials are asked for `at_once` at a time, for all combinations together, so that they share
    packs. The best setting is then trained with `confirm` seeds that the search has not seen: those runs, and no
    others, stand in the results folder, and their `selection` says how they were chosen; the search's own stand in
    `tuning` below it. Where no setting has a finite loss there is none to confirm. Nothing else is kept: the same
    command asks the same trials again and finds them finished.

    space: what is searched, each as `KEY SCALE LOW HIGH`, the scale `log` or `linear`. seed: of the search.
    Raises ConfigError on numbers out of range, where optuna is not installed, or if only a plan is asked for.
    """

    def __init__(self, space: Sequence[str], trials: Count, at_once: Count, confirm: Count, seed: CountOrZero) -> None:
        super().__init__()
        given = {"trials": trials, "at_once": at_once, "confirm": confirm, "seed": seed}
        check_settings(SearchSweeper.__init__, "hydra.sweeper", given)
        try:
            import optuna
        except ImportError:
            raise ConfigError(
                "hydra/sweeper=search: needs optuna; pip install 'recurrent-memory-bench[search]'"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna = optuna
        if (
            isinstance(space, str)
            or not isinstance(space, Sequence)
            or not all(isinstance(line, str) for line in space)
        ):
            raise ConfigError(f"hydra.sweeper.space={space}: must be a list of KEY SCALE LOW HIGH")
        self.space = {line.split()[0]: self._stretch(line) for line in space}
        self.trials, self.at_once, self.confirm, self.seed = trials, at_once, confirm, seed

    def _stretch(self, line: str) -> Any:
        try:
            _, scale, low, high = line.split()
            logarithmic = {"log": True, "linear": False}[scale]
            return self.optuna.distributions.FloatDistribution(float(low), float(high), log=logarithmic)
        except (KeyError, ValueError):
            raise ConfigError(
                f"hydra.sweeper.space: {line}: use KEY SCALE LOW HIGH, such as optimizer.lr log 1e-4 1e-1, LOW < HIGH"
            ) from None

    def sweep(self, arguments: list[str]) -> object:
        assert self.config is not None
        if getattr(self.launcher, "dry_run", False):
            raise ConfigError(
                "hydra.launcher.dry_run=true: a search decides on its way; leave hydra/sweeper=search out"
            )
        jobs = self.jobs(arguments)
        questions = list(dict.fromkeys(tuple(part for part in job if not self._is(part, "seed")) for job in jobs))
        seeds = sorted({self._seed(part) for job in jobs for part in job if self._is(part, "seed")}) or [0]
        best = self._searched(questions, seeds)
        fresh = list(itertools.islice((seed for seed in itertools.count() if seed not in seeds), self.confirm))
        how = f"{', '.join(self.space)} searched: the best of {self.trials} on seeds {', '.join(map(str, seeds))}"
        said = f"selection='{how}; these are fresh'"
        confirmed = [
            [*question, said, *setting, f"seed={seed}"]
            for question, setting in best.items()
            if setting is not None
            for seed in fresh
        ]
        returns = self.launched(confirmed) if confirmed else []
        lost = sum(setting is None for setting in best.values())
        if lost:
            raise RunsFailed(
                f"{lost} of {len(best)} searches found no setting with a finite loss, and confirmed none; "
                "search elsewhere: hydra.sweeper.space=['KEY SCALE LOW HIGH']"
            )
        return returns

    def _is(self, override: str, key: str) -> bool:
        return self.parser.parse_override(override).key_or_group == key

    def _seed(self, override: str) -> int:
        seed = self.parser.parse_override(override).value()
        if type(seed) is not int:
            raise ConfigError(f"{override}: must be a whole number")
        return seed

    def _tuning(self, question: Sequence[str]) -> list[str]:
        """The question, with the folder in which its trials stand: below that of its results."""
        assert self.config is not None
        folder = OmegaConf.to_container(self.config, resolve=False)["results"]  # type: ignore[index,call-overload]
        for part in question:
            if self._is(part, "results"):
                folder = self.parser.parse_override(part).value()
        below = f"{folder}/tuning".replace("'", "\\'")
        return [*(part for part in question if not self._is(part, "results")), f"results='{below}'"]

    def _searched(
        self, questions: Sequence[tuple[str, ...]], seeds: Sequence[int]
    ) -> dict[tuple[str, ...], list[str] | None]:
        """The best setting of every question, as overrides; None where no loss is finite."""
        sampler = self.optuna.samplers.TPESampler
        blind = max(1, min(BLIND, self.trials // 2))
        studies = {
            question: self.optuna.create_study(
                sampler=sampler(seed=self.seed, constant_liar=True, n_startup_trials=blind)
            )
            for question in questions
        }
        for start in range(0, self.trials, self.at_once):
            count = min(self.at_once, self.trials - start)
            asked = [(q, study.ask(self.space)) for q, study in studies.items() for _ in range(count)]
            jobs = [
                [*self._tuning(q), *_overrides(trial.params), f"seed={seed}"] for q, trial in asked for seed in seeds
            ]
            losses = iter(map(_loss, self.launcher.launch(jobs, initial_job_idx=0)))
            for q, trial in asked:
                studies[q].tell(trial, sum(next(losses) for _ in seeds) / len(seeds))
        shared = set.intersection(*map(set, questions))
        best: dict[tuple[str, ...], list[str] | None] = {}
        for q, study in studies.items():
            of = f"{self.trials} trials" + "".join(f", {part}" for part in q if part not in shared)
            if not math.isfinite(study.best_value):
                log.warning("none of %s has a finite loss", of)
                best[q] = None
                continue
            best[q] = setting = _overrides(study.best_params)
            log.info("best of %s: %s, loss %.4g", of, " ".join(setting), study.best_value)
        return best


def _overrides(setting: Mapping[str, float]) -> list[str]:
    return [f"{key}={value!r}" for key, value in setting.items()]


def _loss(result: JobReturn) -> float:
    """What the search minimises."""
    loss = result._return_value
    return math.inf if result.status is JobStatus.FAILED or loss is None or math.isnan(loss) else loss
