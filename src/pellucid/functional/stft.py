"""Short-time spectra and the mel scale.

Shape letters: B batch, C channels, T samples, V = window/2 + 1 bins, F frames, M mel bands.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from pellucid.errors import PellucidError

_BREAK, _PER_MEL, _STEP = 15.0, 200.0 / 3.0, math.log(6.4) / 27.0  # the scale turns at 1 kHz


def stft(x_BCT: Tensor, window: int, hop: int) -> Tensor:
    """Return the complex short-time spectrum (B·C, V, F) under a periodic Hann window.

    Frames are centred; the ends are mirrored. Bins are scaled by 1/√(Σ window²), so that white
    noise of variance σ² has power σ² in every bin whatever the window.

    Args:
        x_BCT: (B, C, T), T > window / 2.
        window: samples per frame.
        hop: samples between frames.

    Raises:
        PellucidError: when the signal is too short to be mirrored.
    """
    if x_BCT.shape[-1] <= window // 2:
        raise PellucidError(
            "the waveform is too short for its window",
            expected=f"more than {window // 2} samples for a window of {window}",
            found=x_BCT.shape[-1],
        )
    hann = torch.hann_window(window, dtype=x_BCT.dtype, device=x_BCT.device)
    return torch.stft(
        x_BCT.flatten(0, 1),
        window,
        hop_length=hop,
        window=hann / hann.square().sum().sqrt(),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )


def power(spectrum: Tensor) -> Tensor:
    """Return |X|² of a complex spectrum, for any shape."""
    return spectrum.real.square() + spectrum.imag.square()


def band_power(x_BCT: Tensor, bank_MV: Tensor, window: int) -> Tensor:
    """Return (B·C, M, F): the power of bands in frames that overlap by half.

    Args:
        x_BCT: waveforms.
        bank_MV: the share of every bin in every band.
        window: samples per frame.
    """
    power_BVF = power(stft(x_BCT, window, window // 2))
    return bank_MV.to(power_BVF) @ power_BVF


def frame_length(seconds: float, sample_rate: int) -> int:
    """Return the even number of samples nearest to a time."""
    return 2 * round(seconds * sample_rate / 2)


def hertz_to_mel(hertz: float) -> float:
    """Return 3/200·f below 1 kHz and 15 + 27·log₆.₄(f/1000) above (Slaney 1998)."""
    if hertz < 1000.0:
        return hertz / _PER_MEL
    return _BREAK + math.log(hertz / 1000.0) / _STEP


def mel_to_hertz(mel_M: Tensor) -> Tensor:
    """Return the inverse of `hertz_to_mel`, for any shape."""
    curved = 1000.0 * torch.exp((mel_M - _BREAK) * _STEP)
    return torch.where(mel_M < _BREAK, _PER_MEL * mel_M, curved)


@functools.lru_cache(maxsize=64)
def mel_filterbank(
    bands: int, window: int, sample_rate: int, low: float = 0.0, high: float | None = None
) -> Tensor:
    """Return (M, V) overlapping triangles that are equally spaced in mel and cover low … high.

    Each triangle is scaled to unit area in hertz, so that white noise gives every band the same.
    It is averaged over the width of each bin, so that no band is empty where bins are coarser.

    Args:
        bands: M.
        window: of the short-time spectrum.
        sample_rate: in hertz.
        low: first edge in hertz; 0 includes the lowest frequencies.
        high: last edge in hertz; None is half the sample rate.

    Raises:
        PellucidError: when the edges do not rise within half the sample rate.
    """
    nyquist = sample_rate / 2
    high = nyquist if high is None else high
    if not 0 <= low < high <= nyquist or bands < 1:
        raise PellucidError(
            "a mel bank needs rising edges",
            expected=f"0 ≤ low < high ≤ {nyquist:g} Hz, at least one band",
            found=f"{low:g} … {high:g} Hz, {bands} bands",
        )
    mel = torch.linspace(hertz_to_mel(low), hertz_to_mel(high), bands + 2, dtype=torch.float64)
    edges = mel_to_hertz(mel)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    width = sample_rate / window
    start = torch.arange(window // 2 + 1, dtype=torch.float64) * width - width / 2
    area = _area(start + width, left, centre, right) - _area(start, left, centre, right)
    return (area / width).float()


def _area(f: Tensor, left: Tensor, centre: Tensor, right: Tensor) -> Tensor:
    """Return the integral up to f of a triangle of unit area."""
    rising = (torch.clamp(f, left, centre) - left).square() / ((centre - left) * (right - left))
    rest = (right - torch.clamp(f, centre, right)).square() / ((right - centre) * (right - left))
    # rising ends at (centre − left)/(right − left), rest starts at (right − centre)/(right − left)
    return rising + (right - centre) / (right - left) - rest
