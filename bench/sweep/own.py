"""Components of one's own as values of `bench.sweep`: `cell=[Leaky(hidden=64, rate=0.1), "tanh"]`."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.machinery
import inspect
import linecache
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from bench.jobs.compose import chosen
from bench.jobs.errors import ConfigError
from bench.pack.identity import OWN_PACKAGES

IN_NOTEBOOK = "own_"  # begins the name of a module that is made for a class of a notebook, and ends in its digest


class Own:
    """Settings with the names of yaml files, written into `folder`, in place of components.

    settings: the others, with what Hydra needs to find these files and their classes. sources: the text that each class
    of a notebook, or of the script that runs, was made from, by the name of its module.
    Raises ConfigError for such a class whose source cannot be read.
    """

    def __init__(self, settings: Mapping[str, object], folder: Path) -> None:
        self.sources: dict[str, str] = {}
        self._folder = folder
        self._packages: list[str] = []
        named = {key: self._named(key.replace("__", "/"), value) for key, value in settings.items()}
        if self._packages:
            packages = [name for name in dict.fromkeys(self._packages) if name not in OWN_PACKAGES]
            named["extensions"] = [*_listed(settings.get("extensions")), *packages]
            named["hydra__searchpath"] = [*_listed(settings.get("hydra__searchpath")), f"file://{folder}"]
        if self.sources:  # another process could not import them
            named.setdefault("hydra__launcher__where", "here")
        self.settings = named

    def _named(self, group: str, value: object) -> object:
        if isinstance(value, list | tuple):
            return [self._named(group, one) for one in value]
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            return value
        kind = type(value)
        self._packages.append(self._module(kind).split(".")[0])
        return self._written(group, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower(), value)

    def _written(self, group: str, name: str, value: Any) -> str:
        """Write the yaml of a component; returns its name, with a number where one of that name has other fields."""
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        several = group not in chosen([]).hydra.runtime.choices
        tried, number = name, 1
        while True:
            head = f"# @package {group}.{tried}\n" if several else ""
            text = head + yaml.safe_dump({"_target_": f"{type(value).__module__}.{type(value).__qualname__}", **fields})
            path = self._folder / group / f"{tried}.yaml"
            if not path.exists() or path.read_text(encoding="utf-8") == text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                return tried
            number += 1
            tried = f"{name}_{number}"

    def _module(self, kind: type) -> str:
        """The module of a class; one of a notebook gets a module of its own, named by the digest of its source.

        So a class that is changed is another class, and its runs are others. What it calls elsewhere in the notebook is
        not part of that.
        """
        if kind.__module__ == "__main__":
            source, names = _source(kind)
            name = IN_NOTEBOOK + hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
            module = sys.modules.setdefault(name, ModuleType(name))
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            vars(module).update({key: value for key, value in names.items() if not key.startswith("__")})
            vars(module)["source"] = source
            setattr(module, kind.__name__, kind)
            kind.__module__ = name
        if kind.__module__.startswith(IN_NOTEBOOK):
            self.sources[kind.__module__] = vars(sys.modules[kind.__module__])["source"]
        return kind.__module__


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _source(kind: type) -> tuple[str, dict[str, Any]]:
    """The text of the cell of a notebook, or the script, that defines a class, and the names that are known there.

    `inspect.getsource` finds no classes of notebooks, but their methods know where they are from.
    """
    for method in vars(kind).values():
        function = method.fget if isinstance(method, property) else method
        if inspect.isfunction(function):
            text = "".join(linecache.getlines(function.__code__.co_filename))
            if any(isinstance(node, ast.ClassDef) and node.name == kind.__name__ for node in ast.walk(ast.parse(text))):
                return text, function.__globals__
    raise ConfigError(f"{kind.__name__}: its source cannot be read; put it into a file and import it from there")
