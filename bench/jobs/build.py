"""The builder: makes checked dataclasses from yaml.

Every component in `conf/` names its class with `_target_` and gives every field a value. `build` checks names and
types, and the class itself the ranges in its annotations (`Checked`), before anything is trained; a mistake becomes one
line (`ConfigError`). Only classes of this suite, or of a package that the user names (`extensions: [my_package]`), are
built.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from torch import Tensor

from bench.jobs.errors import ConfigError
from bench.jobs.suggestions import meant
from bench.nets.cells.cell import Cell
from bench.nets.cells.stacked import stacked
from bench.pack.identity import OWN_PACKAGES
from tasks.ranges import OneOf, hints

T = TypeVar("T")


def build(kind: type[T], node: Any, path: str, allowed: Sequence[str] = OWN_PACKAGES) -> T:
    """An instance of `kind` from a yaml node; `path` is where the node stands, for messages.

    Raises ConfigError on a wrong name, type or value.
    """
    value: T = converted(kind, node, path, allowed)
    return value


def converted(kind: Any, node: Any, path: str, allowed: Sequence[str]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return converted(arguments[0], node, path, allowed)
    if origin is Literal:
        if node not in arguments:
            raise ConfigError(f"{path}={node}: must be {OneOf(arguments)}")
        return node
    if origin in (typing.Union, types.UnionType):
        if node is None and type(None) in arguments:
            return None
        kinds = [argument for argument in arguments if argument not in (type(None), Tensor)]  # no yaml has a tensor
        return converted(kinds[0], node, path, allowed) if len(kinds) == 1 else _component(kind, node, path, allowed)
    if origin is dict:
        return {
            name: converted(arguments[1], value, _join(path, name), allowed) for name, value in (node or {}).items()
        }
    if origin is tuple:
        if not isinstance(node, Sequence) or isinstance(node, str):
            raise ConfigError(f"{path}={node}: must be a list, such as {path}=[{node}]")
        return tuple(converted(arguments[0], value, path, allowed) for value in node)
    if dataclasses.is_dataclass(kind):
        return (_cell if kind is Cell else _component)(kind, node, path, allowed)
    return _plain(getattr(kind, "__default__", kind), node, path)  # that of a bare `PerReplica`


def _plain(kind: type, node: Any, path: str) -> Any:
    described = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    if kind is float and type(node) is int:
        return float(node)
    if type(node) is not kind:
        raise ConfigError(f"{path}={node}: must be {described[kind]}")
    return node


def _component(kind: Any, node: Any, path: str, allowed: Sequence[str]) -> Any:
    if not isinstance(node, Mapping):
        raise ConfigError(
            f"{path}={node}: must be a component with its settings; choose one with {path.replace('.', '/')}=NAME"
        )
    target = chosen_class(kind, node.get("_target_"), path, allowed)
    given = {name: value for name, value in node.items() if name != "_target_"}
    kinds = hints(target)
    fields = [field.name for field in dataclasses.fields(target)]
    for name in given:
        if name not in fields:
            raise ConfigError(f"{_join(path, name)}: no such setting of {target.__name__}; {_accepted(name, fields)}")
    for name in fields:
        if name not in given:
            raise ConfigError(f"{_join(path, name)}: {target.__name__} needs a value for it")
    values = {name: converted(kinds[name], given[name], _join(path, name), allowed) for name in fields}
    try:
        return target(**values)
    except ValueError as error:
        raise ConfigError(f"{path}.{error}" if path else str(error)) from None


def _cell(kind: Any, node: Any, path: str, allowed: Sequence[str]) -> Any:
    """A cell, in as many layers as `layers` says: that is a setting of every cell, and a field of none."""
    if not isinstance(node, Mapping) or "layers" not in node:
        return _component(kind, node, path, allowed)
    one = {name: value for name, value in node.items() if name != "layers"}
    layers = converted(int, node["layers"], _join(path, "layers"), allowed)
    try:
        return stacked(_component(kind, one, path, allowed), layers)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(_join(path, str(error))) from None


def chosen_class(kind: type, name: Any, path: str, allowed: Sequence[str]) -> type:
    if name is None:
        if inspect.isabstract(kind) or not isinstance(kind, type):
            raise ConfigError(f"{path}: needs _target_, the class of {_named(kind)}")
        return kind
    module, _, attribute = str(name).rpartition(".")
    if module.split(".")[0] not in allowed:
        raise ConfigError(f"{path}._target_={name}: not of {', '.join(allowed)}; name its package in extensions=[...]")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise ConfigError(f"{path}._target_={name}: there is no such class") from None
    if not (isinstance(target, type) and issubclass(target, kind)) or inspect.isabstract(target):
        raise ConfigError(f"{path}._target_={name}: is not {_named(kind)}")
    return target


def _named(kind: Any) -> str:
    """A kind, or a union of kinds, in a sentence: `an Engine or an Auto`."""
    kinds = typing.get_args(kind) or (kind,)
    return " or ".join(f"{'an' if one.__name__[0] in 'AEIOU' else 'a'} {one.__name__}" for one in kinds)


def _accepted(name: str, fields: list[str]) -> str:
    found = meant(name, fields)
    return f"did you mean {found}?" if found else f"it has {', '.join(fields)}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
