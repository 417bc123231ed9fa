"""What `make experiments` does beside training: a plan, stored references that answer, and the page of results."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from bench import answer as command
from bench import reproduce
from bench.analysis.answers import answer, gallery
from bench.analysis.answers.quantities import kept, quantities
from bench.analysis.answers.rules import rule
from bench.runs import references
from bench.runs.tables import Tables, load
from tests.analysis.conftest import make_up

LSTM, TANH = {"cell": "lstm"}, {"cell": "tanh"}
ASKED = answer.Question(
    "mine",
    "Does an LSTM solve what tanh does not?",
    "it solves it more often",
    {"success": {}, "scores": {}},
    (
        rule({"rule": "difference", "says": "more", "quantity": "solved", "of": LSTM, "less": TANH, "above": 0.3}),
        rule({"rule": "level", "says": "decays", "quantity": "decay rate at start", "of": TANH, "below": -0.2}),
    ),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_up(tmp_path_factory.mktemp("made") / "mine", {"adding": 40}, ["tanh", "lstm"], [1.0], seeds=10)


@pytest.fixture
def stored(made, tmp_path) -> Tables:
    """The same results as a reference, which has no gradient through time."""
    results = load(made)
    references.keep(results.directories, "mine", tmp_path, kept(results))
    return Tables(references.read("mine", tmp_path))


def test_a_stored_reference_gives_the_answer_of_its_folder(made, stored):
    assert "gradient_through_time" not in stored.names
    pd.testing.assert_frame_equal(
        quantities(load(made)).sort_index(), quantities(stored).sort_index(), check_names=False, rtol=1e-4
    )
    assert answer.answer(ASKED, stored).lines() == answer.answer(ASKED, load(made)).lines()


def test_the_page_has_the_answer_the_figure_n_the_cost_and_the_command(made, stored, tmp_path, monkeypatch):
    for module in (answer, gallery):
        monkeypatch.setattr(module, "question", lambda name: ASKED)
    drawn = [tmp_path / "results" / name for name in ("mine.png", "mine-scores.png")]
    assert gallery.draw("mine", load(made), tmp_path) == drawn
    assert set((tmp_path / "results").iterdir()) == set(drawn)
    page = gallery.gallery([("mine", stored)], tmp_path)
    assert "| [mine](#mine) | Does an LSTM solve what tanh does not? | holds | 2 of 2 |" in page
    assert "## mine\n\n**Does an LSTM solve what tanh does not?** *holds*: it solves it more often.\n" in page
    assert (
        "- holds: more (solved: lstm 10/10 less tanh 0/10: 1.0 [0.61, 1.0], n = 10 seeds, predicted above 0.3)" in page
    )
    assert "![mine](results/mine.png)" in page
    assert "Further figures: [scores](results/mine-scores.png)." in page
    assert (
        "20 runs, 10 seeds, 960k sequences, 0.018 core hours; commit unknown. `python -m bench experiment=mine`" in page
    )


def test_the_headline_stands_first(stored, monkeypatch):
    for module in (answer, gallery):
        monkeypatch.setattr(module, "question", lambda name: ASKED)
    page = gallery.gallery([("claim_a", stored), ("memory_length", stored)], Path())
    assert page.index("## memory_length") < page.index("## claim_a")


def test_results_that_ask_nothing_stand_beside_what_sources_say(tmp_path):
    page = gallery.gallery([("quick", Tables(references.read("quick")))], tmp_path)
    assert "- Hochreiter & Schmidhuber 1997, experiment 4: LSTM solves adding" in page
    assert "![" not in page


def test_the_command_answers_from_what_is_stored_where_nothing_was_trained(stored, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "question", lambda name: ASKED)
    monkeypatch.setattr(command.references, "names", lambda: ["mine"])
    monkeypatch.setattr(command.references, "read", lambda name: stored.directories)
    assert command.main(["mine"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "holds: it solves it more often"
    assert said[-1].startswith("from the stored results of this suite; python -m bench experiment=mine trains")


def test_the_plan_adds_up_what_each_experiment_says(monkeypatch, capsys, tmp_path):
    def said(line, **_):
        assert line[-1] == "hydra.launcher.dry_run=true"
        text = "runs: 140, finished before: 40\n  5 x adding: 0.3 h each\nabout 1.5 h, 2 at a time; and so on\n"
        return SimpleNamespace(returncode=0, stdout=text, stderr="")

    monkeypatch.setattr(subprocess, "run", said)
    assert reproduce.main(["claim_a", "claim_b", "--plan", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["claim_a", "100", "of", "140", "runs", "1.50", "h"]
    assert lines[2].split()[:5] == ["together", "200", "runs", "3.00", "h,"]


def test_a_plan_says_what_a_real_dry_run_says(capsys, tmp_path):
    assert reproduce.main(["claim_irnn_transports", "--plan", "--results", str(tmp_path)]) == 0
    assert "80 of     80 runs" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


def test_an_experiment_that_is_interrupted_ends_the_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=130))
    assert reproduce.main(["claim_a", "--results", str(tmp_path)]) == 130
