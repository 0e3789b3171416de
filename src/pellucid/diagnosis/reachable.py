"""Find everything a subject's functions can touch: modules, tensors, optimisers, generators.

A user often hands over closures such as `lambda x: model.encoder(x)`. What they can change is found
by following bound objects, closures, the globals a function names, containers and attributes.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_LIMIT = 20_000
_OPAQUE = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType)


@dataclasses.dataclass(frozen=True)
class Reachable:
    """Distinct objects by identity, in the order they were met."""

    modules: tuple[nn.Module, ...]
    tensors: tuple[Tensor, ...]
    optimizers: tuple[torch.optim.Optimizer, ...]
    generators: tuple[torch.Generator, ...]

    @property
    def roots(self) -> tuple[nn.Module, ...]:
        """Modules that are no child of another reachable module."""
        inner = {id(c) for m in self.modules for c in m.children()}
        return tuple(m for m in self.modules if id(m) not in inner)


def reachable(roots: Iterable[Any]) -> Reachable:
    """Walk from the given objects and collect what a probe could change.

    Args:
        roots: functions, modules, tensors, optimisers, containers, objects with attributes.
    """
    seen: dict[int, Any] = {}
    queue = list(roots)
    modules, tensors, optimizers, generators = [], [], [], []
    while queue and len(seen) < _LIMIT:
        value = queue.pop(0)
        if isinstance(value, _OPAQUE) or id(value) in seen:
            continue
        seen[id(value)] = value  # kept alive, so an id is never used twice
        if isinstance(value, Tensor):
            tensors.append(value)
            continue
        if isinstance(value, nn.Module):
            modules.append(value)
        elif isinstance(value, torch.optim.Optimizer):
            optimizers.append(value)
        elif isinstance(value, torch.Generator):
            generators.append(value)
        queue.extend(_neighbours(value))
    return Reachable(tuple(modules), tuple(tensors), tuple(optimizers), tuple(generators))


def _neighbours(value: Any) -> Iterator[Any]:
    """Yield the objects one step away."""
    if isinstance(value, nn.Module):
        yield from value._modules.values()
        yield from value._parameters.values()
        yield from value._buffers.values()
        yield from (v for k, v in vars(value).items() if k not in _MODULE_SLOTS)
    elif isinstance(value, torch.optim.Optimizer):
        for group in value.param_groups:
            yield from group["params"]
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from _function_neighbours(value)
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from value
    elif _is_own_object(value):
        yield from vars(value).values()


_MODULE_SLOTS = frozenset({"_modules", "_parameters", "_buffers", "_state_dict_hooks"})


def _function_neighbours(function: types.FunctionType) -> Iterator[Any]:
    """Yield what a function closes over, defaults to, wraps, or names among its globals."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a cell that is still empty holds nothing
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield global names used by a code object and the functions nested in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_own_object(value: Any) -> bool:
    """Say whether to look into an object's attributes: user objects, not torch's or a trainer's."""
    if not hasattr(value, "__dict__"):
        return False
    home = type(value).__module__ or ""
    return home.split(".")[0] not in _FOREIGN


_FOREIGN = frozenset(
    {"torch", "numpy", "builtins", "logging", "threading", "os"}
    # A LightningModule holds its trainer, and the trainer everything: data, loggers, other models.
    | {"lightning", "pytorch_lightning", "lightning_fabric"}
)
