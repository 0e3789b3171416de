"""Reverse water-filling: what a Gaussian source of known variances costs in bits, and why.

    D(θ) = Σᵢ min(θ, λᵢ),   R(θ) = Σᵢ ½·log₂(λᵢ/θ)₊

A waveform is taken in short frames, each with its own spectrum and its own equal share of the bits,
as a codec of constant rate spends them. A reference, not a bound: pitch and other structure that a
spectrum does not show can beat it.

Source: Cover & Thomas, Elements of Information Theory, section 10.3.3.
Shape letters: N samples, C channels, T time, M frames, d numbers per frame.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

FRAME_SECONDS = 0.02
MOST_FRAMES = 2000
_MOST_BITS = 24.0
"""Per number: nobody codes finer."""


def distortion_at(variances_Md: Tensor, bits: float) -> Tensor:
    """Return (M,) total distortions when each row spends `bits`.

    With the k largest variances coded, ln θ = (Σ_{i≤k} ln λᵢ − 2·ln 2·R)/k; k is the largest for
    which λ_k still lies above its θ.

    Args:
        variances_Md: λ ≥ 0.
        bits: R ≥ 0 per row.
    """
    lam = variances_Md.double().sort(dim=-1, descending=True).values
    tiny = 1e-14 * lam[..., :1].clamp_min(1e-300)
    log = lam.clamp_min(tiny).log()
    count = torch.arange(1, lam.shape[-1] + 1, dtype=torch.float64)
    level = (log.cumsum(-1) - 2 * math.log(2) * bits) / count
    coded = ((log > level) & (lam > tiny)).sum(-1, keepdim=True).clamp_min(1)
    water = level.gather(-1, coded - 1).exp()
    return torch.minimum(lam, water).sum(-1)


@dataclasses.dataclass(frozen=True)
class FrameSpectra:
    """Energies of a waveform's short frames over frequency.

    Args:
        variances_Md: squared orthonormal DCT-II coefficients of each frame.
        frames_per_second: M per second of sound.
    """

    variances_Md: Tensor
    frames_per_second: float

    @classmethod
    def of(cls, x_NCT: Tensor, sample_rate: float) -> FrameSpectra | None:
        """Cut waveforms into frames of 20 ms; None when they are shorter, or silent.

        Args:
            x_NCT: waveforms; of very many frames an even choice is kept.
            sample_rate: in hertz.
        """
        size = max(2, round(FRAME_SECONDS * sample_rate))
        count = x_NCT.shape[-1] // size
        if not count:
            return None
        frames_Md = x_NCT[..., : count * size].reshape(-1, size)
        frames_Md = frames_Md[:: max(1, math.ceil(len(frames_Md) / MOST_FRAMES))].double()
        variances_Md = (frames_Md @ _cosines(size).T).square()
        if not float(variances_Md.sum()) > 0:
            return None
        return cls(variances_Md, sample_rate / size)

    def snr_at(self, bits_per_second: float) -> float:
        """Return the SNR in dB that a Gaussian source reaches at this rate."""
        left = distortion_at(self.variances_Md, bits_per_second / self.frames_per_second)
        return 10 * math.log10(float(self.variances_Md.sum() / left.sum().clamp_min(1e-300)))

    def bits_for(self, snr: float) -> float:
        """Return the bits per second at which a Gaussian source reaches an SNR in dB."""
        low, high = 0.0, _MOST_BITS * self.variances_Md.shape[-1] * self.frames_per_second
        while high - low > 0.005 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.snr_at(middle) < snr else (low, middle)
        return high


def _cosines(size: int) -> Tensor:
    """Return the orthonormal DCT-II as a (d, d) matrix, one frequency per row."""
    t = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(math.pi / size * (t[None] + 0.5) * t[:, None]) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows
