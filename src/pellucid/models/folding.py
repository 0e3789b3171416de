"""A copy of a model with its parametrised weights written out, for work that never trains.

Weight norm computes g·v/‖v‖ of every convolution at every call, a large share of the work on short
clips; the folded copy gives the same numbers.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn
from torch.nn.utils import parametrize

Module = TypeVar("Module", bound=nn.Module)


def folded(module: Module) -> Module:
    """Return a copy in evaluation mode whose weights are plain tensors without gradients."""
    plain = copy.deepcopy(module).eval()
    for part in list(plain.modules()):
        if parametrize.is_parametrized(part):
            _write_out(part)
    return plain.requires_grad_(False)


def _write_out(part: nn.Module) -> None:
    """Turn a parametrised module into what it was before, with its present weights.

    Not by `remove_parametrizations`, which alters the class that copies share.
    """
    parametrizations: Any = part.parametrizations
    weights = {name: getattr(part, name).detach().clone() for name in parametrizations}
    kind = parametrize.type_before_parametrizations(part)
    del part.parametrizations
    part.__class__ = kind
    for name, weight in weights.items():
        part.register_parameter(name, nn.Parameter(weight))
