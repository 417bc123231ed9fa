"""`python -m bench.reference results/quick`: keep an experiment's outcomes as a reference that comes with the suite."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.analysis.answers.quantities import kept
from bench.runs import references
from bench.runs.directory import Damaged
from bench.runs.tables import load


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.reference",
        description="Keep what became of an experiment's runs, their evaluations and configurations as a reference, "
        "for python -m bench.report FOLDER --against NAME.",
    )
    parser.add_argument("folder", type=Path, help="results folder, such as results/quick")
    parser.add_argument("--name", help="of the reference (default: that of the folder)")
    parser.add_argument("--out", type=Path, default=references.HERE, help="where to write (default: the package)")
    arguments = parser.parse_args(argv)
    name = arguments.name or arguments.folder.resolve().name
    try:
        results = load(arguments.folder)
        path = references.keep(results.directories, name, arguments.out, kept(results))
    except Damaged as error:
        return _refused(f"{error}; remove that run's folder, and the same command trains it again")
    except FileNotFoundError as error:
        return _refused(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except OSError as error:
        return _refused(f"{error.filename}: {error.strerror}")
    print(path)
    return 0


def _refused(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
