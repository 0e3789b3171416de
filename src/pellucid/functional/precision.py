"""Float32 islands: measurements that half precision or autocast would spoil."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def at_least_float32(x: Tensor) -> Tensor:
    """Return float64 as it is and everything else as float32 (any shape)."""
    return x if x.dtype == torch.float64 else x.float()


def float32_island(function: Function) -> Function:
    """Run `function` outside autocast with its tensors in at least float32.

    Differences of nearly equal numbers (a variance, a spectrum's tail) vanish in the eight bits
    of a bfloat16, and autocast lowers convolutions even of float32 tensors.
    """

    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return function(
                *[_raise(a) for a in args], **{name: _raise(a) for name, a in kwargs.items()}
            )

    return cast(Function, inside)


def _raise(argument: Any) -> Any:
    return at_least_float32(argument) if isinstance(argument, Tensor) else argument
