"""Code usage over a whole set: per-batch perplexity misleads, so counts are kept.

Shape letters: B batch, P positions (any number of axes), L residual levels, K codes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.records import MetricValue


class CodeUsage:
    """Count how often each code is used, per residual level.

    Usage is the share of codes used at least once; entropy H = −Σ p·log₂ p of the counted
    frequencies in bits per code; perplexity 2^H; dead codes were never used.

    Args:
        codes: K, codes per level.
        levels: L, residual levels; 1 for a plain codebook.

    Raises:
        PellucidError: when either is below 1.
    """

    def __init__(self, codes: int, levels: int = 1) -> None:
        if codes < 1 or levels < 1:
            raise PellucidError(
                "a codebook has codes and levels", expected="≥ 1 each", found=(codes, levels)
            )
        self.codes = codes
        self.levels = levels
        self.counts = torch.zeros(levels, codes, dtype=torch.int64)

    def update(self, codes: Tensor) -> None:
        """Count one batch.

        Args:
            codes: (B, P..., L) integers in [0, K), levels last; with one level (B, P...) too.

        Raises:
            PellucidError: when codes are not integers, out of range, or have other levels.
        """
        if codes.is_floating_point() or codes.dtype == torch.bool:
            raise PellucidError("codes are integers", where="CodeUsage", found=codes.dtype)
        if self.levels > 1 and (codes.dim() < 2 or codes.shape[-1] != self.levels):
            raise PellucidError(
                "the codes have another number of levels",
                where="CodeUsage",
                expected=f"(B, P..., {self.levels})",
                found=tuple(codes.shape),
            )
        if not codes.numel():
            return
        flat_NL = codes.detach().reshape(-1, self.levels).long()
        low, high = int(flat_NL.min()), int(flat_NL.max())
        if low < 0 or high >= self.codes:
            raise PellucidError(
                "a code is out of range",
                where="CodeUsage",
                expected=f"0 to {self.codes - 1}",
                found=f"{low} to {high}",
            )
        offset_L = torch.arange(self.levels, device=codes.device) * self.codes
        counts = torch.bincount((flat_NL + offset_L).flatten(), minlength=self.counts.numel())
        self.counts += counts.reshape(self.levels, self.codes).cpu()

    def merge(self, other: CodeUsage) -> None:
        """Add what another counter of the same codebook saw.

        Raises:
            PellucidError: when its codebook has another size.
        """
        if other.counts.shape != self.counts.shape:
            raise PellucidError(
                "counts of different codebooks cannot be added",
                expected=tuple(self.counts.shape),
                found=tuple(other.counts.shape),
            )
        self.counts += other.counts

    def all_reduce(self, device: torch.device | str = "cpu") -> None:
        """Sum the counts over all processes of torch.distributed; alone, change nothing.

        Args:
            device: where the backend communicates ("cuda" for NCCL).
        """
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            counts = self.counts.to(device)
            distributed.all_reduce(counts)
            self.counts = counts.cpu()

    def per_level(self) -> list[dict[str, int | float | list[int]]]:
        """Return for each level usage, perplexity, entropy_bits, dead_codes and the counts.

        Raises:
            PellucidError: when no code was counted.
        """
        self._require_codes()
        return [
            {
                "usage": float((counts > 0).double().mean()),
                "perplexity": 2.0**entropy,
                "entropy_bits": entropy,
                "dead_codes": int((counts == 0).sum()),
                "counts": counts.tolist(),
            }
            for counts, entropy in zip(self.counts, self._entropies(), strict=True)
        ]

    def compute(self) -> dict[str, MetricValue]:
        """Return code_usage, code_perplexity, code_entropy and dead_codes over the whole set.

        With residual levels, usage and perplexity are means over levels, entropy and dead codes
        sums; `per_level` has each.

        Raises:
            PellucidError: when no code was counted.
        """
        levels = self.per_level()
        n = int(self.counts[0].sum())
        over = "" if self.levels == 1 else f" of {self.levels} levels"
        counted = f"whole set, {n} positions, K = {self.codes}"
        if n < 10 * self.codes:
            counted += "; fewer than 10 positions per code: usage and entropy are underestimates"

        def mean(name: str) -> float:
            return sum(float(level[name]) for level in levels) / self.levels  # type: ignore[arg-type]

        mean_of, sum_of = (f"mean{over}, ", f"sum{over}, ") if over else ("", "")
        rows = {
            "code_usage": (mean("usage"), "1", mean_of),
            "code_perplexity": (mean("perplexity"), "codes", mean_of),
            "code_entropy": (self.levels * mean("entropy_bits"), "bits per position", sum_of),
            "dead_codes": (self.levels * mean("dead_codes"), "codes", sum_of),
        }
        return {
            name: MetricValue(value, unit, None, None, n, prefix + counted)
            for name, (value, unit, prefix) in rows.items()
        }

    def _entropies(self) -> list[float]:
        share = self.counts.double() / self.counts.sum(1, keepdim=True)
        return (-torch.special.xlogy(share, share).sum(1) / torch.tensor(2.0).log()).tolist()

    def _require_codes(self) -> None:
        if not self.counts.any():
            raise PellucidError("no code was counted", where="CodeUsage", hint="call update")
