"""What a task says is right at each step: the answer from what has been seen, at the last step the answer itself."""

import pytest
import torch

from bench.pack.streams import Stream
from tests.conftest import small_task

TASKS = [
    ("adding", {}),
    ("adding", {"variant": "anywhere"}),
    ("adding", {"variant": "pascanu", "length": 30}),
    ("adding", {"variant": "hochreiter", "length": 30}),
    ("multiplication", {}),
    ("delayed_xor", {}),
    ("temporal_order", {"length": 20}),
    ("temporal_order", {"variant": "hochreiter", "length": 30, "symbols": 3}),
]


@pytest.mark.parametrize(("name", "fields"), TASKS)
def test_at_a_sequences_last_step_it_is_the_answer(name, fields):
    task = small_task(name, **fields)
    batch = task.sample(Stream([0, 1], "train", dtype=torch.float64), 50)
    steps = torch.full((2, 50), task.steps) if batch.lengths is None else batch.lengths
    last = task.so_far(batch).take_along_dim(steps[..., None] - 1, dim=-1)
    assert torch.allclose(last.double(), batch.targets.double(), rtol=1e-12)


def test_sum_so_far_step_by_step():
    task = small_task("adding", length=6)
    batch = task.sample(Stream([3], "train", dtype=torch.float64), 20)
    values, markers = batch.inputs.unbind(-1)
    assert torch.allclose(task.so_far(batch), (values * markers).cumsum(-1))


def test_class_so_far_counts_what_is_to_come_as_x():
    """c Y c a d b Y b a c: XX, then YX, then YY."""
    task = small_task("temporal_order", length=10)
    batch = task.sample(Stream(list(range(40)), "train", dtype=torch.float64), 10)
    shown = batch.inputs.argmax(-1)
    for symbols, right in zip(shown.flatten(0, 1).tolist(), task.so_far(batch).flatten(0, 1).tolist(), strict=True):
        word, expected = "", []
        for symbol in symbols:
            word += task.channels[symbol] if symbol < 2 else ""
            expected.append(task.classes.index(word.ljust(task.symbols, "X")))
        assert right == expected
