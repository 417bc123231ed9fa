"""What a step does to stand-ins for its tensors becomes a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.engines.step import operations
from bench.engines.step.graph import Node, Piece, Unsupported, constant
from bench.engines.step.movement import MOVES, SEQUENCES, Layout, index_of, node_at
from bench.engines.step.traced import REVERSED, Dynamic, Traced, Weight, leaves, mapped, plain
from bench.nets.network import MULTIPLE, padded

ABOUT = {"shape", "size", "dim", "ndim", "dtype", "device", "numel", "is_floating_point", "stride", "layout", "is_cuda"}
MAKERS = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_tensor"}
CONVERSIONS = {"to", "type_as", "float", "double", "type"}


class Tracer:
    """Follows one call of `step`: the nodes it makes, and the weights that they are made with."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._numbers: dict[Node, int] = {}

    def call(self, name: str, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What a torch function answers to stand-ins. Raises Unsupported for one that is not known."""
        if name in ABOUT:
            return function(*plain(arguments), **plain(keywords))
        if name in MAKERS:
            return function(*plain(arguments), **plain(keywords))
        if name in REVERSED and name != "rsub":
            return REVERSED[name](*arguments)
        if not any(isinstance(leaf, Dynamic) for leaf in leaves((arguments, keywords))):
            return self._of_weights(name, function, arguments, keywords)
        if name in COMPOSED:
            return COMPOSED[name](*arguments, **keywords)
        if name in MOVES:
            return self._moved(function, arguments, keywords)
        if name in operations.FUNCTIONS:
            return self._by_number(name, function, arguments, keywords)
        if name in ("sum", "mean"):
            return self._reduced(name, *arguments, **keywords)
        if name in ("matmul", "mm", "bmm"):
            return self._product(*arguments)
        if name in CONVERSIONS:
            return self._converted(function, arguments, keywords)
        raise Unsupported(name)

    # ---- weights

    def parameter(self, name: str, example: Tensor) -> Weight:
        return Weight(self, example, lambda made: made[name])

    def _of_weights(self, name: str, function: Any, arguments: Any, keywords: Any) -> Any:
        """Any torch function of parameters alone: torch does it again for each replica, and differentiates it."""
        if name.endswith("_") and not name.endswith("__"):
            raise Unsupported(f"{name}, which changes a weight in place")
        results = function(*plain(arguments), **plain(keywords))
        call = object()

        def again(made: dict[Any, Any]) -> Any:
            if call not in made:
                given = mapped((arguments, keywords), lambda leaf: _again(leaf, made))
                made[call] = function(*given[0], **given[1])
            return made[call]

        bases = [leaf.base for leaf in leaves((arguments, keywords)) if isinstance(leaf, Weight)]
        if isinstance(results, tuple | list):
            return type(results)(self._weight(one, _part(again, k), bases) for k, one in enumerate(results))
        return self._weight(results, again, bases)

    def _weight(self, result: Any, again: Callable[[dict[Any, Any]], Tensor], bases: list[Weight]) -> Any:
        if not isinstance(result, Tensor):
            raise Unsupported("a decision by the value of a weight")
        base = next((base for base in bases if _same_memory(base.example, result)), None)
        return Weight(self, _settled(result) if base is None else result, again, base)

    def _wrapped(self, tensor: Any) -> Traced:
        """A tensor of a step's own as a weight that no parameter changes."""
        if isinstance(tensor, Traced):
            return tensor
        alike = tensor.numel() > 0 and bool((tensor == tensor.flatten()[0]).all())
        uniform = float(tensor.flatten()[0]) if alike else None
        return Weight(self, _settled(tensor), lambda made: _again(tensor, made), uniform=uniform)

    # ---- what depends on the input or the state

    def number(self, node: Node) -> int:
        """The node's place among all."""
        if node not in self._numbers:
            self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return self._numbers[node]

    def leaf(self, node: Node, example: Tensor) -> Dynamic:
        """The stand-in for the input or a part of the state, [B, units]."""
        return Dynamic(self, example, index_of(self.number(node), node.units))

    def node(self, tensor: Any) -> Node:
        """The one node that a stand-in [B, units] is."""
        layout = Layout([tensor.index])
        if len(tensor.index.shape) != 2 or layout.batch != 0:
            raise Unsupported(f"a state of shape {[*tensor.index.shape]}")
        return node_at(tensor.index, self.nodes, self.piece)

    def piece(self, node: Node, start: int, length: int) -> Node:
        """So many units of a node; of a product or what is done number by number, no others are computed then."""
        if node.units is None or (start == 0 and length == node.units):
            return node
        if node.operation in operations.TABLE:
            return operations.apply(node.operation, *(self.piece(part, start, length) for part in node.inputs))
        if node.operation == "operand":
            return Node("operand", value=node.value.narrow(0, start, length), units=length, batch=False)
        if node.operation == "product":
            return Node("product", node.inputs, node.value.narrow(1, start, length), units=length)
        return Node("pieces", (node,), (Piece(0, start, length),), units=length)

    def _moved(self, function: Any, arguments: Any, keywords: Any) -> Any:
        example = function(*plain(arguments), **plain(keywords))
        if any(isinstance(leaf, Weight | Tensor) for leaf in leaves((arguments, keywords))):
            raise Unsupported("weights and numbers of a sequence side by side")
        index = mapped((arguments, keywords), lambda leaf: leaf.index if isinstance(leaf, Dynamic) else leaf)
        moved = function(*index[0], **index[1])
        if isinstance(moved, Tensor):
            return Dynamic(self, example, moved)
        return tuple(Dynamic(self, one, two) for one, two in zip(example, moved, strict=True))

    def _by_number(self, name: str, function: Any, arguments: Any, keywords: dict[str, Any]) -> Dynamic:
        if keywords.pop("inplace", False) or "out" in keywords:
            raise Unsupported(f"{name} in place")
        example = function(*plain(arguments), **plain(keywords))
        given = mapped((arguments, keywords), lambda leaf: self._wrapped(leaf) if isinstance(leaf, Tensor) else leaf)
        tensors = [leaf for leaf in leaves(given) if isinstance(leaf, Traced)]
        layout = Layout([part.index.expand(example.shape) for part in tensors if isinstance(part, Dynamic)])
        arranged = {
            part: layout.arranged((part.index if isinstance(part, Dynamic) else part).expand(example.shape))
            for part in tensors
        }
        build = operations.FUNCTIONS[name]

        def at(position: tuple[int, ...]) -> Node:
            nodes: dict[Any, Node] = {
                part: node_at(arranged[part][position], self.nodes, self.piece)
                for part in tensors
                if isinstance(part, Dynamic)
            }
            single = all(node.units is None for node in nodes.values())
            for part in tensors:
                if isinstance(part, Weight):
                    nodes[part] = self._operand(arranged[part][position], single)
            found = mapped(given, lambda leaf: nodes[leaf] if isinstance(leaf, Traced) else leaf)
            try:
                return build(*found[0], **found[1])
            except TypeError as error:
                raise Unsupported(f"{name} with these arguments ({error})") from None

        return self._arranged(layout, example, at)

    def _arranged(self, layout: Layout, example: Tensor, at: Callable[[tuple[int, ...]], Node]) -> Dynamic:
        """The stand-in whose nodes are `at` each position of a layout."""
        blocks = [index_of(self.number(node), node.units) for node in map(at, layout.positions())]
        width = max(block.shape[-1] for block in blocks)
        stacked = torch.stack([block.expand(-1, width) for block in blocks])
        index = layout.restored(stacked.reshape(*layout.arrangement, SEQUENCES, width))
        return Dynamic(self, example, index.expand(example.shape))

    def _operand(self, block: Any, single: bool) -> Node:
        """The leaf of a weight [B, U] that is alike for all sequences; `single`: it meets a number per sequence."""
        example = block.example
        if example.stride(0) != 0:
            raise Unsupported("a weight that differs between sequences")
        units = example.shape[1]
        if block.base.uniform is not None:
            return constant(block.base.uniform)
        if (units > 1 and example.stride(1) != 0) or (units == 1 and not single):
            return Node("operand", value=block[0], units=units, batch=False)
        return Node("operand", value=block[0, 0], batch=False)

    def _reduced(self, name: str, tensor: Dynamic, dim: Any = None, keepdim: bool = False, **others: Any) -> Dynamic:
        dim = others.pop("axis", dim)
        if dim is None or any(value is not None for value in others.values()):
            raise Unsupported(f"{name} over all sequences")
        layout = Layout([tensor.index])
        axes = {axis % len(layout.shape) for axis in (dim if isinstance(dim, tuple | list) else (dim,))}
        if layout.batch in axes:
            raise Unsupported(f"{name} over sequences")
        arranged = layout.arranged(tensor.index)
        outer = [axis for axis in layout.order if axis not in (layout.batch, layout.units)]
        over_units = layout.units in axes
        count = 1
        for axis in axes:
            count *= layout.shape[axis]
        found: dict[tuple[int, ...], Node] = {}
        for position in layout.positions():
            kept = tuple(0 if axis in axes else at for axis, at in zip(outer, position, strict=True))
            node = node_at(arranged[position], self.nodes, self.piece)
            if over_units and node.units is not None:
                node = Node("sum", (node,))
            found[kept] = operations.add(found[kept], node) if kept in found else node
        sizes = [1 if axis in axes else layout.shape[axis] for axis in outer]
        blocks = []
        for node in found.values():
            node = operations.div(node, float(count)) if name == "mean" else node
            blocks.append(index_of(self.number(node), node.units))
        index = layout.restored(torch.stack(blocks).unflatten(0, sizes) if sizes else blocks[0])
        example = getattr(torch, name)(tensor.example, dim, keepdim=keepdim)
        return Dynamic(self, example, index if keepdim else index.squeeze(tuple(axes)))

    def _product(self, left: Any, right: Any) -> Any:
        left, right = self._wrapped(left), self._wrapped(right)
        if isinstance(left, Weight):
            return (right.mT @ left.mT).mT
        if isinstance(right, Dynamic):
            raise Unsupported("a product of two numbers that both depend on the sequence")
        if right.ndim == 1:
            return (left @ right[:, None])[..., 0]
        layout = Layout([left.index])
        last = len(layout.shape) - 1
        if layout.batch != last - 1:
            if layout.batch == last or layout.shape[-2] != 1 or right.ndim > 2:
                raise Unsupported("a product over sequences")
            return (left.transpose(layout.batch, -2) @ right).transpose(layout.batch, -2)
        example = left.example @ right.example
        shape = example.shape[:-2]
        layout = Layout([index_of(0, example.shape[-1]).expand(example.shape)])
        index = left.index.expand(*shape, *left.index.shape[-2:])
        weights = right.expand(*shape, *right.shape[-2:])

        def at(position: tuple[int, ...]) -> Node:
            node = node_at(index[position], self.nodes, self.piece)
            matrix = weights[position]
            if node.units is None:
                return operations.mul(node, Node("operand", value=matrix[0], units=matrix.shape[1], batch=False))
            return Node("product", (node,), matrix, units=matrix.shape[1])

        return self._arranged(layout, example, at)

    def _converted(self, function: Any, arguments: Any, keywords: Any) -> Dynamic:
        """Cast a condition to numbers; numbers may be cast only to what they are."""
        tensor = arguments[0]
        example = function(*plain(arguments), **plain(keywords))
        if tensor.example.dtype == torch.bool:
            numbers: Dynamic = self.call("where", torch.where, (tensor, *torch.eye(2, dtype=torch.float64)[0]), {})
            return numbers
        if example.dtype == tensor.example.dtype:
            return Dynamic(self, example, tensor.index)
        raise Unsupported("a change of precision")


def _part(again: Callable[[dict[Any, Any]], Any], number: int) -> Callable[[dict[Any, Any]], Tensor]:
    """One of several results."""
    return lambda made: again(made)[number]


def _again(leaf: Any, made: dict[Any, Any]) -> Any:
    """What a function of weights is given: weights made anew, and a step's own tensors where the parameters are."""
    if isinstance(leaf, Weight):
        return leaf.again(made)
    return leaf.to(next(iter(made.values())).device) if isinstance(leaf, Tensor) else leaf


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _settled(tensor: Tensor) -> Tensor:
    """A copy whose rows begin at whole vectors, as those of parameters do."""
    if not tensor.is_floating_point():
        return tensor.clone()
    rows = tensor.reshape(1) if tensor.ndim == 0 else tensor
    room = rows.new_zeros(*rows.shape[:-1], padded(rows.shape[-1], MULTIPLE))[..., : rows.shape[-1]]
    room.copy_(rows)
    return room[0] if tensor.ndim == 0 else room


def _layer_norm(tensor: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    if len(shape) != 1:
        raise Unsupported("layer_norm over several axes")
    centred = tensor - tensor.mean(-1, keepdim=True)
    normal = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias


def _linear(tensor: Any, weight: Any, bias: Any = None) -> Any:
    return tensor @ weight.mT if bias is None else tensor @ weight.mT + bias


COMPOSED: dict[str, Callable[..., Any]] = {"layer_norm": _layer_norm, "linear": _linear}
