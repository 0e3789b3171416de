"""AdamW with the right decay groups, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split trainable parameters by decay and by learning rate.

    Norm scales, biases and other vectors, and codebooks (codes are positions, not weights), are
    not decayed. A submodule that says `learning_rate_scales()` has its parameters in groups of
    their own, whose `scale` multiplies the learning rate of every step.
    """
    scales = _learning_rate_scales(model)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim < 2 or "codebook" in name
            groups.setdefault((scales.get(name, 1.0), exempt), []).append(parameter)
    return [
        {"params": groups[key], "weight_decay": 0.0 if key[1] else weight_decay, "scale": key[0]}
        for key in sorted(groups, key=lambda key: (-key[0], key[1]))
    ]


def _learning_rate_scales(model: nn.Module) -> dict[str, float]:
    scales = {}
    for prefix, part in model.named_modules():
        own = getattr(part, "learning_rate_scales", None)
        if own is not None:
            scales |= {f"{prefix}.{name}" if prefix else name: s for name, s in own().items()}
    return scales


def build_optimizer(
    model: nn.Module, *, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """Build AdamW, in one fused kernel where the device has one (CPU and CUDA do)."""
    groups = parameter_groups(model, weight_decay)
    devices = {p.device.type for group in groups for p in group["params"]}
    return torch.optim.AdamW(
        groups, lr=learning_rate, betas=betas, fused=devices <= {"cpu", "cuda", "mps"}
    )


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give restored moments the memory layout of their parameters.

    Checkpoints store values, not strides, and the fused CPU kernel walks raw memory: moments in
    another layout than their channels-last parameter would be read in the wrong order, silently.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def learning_rate_factor(step: int, *, steps: int, warmup_steps: int, final: float) -> float:
    """Return the multiplier of the base learning rate for optimiser step `step` (from 0).

    Linear from 1/(warm-up + 1) over `warmup_steps`, then a cosine from 1 to `final` at `steps`.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
