"""Shared by all tests: one thread, as in training, and small pieces made from the suite's own yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench import config
from bench.replicas import Replica

CONF = Path(__file__).parent.parent / "conf"


def choices(group: str) -> list[str]:
    """The yaml files of a group: a new one is tested without editing a test."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_replica() -> Callable[..., Replica]:
    """A small, quick replica from command line overrides."""

    def make(*overrides: str) -> Replica:
        small = ("task.length=8", "updates=5", "cell.hidden=8", "batch_size=4", "measurement=[]")
        judged = ("evaluation.sequences=8", "evaluation.final=8", "evaluation.every=null")
        return config.job(config.composed(*small, *judged, *overrides)).replica

    return make
