"""`python -m bench`: one run, or with commas in the overrides (and Hydra's own -m) a sweep."""

from __future__ import annotations

import sys

from bench.sweep.command import run


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 some runs failed, 2 a mistake on the command line, 130 interrupted."""
    return run(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
