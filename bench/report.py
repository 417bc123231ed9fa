"""`python -m bench.report FOLDER ...`: figures, tables and a page from the results of a sweep."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.analysis import report
from bench.results import load


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report", description="Figures, tables and a page from the results of a sweep."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="results folder, such as results/quick")
    parser.add_argument("--out", type=Path, help="where to write (default: FOLDER/report, of the first folder)")
    arguments = parser.parse_args(argv)
    out = arguments.out or arguments.folders[0] / "report"
    if out.exists() and not out.is_dir():
        return _refused(f"--out {out}: is a file; give a folder, which is made if it is not there")
    try:
        results = load(*arguments.folders)
    except FileNotFoundError as error:
        return _refused(str(error))
    try:
        written = report.write(results, out)
    except report.NothingToReport as error:
        return _refused(f"{', '.join(map(str, arguments.folders))}: {error}")
    except OSError as error:
        return _refused(f"{error.filename}: {error.strerror}")
    print(written.overview.markdown())
    print(written.page)
    return 0


def _refused(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
