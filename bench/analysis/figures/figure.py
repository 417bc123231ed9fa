"""What a figure is to the report: a function that says beside itself what it needs, found by listing its folder."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from types import ModuleType

from matplotlib.axes import Axes

from bench.analysis.figures.facets import Facets
from bench.analysis.figures.plot import NothingToDraw, Plot
from bench.analysis.figures.style import paper
from bench.analysis.settings import layout, levels
from bench.runs.tables import Tables

LAST = 1000.0
MOST_LINES = 12  # levels of the hue, in a figure that cannot tell apart as many as there are
FOLDER = "figures"  # of a user's own package: the module, or the package, with its figures


class Figure:
    """A kind of figure: called with results, it draws them.

    needs: the tables without which there is none. place: its rank in a report, where figures stand in ascending order.
    many: whether it can tell apart more levels of the hue than there are colours. along: the setting that lies along
    its x axis, and so is in no label, where the runs have it.
    """

    def __init__(
        self, draw: Callable[[Facets], Plot], needs: tuple[str, ...], place: float, many: bool, along: str
    ) -> None:
        self.draw, self.needs, self.place, self.many, self.along = draw, needs, place, many, along
        self.name = self.__name__ = draw.__name__
        self.__doc__ = draw.__doc__

    def __repr__(self) -> str:
        return f"<figure {self.name}>"

    def __call__(
        self,
        results: Tables,
        *,
        hue: str | None = None,
        row: str | None = None,
        col: str | None = None,
        x: str | None = None,
        ax: Axes | None = None,
    ) -> Plot:
        """The figure of some results, as `load` returns them.

        ax: axes of a figure of yours, in place of a figure of its own, where it is one panel; its letters are yours.
        hue, row, col, x: the keys of the configuration, such as `optimizer.lr`, that colours, rows and columns of
        panels, and the x axis of `success` tell apart; every other setting that differs is named in the labels.
        Raises NothingToDraw if a table is missing, NoSuchAxis for a key that the runs do not have, ValueError if
        `ax` is given and there are more panels than one.
        """
        return self.of(Facets.of(results, layout(results.runs, hue=hue, row=row, col=col, x=x), ax))

    def of(self, facets: Facets) -> Plot:
        """The figure of results that are laid out.

        Raises NothingToDraw if a table is missing, or where there are more lines than it can tell apart.
        """
        if self.along in facets.results.runs:
            facets = facets.along(self.along)
        lines = len(levels(facets.runs[facets.hue]))
        if lines > MOST_LINES and not self.many:
            raise NothingToDraw(f"{lines} settings are more than lines can tell apart; see the figure scores")
        for table in self.needs:
            if table not in facets.results.names:
                raise NothingToDraw(f"these results hold no table {table}")
        with nullcontext() if facets.ax is not None else paper():
            return self.draw(facets)


def figure(
    *needs: str, place: float = LAST, many: bool = False, along: str = ""
) -> Callable[[Callable[[Facets], Plot]], Figure]:
    """Let a function of `Facets` be a figure of the report; `needs` and the others as `Figure` has them."""
    return lambda draw: Figure(draw, needs, place, many, along)


def all_figures(packages: Iterable[str] = ()) -> list[Figure]:
    """The figures of the suite, and those of users' packages that have a `figures` beside their `conf`, by place."""
    modules = [*_modules(__package__), *(module for name in packages for module in _modules(f"{name}.{FOLDER}"))]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Figure)]
    return sorted(dict.fromkeys(found), key=lambda one: one.place)


def _modules(name: str) -> Iterator[ModuleType]:
    """A module, and those in it if it is a package; none if it is not there."""
    package = name.partition(".")[0]
    try:
        if importlib.util.find_spec(package) is None or importlib.util.find_spec(name) is None:
            return
    except ModuleNotFoundError:  # the package is a single file
        return
    module = importlib.import_module(name)
    yield module
    for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
        yield importlib.import_module(f"{name}.{inner.name}")
