"""A run that begins with the weights that another one ended with, and what it says where they do not fit."""

import re

import numpy as np
import pytest
import torch

from bench.__main__ import main
from bench.engines.eager import Eager
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.runs.directory import RunDirectory
from bench.runs.tables import load
from bench.training.loop import Training
from tests.conftest import with_seeds

SMALL = (
    "task.length=8",
    "updates=3",
    "cell.hidden=6",
    "measurement=[]",
    "evaluation.sequences=4",
    "evaluation.final=4",
)
CPU = torch.device("cpu")


def asked(*overrides):
    return checked_job(composed(*SMALL, *overrides)).replica


def kept(folder, training, r=0):
    """A folder with the weights that a replica of a trained pack ended with."""
    directory = RunDirectory(folder, f"{r:012x}")
    directory.path.mkdir(parents=True)
    directory.finish({"outcome": "stuck"}, {}, [], training.finish()[r].weights)
    return directory


@pytest.fixture
def ended(tmp_path):
    training = Training(with_seeds(asked(), [0, 1]), Eager(), CPU)
    training.run()
    return training, [kept(tmp_path / "ended", training, r) for r in range(2)]


def test_weights_are_those_that_the_other_run_ended_with_whatever_stands_in_the_pack(ended):
    training, folders = ended
    replicas = [asked(f"start={folder.path}", "seed=7") for folder in folders]
    assert replicas[0].pack_key == replicas[1].pack_key == asked().pack_key
    begun = Training([*replicas, asked()], Eager(), CPU)
    assert torch.equal(begun.flat[:2], training.flat)
    assert torch.equal(begun.flat[2], Training([asked()], Eager(), CPU).flat[0])


def test_what_it_goes_on_from_is_no_table_and_is_vouched_for(ended):
    _, (folder, _) = ended
    assert folder.tables == []
    assert folder.is_whole
    damaged = (folder.path / "weights.npz").read_bytes()
    (folder.path / "weights.npz").write_bytes(damaged[:-9] + b"000000000")
    assert not folder.is_whole


def test_identity_rests_on_the_weights_and_not_on_where_they_lie(ended, tmp_path):
    training, (one, other) = ended
    again = kept(tmp_path / "elsewhere", training)
    ids = [asked(f"start={folder.path}").run_id for folder in (one, other, again)]
    assert ids[0] == ids[2] != ids[1]
    assert asked().run_id not in ids
    assert asked("start=null") == asked()


def test_from_the_command_line(tmp_path, capsys):
    """A run, then one that begins where it ended: update 0 of the second is the last of the first."""
    here = ("evaluation.every=3", "hydra.launcher.where=here")
    assert main([*SMALL, *here, f"results={tmp_path / 'one'}"]) == 0
    (one,) = load(tmp_path / "one").directories
    assert main([*SMALL, *here, f"results={tmp_path / 'two'}", f"start={one.path}"]) == 0
    (two,) = load(tmp_path / "two").directories
    first, second = (run.table("evaluations")["loss"] for run in (one, two))
    assert first[-1] == second[0] != first[0]
    assert two.config["start"] == str(one.path)
    assert main([*SMALL, *here, f"results={tmp_path / 'three'}", f"start={one.path}", "cell.hidden=5"]) == 2
    assert "its W_hh is [6, 6], that of this net [5, 5]" in capsys.readouterr().err
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("cell.hidden=7",), "its W_hh is [6, 6], that of this net [7, 7]"),
        (("task=copying",), "its W_xh is [6, 2], that of this net [6, 10]"),
        (("cell=gru",), "has W_hh, W_xh, b, W_hy, b_y where this net has W_hh, W_xh, b, b_hn, W_hy, b_y"),
        (("cell.layers=2",), "has W_hh, W_xh, b, W_hy, b_y where this net has W_hh_1, W_xh_1, b_1, W_hh_2"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(ended, overrides, said):
    path = ended[1][0].path
    with pytest.raises(ConfigError, match=f"^start={re.escape(f'{path}: {said}')}"):
        asked(f"start={path}", *overrides)


def test_a_folder_without_weights_is_one_line(ended, tmp_path):
    with pytest.raises(ConfigError, match=r"^start=nowhere: no weights\.npz there; give the folder of a finished run$"):
        asked("start=nowhere")
    with pytest.raises(ConfigError, match=r"^start=3: must be the folder of a finished run"):
        asked("start=3")
    bad = RunDirectory(tmp_path, "bad")
    bad.path.mkdir()
    bad.finish({}, {}, [], {"W_hh": np.array([np.nan])})
    with pytest.raises(ConfigError, match=r"W_hh is not finite there: the run has diverged$"):
        asked(f"start={bad.path}")
    (bad.path / "weights.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"weights\.npz cannot be read"):
        asked(f"start={bad.path}")
