"""Where bfloat16 helps: one decision for training and inference."""

from __future__ import annotations

import contextlib
from typing import Literal, get_args

import torch

from pellucid.errors import unknown_name

Precision = Literal["auto", "float32", "bf16"]


def resolve_precision(
    device: torch.device | str, precision: Precision = "auto"
) -> Literal["float32", "bf16"]:
    """Return the precision to compute in: "auto" takes bf16 where the hardware multiplies in it.

    That is a CUDA device of compute capability 8 or newer, or a CPU with AMX or AVX512-BF16;
    elsewhere bf16 is emulated, and slower than float32.

    Raises:
        RecipeError: when there is no such precision.
    """
    if precision not in get_args(Precision):
        raise unknown_name("precision", precision, get_args(Precision), where="precision")
    if precision != "auto":
        return precision
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return "bf16" if able.get("amx_bf16") or able.get("avx512_bf16") else "float32"
    return "float32"


def autocast_for(
    device: torch.device | str, precision: Precision = "auto"
) -> contextlib.AbstractContextManager[object]:
    """Return the context in which to run a forward pass on `device`.

    Weights stay float32; convolutions and matrix products run in bf16 when that is resolved.
    Every x_hat is float32 either way.
    """
    if resolve_precision(device, precision) == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
