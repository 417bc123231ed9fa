"""What can be chosen is what stands in `conf/`, each with a line."""

import pytest

import bench
from bench import list as listing
from bench.jobs.choices import _sentence, choices
from bench.jobs.compose import options
from tests import conftest


@pytest.mark.parametrize("group", choices())
def test_every_choice_of_a_group_has_a_line(group):
    found = choices(group)
    assert list(found) == sorted(options(group))
    for name, line in found.items():
        assert line, name
        assert "\n" not in line


def test_functions_list_their_group():
    assert list(bench.cells()) == conftest.choices("cell")
    assert list(bench.tasks()) == conftest.choices("task")
    assert list(bench.clipping_rules()) == conftest.choices("clipping")


def test_a_line_is_the_yamls_own_or_its_classes():
    assert choices("cell")["tanh"] == "The plain recurrent net, started as torch.nn.RNN is"
    assert choices("task")["delayed_xor"].startswith("Exclusive or of two marked bits")
    assert "share=0.9" in choices("remedies")["gradual_pruning"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two.", "One"),
        ("Ba et al. Later. More", "Ba et al. Later"),
        ("A\nb, .5 of it\n\nmore", "A b, .5 of it"),
    ],
)
def test_the_first_sentence(text, sentence):
    assert _sentence(text) == sentence


def test_the_command_prints_them(capsys):
    assert listing.main(["cell"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == repr(bench.cells())
    assert listing.main([]) == 0
    assert "initializer/recurrent" in capsys.readouterr().out


def test_a_group_that_is_not_there_is_one_line(capsys):
    assert listing.main(["cel"]) == 2
    assert capsys.readouterr().err == "bench.list: cel: no such group; did you mean cell?\n"
