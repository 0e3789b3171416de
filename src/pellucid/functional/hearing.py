"""Closed forms of hearing: the Bark scale, the threshold in quiet, loudness, third octaves.

Shape letters: M bands, V bins of a short-time spectrum.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from pellucid.errors import PellucidError, RecipeError

LOUDNESS_POWER = 0.23
_SONE = 2.0**0.23 * ((0.5 + 0.5e4) ** 0.23 - 1.0)  # a tone 40 dB above a threshold of 0 dB


def hertz_to_bark(hertz: Tensor) -> Tensor:
    """Return 26.81·f/(1960 + f) − 0.53, for any shape (Traunmüller 1990)."""
    return 26.81 * hertz / (1960.0 + hertz) - 0.53


def bark_to_hertz(bark: Tensor) -> Tensor:
    """Return the inverse of `hertz_to_bark`, for any shape."""
    return 1960.0 * (bark + 0.53) / (26.28 - bark)


def threshold_in_quiet(hertz: Tensor) -> Tensor:
    """Return the softest tone that is heard, in dB of sound pressure (Terhardt 1979).

    3.64·f^−0.8 − 6.5·exp(−0.6·(f − 3.3)²) + 0.001·f⁴ with f in kHz.
    """
    f = hertz / 1000.0
    return 3.64 * f.pow(-0.8) - 6.5 * torch.exp(-0.6 * (f - 3.3).square()) + 1e-3 * f.pow(4)


def loudness(power: Tensor, threshold: Tensor) -> Tensor:
    """Return loudness above the threshold in sone, P₀ = 1 and P = 10⁴ (40 dB) being 1.

    c·(P₀/½)^0.23 · ((½ + ½·P/P₀)^0.23 − 1) where P > P₀, else 0. Source: Zwicker & Fastl,
    "Psychoacoustics", the loudness of a band.

    Args:
        power: P ≥ 0 as a ratio to the power at 0 dB of sound pressure, of any shape.
        threshold: P₀ in the same unit, broadcastable.
    """
    heard = torch.clamp(power / threshold, min=1.0)
    growth = (0.5 + 0.5 * heard).pow(LOUDNESS_POWER) - 1.0
    return (2.0 * threshold).pow(LOUDNESS_POWER) * growth / _SONE


@functools.lru_cache(maxsize=16)
def bark_bank(bands: int, window: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return (M, V) shares of each bin's power per band, and (M,) centres in hertz.

    Bands are adjacent, of equal width in Bark, from 0 Hz (where the scale is −0.53) to half the
    sample rate; a bin that straddles an edge is shared by its width.

    Raises:
        PellucidError: when there is not at least one band.
    """
    if bands < 1:
        raise PellucidError("a Bark bank needs bands", expected="at least 1", found=bands)
    nyquist = torch.tensor(sample_rate / 2, dtype=torch.float64)
    bark = torch.linspace(-0.53, float(hertz_to_bark(nyquist)), bands + 1, dtype=torch.float64)
    edges = bark_to_hertz(bark)
    centres = bark_to_hertz((bark[1:] + bark[:-1]) / 2)
    return _shares(edges[:-1], edges[1:], window, sample_rate), centres.float()


@functools.lru_cache(maxsize=16)
def third_octave_bank(bands: int, lowest: float, window: int, sample_rate: int) -> Tensor:
    """Return (M, V) shares of each bin's power in third octaves from a lowest centre upwards.

    Raises:
        RecipeError: without bands, or when the last ends above half the sample rate.
    """
    centres = lowest * 2.0 ** (torch.arange(max(bands, 1), dtype=torch.float64) / 3)
    if bands < 1 or float(centres[-1]) * 2 ** (1 / 6) > sample_rate / 2:
        raise RecipeError(
            "third octaves must end below half the sample rate",
            where="bands",
            expected=f"at least one, the last within {sample_rate / 2:g} Hz",
            found=f"{bands} bands from {lowest:g} Hz",
        )
    return _shares(centres * 2 ** (-1 / 6), centres * 2 ** (1 / 6), window, sample_rate)


def _shares(left_M: Tensor, right_M: Tensor, window: int, sample_rate: int) -> Tensor:
    """Return how much of each bin lies between the edges of each band."""
    width = sample_rate / window
    start = (torch.arange(window // 2 + 1, dtype=torch.float64) - 0.5) * width
    inside = torch.minimum(right_M[:, None], start + width) - torch.maximum(left_M[:, None], start)
    return (inside.clamp(min=0.0) / width).float()
