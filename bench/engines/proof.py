"""An engine proves itself on the machine where it is to train: the very net, on small problems, against float64.

A kernel is built by this machine's compiler for this CPU or GPU, and a bad one trains to wrong numbers without a word.
So before an engine first trains a net somewhere, its loss, gradient, trace and answers are compared with those of
`Eager` in float64 on the same device. The verdict is kept in the cache folder, by a digest of all that it rests on.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.engines import building
from bench.engines.eager import Eager, EagerProgram
from bench.engines.engine import NO_INTERVENTIONS, Engine, Interventions, Masks, Program
from bench.engines.rehearsal import Rehearsal
from bench.methods.clipping import Clipping
from bench.nets.network import Network
from bench.pack.streams import Stream
from tasks.task import Task

log = logging.getLogger(__name__)

WIDTHS = (1, 7, 32)  # replicas in a pack
SEQUENCES, STEPS, LEAST_STEPS = 3, 9, 6
LONG, LONG_WIDTH = 1000, 5  # steps of near-identity nets: where products are cut short, another gradient comes out
ALLOWANCE = 10  # an engine may be so many times as far from float64 as `Eager` in the same precision is,
ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-11}  # and this, relative, where that one happens to be exact
SOURCES = ("engines", "nets", "pack", "methods")  # rooms of which a verdict depends on every file


@dataclass(frozen=True)
class Question:
    """What an engine is to train: a network, in which precision, where, and what clips its gradient on the way back."""

    network: Network
    dtype: torch.dtype
    device: torch.device
    clipping: Clipping | None = None

    @property
    def interventions(self) -> Interventions:
        clips = self.clipping is not None and self.clipping.clips_state_gradient
        return Interventions(self.clipping if clips else None)


@functools.cache
def fault(engine: Engine, question: Question) -> str | None:
    """What is wrong with an engine's answers to a question on this machine; None if nothing was found.

    `eager` is what the others are compared with, and is taken on trust.
    """
    if isinstance(engine, Eager):
        return None
    file = folder() / f"{_digest(engine, question)}.json"
    try:
        found: str | None = json.loads(file.read_text(encoding="utf-8"))["fault"]
        return found
    except (OSError, ValueError, KeyError):
        pass
    began = time.perf_counter()
    found = _tried(engine, question)
    seconds = time.perf_counter() - began
    if found is None and question.device.type == "cuda":  # on a CPU it is over in a moment
        log.info("%s agrees with float64 on this %s for %s (%.1f s)", engine.name, *_about(question), seconds)
    _keep(file, {"engine": engine.name, "fault": found})
    return found


def folder() -> Path:
    """Where verdicts are kept."""
    return building.cache_folder() / "proofs"


def _about(question: Question) -> tuple[str, str]:
    cell = question.network.cell
    where = torch.cuda.get_device_name(question.device) if question.device.type == "cuda" else "CPU"
    return where, f"{cell.name} of {cell.hidden} units"


def _tried(engine: Engine, question: Question) -> str | None:
    """The first disagreement; an engine that fails with an error disagrees too."""
    try:
        return next(_disagreements(engine, question), None)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _disagreements(engine: Engine, question: Question) -> Iterator[str]:
    network = question.network
    for shortest in (STEPS, LEAST_STEPS):
        case = Case(question, Rehearsal("random", network.inputs, network.outputs, STEPS, shortest), max(WIDTHS))
        lengths = "one length" if shortest == STEPS else "lengths of their own"
        for width in WIDTHS:
            for what in case.disagreements(engine, width):
                yield f"packs of {width}, {lengths}: {what}"
    if question.device.type == "cuda":
        case = Case(question, Rehearsal("random", network.inputs, network.outputs, LONG, LONG), LONG_WIDTH)
        for what in case.disagreements(engine, LONG_WIDTH):
            yield f"{LONG} steps: {what}"


class TogetherProgram(EagerProgram):
    """All replicas as one program: faster, and in bits that depend on the width, which do not matter here."""

    def _programs(self, replicas: int, sequences: int) -> Iterator[tuple[list[int], int]]:
        yield list(range(replicas)), replicas


@dataclass(frozen=True)
class Together(Eager):
    """`eager` for a comparison."""

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return TogetherProgram(network, task, interventions)


class Case:
    """One problem, and how far from float64 an engine may be with it.

    The net starts at random, but over many steps near W = I, so that the gradient neither vanishes nor explodes.
    """

    def __init__(self, question: Question, task: Rehearsal, width: int) -> None:
        self.question, self.task = question, task
        seeds = range(width)

        def stream(purpose: str) -> Stream:
            return Stream(seeds, f"proof/{purpose}", dtype=torch.float64)

        self.flat = _start(question.network, width, near_identity=task.steps == LONG)
        self.batch = task.sample(stream("batch"), SEQUENCES)
        kept = (SEQUENCES, question.network.cell.hidden)
        self.masks = Masks()
        if question.network.masked:
            drawn, read = stream("masks"), Together().program(question.network, task).read
            shapes = {"recurrent": kept, "readout": (SEQUENCES, len(read), kept[-1])}
            self.masks = Masks(**{part: (drawn.uniform(*shape) < 0.8).double() for part, shape in shapes.items()})
        self.exact = self._answers(Together(), width, torch.float64)
        self.same_precision = self._answers(Together(), width, question.dtype)

    def disagreements(self, engine: Engine, width: int) -> Iterator[str]:
        """What a pack of this width comes to that is too far from float64, in words."""
        found = self._answers(engine, width, self.question.dtype)
        for name, exact in self.exact.items():
            off = self._distance(found[name], exact[:width])
            allowed = ALLOWANCE * self._distance(self.same_precision[name], exact) + ROUNDING[self.question.dtype]
            if not off <= allowed:
                yield f"{name} off by {off:.1e} of its size, where {allowed:.1e} is allowed"

    def _distance(self, found: Tensor, exact: Tensor) -> float:
        """The largest ||found - exact|| / ||exact|| of a replica: [R, ...]; inf where a number is not finite.

        Over many steps the median of the replicas: a unit near the kink of a ReLU may round to the other side with any
        engine, and from there on that replica is another net.
        """
        apart = torch.linalg.vector_norm((found - exact).flatten(1), dim=-1)
        size = torch.linalg.vector_norm(exact.flatten(1), dim=-1)
        off = (apart / size.clamp_min(1e-30)).nan_to_num(math.inf, math.inf)
        return float(off.median() if self.task.steps == LONG else off.max())

    def _answers(self, engine: Engine, width: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """By name, each [width, ...] in float64 on the host."""
        device, question = self.question.device, self.question

        def there(part: Tensor) -> Tensor:
            return part[:width].to(device, dtype if part.is_floating_point() else part.dtype)

        program: Program = engine.program(question.network, self.task, question.interventions)
        flat, batch = there(self.flat), self.batch.mapped(there)
        masks = Masks(*(None if mask is None else there(mask) for mask in self.masks))
        answers, gradients = program.answers(flat, batch), program.gradients(flat, batch, trace=True, masks=masks)
        traces = {f"||dL/d{name}_t||": norms for name, norms in gradients.trace.items()}
        parts = {"answers": answers.outputs, "loss": gradients.loss[:, None], "gradient": gradients.gradient, **traces}
        return {name: part.detach().double().cpu() for name, part in parts.items()}


def _start(network: Network, width: int, near_identity: bool) -> Tensor:
    """Random parameters in float64 that keep a state's size, [R, P]: N(0, 1/H), and those with a start of their own."""
    hidden, random = network.cell.hidden, Stream(range(width), "proof/start", dtype=torch.float64)
    flat = random.normal(network.flat_size) * network.mask() / math.sqrt(hidden)
    views = network.views(flat)
    for name, parameter in network.parameters.items():
        if parameter.start is not None:
            for seed, row in enumerate(views[name]):
                row.copy_(parameter.start(Stream(seed, f"proof/{name}", dtype=torch.float64)))
        elif near_identity and parameter.role == "recurrent" and network.shape(name)[-2:] == (hidden, hidden):
            views[name].mul_(0.01).add_(torch.eye(hidden, dtype=flat.dtype))
    return flat


def _keep(file: Path, verdict: dict[str, str | None]) -> None:
    """Into the cache, for later processes; where it cannot be written, they try again for themselves."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(verdict, out)
        os.replace(temporary, file)
    except OSError as error:
        log.debug("%s: %s", file, error)


def _digest(engine: Engine, question: Question) -> str:
    """All that a verdict rests on: engine, question, device and driver, torch and triton, the suite's own sources."""
    parts = [repr(engine), repr(question), torch.__version__, _device(question.device), _sources()]
    parts += map(_source_of, type(question.network.cell.core).__mro__[:-1])
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


@functools.cache
def _device(device: torch.device) -> str:
    if device.type == "cuda":
        driver = getattr(torch._C, "_cuda_getDriverVersion", lambda: "")()
        return f"{torch.cuda.get_device_properties(device)} {driver} {torch.version.cuda} {_version('triton')}"
    return f"{torch.backends.cpu.get_cpu_capability()} {building.fingerprint()}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def _sources() -> str:
    """Digest of the suite's own files that an engine's answers rest on."""
    digest = hashlib.blake2b(digest_size=12)
    for room in SOURCES:
        for file in sorted((Path(__file__).parents[1] / room).rglob("*.[pch]*")):
            if file.suffix in (".py", ".c", ".h"):
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _source_of(kind: type) -> str:
    """The text of a class, which may be a user's own; its name where the text is not to be had."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return repr(kind)
