"""The regulariser that keeps the norm of the gradient on its way back, against equation 9 of its paper."""

import pytest
import torch

from bench.check.__main__ import main
from bench.methods.remedies.omega_penalty import OmegaPenalty
from bench.pack.fields import joined
from tests.methods.remedies.setting import setting


def omega_of(view, flat, states, adjoints):
    """Equation 9 of the paper with states and gradients held fixed, sequence by sequence."""
    weights = view.network.cell.prepared(view.network.views(flat))
    total = torch.zeros(3, dtype=torch.float64)
    for t, adjoint in adjoints.items():
        for r in range(3):
            own = {name: weight[r] for name, weight in weights.items()}
            for b in range(4):
                x = view.batch.inputs[r, b, t][None]
                parts = len(states[t])

                def step(vector, own=own, x=x, parts=parts):
                    after = view.network.cell.step(own, x, tuple(vector.view(parts, 1, -1).unbind()))
                    return torch.cat(after, -1)[0]

                vector = torch.cat([part[r, b] for part in states[t]])
                g = torch.cat([part[r, b] for part in adjoint])
                jacobian = torch.autograd.functional.jacobian(step, vector)
                total[r] += ((g @ jacobian).norm() / g.norm() - 1) ** 2 / 4
    return total


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_omega_is_the_immediate_gradient_of_the_papers_sum(cell):
    view = setting(cell, hidden=4)
    network, task = view.network, view.task
    weights = network.views(view.flat)
    state = network.zero_state(weights, 4)
    states = [state]
    for x in view.batch.inputs.unbind(-2):
        states.append(network.cell.step(weights, x, states[-1]))

    def loss_from(t, parts):
        """The loss of what comes from the state after step t on, its own answer included."""
        state, outputs = parts, []
        for later in range(t, task.steps):
            if later > t:
                state = network.cell.step(weights, view.batch.inputs[..., later, :], state)
            outputs.append(network.readout(weights, state[0]))
        return task.losses(torch.stack(outputs, -2), view.batch.targets[..., t:]).sum() / task.steps

    adjoints = {}
    for t in range(1, task.steps):
        parts = tuple(part.clone().requires_grad_() for part in states[t + 1])
        adjoints[t] = torch.autograd.grad(loss_from(t, parts), parts, allow_unused=True)
        adjoints[t] = tuple(torch.zeros_like(p) if g is None else g for g, p in zip(adjoints[t], parts, strict=True))
    ours = joined([OmegaPenalty(s) for s in (1.0, 2.0, 0.5)]).penalty(view)
    random = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = torch.randn(view.flat.shape, generator=random).double() * view.trained
        step = 1e-5
        ahead, behind = (omega_of(view, view.flat + sign * step * direction, states, adjoints) for sign in (1, -1))
        slope = (ahead - behind) / (2 * step) * torch.tensor([1.0, 2.0, 0.5])
        assert torch.allclose((ours * direction).sum(-1), slope, rtol=1e-5)


def test_a_gradient_that_is_not_that_of_a_loss_is_not_checked(capsys):
    assert main(["task=copying", "remedies=[omega_penalty]"]) == 2
    assert "remedies=omega_penalty: its gradient is by definition not that of a loss" in capsys.readouterr().err
