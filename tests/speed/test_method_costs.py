"""What methods cost is measured for all of them, beside the plain cell on the same task."""

import pytest

from bench.speed import test_methods as speed
from tests.conftest import choices

TINY = ("cell=tanh", "cell.hidden=4", "batch_size=2", "updates=3")


def test_every_choice_is_timed_once_on_a_task_that_it_serves():
    jobs = speed.plain_and_methods(*TINY)
    timed = [words for of_task in jobs.values() for words in of_task if words != "plain"]
    named = [words.partition("=")[2].strip("[]") for words in timed]
    assert sorted(named) == sorted(name for group in speed.GROUPS for name in choices(group))
    assert "remedies=[image_shift]" in jobs["task=digits"]
    assert "remedies=[length_curriculum]" in jobs["task=adding"]


def test_a_cost_is_the_time_of_all_updates_over_the_plain_cells(monkeypatch):
    taken = {"plain": [1.0, 3.0], "dear": [2.0, 10.0]}
    monkeypatch.setattr(
        speed, "interleaved", lambda functions, count: [{n: taken[n][k] for n in functions} for k in range(count)]
    )
    monkeypatch.setattr(speed, "updates", lambda of, replicas: None)
    assert speed.costs(dict.fromkeys(taken), 2, 1) == {"dear": 3.0}


def test_updates_go_on_from_one_to_the_next_and_end_with_the_run():
    update = speed.updates(speed.job("task.length=6", *TINY), 2)
    for _ in range(3):
        update()
    with pytest.raises(IndexError):
        update()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "remedies=[gradient_noise]",
            "Costs as many random numbers as there are weights, half an update of a small net.",
        ),
        ("remedies=[l2_penalty]", ""),
        ("optimizer=adam", ""),
    ],
)
def test_the_reason_is_what_a_docstring_says_of_costs(words, said):
    assert speed.reason(speed.job(words, *TINY), words) == said
