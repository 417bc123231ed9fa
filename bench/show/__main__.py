"""`python -m bench.show task=copying`: one example of a task as text and as a picture; without arguments all tasks."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from bench.jobs.foreign import in_the_way
from bench.show.picture import PICTURES, picture, save, written


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.show",
        description="One example of a task, as text and as a picture; without arguments a table of all tasks.",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for python -m bench: task=copying seed=3")
    parser.add_argument("--out", type=Path, help="the picture (default: TASK-VARIANT.png)")
    arguments = parser.parse_intermixed_args(argv)
    foreign = in_the_way()
    if foreign:
        return _refused(foreign)
    from bench.show.example import example, task_table  # not at the top: they import tasks
    from bench.sweep.command import mistake

    if not arguments.overrides and not arguments.out:
        print(task_table())
        return 0
    try:
        shown = example(arguments.overrides)
    except Exception as error:
        said = mistake(error, arguments.overrides)
        if said is None:
            raise
        return _refused(said)
    out = arguments.out or Path(f"{shown.task}-{shown.variant}.png")
    if out.suffix not in PICTURES:
        return _refused(f"--out {out}: a picture's name ends in {', '.join(PICTURES)}")
    try:
        save(picture(shown), out)
    except OSError as error:
        return _refused(f"--out {out}: {error.strerror}")
    print(f"{written(shown, shutil.get_terminal_size((100, 24)).columns)}\n\n{out}")
    return 0


def _refused(message: str) -> int:
    print(f"bench.show: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
