"""torch.nn as an engine: on a GPU it multiplies as it is told, and nobody else is told anything."""

import types

import pytest
import torch

from bench.engines import library
from bench.engines.library import Library, cudnn_multiplies
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from tests.engines.test_engines import setting


def asked():
    """What cuDNN would be told now."""
    return torch.backends.cudnn.rnn.fp32_precision


@pytest.fixture
def heard(monkeypatch):
    """What cuDNN would be told at every way forward and every way back of a recurrent net."""
    found = []

    def noting(function):
        def noted(*arguments, **keywords):
            found.append(asked())
            return function(*arguments, **keywords)

        return noted

    monkeypatch.setattr(torch.nn.LSTM, "forward", noting(torch.nn.LSTM.forward))
    monkeypatch.setattr(torch.autograd, "grad", noting(torch.autograd.grad))
    return found


@pytest.mark.skipif(not hasattr(torch.backends.cudnn.rnn, "fp32_precision"), reason="torch before 2.9 has no such word")
@pytest.mark.parametrize(("tf32", "word"), [(False, "ieee"), (True, "tf32")])
def test_cudnn_multiplies_in_float32_unless_tf32_is_named(heard, tf32, word):
    network, task, flat, batch = setting("lstm", "adding", dtype=torch.float32)
    program = Library(tf32).program(network, task)
    before = asked()
    program.gradients(flat, batch)
    assert heard == 2 * len(flat) * [word]
    program.answers(flat, batch)
    assert heard == 3 * len(flat) * [word]
    assert asked() == before


def test_what_cudnn_was_told_before_is_told_again_after_a_failure():
    before = asked()
    with pytest.raises(ZeroDivisionError), cudnn_multiplies(tf32=before != "tf32"):
        raise ZeroDivisionError
    assert asked() == before


@pytest.mark.parametrize("tf32", [False, True])
def test_before_torch_2_9_cudnn_is_told_by_another_name(monkeypatch, tf32):
    cudnn = types.SimpleNamespace(rnn=types.SimpleNamespace(), allow_tf32="before")
    monkeypatch.setattr(library.torch.backends, "cudnn", cudnn)
    with cudnn_multiplies(tf32):
        assert cudnn.allow_tf32 is tf32
    assert cudnn.allow_tf32 == "before"


def test_tf32_is_asked_for_by_name():
    engines = [
        checked_job(composed("engine=library", "device=cpu", *asked)).engine for asked in ((), ("engine.tf32=true",))
    ]
    assert engines == [Library(tf32=False), Library(tf32=True)]


def test_other_products_are_not_in_tf32():
    """cuBLAS, for whoever multiplies matrices: torch's own default, which nothing here changes."""
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"
