"""The max-norm constraint against torch.renorm, and in a run."""

import pytest
import torch

from bench.pack.fields import joined
from bench.training.loop import Training
from tests.methods.remedies.setting import CPU, remedy_of, replica_of, setting


@pytest.mark.parametrize("cell", ["tanh", "gru", "lru"])
def test_every_row_is_renormed_as_torch_does_it(cell):
    view = setting(cell)
    limits = (0.1, 0.5, torch.inf)
    ours = joined([remedy_of("max_norm", limit=limit) for limit in limits]).after(view, view.flat)
    after, before = view.network.views(ours), view.network.views(view.flat)
    for name, weights in before.items():
        for r, limit in enumerate(limits):
            if name in view.network.vectors or limit == torch.inf:
                assert torch.equal(after[name][r], weights[r])
                continue
            rows = weights[r].flatten(0, -2)
            assert torch.allclose(after[name][r].flatten(0, -2), torch.renorm(rows, 2, 0, limit), rtol=1e-6)
    assert torch.equal(ours[:, ~view.trained], view.flat[:, ~view.trained])


def test_no_row_of_a_run_is_ever_longer_than_its_limit():
    job = replica_of("max_norm", "cell=lstm", "optimizer.lr=0.1", "remedies.max_norm.limit=0.3")
    training = Training([job.replica], job.engine, CPU)
    for _ in training.each_update():
        weights = training.network.views(training.flat)
        longest = {name: float(weights[name].norm(dim=-1).max()) for name in ("W_hh", "W_xh", "W_hy")}
        assert max(longest.values()) == pytest.approx(0.3, rel=1e-6)
    assert weights["b"].abs().max() > 0.3
