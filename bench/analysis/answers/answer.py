"""The answer to an experiment's question: holds, does not hold or undecided, with the numbers that say so.

An experiment's yaml has `asks`:

    question: Does a ReLU net explode as soon as its recurrent weight has an eigenvalue above 1?
    prediction: its gradient grows on its way back at a spectral radius of 1.1
    figures:                          # behind it, each with its axes where they are not the usual ones; at_best there
                                      # names settings of which only those chosen on tuning seeds are shown
      decay_and_exponent: {hue: initializer.recurrent.radius}
    rules:                            # all of them must hold
      - rule: level                   # one of rules.RULES, with its fields
        says: the gradient grows at a radius of 1.1
        quantity: decay rate at start
        of: {initializer.recurrent.radius: 1.1}
        above: 0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.analysis.answers.quantities import quantities
from bench.analysis.answers.rules import FAILS, HOLDS, UNDECIDED, NoSuchRule, Rule, rule
from bench.analysis.experiments import described, experiments, larger
from bench.runs.tables import Tables


class NoSuchQuestion(ValueError):
    """An experiment that is not there, or asks nothing; the message says which ask something."""


@dataclass(frozen=True)
class Question:
    """What an experiment asks. rules: by which the answer is read, all of which its prediction takes."""

    experiment: str
    question: str
    prediction: str
    figures: Mapping[str, Mapping[str, Any]]
    rules: tuple[Rule, ...]

    @property
    def command(self) -> str:
        """The command line that trains what is missing."""
        return f"python -m bench experiment={self.experiment}"


@dataclass(frozen=True)
class Answer:
    """verdict: of all rules together. parts: rule by rule, its prediction, its verdict and its sentence. n: runs."""

    question: Question
    verdict: str
    parts: tuple[tuple[str, str, str], ...]
    n: int

    def lines(self) -> list[str]:
        """All of it, a line each."""
        told = [f"  {verdict}: {says} ({sentence})" for says, verdict, sentence in self.parts]
        return [self.question.question, f"{self.verdict}: {self.question.prediction}", *told]


def questions() -> list[str]:
    """The experiments of this suite that ask something, in alphabetical order."""
    return [name for name in experiments() if "asks" in _whole(name)]


def shipped() -> list[str]:
    """Experiments whose results come with the suite: what asks something or names its lines, recipes in small form."""
    there = experiments()
    small = [name for name in there if name.endswith("_cpu")]
    telling = [*questions(), *(name for name in there if isinstance(_whole(name).get("sweep"), Mapping))]
    return [name for name in there if name in small or (name in telling and f"{name}_cpu" not in small)]


def question(experiment: str) -> Question:
    """What an experiment of this suite asks. Raises NoSuchQuestion, and NoSuchRule for a rule that is none."""
    asks = _whole(experiment).get("asks")
    if asks is None:
        raise NoSuchQuestion(f"{experiment}: asks nothing; these do: {', '.join(questions())}")
    rules = tuple(rule(node) for node in asks["rules"])
    return Question(experiment, asks["question"], asks["prediction"], _figures(asks["figures"]), rules)


def answer(asked: Question, results: Tables) -> Answer:
    """The answer that some results give. A rule that has nothing to go by is undecided, and says why."""
    runs = results.runs.merge(quantities(results), left_on="run", right_index=True, suffixes=("", " (outcome)"))
    parts = []
    for one in asked.rules:
        try:
            found = one.read(runs)
            parts.append((one.says, found.verdict, found.sentence))
        except NoSuchRule as error:
            parts.append((one.says, UNDECIDED, str(error)))
    verdicts = [verdict for _, verdict, _ in parts]
    together = FAILS if FAILS in verdicts else HOLDS if set(verdicts) == {HOLDS} else UNDECIDED
    return Answer(asked, together, tuple(parts), len(runs))


def _figures(node: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: axes or {} for name, axes in node.items()}


def _whole(experiment: str) -> Mapping[str, Any]:
    """What the yaml of an experiment says, and those that it is made from where it says nothing itself."""
    parts = (*map(_whole, larger(experiment)), described(experiment))
    return {key: value for part in parts for key, value in part.items()}
