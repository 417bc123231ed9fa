"""Pages that are made from the code when the documentation is built, and figures that lie beside their experiments."""

from __future__ import annotations

import html
import posixpath
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from mkdocs.structure.files import File

from bench.jobs.choices import CONF, choices, docstring_of
from docs.notebook import as_markdown, pictures

FIGURES = "figures"
ROOT = Path(__file__).parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and the figures of the experiments."""
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
    """What articles recommend, beside what does it here; a test composes every command line."""
    rows = yaml.safe_load((ROOT / "docs" / "recommendations.yaml").read_text(encoding="utf-8"))
    parts = ["# What articles recommend, and what does it here", "Each command line is composed by a test."]
    for part, pairs in rows.items():
        lines = [f"| `{override}` | {text} |" for text, override in pairs.items()]
        parts.append(f"## {part}\n\n| `python -m bench ...` | recommended |\n|---|---|\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"
