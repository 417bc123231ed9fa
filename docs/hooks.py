"""Pages that are made from the code when the documentation is built, and figures that lie beside their experiments."""

from __future__ import annotations

import html
import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.analysis.answers.gallery import cost
from bench.analysis.answers.outcomes import Outcomes
from bench.analysis.answers.rules import TUNING
from bench.analysis.experiments import described
from bench.jobs.choices import CONF, choices, docstring_of
from bench.jobs.lines import Line, lines
from bench.runs import references
from bench.runs.tables import Tables, flat
from docs.notebook import as_markdown, pictures

FIGURES = "figures"
ROOT = Path(__file__).parents[1]
RECOMMENDED = "recommendations"
HEAD = """| `python -m bench ...` | recommended | came of it | without it |
|---|---|---|---|"""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and the figures of the experiments."""
    from mkdocs.structure.files import File  # not at the top: tests read pages without mkdocs

    pages = {"reference/components.md": components(), "reference/recommendations.md": recommendations()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        page = path.relative_to(ROOT / "docs").with_suffix(".md").as_posix()
        files.append(File.generated(config, page, content=as_markdown(path)))
        for name, content in pictures(path).items():
            files.append(File.generated(config, posixpath.join(posixpath.dirname(page), name), content=content))
    for picture in sorted((CONF / "experiment").glob("*.png")):
        files.append(File.generated(config, f"{FIGURES}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **rest: Any) -> str:
    """Let links to figures of experiments and to notebooks, which serve a reader on GitHub, lead to the site's."""
    here = posixpath.dirname(page.file.src_uri)
    markdown = re.sub(r"(\]\([\w./-]+)\.ipynb\b", r"\1.md", markdown)
    return re.sub(r"\]\((?:\.\./)+conf/experiment/", f"]({posixpath.relpath(FIGURES, here or '.')}/", markdown)


def components() -> str:
    """Every component of `conf/`: the docstring of its class, and its yaml."""
    parts = ["# Every component", "Made from the code: `python -m bench.list GROUP` prints the short form of it."]
    for group in choices():
        if group == "experiment":
            continue
        parts.append(f"## {group}")
        of_class = defaultdict(list)
        for name, line in choices(group).items():
            text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
            target = re.search(r"_target_: (\S+)", text)
            of_class[target[1] if target else ""].append((name, line, text))
        for target, named in of_class.items():
            if target:
                parts.append(f"### {target.rpartition('.')[2]} {{ #{group.replace('/', '-')}-{target} }}")
                parts.append(f"```text\n{docstring_of(target)}\n```")
            for name, line, text in named:
                parts.append(f"**`{group}={name}`** {html.escape(line)}\n\n```yaml\n{text.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def recommendations() -> str:
    """What articles recommend, beside what does it here and what came of it, by results that come with the suite."""
    whole = described(RECOMMENDED)
    results = Tables(references.read(RECOMMENDED))
    outcomes = Outcomes(results)
    under = defaultdict(list)
    for line in lines(whole["sweep"]):
        under[line.names[0]].append(line)
    parts = ["# What articles recommend, and what came of it", _trained(whole, results)]
    for heading, own in under.items():
        parts.append(f"## {heading}\n\nWith `{' '.join(own[0].heading)}`.")
        parts.append("\n".join([HEAD, *(_row(line, outcomes) for line in own)]))
    return "\n\n".join(parts) + "\n"


def _trained(whole: Mapping[str, Any], results: Tables) -> str:
    """How the rows were trained: what the yaml says beside its lines, the settings that are chosen, and n."""
    rest = flat({key: value for key, value in whole.items() if key not in ("defaults", "experiment", "sweep")})
    swept = {key: values for line in lines(whole["sweep"]) for key, values in line.swept.items()}
    seeds = [int(seed) for seed in swept.pop("seed")]
    chosen = " and ".join(f"`{key}={','.join(values)}`" for key, values in swept.items())
    tuning, counted = ([seed for seed in seeds if (seed >= TUNING) is whether] for whether in (True, False))
    return (
        f"Trained by `python -m bench experiment={RECOMMENDED}`: "
        f"{', '.join(f'`{key}={value}`' for key, value in rest.items())}. Of {chosen} each row has the best on seed "
        f"{' and '.join(map(str, tuning))}, and what came of it is told of {len(counted)} other seeds: how many solved "
        "the task at some time, the median skill at the end (1 - loss/baseline, in [0, 1]), the median of updates "
        "until solved, with a dash where most never do, and the learning rate. Without it: the line without its last "
        "word. Five seeds do not tell 3/5 from 5/5. "
        f"{cost(results)}."
    )


def _row(line: Line, outcomes: Outcomes) -> str:
    """A line, and where its last word changes something, the outcome without it."""
    without = Line(line.names, line.own[:-1], line.each)
    own, other = (outcomes.of(one.fixed, one.swept) for one in (line, without))
    told = "not trained"
    if own:
        told = f"{', '.join(own.cells())} (at {', '.join(f'{value:g}' for value in own.chosen.values())})"
    beside = ", ".join(other.cells()) if other and {*without.fixed} != {*line.fixed} else ""
    return "| " + " | ".join([f"`{' '.join(line.own)}`", line.names[-1], told, beside]) + " |"
