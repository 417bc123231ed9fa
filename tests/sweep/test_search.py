"""Settings are searched on tuning seeds, trial by trial in packs, and confirmed on fresh ones."""

import math
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus

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
    """Answers at once: the loss of a job is least at lr = .01, and there is none for lstm above .02."""

    def __init__(self):
        self.launched = []

    def launch(self, jobs, initial_job_idx):
        self.launched.append(jobs)
        return [self._answer(dict(part.split("=", 1) for part in job)) for job in jobs]

    def _answer(self, job):
        lr = float(job["optimizer.lr"])
        failed = job["cell"] == "lstm" and lr > 0.02
        status = JobStatus.FAILED if failed else JobStatus.COMPLETED
        loss = math.log(lr / 0.01) ** 2 + 0.1 * int(job["seed"])
        return JobReturn(status=status, _return_value=RuntimeError("no") if failed else loss)


def searched(trials=40, at_once=8):
    sweeper = SearchSweeper(["optimizer.lr log 1e-4 1e-1"], trials, at_once, confirm=3, seed=0)
    sweeper.config, sweeper.launcher = SimpleNamespace(sweep=[], results="x"), Launcher()
    sweeper.sweep(["cell=tanh,lstm", "seed=1,3"])
    return sweeper.launcher.launched


def test_the_best_setting_is_found_and_confirmed_on_fresh_seeds():
    *tuning, confirmed = searched()
    assert [len(jobs) for jobs in tuning] == [
        2 * 8 * 2
    ] * 5  # cells, trials at once, seeds: one launch, so shared packs
    assert all(job[-1] in ("seed=1", "seed=3") and "results=x/tuning" in job for jobs in tuning for job in jobs)
    assert [(job[0], job[-1]) for job in confirmed] == [
        (f"cell={cell}", f"seed={seed}") for cell in ("tanh", "lstm") for seed in (0, 2, 4)
    ]
    for job in confirmed:
        assert 0.008 < float(job[-2].split("=")[1]) < 0.0125
        assert job[1] == "selection='optimizer.lr searched: the best of 40 on seeds 1, 3; these are fresh'"


def test_a_search_asks_the_same_again():
    assert searched() == searched()


def test_a_search_of_two_cells_and_what_it_leaves(tmp_path, capsys):
    command = [*SMALL, *SEARCH, "seed=100,101", "cell=tanh,lstm", f"results={tmp_path / 'found'}"]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert said.count("runs to train: 12, packs: 2 of width 6") == 2
    assert "best of 6 trials, cell=lstm: optimizer.lr=" in said
    runs, tuning = load(tmp_path / "found").runs, load(tmp_path / "found" / "tuning").runs
    assert runs.groupby("cell")["seed"].agg(list).to_dict() == {"lstm": [0, 1], "tanh": [0, 1]}
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


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("hydra.sweeper.trials=0", "hydra.sweeper.trials=0: must be a whole number >= 1"),
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
