"""`python -m bench.status FOLDER`: what of a sweep is finished, in training, kept for later, failed, or missing."""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

from bench.runs.directory import Damaged, RunDirectory, asked

KINDS = ("finished", "running", "interrupted", "stopped", "failed", "torn", "missing")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all finished, 1 not all, 2 a mistake on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.status", description="How far a sweep is.")
    parser.add_argument("folder", type=Path, help="results folder, such as results/quick")
    folder = parser.parse_args(argv).folder
    runs = asked(folder) | {path.parent.name: "" for path in folder.glob("*/config.yaml")}
    if not runs:
        print(f"{folder}: holds no run; give a results folder such as results/quick", file=sys.stderr)
        return 2
    groups = defaultdict(list)
    for run_id in runs:
        directory = RunDirectory(folder, run_id)
        groups[directory.standing].append(directory)
    print(f"{folder}: {len(runs)} runs")
    for kind in KINDS:
        if kind in groups:
            print(f"{kind:12} {len(groups[kind]):5}  {_told(kind, groups[kind])}".rstrip())
    return 0 if set(groups) == {"finished"} else 1


def _told(kind: str, directories: list[RunDirectory]) -> str:
    """In a line, how they ended, why, or how far they are."""
    if kind in ("finished", "stopped"):
        counted = Counter(directory.outcome["outcome"] for directory in directories)
        return ", ".join(f"{count} {outcome}" for outcome, count in counted.most_common())
    if kind == "failed":
        reasons = Counter(directory.outcome["message"] for directory in directories)
        return "; ".join(f"{count} with {message}" for message, count in reasons.most_common())
    if kind in ("running", "interrupted"):
        kept = [(one.checkpointed_update, _updates(one)) for one in directories if one.is_begun]
        return f"{sum(done for done, _ in kept)} of {sum(asked for _, asked in kept)} updates kept"
    return {"torn": "done again by the same command", "missing": "asked for and not begun"}[kind]


def _updates(directory: RunDirectory) -> int:
    """How many the run is to do; 0 where its configuration is torn, which is written anew when it goes on."""
    try:
        return int(directory.config["updates"])
    except (Damaged, KeyError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
