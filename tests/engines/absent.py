"""A device that is not there, to see what a GPU would see: a pass on it fails wherever host and device must meet.

Tensors on torch's `meta` device have shapes and no values. Whatever asks for one (`item`, `bool`, `nonzero`, `equal`,
`cpu`, a size that depends on what was found) raises by itself, for a GPU would have to be waited for. What brings
numbers from the host there is refused here: it waits too, and a CUDA graph would repeat the numbers of its recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ABSENT = torch.device("meta")
MAKERS = {"tensor", "as_tensor", "asarray", "from_numpy", "new_tensor"}  # of tensors from numbers of the host
COPIES = {"_to_copy", "copy_", "copy"}
LOOKS = {"__getitem__", "__setitem__", "index_select", "take_along_dim"}


class Meeting(AssertionError):
    """Numbers go from the host to the device."""


@contextmanager
def alone() -> Iterator[set[str]]:
    """Host and device may not meet meanwhile; gives the names of the operations that run."""
    names: set[str] = set()
    with _Calls(), _Operations(names):
        yield names


class _Calls(TorchFunctionMode):
    """Refuses what makes tensors from numbers of the host, and indices that are lists of them."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if name in MAKERS and not isinstance(arguments[0], Tensor):
            raise Meeting(f"torch.{name}({arguments[0]}) within a pass")
        if name in LOOKS:
            index = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
            if any(isinstance(part, list | range) for part in index):
                raise Meeting(f"{name} with {arguments[1]} within a pass")
        return function(*arguments, **(keywords or {}))


class _Operations(TorchDispatchMode):
    """Notes the operations, and refuses those between the two that are not a device's with a number of the host."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = function.overloadpacket.__name__
        self.names.add(name)
        result = function(*arguments, **(keywords or {}))
        given = [part for part in tree_leaves((arguments, keywords or {})) if isinstance(part, Tensor)]
        made = [part for part in tree_leaves(result) if isinstance(part, Tensor)]
        numbers = [part for part in given if part.device.type == "cpu" and (part.ndim > 0 or name in COPIES)]
        if numbers and any(part.device == ABSENT for part in (*given, *made)):
            raise Meeting(f"{name} takes a tensor of the host, {tuple(numbers[0].shape)}")
        return result
