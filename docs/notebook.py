"""The notebook among the tutorials: run again with what it shows kept, and as a page of the documentation.

    python docs/notebook.py docs/tutorials/student.ipynb        `make notebook` calls it

What a cell prints while it trains is left out of the file.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Cell = dict[str, Any]


def as_markdown(path: Path) -> str:
    """The cells of a notebook one after the other, with what each of them shows."""
    return (
        "\n\n".join(part for number, cell in enumerate(_cells(path)) for part in _parts(cell, path.stem, number)) + "\n"
    )


def pictures(path: Path) -> dict[str, bytes]:
    """The PNG files that `as_markdown` names, beside the page."""
    return {
        _name(path.stem, number): base64.b64decode(picture)
        for number, cell in enumerate(_cells(path))
        for picture in _shown(cell, "image/png")
    }


def _cells(path: Path) -> list[Cell]:
    cells: list[Cell] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def _parts(cell: Cell, stem: str, number: int) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    yield from _shown(cell, "text/markdown")
    if any(_shown(cell, "image/png")):
        yield f"![What the last line shows]({_name(stem, number)})"


def _shown(cell: Cell, kind: str) -> list[str]:
    found = [output["data"][kind] for output in cell.get("outputs", []) if kind in output.get("data", {})]
    return ["".join(text) for text in found]


def _name(stem: str, number: int) -> str:
    return f"{stem}_{number}.png"


def main(argv: list[str]) -> int:
    """Run a notebook in its own folder, and keep it with what its cells show."""
    import nbformat
    from nbclient import NotebookClient

    path = Path(argv[0])
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": path.parent}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    nbformat.write(notebook, path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
