"""Steps made at random of operations that are known: compiled against eager."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from bench.engines import compiled
from bench.engines.compiled import Compiled
from bench.nets.cells.cell import Parameter
from bench.nets.network import Network
from bench.pack.axes import H, I
from bench.pack.streams import Stream
from tests.engines.own_cells import Plain
from tests.engines.test_engines import CPU, SEEDS, START, example
from tests.engines.test_own_cells import assert_agrees

pytestmark = pytest.mark.skipif(not compiled.available(), reason="there is no C compiler")

# of two tensors [..., B, H], a weight's row and a matrix; each is smooth enough for two ways to agree to 1e-10
OPERATIONS = {
    "add": lambda a, b, row, W: a + b,
    "sub": lambda a, b, row, W: a - 0.5 * b,
    "mul": lambda a, b, row, W: a * b,
    "div": lambda a, b, row, W: a / (2 + b.square()),
    "tanh": lambda a, b, row, W: torch.tanh(a),
    "sigmoid": lambda a, b, row, W: torch.sigmoid(a) + row,
    "relu": lambda a, b, row, W: torch.relu(a - 0.1),
    "silu": lambda a, b, row, W: functional.silu(a),
    "softplus": lambda a, b, row, W: functional.softplus(a),
    "exp": lambda a, b, row, W: torch.exp(-a.abs()),
    "log": lambda a, b, row, W: torch.log(1.5 + a * a),
    "sin": lambda a, b, row, W: torch.sin(3 * a) * row,
    "cos": lambda a, b, row, W: torch.cos(a) + b,
    "where": lambda a, b, row, W: torch.where(a > b, a, 0.3 * b),
    "clamp": lambda a, b, row, W: a.clamp(-0.7, 0.9),
    "maximum": lambda a, b, row, W: torch.maximum(a, b),
    "sqrt": lambda a, b, row, W: (1 + a.square()).sqrt(),
    "product": lambda a, b, row, W: a @ W.mT + row,
    "other product": lambda a, b, row, W: a @ W - b,
    "centred": lambda a, b, row, W: a - a.mean(-1, keepdim=True),
    "scaled": lambda a, b, row, W: a / (1 + b.abs().sum(-1, keepdim=True)),
    "rolled": lambda a, b, row, W: a.roll(1, dims=-1) * row,
    "halves": lambda a, b, row, W: torch.cat((b[..., 2:], a[..., :2]), dim=-1),
    "gated": lambda a, b, row, W: torch.sigmoid(row) * a + (1 - torch.sigmoid(row)) * b,
    "negated": lambda a, b, row, W: -a,
    "learnt": lambda a, b, row, W: a * torch.exp(row).mean(-1, keepdim=True),
}


@dataclass(frozen=True)
class Random(Plain):
    """Operations on what came before them, by name and the places of two of these; the last ones are the state."""

    recipe: tuple[tuple[str, int, int], ...]

    states = ("h", "c")

    @property
    def parameters(self):
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "V_hh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,)),
            "row": Parameter("bias", (H,)),
        }

    def step(self, weights, x, state):
        h, c = state
        found = [h, c, self.sum_of(weights, x, h)]
        for name, first, second in self.recipe:
            given = (found[-1 - first % len(found)], found[-1 - second % len(found)])
            found.append(OPERATIONS[name](*given, weights["row"][..., None, :], weights["V_hh"]))
        return torch.tanh(found[-1] + found[2]), torch.tanh(found[-2] + 0.5 * c)


RECIPES = st.lists(
    st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 3), st.integers(0, 5)), min_size=2, max_size=9
)


@pytest.mark.usefixtures("quickly_compiled")
@settings(max_examples=16, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(RECIPES.map(tuple))
def test_a_random_step_agrees_with_eager(recipe):
    check(recipe)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_of_these_operations_is_known(name):
    assert Compiled().supports(Network(Random(7, ((name, 0, 1), ("tanh", 0, 0))), 2, 1), CPU)


def check(recipe):
    task = example("task/copying", length=4, symbols=3)
    network = Network(Random(7, recipe), task.inputs, task.outputs)
    assert Compiled().supports(network, CPU)
    flat = network.initial([START] * len(SEEDS), SEEDS)
    assert_agrees(network, task, flat, task.sample(Stream(SEEDS, "train", dtype=torch.float64), 3))
