"""Dropout of the state that the recurrence sees."""

from __future__ import annotations

from dataclasses import dataclass

from bench.methods.remedies.dropout import Dropout


@dataclass(frozen=True)
class RecurrentDropout(Dropout):
    """The cell sees h_{t-1} m, one mask m for every unit and sequence, the same at all its steps.

    rate: share dropped.
    Source: Gal & Ghahramani 2016, section 4 (arXiv:1512.05287).
    Differs from the paper: an LSTM's cell state is not masked, and its gates share one mask (their "tied weights"); of
    several layers only the last one's h is masked.
    """

    masks = ("recurrent",)
