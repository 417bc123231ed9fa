"""Settings are searched on tuning seeds, trial by trial in packs, and confirmed on fresh ones."""

import math

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from bench.__main__ import main
from bench.runs.tables import load
from bench.sweep.search import SearchSweeper

pytest.importorskip("optuna", reason="optuna is not installed")
SMALL = [
    *("task.length=6", "cell.hidden=4", "batch_size=2", "measurement=[]", "updates=12", "evaluation.every=4"),
    *("evaluation.sequences=4", "evaluation.final=4", "hydra.launcher.workers=0"),
]
SEARCH = ["hydra/sweeper=search", "hydra.sweeper.trials=6", "hydra.sweeper.at_once=3", "hydra.sweeper.confirm=2"]


class Launcher:
    """Answers at once: the loss of a job is least at one lr, and there is none for lstm above .02."""

    def __init__(self, best=0.01):
        self.launched, self.best = [], best

    def launch(self, jobs, initial_job_idx):
        self.launched.append(jobs)
        return [self._answer(dict(part.split("=", 1) for part in job)) for job in jobs]

    def _answer(self, job):
        lr = float(job["optimizer.lr"])
        failed = job["cell"] == "lstm" and lr > 0.02
        status = JobStatus.FAILED if failed else JobStatus.COMPLETED
        loss = math.log(lr / self.best) ** 2 + 0.1 * int(job["seed"])
        return JobReturn(status=status, _return_value=RuntimeError("no") if failed else loss)


def searched(trials=40, at_once=8, best=0.01):
    sweeper = SearchSweeper(["optimizer.lr log 1e-4 1e-1"], trials, at_once, confirm=3, seed=0)
    sweeper.config, sweeper.launcher = OmegaConf.create({"sweep": [], "results": "x"}), Launcher(best)
    sweeper.sweep(["cell=tanh,lstm", "seed=1,3"])
    return sweeper.launcher.launched


def test_the_best_setting_is_found_and_confirmed_on_fresh_seeds():
    *tuning, confirmed = searched()
    assert [len(jobs) for jobs in tuning] == [
        2 * 8 * 2
    ] * 5  # cells, trials at once, seeds: one launch, so shared packs
    assert all(job[-1] in ("seed=1", "seed=3") and "results='x/tuning'" in job for jobs in tuning for job in jobs)
    assert [(job[0], job[-1]) for job in confirmed] == [
        (f"cell={cell}", f"seed={seed}") for cell in ("tanh", "lstm") for seed in (0, 2, 4)
    ]
    for job in confirmed:
        assert 0.008 < float(job[-2].split("=")[1]) < 0.0125
        assert job[1] == "selection='optimizer.lr searched: the best of 40 on seeds 1, 3; these are fresh'"


def test_half_of_a_short_search_learns_from_the_other_half():
    blind, learnt, _ = searched(trials=8, at_once=4, best=1e-1)
    blind_too, learnt_elsewhere, _ = searched(trials=8, at_once=4, best=1e-4)
    assert blind == blind_too
    assert learnt != learnt_elsewhere


def test_a_search_asks_the_same_again():
    assert searched() == searched()


def test_a_search_of_two_cells_and_what_it_leaves(tmp_path, capsys):
    command = [*SMALL, *SEARCH, "seed=100,101", "cell=tanh,lstm", f"results={tmp_path / 'found'}"]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert said.count("runs to train: 12, packs: 2 of width 6") == 2
    assert "best of 6 trials, cell=lstm: optimizer.lr=" in said
    runs, tuning = load(tmp_path / "found").runs, load(tmp_path / "found" / "tuning").runs
    assert runs.groupby("cell")["seed"].agg(sorted).to_dict() == {"lstm": [0, 1], "tanh": [0, 1]}
    assert runs["selection"].unique().tolist() == [
        "optimizer.lr, clipping.threshold searched: the best of 6 on seeds 100, 101; these are fresh"
    ]
    assert len(tuning) == 24
    trials = tuning.groupby(["cell", "optimizer.lr", "clipping.threshold"])["final_loss"].mean()
    for cell, best in trials.groupby("cell").idxmin().items():
        chosen = runs[runs["cell"] == cell][["optimizer.lr", "clipping.threshold"]].drop_duplicates()
        assert [tuple(row) for row in chosen.to_numpy()] == [best[1:]]
    assert main(command) == 0
    assert "to train" not in capsys.readouterr().err


DIVERGING = ["hydra.sweeper.space=[clipping.threshold log 1e300 1e301]", "optimizer=sgd", "optimizer.lr=1e30"]


def test_a_search_in_which_every_trial_diverges_confirms_none(tmp_path, capsys):
    found = tmp_path / "found"
    assert main([*SMALL, *SEARCH, *DIVERGING, f"results={found}"]) == 1
    *_, warned, last = capsys.readouterr().err.strip().splitlines()
    assert warned == "none of 6 trials has a finite loss"
    assert last.startswith(
        "bench: 1 of 1 searches found no setting with a finite loss, and confirmed none; search else"
    )
    assert not list(found.glob("*/config.yaml"))
    assert len(load(found / "tuning").runs) == 6


def test_a_search_confirms_what_it_has_found_where_another_finds_nothing(tmp_path, capsys):
    """With a rate of 0 nothing diverges."""
    found = tmp_path / "found"
    rates = [*SMALL, *SEARCH, *DIVERGING[:2], "optimizer.lr=1e30,0", f"results={found}"]
    assert main(rates) == 1
    said = capsys.readouterr().err
    assert "none of 6 trials, optimizer.lr=1e+30 has a finite loss" in said
    assert "best of 6 trials, optimizer.lr=0: " in said
    assert "bench: 1 of 2 searches found no setting" in said
    assert set(load(found).runs["optimizer.lr"]) == {0}


def test_each_search_keeps_its_trials_below_its_own_results(tmp_path):
    one = [*SMALL, *SEARCH, "hydra.sweeper.trials=1", "hydra.sweeper.confirm=1", "task.length=6,7"]
    assert main([*one, f"results='{tmp_path}/a b T${{task.length}}'"]) == 0
    for length in (6, 7):
        folder = tmp_path / f"a b T{length}"
        assert load(folder).runs["task.length"].tolist() == load(folder / "tuning").runs["task.length"].tolist()


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("hydra.sweeper.trials=0", "bench: hydra.sweeper.trials=0: must be a whole number >= 1"),
        ("hydra.sweeper.seed=-1", "bench: hydra.sweeper.seed=-1: must be a whole number >= 0"),
        ("hydra.sweeper.confirm=many", "bench: hydra.sweeper.confirm=many: must be a whole number"),
        ("hydra.sweeper.space=5", "bench: hydra.sweeper.space=5: must be a list of KEY SCALE LOW HIGH"),
        ("+hydra.sweeper.foo=5", "bench: hydra.sweeper.foo: no such key"),
        ("seed=abc", "bench: seed=abc: must be a whole number"),
        (
            "hydra.sweeper.space=[optimizer.lr log 1e-1 1e-4]",
            "hydra.sweeper.space: optimizer.lr log 1e-1 1e-4: use KEY",
        ),
        ("hydra.sweeper.space=[optimizer.lr 1 2]", "hydra.sweeper.space: optimizer.lr 1 2: use KEY SCALE LOW HIGH"),
        ("hydra.sweeper.space=[optimizer.rl log 1e-4 1e-1]", "optimizer.rl: no such key; did you mean optimizer.lr?"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_in_a_line(tmp_path, capsys, mistake, said):
    assert main([*SMALL, *SEARCH, mistake, f"results={tmp_path / 'found'}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not (tmp_path / "found").exists()


def test_a_search_cannot_be_planned(tmp_path, capsys):
    assert main([*SMALL, f"results={tmp_path / 'r'}", "hydra/sweeper=search", "hydra.launcher.dry_run=true"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == "bench: hydra.launcher.dry_run=true: a search decides on its way; leave hydra/sweeper=search out"
    assert not (tmp_path / "r").exists()
