"""Spectral terms of codec trainings, and the mel bank.

Shape letters: B batch, T samples, F frequency bins, M mel bands.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5
SIZES = (64, 256)


def magnitudes(x_B1T: Tensor, size: int) -> Tensor:
    """Return |STFT| (B, F, frames), hop size/4."""
    window = torch.hann_window(size).to(x_B1T)
    spectrum = torch.stft(
        x_B1T[:, 0], size, size // 4, window=window, return_complex=True, center=True
    )
    return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()


def multi_resolution(x_hat_B1T: Tensor, x_B1T: Tensor) -> Tensor:
    """Return mean |log S − log Ŝ| + |S − Ŝ| over several windows."""
    total = x_B1T.new_zeros(())
    for size in SIZES:
        a, b = magnitudes(x_hat_B1T, size), magnitudes(x_B1T, size)
        total = total + ((a + EPSILON).log() - (b + EPSILON).log()).abs().mean()
        total = total + (a - b).abs().mean()
    return total / len(SIZES)


def magnitude_error(x_hat_B1T: Tensor, x_B1T: Tensor) -> Tensor:
    """Return the squared error of magnitudes without the bins near 0 Hz: blind to DC."""
    total = x_B1T.new_zeros(())
    for size in SIZES:
        a, b = magnitudes(x_hat_B1T, size)[:, 3:], magnitudes(x_B1T, size)[:, 3:]
        total = total + (a - b).square().mean() / size
    return total / len(SIZES)


def low_band_magnitudes(x_hat_B1T: Tensor, x_B1T: Tensor) -> Tensor:
    """Return the complex squared error below an eighth of the sample rate: blind to the rest."""
    a, b = torch.fft.rfft(x_hat_B1T), torch.fft.rfft(x_B1T)
    difference = (a - b)[..., : a.shape[-1] // 4] / x_B1T.shape[-1] ** 0.5
    return (difference.real.square() + difference.imag.square()).mean()


def mel_bank(bands: int = 24, size: int = 512, rate: float = 16000.0) -> Tensor:
    """Return the triangular mel bank (M, F) over 0…Nyquist (Slaney's warp, HTK formula)."""
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), bands + 2) / 2595) - 1)
    bins = torch.linspace(0, rate / 2, size // 2 + 1)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp_min(0)
