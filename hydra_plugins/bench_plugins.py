"""Makes the suite's sweeper and launcher known to Hydra, which takes plugins from here only. Imports no torch."""

from bench.sweep.launcher import PackLauncher
from bench.sweep.search import SearchSweeper
from bench.sweep.sweeper import UnionSweeper


class Packs(PackLauncher):
    """`hydra/launcher=packs`, the default."""


class Union(UnionSweeper):
    """`hydra/sweeper=union`, the default."""


class Search(SearchSweeper):
    """`hydra/sweeper=search`."""
