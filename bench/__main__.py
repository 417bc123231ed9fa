"""`python -m bench`: one run, or with commas in the overrides (and Hydra's own -m) a sweep."""

from __future__ import annotations

import os
import sys

from bench.jobs.foreign import in_the_way


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 some runs failed, 2 a mistake on the command line, 130 interrupted."""
    foreign = in_the_way()
    if foreign:
        print(f"bench: {foreign}", file=sys.stderr)
        return 2
    from bench.sweep.command import run  # not at the top: it imports tasks

    return run(sys.argv[1:] if argv is None else argv)


def script() -> int:
    """`recurrent-memory-bench`: the same, without the current folder on Python's path, here and in its workers."""
    os.environ["PYTHONSAFEPATH"] = "1"  # else the workers' own interpreter would look there first
    return main()


if __name__ == "__main__":
    sys.exit(main())
