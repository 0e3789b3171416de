"""Nested training state as JSON plus named tensors, and back, without pickle.

JSON knows neither tuples, nor integer keys, nor NaN, nor tensors; all four occur in optimiser
state. Each gets a one-key tag: {"tuple": …}, {"dict": [[key, value], …]}, {"float": "nan"},
{"tensor": name}. Everything JSON does know is written as itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import RunError

_SPECIAL_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def pack(node: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested state into a JSON tree and the tensors it names.

    Tensors come back contiguous and in their own storage: strides and sharing are not state.

    Args:
        node: None, bool, int, float, str, tensors, and lists, tuples and dicts of these.

    Raises:
        RunError: when something else is inside.
    """
    tensors: dict[str, Tensor] = {}
    return _pack(node, (), tensors), tensors


def unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Rebuild what `pack` split.

    Raises:
        RunError: when the tree is not one of ours or a tensor is missing.
    """
    if isinstance(tree, list):
        return [unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1:
        raise RunError("the stored state is damaged", expected="one tag", found=sorted(tree))
    ((tag, content),) = tree.items()
    if tag == "tuple":
        return tuple(unpack(item, tensors) for item in content)
    if tag == "dict":
        return {unpack(key, tensors): unpack(value, tensors) for key, value in content}
    if tag == "float" and content in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[content]
    if tag == "tensor" and content in tensors:
        return tensors[content]
    raise RunError("the stored state is damaged", found=f"{tag}: {content!r}"[:200])


def check_shapes(stored: Mapping[str, Tensor], own: Mapping[str, Tensor], *, what: str) -> None:
    """Refuse stored tensors that belong to another network.

    Raises:
        RunError: naming the first tensor that is missing, too many or of another shape.
    """
    for name in sorted(stored.keys() | own.keys()):
        found = tuple(stored[name].shape) if name in stored else "nothing"
        expected = tuple(own[name].shape) if name in own else "nothing"
        if found != expected:
            raise RunError(
                f"this checkpoint belongs to another {what}",
                where=name,
                expected=expected,
                found=found,
                hint="resume with the recipe that started the run",
            )


def _pack(node: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor):
        name = _free_name("/".join(path) or "tensor", tensors)
        tensors[name] = _stored(node, path)
        return {"tensor": name}
    if type(node) is float and not math.isfinite(node):
        return {"float": str(node)}
    if node is None or type(node) in (bool, int, float, str):
        return node
    if type(node) is list:
        return [_pack(item, (*path, str(i)), tensors) for i, item in enumerate(node)]
    if type(node) is tuple:
        return {"tuple": [_pack(item, (*path, str(i)), tensors) for i, item in enumerate(node)]}
    if isinstance(node, Mapping):
        pairs = [
            [_pack(key, (*path, "key"), tensors), _pack(value, (*path, str(key)), tensors)]
            for key, value in node.items()
        ]
        return {"dict": pairs}
    raise RunError(
        "this kind of value cannot be stored in a checkpoint",
        where="/".join(path),
        expected="tensors, numbers, texts, lists, tuples and dicts",
        found=type(node).__name__,
    )


def _stored(tensor: Tensor, path: tuple[str, ...]) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise RunError(
            "this kind of tensor cannot be stored in a checkpoint",
            where="/".join(path),
            expected="a dense tensor",
            found=tensor.layout,
        )
    plain = tensor.detach().resolve_conj().resolve_neg().to("cpu")
    # safetensors refuses tensors that share memory; a view of a larger storage counts as that
    shares = plain.untyped_storage().nbytes() != plain.numel() * plain.element_size()
    return plain.clone(memory_format=torch.contiguous_format) if shares else plain.contiguous()


def _free_name(name: str, taken: Mapping[str, Tensor]) -> str:
    if name not in taken:
        return name
    return next(f"{name}#{k}" for k in range(2, len(taken) + 3) if f"{name}#{k}" not in taken)
