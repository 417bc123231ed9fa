"""Every name that a package of your own needs to extend the suite: `from bench.extending import Cell, Parameter`.

A new cell, clipping rule, initialiser, optimizer, remedy, measurement or task is a frozen dataclass derived from the
contract here, whose docstring says what it must provide, and one yaml in the package's `conf/`.
"""

from bench.exports.logger import Logger
from bench.measurements.measurement import Columns, Measurement, Snapshot
from bench.methods.clipping import Clipping, Step
from bench.methods.nonfinite import Nonfinite
from bench.methods.optimizers import Optimizer
from bench.methods.remedies.remedy import PackView, Remedy
from bench.methods.schedules import Schedule
from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.nets.initializers import Block, Initializer, Random
from bench.nets.network import Network
from bench.pack.axes import H, I, O
from bench.pack.fields import PerReplica, column
from bench.pack.streams import Stream
from bench.pack.sums import gradient_norm, scaled
from tasks.ranges import Count, CountOrZero, NonNegative, OneOf, Positive, PositiveOrInf, Share, ShareBelowOne
from tasks.task import Batch, Task

__all__ = [
    "Batch",
    "Block",
    "Cell",
    "Clipping",
    "Columns",
    "Count",
    "CountOrZero",
    "H",
    "I",
    "Initializer",
    "Logger",
    "Measurement",
    "Network",
    "NonNegative",
    "Nonfinite",
    "O",
    "OneOf",
    "Optimizer",
    "PackView",
    "Parameter",
    "PerReplica",
    "Positive",
    "PositiveOrInf",
    "Random",
    "Remedy",
    "Schedule",
    "Share",
    "ShareBelowOne",
    "Snapshot",
    "State",
    "Step",
    "Stream",
    "Task",
    "Weights",
    "column",
    "gradient_norm",
    "scaled",
]
