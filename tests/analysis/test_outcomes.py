from pathlib import Path

import pytest

from bench.analysis.answers.outcomes import Outcomes
from bench.runs.references import StoredRun
from bench.runs.tables import Tables

INFINITE = float("inf")


def run(words, lr, seed, score, solved_at=INFINITE):
    own = f"{' '.join(words)} {lr} {seed}"
    command = ["experiment=x", "sweep=null", *words, f"optimizer.lr={lr}", f"seed={seed}"]
    values = {"solved": float(solved_at < INFINITE), "score": score, "updates to solve": solved_at}
    return StoredRun(
        run_id=own,
        path=Path(own),
        outcome={},
        config={"optimizer": {"lr": lr}, "seed": seed},
        overrides={"overrides": command, "choices": {}},
        environment={},
        tables={"quantities": {name: [value] for name, value in values.items()}},
    )


@pytest.fixture
def outcomes():
    """On seed 100 the lower rate is best, whatever comes of the others; a longer line is another one."""
    return Outcomes(
        Tables(
            [
                *(run(["cell=a"], 0.1, seed, score, at) for seed, score, at in [(0, 0.9, 5), (1, 0.5, INFINITE)]),
                *(run(["cell=a"], 0.1, seed, score, at) for seed, score, at in [(2, 0.1, 7), (100, 0.8, 1)]),
                *(run(["cell=a"], 0.2, seed, 1.0, 1) for seed in (0, 1, 2)),
                *(run(["cell=a"], 0.2, seed, 0.7) for seed in (100,)),
                *(run(["cell=a", "remedies=[b]"], 0.1, seed, 0.0) for seed in (0, 100)),
            ]
        )
    )


def test_an_outcome_is_that_of_the_rate_chosen_on_other_seeds(outcomes):
    found = outcomes.of(["cell=a"], ["seed", "optimizer.lr"])
    assert (found.solved, found.n, found.score, found.updates) == (2, 3, 0.5, 7)
    assert found.chosen == {"optimizer.lr": 0.1}
    assert found.cells() == ["2/3", "0.50", "7"]


def test_a_line_is_found_by_all_its_words(outcomes):
    assert outcomes.of(["remedies=[b]", "cell=a"], ["seed", "optimizer.lr"]).cells() == ["0/1", "0.00", "–"]
    assert outcomes.of(["cell=b"], ["seed", "optimizer.lr"]) is None
