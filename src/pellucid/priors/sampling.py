"""Draw codes from a prior: cached, batched, guided, each sample from a seed of its own.

Shape letters: B samples, N rows decoded together (2·B under guidance), S sequence, K codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.models.precision import resolve_precision
from pellucid.priors.decoding import PackedTransformer, Stepper
from pellucid.priors.transformer import CodeTransformer

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How codes are drawn from predictions.

    Args:
        temperature: divides the logits; 0 takes the likeliest code.
        top_k: keep this many codes at every step; None keeps all.
        top_p: keep the likeliest codes that together reach this probability; 1 keeps all.
        guidance: γ in ℓ = ℓ_absent + γ·(ℓ_condition − ℓ_absent); 1 is the plain condition, larger
            follows it more closely (Ho & Salimans 2022, eq. 6, with γ = 1 + w).

    Raises:
        RecipeError: for a value without a meaning.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        for holds, name, expected in (
            (self.temperature >= 0, "temperature", "0 or more"),
            (self.top_k is None or self.top_k >= 1, "top_k", "a whole number ≥ 1"),
            (0 < self.top_p <= 1, "top_p", "in (0, 1]"),
            (self.guidance >= 0, "guidance", "0 or more; 1 is no guidance"),
        ):
            if not holds:
                found = getattr(self, name)
                raise RecipeError(f"'{name}' has no meaning", expected=expected, found=found)


@torch.inference_mode()
def sample(
    model: CodeTransformer,
    condition_BD: Tensor,
    seeds: Sequence[int],
    *,
    drawing: Drawing | None = None,
    batch_size: int = 64,
    precision: Literal["float32", "bf16", "auto"] = "auto",
    progress: Progress | None = None,
) -> Tensor:
    """Return codes (B, P...[, L]), one sample per condition and seed.

    A sample depends on its condition, its seed and the drawing, not on its neighbours in the batch
    (up to the rounding of sums, which may differ with the batch size).

    Args:
        model: the prior, in eval mode.
        condition_BD: what `CodeTransformer.condition` returned.
        seeds: one per sample.
        drawing: temperature, filters and guidance.
        batch_size: samples decoded together.
        precision: number format of the decoding; logits are float32.
        progress: told how many of all codes are drawn.
    """
    drawing = drawing or Drawing()
    device = condition_BD.device
    low = resolve_precision(device, precision) == "bf16"
    dtype = torch.bfloat16 if low else torch.float32
    rows = min(batch_size, max(len(seeds), 1)) * (2 if drawing.guidance != 1 else 1)
    packed = PackedTransformer(model, rows=rows, dtype=dtype)
    absent_D = model.absent.to(condition_BD.dtype)
    parts = []
    total = len(seeds) * model.layout.length
    for start in range(0, len(seeds), batch_size):
        part = slice(start, start + batch_size)
        noise_BS = uniforms(seeds[part], model.layout.length).to(device)
        done = start * model.layout.length

        def advance(drawn: int, done: int = done) -> None:
            if progress is not None:
                progress(done + drawn, total)

        parts.append(_decode(packed, condition_BD[part], absent_D, noise_BS, drawing, advance))
    return model.layout.to_codes(torch.cat(parts))


def uniforms(seeds: Sequence[int], length: int) -> Tensor:
    """Return (B, S) uniform numbers in [0, 1), row b a function of seeds[b] alone."""
    rows = []
    for seed in seeds:
        rows.append(torch.rand(length, generator=torch.Generator().manual_seed(int(seed))))
    return torch.stack(rows) if rows else torch.zeros(0, length)


def _decode(
    packed: PackedTransformer,
    condition_BD: Tensor,
    absent_D: Tensor,
    noise_BS: Tensor,
    drawing: Drawing,
    advance: Callable[[int], None],
) -> Tensor:
    count, length = noise_BS.shape
    guided = drawing.guidance != 1.0
    if guided:  # both branches in one batch: first the conditions, then as many without
        condition_BD = torch.cat([condition_BD, absent_D.expand(count, -1)])
    stepper = Stepper(packed, condition_BD)
    sequence_SB = torch.empty(length, count, dtype=torch.int64, device=condition_BD.device)
    previous = None
    for position in range(length):
        logits_NK = stepper.step(previous)
        if guided:
            told_BK, absent_BK = logits_NK.chunk(2)
            logits_NK = torch.lerp(absent_BK, told_BK, drawing.guidance)
        codes_B = choose(logits_NK, noise_BS[:, position], drawing)
        sequence_SB[position] = codes_B
        previous = codes_B.repeat(2) if guided else codes_B
        if position % 16 == 15 or position == length - 1:
            advance((position + 1) * count)
    return sequence_SB.T


def choose(logits_BK: Tensor, noise_B: Tensor, drawing: Drawing) -> Tensor:
    """Return one code per row by inverting the cumulative distribution at `noise_B`.

    Args:
        logits_BK: unnormalised log-probabilities.
        noise_B: uniform numbers in [0, 1).
        drawing: temperature and filters.
    """
    if drawing.temperature == 0:
        return logits_BK.max(1).indices
    if drawing.temperature != 1:
        logits_BK = logits_BK / drawing.temperature
    if drawing.top_k is not None or drawing.top_p < 1:
        logits_BK = filtered(logits_BK, top_k=drawing.top_k, top_p=drawing.top_p)
    cumulative_BK = logits_BK.softmax(1).cumsum(1)
    # scaled by its own last value, which rounding leaves a little off 1: no code is out of reach
    aim_B1 = noise_B[:, None] * cumulative_BK[:, -1:]
    codes_B1 = torch.searchsorted(cumulative_BK, aim_B1, right=True)
    return codes_B1[:, 0].clamp_(max=logits_BK.shape[1] - 1)


def filtered(logits_BK: Tensor, *, top_k: int | None, top_p: float) -> Tensor:
    """Return logits with all but the kept codes at −∞; the likeliest code is always kept.

    `top_p` keeps the smallest set whose probability reaches it. Codes exactly as likely as the
    least likely one that is kept are kept too. Source: Holtzman et al. 2020, §3.1.
    """
    sorted_BK = _descending(logits_BK)[:, :top_k]
    last_B1 = sorted_BK[:, -1:]
    if top_p < 1:
        p_BK = sorted_BK.softmax(1)
        kept_B1 = (p_BK.cumsum(1) - p_BK < top_p).sum(1, keepdim=True)
        last_B1 = sorted_BK.gather(1, kept_B1.clamp_(min=1) - 1)
    return logits_BK.masked_fill(logits_BK < last_B1, -torch.inf)


def _descending(logits_BK: Tensor) -> Tensor:
    """Sort every row; which code stands where is not asked, and that is what sorting costs."""
    if logits_BK.device.type != "cpu":
        return logits_BK.sort(1, descending=True).values
    return torch.from_numpy(np.sort(logits_BK.detach().float().numpy(), 1)).flip(1)
