"""Pruning of a share: as many as the cubic schedule says, and the smallest."""

import dataclasses

import pytest
import torch

from bench.pack.fields import joined
from bench.training.loop import Training
from tests.methods.remedies.setting import CPU, SEEDS, remedy_of, replica_of, setting


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_as_many_are_zero_as_zhu_and_gupta_say(cell):
    """From update 4 of 20 to 16, every third: s_t = s_f (1 - (1 - (t - 4) / 12)^3), constant in between."""
    job = replica_of("gradual_pruning", f"cell={cell}", "remedies.gradual_pruning.every=3", "updates=20")
    shares = (0.9, 0.5, 0.0)
    pack = [
        dataclasses.replace(
            job.replica,
            seed=seed,
            remedies={"gradual_pruning": remedy_of("gradual_pruning", every=3, share=share)},
        )
        for seed, share in zip(SEEDS, shares, strict=True)
    ]
    training = Training(pack, job.engine, CPU)
    for done in training.each_update():
        zeros = (training.network.views(training.flat)["W_hh"] == 0).flatten(1)
        last = min(max(done - 4, 0) // 3 * 3, 12)
        expected = [round(share * (1 - (1 - last / 12) ** 3) * zeros.shape[1]) for share in shares]
        assert zeros.sum(-1).tolist() == expected


def test_the_smallest_are_pruned():
    view = dataclasses.replace(setting(), update=4)  # half of 10 updates
    shares = (0.1, 0.5, 1.0)
    after = joined([remedy_of("magnitude_pruning", share=share) for share in shares]).after(view, view.flat)
    for now, then, share in zip(
        *(view.network.views(f)["W_hh"].flatten(1) for f in (after, view.flat)), shares, strict=True
    ):
        smallest = then.abs().sort().values[: round(share * 64)]
        assert torch.equal(then[now == 0].abs().sort().values, smallest)
        assert torch.equal(now[now != 0], then[now != 0])
