"""Every line of the table of operations: its C against torch and exact values, its derivative against autograd."""

import ctypes

import numpy as np
import pytest
import torch

from bench.engines import building, compiled
from bench.engines.kernels import DEFINITIONS, HEADERS
from bench.engines.step import operations
from bench.engines.step.graph import Node, ordered
from bench.engines.step.operations import FUNCTIONS, TABLE, apply

needs_compiler = pytest.mark.skipif(not compiled.available(), reason="there is no C compiler")
PRECISIONS = [torch.float32, torch.float64]
CONDITIONS = {"where": 1, "and": 2, "or": 2, "not": 1}  # operations whose first inputs are conditions, and how many
INPUTS = {name: 3 if "{2}" in TABLE[name].text else 2 if "{1}" in TABLE[name].text else 1 for name in TABLE}
POSITIVE = ("log", "sqrt", "rsqrt")
SPECIAL = [0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, 20.0, 1e-30, -1e-30, 88.5, -104.0]
EXACT = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "softplus": lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))),
    "log_sigmoid": lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    "sqrt": np.sqrt,
}


def in_c(name, *inputs):
    """What an operation's C makes of tensors of one precision."""
    dtype = next((part.dtype for part in inputs if part.dtype != torch.bool), torch.float32)
    condition = CONDITIONS.get(name, 0)
    arguments = [f"load(x{k} + i) != 0" if k < condition else f"load(x{k} + i)" for k in range(len(inputs))]
    result = TABLE[name].text.format(*(f"({argument})" for argument in arguments))
    result = f"where({result}, all(1), all(0))" if TABLE[name].condition else result
    parameters = ", ".join(f"const real *x{k}" for k in range(len(inputs)))
    text = f"""#define TILES_ELSEWHERE
#include "functions.h"
void run(int64_t count, {parameters}, real *y) {{
    for (ptrdiff_t i = 0; i < count; i += LANES) store(y + i, {result});
}}
"""
    size = len(inputs[0])
    padded = [torch.cat([part.to(dtype), torch.ones(-size % 64, dtype=dtype)]) for part in inputs]
    out = torch.empty_like(padded[0])
    library = building.load(text, *DEFINITIONS[dtype], headers=HEADERS)
    pointers = [ctypes.c_void_p(part.data_ptr()) for part in (*padded, out)]
    library.run(ctypes.c_int64(len(out)), *pointers)
    return out[:size] != 0 if TABLE[name].condition else out[:size]


def numbers(name, dtype, special=True):
    """Inputs for an operation, NaN and infinity among them."""
    generator = torch.Generator().manual_seed(0)
    drawn = [3 * torch.randn(200, generator=generator, dtype=torch.float64) for _ in range(INPUTS[name])]
    if special:
        drawn = [
            torch.cat([part, torch.tensor(SPECIAL * 12).double()[torch.randperm(144, generator=generator)]])
            for part in drawn
        ]
    if name.startswith("clamp"):
        drawn[1].fill_(0.5)  # a bound is a constant
    given = [part.to(dtype) for part in drawn]
    return [part > 0 if k < CONDITIONS.get(name, 0) else part for k, part in enumerate(given)]


@needs_compiler
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", TABLE)
def test_c_agrees_with_torch(name, dtype):
    inputs = numbers(name, dtype)
    same(name, in_c(name, *inputs), TABLE[name].torch(*inputs))


def same(name, ours, theirs):
    """Results of an operation agree with torch's."""
    if ours.dtype == torch.bool:
        assert torch.equal(ours, theirs)
        return
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert torch.equal(ours.isinf(), theirs.isinf())
    limit = torch.finfo(ours.dtype)
    tiny = 2 * limit.tiny / limit.eps if name == "sigmoid" else 4 * limit.eps if name in ("sin", "cos") else limit.tiny
    assert torch.allclose(ours, theirs, rtol=16 * limit.eps, atol=tiny, equal_nan=True)


@needs_compiler
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", EXACT)
def test_c_is_exact_to_a_few_units_in_the_last_place(name, dtype):
    exact_within(name, dtype, lambda x: in_c(name, x))


def exact_within(name, dtype, function):
    """The relative error over all of the line, from the smallest numbers to where the result leaves the range."""
    size = np.concatenate([np.geomspace(1e-30, 1, 4000), np.linspace(1, 80, 4000), np.geomspace(80, 5000, 500)])
    x = torch.from_numpy(np.concatenate([-size[::-1], size])).to(dtype)
    x = x[x > 0] if name in POSITIVE else x[x > -0.999] if name == "log1p" else x
    limits = torch.finfo(dtype)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.numpy().astype(np.longdouble))
    ours = function(x).numpy().astype(np.longdouble)
    normal = (np.abs(exact) > limits.tiny) & (np.abs(exact) < limits.max)
    if name == "sigmoid":
        normal &= x.numpy() > (-80 if dtype == torch.float32 else -700)  # below it is 0 rather than e^x
    error = np.abs(ours - exact)[normal] / np.abs(exact[normal])
    if name in ("sin", "cos"):  # near its zeros exact in absolute terms
        error = np.minimum(error, np.abs(ours - exact)[normal])
    assert error.max() < 4 * limits.eps
    if name in ("tanh", "sin"):
        assert np.array_equal(ours, -ours[::-1])


def by_autograd(name, inputs, upstream):
    leaves = [part if part.dtype == torch.bool else part.clone().requires_grad_() for part in inputs]
    y = TABLE[name].torch(*leaves)
    wanted = [part for part in leaves if part.requires_grad]
    if not y.requires_grad:
        return [None for _ in wanted]
    return torch.autograd.grad(y, wanted, upstream, allow_unused=True)


def by_rule(name, inputs, upstream):
    """What the rule of a derivative comes to, by torch."""
    nodes = [Node("state", value=k, units=1) for k in range(len(inputs))]
    d, y = Node("seed", units=1), apply(name, *nodes)
    values = dict(zip((*nodes, d), (*inputs, upstream), strict=True))
    found = TABLE[name].derivative(d, y, *nodes)
    return [None if node is None else evaluated(node, values) for node in found]


def evaluated(root, values):
    known = dict(values)
    for node in ordered([root]):
        if node.operation == "constant":
            known[node] = torch.tensor(node.value, dtype=torch.float64)
        elif node not in known:
            known[node] = TABLE[node.operation].torch(*(known[part] for part in node.inputs))
    return known[root]


@pytest.mark.parametrize("name", [name for name in TABLE if not TABLE[name].condition])
def test_derivative_agrees_with_autograd(name):
    inputs = [
        part.abs() if name in POSITIVE else part / 3 if name == "log1p" else part
        for part in numbers(name, torch.float64, special=False)
    ]
    if name == "log1p":
        inputs = [part.abs() - 0.5 for part in inputs]
    if name in ("maximum", "minimum"):
        inputs[1][::3] = inputs[0][::3]  # equal ones share
    upstream = torch.linspace(-2, 2, len(inputs[0]), dtype=torch.float64)
    theirs, ours = by_autograd(name, inputs, upstream), by_rule(name, inputs, upstream)
    ours = ours[CONDITIONS.get(name, 0) :]
    checked = 1 if name.startswith("clamp") else len(ours)  # the bound is a constant
    for mine, exact in zip(ours[:checked], theirs[:checked], strict=True):
        mine = torch.zeros_like(upstream) if mine is None else mine
        exact = torch.zeros_like(upstream) if exact is None else exact
        assert torch.allclose(mine, exact, rtol=1e-12, atol=1e-14)


COMPOSED = {
    "clamp": (torch.clamp, {"min": -0.5, "max": 0.5}),
    "silu": (torch.nn.functional.silu, {}),
    "gelu": (torch.nn.functional.gelu, {"approximate": "tanh"}),
    "elu": (torch.nn.functional.elu, {"alpha": 0.7}),
    "leaky_relu": (torch.nn.functional.leaky_relu, {"negative_slope": 0.2}),
    "hardtanh": (torch.nn.functional.hardtanh, {}),
    "relu6": (torch.nn.functional.relu6, {}),
    "mish": (torch.nn.functional.mish, {}),
    "softsign": (torch.nn.functional.softsign, {}),
    "square": (torch.square, {}),
    "reciprocal": (torch.reciprocal, {}),
    "tanhshrink": (torch.nn.functional.tanhshrink, {}),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_what_is_composed_agrees_with_torch(name):
    function, keywords = COMPOSED[name]
    x = torch.linspace(-30, 30, 241, dtype=torch.float64) + 1e-3
    node = Node("state", units=1)
    assert torch.allclose(evaluated(FUNCTIONS[name](node, **keywords), {node: x}), function(x, **keywords), atol=1e-12)


@pytest.mark.parametrize("exponent", [2, 3, 4, -1, -2, 0.5, -0.5, 1])
def test_powers_agree_with_torch(exponent):
    x = torch.linspace(0.1, 3, 50, dtype=torch.float64)
    node = Node("state", units=1)
    assert torch.allclose(evaluated(operations.power(node, exponent), {node: x}), x**exponent)
