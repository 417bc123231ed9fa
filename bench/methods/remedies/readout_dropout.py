"""Dropout between the state and the readout."""

from __future__ import annotations

from dataclasses import dataclass

from bench.methods.remedies.dropout import Dropout


@dataclass(frozen=True)
class ReadoutDropout(Dropout):
    """y_t = W_hy (h_t m_t) + b_y, a new mask m_t for every step, sequence and unit.

    rate: share dropped.
    Source: Zaremba, Sutskever & Vinyals 2014, section 3.2 (arXiv:1409.2329).
    """

    masks = ("readout",)
