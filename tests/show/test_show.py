"""`python -m bench.show`: one example of a task, and the table of all tasks."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.analysis.figures.style import ONE_COLUMN
from bench.jobs import compose
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.pack.streams import Stream
from bench.show.__main__ import main
from bench.show.example import example, task_table
from bench.show.picture import Example
from tasks.task import Batch, Task
from tests.conftest import choices

ROOT = Path(__file__).parents[2]
CLASSES = {name: type(compose.example(f"task/{name}")) for name in choices("task")}
EVERY_CLASS = {kind: name for name, kind in reversed(CLASSES.items())}  # by the first of its yaml files
EVERY_VARIANT = [(name, variant) for kind, name in EVERY_CLASS.items() for variant in kind.variants]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Pictures are written into the current folder, text as wide as the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session")
def mnist(tmp_path_factory) -> Path:
    """Twelve images of 4 x 5 pixels and their classes, twice, in files as MNIST's."""
    folder = tmp_path_factory.mktemp("mnist")
    images, labels = np.arange(12 * 20).reshape(12, 4, 5), np.arange(12) % 3
    for part in ("train", "t10k"):
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / name).write_bytes(head + array.astype(np.uint8).tobytes())
    return folder


@pytest.fixture(scope="module", params=EVERY_VARIANT, ids="-".join)
def overrides(request, mnist) -> list[str]:
    name, variant = request.param
    files = [f"task.path={mnist}"] if "path" in CLASSES[name].__dataclass_fields__ else []
    return [f"task={name}", f"task.variant={variant}", *files]


@pytest.fixture(scope="module")
def shown(overrides) -> Example:
    return example(overrides)


def first_of(overrides: list[str]) -> tuple[Task, Batch]:
    """The task and the first sequence that training sees, drawn as training draws it, among others."""
    replica = checked_job(composed(*overrides)).replica
    stream = Stream([99, replica.seed], "train", updates=[0, 1])
    return replica.task, replica.task.sample(stream, replica.batch_size).at((0, 1, 0))


def rows(printed: str, word: str) -> list[str]:
    """The cells of a row over all blocks, which come after the facts."""
    lines = printed.partition("\n\n")[2].splitlines()
    return [cell for line in lines if re.match(rf"{word}\s", line) for cell in line.split()[1:]]


@pytest.mark.parametrize("variant", ["arjovsky", "recall", "selective", "exprnn"])
def test_printed_symbols_and_answers_are_those_of_the_batch(capsys, variant):
    given = ["task=copying", f"task.variant={variant}", "seed=5", "task.length=40"]
    task, batch = first_of(given)
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert rows(printed, "input") == [task.channels[k] for k in batch.inputs.argmax(-1)]
    assert rows(printed, "answer") == [task.classes[k] for k in batch.targets]
    assert rows(printed, "scored") == ["^"] * len(task.scored)


def test_the_example_is_what_a_run_is_trained_on_first(overrides, shown):
    task, batch = first_of(overrides)
    steps = task.steps if batch.lengths is None else int(batch.lengths)
    assert torch.equal(torch.from_numpy(shown.inputs), batch.inputs[:steps])
    assert not batch.inputs[steps:].any()
    assert torch.equal(torch.from_numpy(shown.targets), batch.targets)
    assert task.steps - 1 - task.scored[-1] == steps - 1 - shown.scored[-1]
    assert len(shown.scored) == len(task.scored)


def test_every_variant_is_shown(overrides, shown, capsys, tmp_path):
    assert main(overrides) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"{shown.task}-{shown.variant}.png"
    assert max(map(len, printed)) <= 100
    assert sum(line.count("^") for line in printed) == len(shown.scored)
    data = (tmp_path / printed[-1]).read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == round(300 * ONE_COLUMN)


def test_a_shorter_sequence_is_cut_at_its_own_end_and_asked_there(capsys):
    given = ["task=adding", "task.variant=hochreiter", "task.length=30", "seed=3"]
    _, batch = first_of(given)
    steps = int(batch.lengths)
    assert steps == 32  # of 33
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert len(rows(printed, "value")) == steps
    assert rows(printed, "marker")[-1] == "-1"
    last = printed.rstrip().split("\n\n")[-2].splitlines()
    assert [line.split()[0] for line in last] == ["step", "value", "marker", "answer", "scored"]
    assert len(last[-1]) == len(last[1])  # ^ under the last value


def test_the_head_says_what_is_known_of_the_task(capsys):
    assert main(["task=adding", "task.variant=hochreiter", "task.length=30"]) == 0
    printed = capsys.readouterr().out
    for said in (
        *("Hochreiter & Schmidhuber 1997, exp. 4", "length=30", "30-33", "2 channels: value marker"),
        *("the last step", ".0396 squared error", ".154", "20 at least, 27.2 on average", "accuracy >= 1", "seed=0"),
    ):
        assert said in printed.split("\n\n")[0]


@pytest.mark.parametrize(
    "order", [["--out", "a.pdf", "task=parity", "seed=1"], ["task=parity", "--out=a.pdf", "seed=1"]]
)
def test_the_picture_goes_where_it_is_asked(order, capsys, tmp_path):
    assert main(order) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "a.pdf"
    assert [path.name for path in tmp_path.iterdir()] == ["a.pdf"]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (["task=nothing"], "task=nothing: no such choice; use one of adding, copying"),
        (["task=adding", "task.lenght=3"], "task.lenght: no such key; did you mean task.length?"),
        (["task=adding", "task.length=-1"], "task.length=-1: must be a whole number >= 2"),
        (["task=adding", "task.variant=none"], "task.variant=none: must be one of halves, anywhere"),
        (["task=adding", "seed=-1"], "seed=-1: must be a whole number >= 0"),
        (["task=adding,copying"], "Ambiguous value"),
        (["task=mnist", "task.path=nowhere"], "task.path=nowhere: "),
        (["adding"], "adding"),
        (["task=adding", "--out", "nowhere/a.png"], "--out nowhere/a.png: No such file or directory"),
        (["task=adding", "--out", "a.xyz"], "--out a.xyz: a picture's name ends in .png, .pdf, .svg"),
        (["task=adding", "--out", "."], "--out .: a picture's name ends in"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(mistake, said, capsys, tmp_path):
    assert main(mistake) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def printed_table() -> str:
    return task_table()


@pytest.fixture
def table(printed_table) -> list[dict[str, str]]:
    head, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in printed_table.splitlines())
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_without_arguments_there_is_the_table(printed_table, capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.strip() == printed_table


def test_every_variant_has_one_row(table):
    found = [(CLASSES[row["task"]], row["variant"]) for row in table]
    assert len(found) == len(set(found))
    assert set(found) == {(CLASSES[name], variant) for name, variant in EVERY_VARIANT}


def test_a_yaml_of_another_name_has_its_own_variant_alone(table):
    assert [row["variant"] for row in table if row["task"] == "memorization"] == ["memorization"]
    assert [row["task"] for row in table if row["variant"] == "memorization"] == ["memorization"]


def test_the_table_holds_what_the_task_says(table):
    (row,) = (row for row in table if (row["task"], row["variant"]) == ("copying", "selective"))
    assert row == {
        "task": "copying",
        "variant": "selective",
        "settings": "length=10, symbols=5, kinds=8",
        "steps": "20",
        "baseline": "2.08 nats",
        "chance": ".125",
        "least lag": "5",
        "mean lag": "13.3",
        "source's rule": "",
        "source": "Jing et al. 2019, Gu & Dao 2023",
    }


def test_numbers_that_need_files_are_left_open(table):
    for row in table:
        needs_files = row["task"] == "mnist"
        assert (row["baseline"] == "-") == (row["steps"] == "-") == needs_files
        assert row["source"] == CLASSES[row["task"]].variants[row["variant"]]


def test_the_page_of_tasks_holds_their_table(printed_table):
    between = re.search(
        r"<!-- tasks -->\n(.*?)<!-- /tasks -->",
        (ROOT / "docs" / "reference" / "tasks.md").read_text("utf-8"),
        re.DOTALL,
    )
    assert between is not None
    assert between[1].strip() == printed_table, "put what `python -m bench.show` prints between the markers"
