"""A sweep: its jobs are put into packs, and these carried out here or elsewhere.

The package can be called: `bench.sweep(task="adding", seed=range(5))` is `bench.sweep.call.sweep`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.analysis.results import Results


class _Callable(ModuleType):
    """A package that carries out a sweep when it is called, since importing any module of it shadows a function."""

    def __call__(self, *overrides: str, **settings: object) -> Results:
        from bench.sweep.progress import starting  # not at the top: `import bench` is to be quick

        with starting():
            from bench.sweep.call import sweep  # it imports torch

        return sweep(*overrides, **settings)


sys.modules[__name__].__class__ = _Callable
