"""What a continuous latent costs in bits: its entropy at the coarsest harmless rounding.

Shape letters: N samples, C channels, P positions (any number of axes).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.value_range import ValueRange
from pellucid.metrics.paired import eight_bit_psnr
from pellucid.records import MetricValue


@dataclasses.dataclass(frozen=True)
class LatentBits:
    """What `quantised_latent_bits` found.

    Args:
        bits_per_sample: entropy of one sample's quantised latent.
        table_bits: (C,) bits per latent value of each table (one table per channel).
        step: the uniform step, in the unit of the latent; infinity when every value may be
            replaced by its channel's mean.
        loss_db: PSNR lost to the rounding.
        values_per_table: how many values each table's entropy was estimated from.
        symbols: the largest number of different symbols in a table.
    """

    bits_per_sample: float
    table_bits: tuple[float, ...]
    step: float
    loss_db: float
    values_per_table: int
    symbols: int

    def to_metric(self, n: int) -> MetricValue:
        """Return bits per sample with the rule in words, for `n` samples."""
        words = (
            f"entropy of the latent rounded to the coarsest uniform step that loses at most the "
            f"allowed PSNR (step {self.step:.4g}, {self.loss_db:.3f} dB lost); one table per "
            f"channel, tables free, Miller–Madow estimate from {self.values_per_table} values"
        )
        if self.values_per_table < 5 * self.symbols:
            words += f" for {self.symbols} symbols: too few, an underestimate"
        return MetricValue(self.bits_per_sample, "bits per sample", None, None, n, words)


def quantised_latent_bits(
    latent: Tensor,
    target: Tensor,
    decode: Callable[[Tensor], Tensor],
    value_range: ValueRange,
    *,
    largest_loss_db: float = 0.1,
    batch_size: int = 64,
) -> LatentBits:
    """Find the coarsest uniform step that costs at most `largest_loss_db`, and its entropy.

    Every value is rounded to mean_c + step·integer, one step for the whole latent, the channel's
    mean as the origin; the step is bisected to 1 % on the mean PSNR of 8-bit pairs. The integers'
    entropy is estimated per channel, pooled over positions and samples, as
    H = −Σ p·log₂ p + (symbols − 1)/(2·n·ln 2) (Miller–Madow). The plain estimate is too low by
    about that correction; with fewer than some five values per symbol even the corrected one is
    too low, never above log₂ n by much: give it a few hundred samples, more for flat latents
    (C, no positions), where each table sees only N values.

    Args:
        latent: (N, C, P...) posterior means (or whatever the decoder receives).
        target: (N, ...) the originals in `value_range`.
        decode: (B, C, P...) → (B, ...) in `value_range`, deterministic, in evaluation mode.
        value_range: of the images.
        largest_loss_db: allowed loss of mean PSNR.
        batch_size: samples decoded at once.

    Raises:
        PellucidError: for an empty or non-finite latent, another number of targets, or when no
            step is fine enough (the decoder is not continuous or not deterministic).
    """
    if latent.dim() < 2 or not len(latent) or len(latent) != len(target):
        raise PellucidError(
            "one latent per target is needed",
            where="quantised_latent_bits",
            expected=f"({len(target)}, C, P...)",
            found=tuple(latent.shape),
        )
    if not latent.isfinite().all():
        raise PellucidError("the latent holds NaN or infinity", where="quantised_latent_bits")
    latent = latent.detach().float()
    axes = [axis for axis in range(latent.dim()) if axis != 1]
    centred = latent - latent.mean(axes, keepdim=True)
    origin = latent - centred

    def mean_psnr(z: Tensor) -> float:
        with torch.no_grad():
            parts = [
                eight_bit_psnr(decode(part), x.to(latent.device), value_range)
                for part, x in zip(z.split(batch_size), target.split(batch_size), strict=True)
            ]
        return float(torch.cat(parts).double().mean())

    best = mean_psnr(latent)

    def loss(step: float) -> float:
        return best - mean_psnr(origin + step * (centred / step).round())

    step = _coarsest_step(loss, centred, largest_loss_db)
    if step == math.inf:
        lost, symbols = best - mean_psnr(origin), torch.zeros_like(centred, dtype=torch.int64)
    else:
        lost, symbols = loss(step), (centred / step).round().long()
    entropy_C, largest = _table_entropies(symbols)
    per_table = symbols.numel() // symbols.shape[1]
    return LatentBits(
        bits_per_sample=float(entropy_C.sum()) * per_table / len(latent),
        table_bits=tuple(entropy_C.tolist()),
        step=step,
        loss_db=lost,
        values_per_table=per_table,
        symbols=largest,
    )


def _coarsest_step(loss: Callable[[float], float], centred: Tensor, largest_loss: float) -> float:
    """Bracket by factors of two from the latent's spread, then bisect to 1 %."""
    reach = 2 * float(centred.abs().max())  # from here on every value rounds to its mean
    if reach == 0 or loss(1.01 * reach) <= largest_loss:
        return math.inf
    fails, step = 1.01 * reach, float(centred.std(correction=0))
    while step < fails and loss(step) <= largest_loss:
        step *= 2
    fails = min(step, fails)
    step = fails / 2
    for _ in range(40):
        if loss(step) <= largest_loss:
            break
        fails, step = step, step / 2
    else:
        raise PellucidError(
            "rounding the latent costs too much at any step",
            where="quantised_latent_bits",
            expected=f"≤ {largest_loss} dB at some step",
            found=f"more at {step:.3g}",
            hint="is `decode` deterministic and in evaluation mode?",
        )
    while fails / step > 1.01:
        middle = math.sqrt(fails * step)
        if loss(middle) <= largest_loss:
            step = middle
        else:
            fails = middle
    return step


def _table_entropies(symbols_NCP: Tensor) -> tuple[np.ndarray, int]:
    """Return (C,) Miller–Madow entropies in bits, and the largest number of symbols."""
    table_CN = symbols_NCP.transpose(0, 1).flatten(1).cpu().numpy()
    entropies, largest = [], 0
    for values_N in table_CN:
        counts = np.unique(values_N, return_counts=True)[1]
        share = counts / counts.sum()
        plain = -(share * np.log2(share)).sum()
        entropies.append(plain + (len(counts) - 1) / (2 * len(values_N) * math.log(2)))
        largest = max(largest, len(counts))
    return np.asarray(entropies), largest
