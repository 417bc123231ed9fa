"""What a report does not hold: runs that were asked for and have not ended, and runs whose files are damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.runs.directory import RunDirectory
from bench.runs.tables import Absent, Tables

MOST = 8  # settings or runs that are named
NAMED = ("task", "cell")  # keys of a command line by which missing runs are counted
ENOUGH = "evaluation.enough"


def absences(results: Tables) -> list[str]:
    """All of it, a sentence or two each."""
    return [*unfinished(results), *damaged(results)]


def unfinished(results: Tables) -> list[str]:
    """How many of the runs that were asked for are missing, by task and cell, and what that does to the others."""
    missing = [one for one in results.absent if one.standing != "torn"]
    if not missing:
        return []
    here = sum(isinstance(directory, RunDirectory) for directory in results.directories)
    there = results.runs[list(NAMED)].to_dict("records")
    standing = Counter(one.standing for one in missing)
    found = [
        f"This sweep is not finished, and no number here is its last: {here} of the {here + len(results.absent)} runs "
        f"that were asked for are here, {', '.join(f'{count} {kind}' for kind, count in standing.items())}: "
        f"{_counted(missing, there)}."
    ]
    if ENOUGH in results.runs and results.runs[ENOUGH].notna().any():
        found.append(
            f"A run ends here once it is solved ({ENOUGH}), so the first to finish are those that solve, and soon: "
            "until all are here, the shares of solved runs are too high and the times to solve too short."
        )
    return found


def damaged(results: Tables) -> list[str]:
    """A sentence on the runs that are left out because their files are not as they were written."""
    torn = [str(one.path) for one in results.absent if one.standing == "torn"]
    if not torn:
        return []
    more = f" and {len(torn) - MOST} more" if len(torn) > MOST else ""
    return [
        f"Left out because files are damaged: {', '.join(torn[:MOST])}{more}. "
        "The command that asked for them trains them again."
    ]


def _counted(missing: Sequence[Absent], there: Sequence[Mapping[str, object]]) -> str:
    """Missing runs by what their command lines say of task and cell; `all` where no run that says so is here."""
    counts = Counter(_named(one) for one in missing)
    told = []
    for named, count in counts.most_common(MOST):
        none = not any(all(row[key] == value for key, value in named) for row in there)
        name = " ".join(f"{key}={value}" for key, value in named) or "neither named"
        told.append(f"{name}: {'all ' if none else ''}{count}")
    more = sum(counts.values()) - sum(count for _, count in counts.most_common(MOST))
    return "; ".join([*told, *([f"{more} of other settings"] if more else [])])


def _named(one: Absent) -> tuple[tuple[str, str], ...]:
    given = dict(word.split("=", 1) for word in one.asked.split() if "=" in word)
    return tuple((key, given[key]) for key in NAMED if key in given)
