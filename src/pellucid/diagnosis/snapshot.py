"""Leave everything as it was: a snapshot of all that a probe could change.

Parameters, buffers, plain attributes and modes of modules, gradients and requires_grad, optimiser
states, loose tensors, random generators. Everything is restored into the *same* tensor objects, so
references held by the user's code stay valid.
"""

from __future__ import annotations

import copy
import dataclasses
import random
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.diagnosis.reachable import Reachable

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_BOOKKEEPING = frozenset({"_parameters", "_buffers", "_modules", "training"})


@dataclasses.dataclass
class _SavedTensor:
    """A tensor object, a copy of its content, and its gradient."""

    tensor: Tensor
    data: Tensor
    requires_grad: bool
    grad: Tensor | None
    grad_data: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor) -> _SavedTensor:
        grad = tensor.grad if tensor.is_leaf else None
        copied = None if grad is None else grad.detach().clone()
        return cls(tensor, tensor.detach().clone(), tensor.requires_grad, grad, copied)

    def restore(self) -> None:
        if self.tensor.data.shape != self.data.shape or self.tensor.dtype != self.data.dtype:
            self.tensor.data = self.data
        else:
            self.tensor.data.copy_(self.data)
        if not self.tensor.is_leaf:
            return
        self.tensor.requires_grad_(self.requires_grad)
        if self.grad is not None and self.grad_data is not None:
            self.grad.data.copy_(self.grad_data)
        self.tensor.grad = self.grad


@dataclasses.dataclass
class _SavedModule:
    """The slots of one module, by reference; tensors are copied elsewhere."""

    module: nn.Module
    training: bool
    parameters: dict[str, Any]
    buffers: dict[str, Any]
    children: dict[str, Any]
    plain: dict[str, Any]
    names: frozenset[str]

    @classmethod
    def of(cls, module: nn.Module) -> _SavedModule:
        plain = {
            name: _shallow(value)
            for name, value in module.__dict__.items()
            if name not in _BOOKKEEPING and _is_plain(value)
        }
        return cls(
            module,
            module.training,
            dict(module._parameters),
            dict(module._buffers),
            dict(module._modules),
            plain,
            frozenset(module.__dict__),
        )

    def restore(self) -> None:
        slots = self.module.__dict__
        for name in set(slots) - self.names:
            del slots[name]
        for mapping, saved in (
            (self.module._parameters, self.parameters),
            (self.module._buffers, self.buffers),
            (self.module._modules, self.children),
        ):
            mapping.clear()
            mapping.update(saved)
        slots.update({name: _shallow(value) for name, value in self.plain.items()})
        self.module.training = self.training


class Snapshot:
    """Restore everything reachable on leaving the block, whatever happened inside.

    Memory: one copy of every reachable tensor and optimiser state, on its own device.

    Args:
        reachable: what the subject's code can touch.
    """

    def __init__(self, reachable: Reachable) -> None:
        self._reachable = reachable

    def __enter__(self) -> Snapshot:
        self._modules = [_SavedModule.of(m) for m in self._reachable.modules]
        self._tensors = [_SavedTensor.of(t) for t in self._reachable.tensors]
        self._optimizers = [_save_optimizer(o) for o in self._reachable.optimizers]
        self._generators = [(g, g.get_state()) for g in self._reachable.generators]
        self._torch_rng = torch.get_rng_state()
        self._cuda_rng = (
            torch.cuda.get_rng_state_all()
            if torch.cuda.is_available() and torch.cuda.is_initialized()
            else None
        )
        self._numpy_rng = np.random.get_state()  # noqa: NPY002 - the user's code may use it
        self._python_rng = random.getstate()
        self._grad_enabled = torch.is_grad_enabled()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for module in self._modules:
            module.restore()
        for tensor in self._tensors:
            tensor.restore()
        for optimizer, groups, state in self._optimizers:
            _restore_optimizer(optimizer, groups, state)
        for generator, generator_state in self._generators:
            generator.set_state(generator_state)
        torch.set_rng_state(self._torch_rng)
        if self._cuda_rng is not None:
            torch.cuda.set_rng_state_all(self._cuda_rng)
        np.random.set_state(self._numpy_rng)  # noqa: NPY002
        random.setstate(self._python_rng)
        torch.set_grad_enabled(self._grad_enabled)


def _is_plain(value: Any) -> bool:
    """Say whether an attribute is copied shallowly: numbers, strings, tensors, lists of them."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(v, (*_PLAIN, Tensor)) for v in value)
    return isinstance(value, (*_PLAIN, Tensor))


def _shallow(value: Any) -> Any:
    """Copy a list so that appending to it can be undone; everything else is kept by reference."""
    return list(value) if isinstance(value, list) else value


def _save_optimizer(
    optimizer: torch.optim.Optimizer,
) -> tuple[torch.optim.Optimizer, list[dict[str, Any]], dict[Tensor, dict[str, Any]]]:
    """Copy an optimiser's hyper-parameters and per-parameter state."""
    groups = [
        {k: copy.deepcopy(v) for k, v in group.items() if k != "params"}
        | {"params": group["params"]}
        for group in optimizer.param_groups
    ]
    for group in groups:
        group["params"] = list(group["params"])
    state = {
        parameter: {
            k: (v, v.detach().clone()) if isinstance(v, Tensor) else (v, None)
            for k, v in entries.items()
        }
        for parameter, entries in optimizer.state.items()
    }
    return optimizer, groups, state


def _restore_optimizer(
    optimizer: torch.optim.Optimizer,
    groups: list[dict[str, Any]],
    state: dict[Tensor, dict[str, Any]],
) -> None:
    """Undo every step taken since the snapshot."""
    del optimizer.param_groups[len(groups) :]
    for group, saved in zip(optimizer.param_groups, groups, strict=True):
        group.clear()
        group.update(saved)
    optimizer.state.clear()
    for parameter, entries in state.items():
        restored = {}
        for key, (value, data) in entries.items():
            if data is not None:
                value.detach().copy_(data)
            restored[key] = value
        optimizer.state[parameter] = restored
