"""`python -m bench.answer claim_relu_explodes`: what an experiment's results say to its question."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.analysis.answers.answer import NoSuchQuestion, Question, answer, question, questions
from bench.analysis.answers.behind import figures
from bench.runs import references
from bench.runs.directory import Damaged
from bench.runs.tables import Tables, load

FIGURES = Path("report") / "figures"


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 answered, also where that is undecided; 1 no results to answer from; 2 a mistake."""
    parser = argparse.ArgumentParser(prog="python -m bench.answer", description="What results say to a question.")
    parser.add_argument("experiment", nargs="?", help="one that asks something; without it, all of them are listed")
    parser.add_argument("--results", type=Path, metavar="DIR", help="results folder (default: results/EXPERIMENT)")
    arguments = parser.parse_args(argv)
    if arguments.experiment is None:
        for name in questions():
            print(f"{name}: {question(name).question}")
        return 0
    try:
        asked = question(arguments.experiment)
        folder = arguments.results or Path("results") / asked.experiment
        if not folder.exists() and arguments.results is None and asked.experiment in references.names():
            return _told(asked, Tables(references.read(asked.experiment)), None)
        return _told(asked, load(folder), folder)
    except NoSuchQuestion as error:
        print(error, file=sys.stderr)
        return 2
    except FileNotFoundError:
        print(f"{folder}: holds no finished run; {asked.command} trains them", file=sys.stderr)
        return 1
    except (Damaged, OSError) as error:
        print(f"{error}; {asked.command} trains that run again", file=sys.stderr)
        return 1


def _told(asked: Question, results: Tables, folder: Path | None) -> int:
    """Print the answer, its figures, and what is missing; folder: of the results, None for stored ones."""
    print(*answer(asked, results).lines(), sep="\n")
    if folder is None:
        print(f"from the stored results of this suite; {asked.command} trains them again")
        return 0
    drawn, without = figures(asked, results)
    for plot in drawn:
        plot.save(folder / FIGURES)
        print(folder / FIGURES / f"{plot.name}.png")
    print(*without, sep="\n", end="\n" if without else "")
    if results.absent:
        print(f"{len(results.absent)} runs are missing; {asked.command} trains them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
