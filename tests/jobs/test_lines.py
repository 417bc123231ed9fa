import pytest
from omegaconf import OmegaConf

from bench.jobs.errors import ConfigError
from bench.jobs.lines import Line, lines, lines_of

NAMED = {
    "each": "lr=1,2 seed=0,1",
    "Cells": {"each": "task=adding cell=tanh", "gates": "cell=lstm", "a sum": "cell='my cell' lr=3"},
    "Starts": {"none": "", "deeper": {"each": "cell=gru", "a list": "remedies=[a,b]"}},
}


def test_a_list_has_lines_without_a_name():
    assert lines(["a=1 b='x y'", "c=2"]) == [Line((), ("a=1", "b=x y")), Line((), ("c=2",))]


def test_a_line_takes_the_words_of_its_headings_and_its_own_win():
    assert {line.names: line.words for line in lines(NAMED)} == {
        ("Cells", "gates"): ("lr=1,2", "seed=0,1", "task=adding", "cell=lstm"),
        ("Cells", "a sum"): ("lr=3", "seed=0,1", "task=adding", "cell=my cell"),
        ("Starts", "none"): ("lr=1,2", "seed=0,1"),
        ("Starts", "deeper", "a list"): ("lr=1,2", "seed=0,1", "cell=gru", "remedies=[a,b]"),
    }


def test_swept_keys_stand_apart_from_words_with_one_value():
    *_, last = lines(NAMED)
    assert last.swept == {"lr": ("1", "2"), "seed": ("0", "1")}
    assert last.fixed == ("cell=gru", "remedies=[a,b]")
    assert last.heading == ("cell=gru",)


@pytest.mark.parametrize("sweep", [5, "a=1", [5], {"x": 5}, {"x": ["a=1"]}, {"each": 3}, {"x": "seed='1"}])
def test_what_is_no_sweep_is_one_clear_line(sweep):
    with pytest.raises(ConfigError, match=r"^sweep(=|: seed)"):
        lines(sweep)


def test_a_line_may_name_a_key_of_each_run():
    whole = OmegaConf.create({"length": 5, "sweep": [r"length=1,2 'longest=\${length}'"]})
    assert [line.words for line in lines_of(whole)] == [("length=1,2", "longest=${length}")]
