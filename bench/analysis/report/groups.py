"""The three parts of a report: who learned, why, and whether training was sound."""

from __future__ import annotations

from collections.abc import Collection

LEARNED, WHY, HEALTH = "Who learned", "Why", "Training health"
GROUPS = {LEARNED: "learned", WHY: "why", HEALTH: "health"}  # with the ids of their sections
CLIPPING = "clipping"  # the table whose rows say how updates were made


def group_of(needs: Collection[str]) -> str:
    """The part that a figure or table belongs to, by the tables that it is made from.

    Outcomes and evaluations say who learned, what clipping did says whether training was sound, and whatever else was
    measured says why.
    """
    if CLIPPING in needs:
        return HEALTH
    return LEARNED if set(needs) <= {"evaluations"} else WHY
