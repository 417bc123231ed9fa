"""`python -m bench.report FOLDER ...`: figures, tables and a page from the results of a sweep."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from bench.analysis.figures.plot import NoTex
from bench.analysis.figures.style import STYLES
from bench.analysis.report import write as report
from bench.analysis.report.absences import damaged
from bench.analysis.settings import NoSuchAxis
from bench.runs import references
from bench.runs.directory import Damaged
from bench.runs.tables import load

KEYS = "a key of the configuration, such as cell or task.length"
AXES = {"hue": "what colours tell apart", "row": "rows of panels", "col": "columns of panels", "x": "x axis of success"}


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report", description="Figures, tables and a page from the results of a sweep."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="results folder, such as results/quick")
    parser.add_argument("--out", type=Path, help="where to write (default: FOLDER/report, of the first folder)")
    parser.add_argument("--style", choices=STYLES, default="paper", help="whose page widths and letters")
    for axis, what in AXES.items():
        parser.add_argument(f"--{axis}", metavar="KEY", help=f"{what}: {KEYS}")
    parser.add_argument("--against", metavar="NAME", help=f"beside a reference: {', '.join(references.names())}")
    parser.add_argument("--only", metavar="NAMES", type=_names, default=(), help="figures, such as success,scores")
    parser.add_argument("--gif", action="store_true", help="also a GIF of the figures that move")
    parser.add_argument("--pgf", action="store_true", help="also PGF files, which takes a TeX installation")
    arguments = parser.parse_args(argv)
    gc.set_threshold(10_000)  # new objects between two looks for garbage: with fewer they take a tenth of the time
    out = arguments.out or arguments.folders[0] / "report"
    if out.exists() and not out.is_dir():
        return _refused(f"--out {out}: is a file; give a folder, which is made if it is not there")
    axes = {axis: getattr(arguments, axis) for axis in AXES}
    options = {name: getattr(arguments, name) for name in ("style", "only", "pgf", "gif")}
    try:
        results = load(*arguments.folders)
        while results.directories:
            try:
                shown = references.beside(results, arguments.against) if arguments.against else results
                written = report.write(shown, out, **options, **axes)
                break
            except Damaged as error:
                results = results.without(error.path)
        else:
            raise report.NothingToReport(" ".join(damaged(results)))
    except report.NothingToReport as error:
        return _refused(f"{', '.join(map(str, arguments.folders))}: {error}")
    except (NoSuchAxis, NoTex, report.NoSuchFigure, references.NoReference) as error:
        return _refused(f"--{error}")
    except OSError as error:
        return _refused(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    for line in written.absences:
        print(line, file=sys.stderr)
    for line in (written.overview.markdown(), *written.standing, str(written.page)):
        print(line)
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _refused(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
