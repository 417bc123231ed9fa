"""Which engine trains a pack on this machine: the one that was chosen, if it proves itself here."""

from __future__ import annotations

import dataclasses
import logging

import torch

from bench.engines.proof import Question, fault
from bench.jobs.job import Job
from bench.sweep.order import Order

log = logging.getLogger(__name__)


class Unproven(Exception):
    """Why the engine that was asked for by name is not to be trusted here."""


def proven(order: Order) -> Order:
    """The order with an engine that agrees with float64 on this machine, of a pack whose jobs share theirs.

    Where the choice was `auto`, the next fastest that does serves in the stead of one that does not, and the log says
    so. Raises Unproven where the engine was named.
    """
    first: Job = order.jobs[0]
    if first.unchecked:
        return order
    question = Question(first.replica.network, first.replica.dtype, torch.device(first.device), first.replica.clipping)
    for engine in (first.engine, *first.fallbacks):
        found = fault(engine, question)
        if found is None:
            return dataclasses.replace(order, jobs=[dataclasses.replace(job, engine=engine) for job in order.jobs])
        said = f"engine {engine.name} does not agree with float64 on this machine ({found})"
        if not first.fallbacks:
            raise Unproven(f"{said}; engine=auto takes one that does, engine.unchecked=true trains with it even so")
        log.warning("%s: the next fastest serves", said)
    raise AssertionError("eager is trusted")
