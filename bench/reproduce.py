"""`python -m bench.reproduce`: train what the suite ships, pack the results, and write docs/RESULTS.md."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from bench import reference
from bench.analysis.answers.answer import shipped
from bench.analysis.answers.gallery import draw, gallery
from bench.runs import references
from bench.runs.tables import Tables, load

KILOBYTES = 25  # of a run on disk, with a probe and a spectrum at both ends
FAILED = 1  # some runs could not be carried out; the others are there
DOCS = Path(references.HERE).parents[2] / "docs"


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, else that of the first experiment which did not come to its end."""
    parser = argparse.ArgumentParser(prog="python -m bench.reproduce", description=__doc__.partition(": ")[2])
    parser.add_argument("names", nargs="*", help="experiments (default: all that ask something, and small recipes)")
    parser.add_argument("--plan", action="store_true", help="say how many runs, hours and bytes, and train none")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the results folders lie")
    arguments = parser.parse_args(argv)
    names = arguments.names or shipped()
    if arguments.plan:
        return _plan(names, arguments.results)
    for name in names:
        print(f"== {name}", flush=True)
        code = subprocess.run([*_command(name, arguments.results)], check=False).returncode
        if code not in (0, FAILED):
            return code
        results = load(arguments.results / name)
        reference.main([str(arguments.results / name), "--name", name])
        draw(name, results, DOCS)
        write()
    return 0


def write() -> Path:
    """Write RESULTS.md from the stored results of all experiments."""
    page = DOCS / "RESULTS.md"
    page.parent.mkdir(exist_ok=True)
    stored = [(name, Tables(references.read(name))) for name in references.names()]
    page.write_text(gallery(stored, DOCS), encoding="utf-8")
    return page


def _command(name: str, results: Path) -> list[str]:
    return [sys.executable, "-m", "bench", f"experiment={name}", f"results={results / name}"]


def _plan(names: list[str], results: Path) -> int:
    """A line for each experiment, and their sum."""
    runs, hours = 0, 0.0
    for name in names:
        command = [*_command(name, results), "hydra.launcher.dry_run=true"]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        if said.returncode:
            print(said.stderr, end="", file=sys.stderr)
            return said.returncode
        asked, done = map(int, re.findall(r"runs: (\d+), finished before: (\d+)", said.stdout + said.stderr)[0])
        takes = sum(
            float(found) for found in re.findall(r"^.*about (\S+) h, ", said.stdout + said.stderr, re.MULTILINE)
        )
        print(f"{name:28} {asked - done:6} of {asked:6} runs {takes:8.2f} h", flush=True)
        runs, hours = runs + asked - done, hours + takes
    print(f"{'together':28} {runs:6} runs {hours:18.2f} h, about {runs * KILOBYTES / 1000:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
