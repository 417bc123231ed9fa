"""Command lines that make no sense, drawn at random: one line each, exit code 2, nothing left behind."""

import contextlib
import io
from pathlib import Path
from string import ascii_lowercase
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.__main__ import main
from bench.jobs.compose import composed
from bench.runs.tables import flat
from tests.conftest import choices

KNOWN = flat(composed())
NUMBERS = [key for key, value in KNOWN.items() if type(value) in (int, float)]
AT_LEAST_1 = ["updates", "batch_size", "cell.hidden", "evaluation.sequences", "evaluation.every", "evaluation.in_a_row"]
AT_LEAST_0 = ["seed", "optimizer.lr", "optimizer.weight_decay", "clipping.threshold", "checkpoint.seconds"]
LIMITS = ["budget.run_seconds", "budget.sweep_seconds", "measurement.spectrum.every"]
GROUPS = ["task", "cell", "initializer", "clipping", "optimizer", "schedule", "engine", "nonfinite", "hydra/launcher"]

SENSIBLE = ("inf", "nan", "null", "here", "workers", "layers", "remedies")  # as a value or key somewhere below
words = st.text(ascii_lowercase, min_size=2, max_size=8).filter(lambda word: word not in SENSIBLE)
texts = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=8)
negative = st.integers(max_value=-1)
bad = st.one_of(
    st.builds("{}={}".format, words.filter(lambda word: word not in {key.split(".")[0] for key in KNOWN}), words),
    st.builds("{}.{}=1".format, st.sampled_from(GROUPS[:2]), words.filter(lambda word: f"cell.{word}" not in KNOWN)),
    st.builds("{}={}".format, st.sampled_from(NUMBERS), words),
    st.builds("{}=nan".format, st.sampled_from(NUMBERS)),
    st.builds("{}={}".format, st.sampled_from(AT_LEAST_1), st.integers(max_value=0)),
    st.builds("{}={}".format, st.sampled_from([*AT_LEAST_0, *LIMITS]), negative),
    st.builds("{}={}".format, st.sampled_from(GROUPS), words.filter(lambda word: word not in ALL_CHOICES)),
    st.builds("{}={}{}".format, st.sampled_from(list(KNOWN)), st.sampled_from("[{("), texts.filter(str.isalnum)),
    st.builds("hydra.launcher.{}={}".format, st.sampled_from(["width", "workers", "memory"]), negative),
    st.builds("hydra.launcher.where={}".format, words),
)
CHOICES = [(group, word) for group in (*GROUPS, "initializer/recurrent") for word in ("</script>", "a/b/c", "/")]
ALL_CHOICES = {name for group in GROUPS for name in choices(group)}


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(mistake=bad, sweeps=st.booleans())
def test_a_mistake_drawn_at_random_is_one_line_and_leaves_nothing(tmp_path, mistake, sweeps):
    folder, said = Path(mkdtemp(dir=tmp_path)), io.StringIO()  # of its own: what one leaves is no other's fault
    with contextlib.redirect_stderr(said):
        code = main([*(["-m"] if sweeps else []), f"results={folder / 'results'}", mistake])
    assert (code, len(said.getvalue().strip().splitlines())) == (2, 1), (mistake, said.getvalue())
    assert said.getvalue().startswith("bench: ")
    left = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert not left, (mistake, said.getvalue(), left)


@pytest.mark.parametrize(("group", "word"), CHOICES)
def test_a_choice_that_there_is_not_is_quoted_as_it_was_given(tmp_path, capsys, group, word):
    assert main([f"results={tmp_path}/results", f"{group}='{word}'"]) == 2
    assert capsys.readouterr().err.startswith(f"bench: {group}={word}: no such choice; use one of ")
