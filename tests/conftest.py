"""Shared by all tests: one thread, as in training, and small pieces made from the suite's own yaml."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import gc
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure as Drawing

from bench.engines import building, kernels
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.methods.remedies.remedy import Remedy
from bench.training.record import Record
from bench.training.replica import Replica
from docs.notebook import as_markdown
from tasks.mnist import FILES
from tasks.task import Task

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
WRITTEN = ("RESULTS.md",)  # by `make experiments`
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in WRITTEN),
    *NOTEBOOKS,
]
SMALL = {"length": 12, "symbols": 3}  # for the tasks that have such a setting
SMALL_TASKS = (
    ("task=copying", "task.length=3", "task.symbols=2"),
    ("task=digits", "task.variant=rows"),
    ("task=adding", "task.length=12"),
)


def pytest_configure() -> None:
    """Let `task=mnist` find files, of 4 x 3 pixels, and OmegaConf read yaml with PyYAML's parser in C if it has one."""
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)  # a worker process ends without unconfiguring
    write_mnist(Path(folder.name))
    os.environ["MNIST"] = folder.name


def pytest_collection_finish() -> None:
    """The garbage collector need not look again at what was imported, which is most of the memory, nor all the time."""
    gc.freeze()
    gc.set_threshold(10_000)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for processes of their own."""
    return len(os.sched_getaffinity(0)) + 1


def text_of(page: Path) -> str:
    """A page of the documentation in Markdown."""
    return as_markdown(page) if page in NOTEBOOKS else page.read_text(encoding="utf-8")


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of unsigned bytes as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train: int = 48, test: int = 10) -> None:
    """The four files of MNIST, small and random; the first pixel of the training images is always black."""
    random = np.random.default_rng(0)
    arrays = []
    for count in (train, test):
        images = random.integers(0, 256, (count, 4, 3))
        images[:, 0, 0] = 0
        arrays += [images, np.arange(count) % 10]
    for name, array in zip(FILES, arrays, strict=True):
        (folder / name).write_bytes(idx_bytes(array))


@functools.cache
def small_task(name: str, **fields: Any) -> Task:
    """A task from its yaml with few steps."""
    there = composed(f"task={name}")["task"]
    small = {key: value for key, value in SMALL.items() if key in there}
    task: Task = example(f"task/{name}", **{**small, **fields})
    return task


def choices(group: str) -> list[str]:
    """The yaml files of a group: a new one is tested without editing a test."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@functools.cache
def one_of_each_class(group: str) -> list[str]:
    """The first yaml of every class of a group: what a class does is tested once, and its settings elsewhere."""
    kinds = {name: type(example(f"{group}/{name}")) for name in reversed(choices(group))}
    return sorted({kind: name for name, kind in kinds.items()}.values())


def accepted_task(remedy: str) -> tuple[str, ...]:
    """The overrides of a small task that a remedy of `conf/` accepts."""
    one = example(f"remedies/{remedy}")
    return next(task for task in SMALL_TASKS if one.refusal(checked_job(composed(*task)).replica.task) is None)


def remedies_with(method: str) -> list[str]:
    """The remedies of `conf/` that put a hand in at one place, by the name of the method for it."""
    overridden = getattr(Remedy, method)
    return [
        name for name in choices("remedies") if getattr(type(example(f"remedies/{name}")), method) is not overridden
    ]


def _of_every_class(group: str) -> dict[str, str]:
    """For each class that the yaml files of a group name, the first of them."""
    found: dict[str, str] = {}
    for name in choices(group):
        found.setdefault(yaml.safe_load((CONF / group / f"{name}.yaml").read_text())["_target_"], name)
    return found


def _everything_measured() -> tuple[str, ...]:
    """A measurement of every class; whatever one does 100 times or more by its yaml, it does 30, of 2 sequences."""
    names = _of_every_class("measurement").values()
    fewer = [
        f"measurement.{name}.{key}={2 if key == 'sequences' else 30}"
        for name in names
        for key, value in yaml.safe_load((CONF / "measurement" / f"{name}.yaml").read_text()).items()
        if key == "sequences" or (isinstance(value, int) and value >= 100)
    ]
    return (f"measurement=[{','.join(names)}]", *fewer)


EVERYTHING_MEASURED = _everything_measured()


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_replica() -> Callable[..., Replica]:
    """A small, quick replica from command line overrides."""

    def make(*overrides: str) -> Replica:
        long = () if "task=digits" in overrides else ("task.length=8",)  # an image has the length that it has
        small = (*long, "updates=5", "cell.hidden=8", "batch_size=4", "measurement=[]")
        judged = ("evaluation.sequences=8", "evaluation.final=8", "evaluation.every=null")
        return checked_job(composed(*small, *judged, *overrides)).replica

    return make


@pytest.fixture
def quickly_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are compiled in a third of the time, for tests of what they are told to do; all others are of -O3."""
    monkeypatch.setattr(building, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in building.FLAGS))
    monkeypatch.setattr(kernels, "_library", functools.cache(kernels._library.__wrapped__))


def with_seeds(replica: Replica, seeds: Iterable[int]) -> list[Replica]:
    """Replicas that differ in nothing else."""
    return [dataclasses.replace(replica, seed=seed) for seed in seeds]


def assert_same_tables(one: Record, other: Record) -> None:
    """To the bit, in all but the time it took."""
    assert one.tables.keys() == other.tables.keys()
    for name in one.tables:
        there = other.table(name)
        for column, values in one.table(name).items():
            if column != "seconds":
                np.testing.assert_array_equal(values, there[column], f"{name} {column}")


class Unprinted:
    """A canvas that writes no file, and leaves the dots an inch behind that a PDF does."""

    def __init__(self, figure: Drawing) -> None:
        self.figure = figure

    def print_pdf(self, *_: object, **__: object) -> None:
        self.figure.set_dpi(72)

    print_png = print_pdf


@pytest.fixture
def svg_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are laid out and drawn as SVG, and neither as PDF nor as PNG."""
    for canvas in ("FigureCanvasPdf", "FigureCanvasAgg"):
        monkeypatch.setattr(f"bench.analysis.figures.plot.{canvas}", Unprinted)
