"""`python -m bench.list [GROUP]`: what can be chosen, with a line about each."""

from __future__ import annotations

import argparse
import sys

from bench.jobs.choices import choices
from bench.jobs.errors import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.list", description="What can be chosen.")
    parser.add_argument("group", nargs="?", help="such as cell or initializer/recurrent; all groups without it")
    try:
        print(choices(parser.parse_args(argv).group))
    except ConfigError as error:
        print(f"bench.list: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
