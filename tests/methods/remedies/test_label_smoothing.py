"""Label smoothing against torch's own."""

import pytest
import torch

from bench.jobs.build import ConfigError
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.pack.fields import joined
from tests.conftest import small_task
from tests.methods.remedies.setting import remedy_of


def test_label_smoothing_is_that_of_torch():
    outputs = torch.randn(3, 4, 5, 9, generator=torch.Generator().manual_seed(0)).double()
    targets = torch.randint(9, (3, 4, 5), generator=torch.Generator().manual_seed(1))
    smoothed = joined([remedy_of("label_smoothing", share=s) for s in (0.0, 0.1, 0.5)])
    ours = smoothed.losses(small_task("copying").losses)(outputs, targets)
    for r, share in enumerate((0.0, 0.1, 0.5)):
        theirs = torch.nn.functional.cross_entropy(
            outputs[r].flatten(0, 1), targets[r].flatten(), reduction="none", label_smoothing=share
        )
        assert torch.allclose(ours[r].flatten(), theirs, rtol=1e-12)


def test_label_smoothing_refuses_a_task_whose_answer_is_a_number():
    with pytest.raises(ConfigError, match=r"remedies=label_smoothing: smooths the classes .* number \(adding\)"):
        checked_job(composed("task=adding", "remedies=[label_smoothing]"))
