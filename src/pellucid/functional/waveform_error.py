"""Take a waveform's error apart: delay, gain, DC, bandwidth, phase, and what is left.

Each station repairs one more thing and keeps the repairs before it. Under a sine window with half
overlap, a tight frame, Σ|X|² over all coefficients is Σx², so that every error below is exact and
nothing is synthesised. With x', y' about their means and per frequency f

    S_xx = Σ|X|²,  S_yy = Σ|Y|²,  C = Re Σ X·Y*,  M = Σ|X||Y|:

    delay      y(t) ← y(t + lag), the lag of the highest cross-correlation
    gain       (1/n)·Σ_f (S_xx − 2a·C + a²·S_yy) + (E x − a·E y)²
    DC         the same without its last part
    bandwidth  the same over the frequencies at which y is alive, a²·S_yy ≥ S_xx/50
    phase      Σ_f min(S_xx − 2a·C + a²·S_yy, 2·(S_xx − 2a·M + a²·S_yy)) over those

An error that does not care about phase lies half along X and half across it, so that right
magnitudes at wrong phases are what lies across beyond the first half; hence the factor 2.
The gain a minimises the error of the waveform (ΣC/ΣS_yy) and of its magnitudes (ΣM/ΣS_yy); where
the two disagree the one nearer to 1 counts, and 1 itself between them: noise or lost phases are no
wrong level.

Shape letters: N samples, C channels, T time, V frequencies.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW_SECONDS = 0.032
FURTHEST = 0.25
"""Lags up to this share of the length are searched."""
LEAST_WIN_DB = 1.0
"""A lag that wins less after the best gain is a coincidence."""
DEAD = 0.02
"""An output with less than this share of the input's power at a frequency has nothing there."""
_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Stations:
    """Mean squared errors after each repair, in squared units of x.

    Args:
        deployed: as it is, where both have samples after the shift.
        delay, gain, dc, bandwidth, phase: after that repair and those before it.
        lag: samples by which y is late.
        gain_db: what y has to be raised by.
        offset: E x − a·E y.
        lowest, highest: edges of what y carries, as shares of half the sample rate.
        alive: share of all frequencies at which it carries anything.
    """

    deployed: float
    delay: float
    gain: float
    dc: float
    bandwidth: float
    phase: float
    lag: int
    gain_db: float
    offset: float
    lowest: float
    highest: float
    alive: float


def take_apart(x_NCT: Tensor, y_NCT: Tensor, *, sample_rate: float | None = None) -> Stations:
    """Measure all stations over all samples together.

    Args:
        x_NCT: what should come out.
        y_NCT: what comes out.
        sample_rate: in hertz; sets the window to about 32 ms, 512 samples without it.
    """
    lag = find_lag(x_NCT, y_NCT)
    kept = x_NCT.shape[-1] - abs(lag)
    x, unmoved = x_NCT[..., max(0, -lag) :][..., :kept], y_NCT[..., max(0, -lag) :][..., :kept]
    y = y_NCT[..., max(0, lag) :][..., :kept]
    mean_x, mean_y = float(x.double().mean()), float(y.double().mean())
    sums = _spectral_sums(x - mean_x, y - mean_y, _window_length(kept, sample_rate))
    gain = _gain(sums)
    offset = mean_x - gain * mean_y
    error_V = sums.xx - 2 * gain * sums.cross + gain**2 * sums.yy
    across_V = 2 * (sums.xx - 2 * gain * sums.magnitudes + gain**2 * sums.yy)
    alive_V = gain**2 * sums.yy >= DEAD * sums.xx
    count = x.numel()
    places = alive_V.nonzero().flatten()
    bins = len(alive_V) - 1
    without_dc = float(error_V.sum()) / count
    return Stations(
        deployed=_mean_square(unmoved - x),
        delay=_mean_square(y - x),
        gain=without_dc + offset**2,
        dc=without_dc,
        bandwidth=float(error_V[alive_V].sum()) / count,
        phase=float(torch.minimum(error_V, across_V)[alive_V].sum()) / count,
        lag=lag,
        gain_db=20 * math.log10(max(gain, 1e-10)),
        offset=offset,
        lowest=float(places[0]) / bins if len(places) else 0.0,
        highest=float(places[-1]) / bins if len(places) else 0.0,
        alive=float(alive_V.double().mean()),
    )


def find_lag(x_NCT: Tensor, y_NCT: Tensor) -> int:
    """Return by how many samples y is late: one lag for all, 0 unless it wins `LEAST_WIN_DB`."""
    length = x_NCT.shape[-1]
    if length < 8:
        return 0
    size = 2 * length
    score = torch.zeros(size, dtype=torch.float64)
    for x, y in zip(x_NCT.split(_AT_ONCE), y_NCT.split(_AT_ONCE), strict=True):
        a, b = (torch.fft.rfft(t.double() - t.double().mean(), size) for t in (x, y))
        score += torch.fft.irfft((b * a.conj()).sum((0, 1)), size)
    furthest = max(1, int(FURTHEST * length))
    score = torch.cat([score[-furthest:], score[: furthest + 1]])
    lag = int(score.argmax()) - furthest
    before, after = (_unexplained(x_NCT, y_NCT, n) for n in (0, lag))
    return lag if 10 * math.log10(before / after) >= LEAST_WIN_DB else 0


def _unexplained(x_NCT: Tensor, y_NCT: Tensor, lag: int) -> float:
    """Return 1 − ρ² of x and the y that is moved by a lag."""
    kept = x_NCT.shape[-1] - abs(lag)
    x = x_NCT[..., max(0, -lag) :][..., :kept].double()
    y = y_NCT[..., max(0, lag) :][..., :kept].double()
    x, y = x - x.mean(), y - y.mean()
    norm = float(x.norm() * y.norm())
    rho = max(0.0, float((x * y).sum()) / norm) if norm > 0 else 0.0
    return max(1 - rho**2, 1e-12)


@dataclasses.dataclass(frozen=True)
class _Sums:
    """Sums over samples and frames per frequency, (V,) each."""

    xx: Tensor
    yy: Tensor
    cross: Tensor
    magnitudes: Tensor


def _spectral_sums(x_NCT: Tensor, y_NCT: Tensor, window: int) -> _Sums:
    total = [torch.zeros(window // 2 + 1, dtype=torch.float64) for _ in range(4)]
    for x, y in zip(x_NCT.split(_AT_ONCE), y_NCT.split(_AT_ONCE), strict=True):
        a, b = _tight_spectrum(x, window), _tight_spectrum(y, window)
        parts = (
            a.abs().square(),
            b.abs().square(),
            a.real * b.real + a.imag * b.imag,
            a.abs() * b.abs(),
        )
        for sums, part in zip(total, parts, strict=True):
            sums += part.flatten(0, -2).sum(0)
    return _Sums(*total)


def _tight_spectrum(x_NCT: Tensor, window: int) -> Tensor:
    """Return (N, C, frames, V) complex coefficients whose squares sum to those of x."""
    hop = window // 2
    length = x_NCT.shape[-1]
    padded = F.pad(x_NCT.double(), (hop, hop + (-length) % hop))
    sine = torch.sin(math.pi * (torch.arange(window, dtype=torch.float64) + 0.5) / window)
    spectrum = torch.fft.rfft(padded.unfold(-1, window, hop) * sine, norm="ortho")
    spectrum[..., 1:-1] *= math.sqrt(2)  # each inner bin stands for its mirror image too
    return spectrum


def _gain(sums: _Sums) -> float:
    power = float(sums.yy.sum())
    if power <= 1e-12 * float(sums.xx.sum()):
        return 1.0
    low, high = sorted((float(sums.cross.sum()) / power, float(sums.magnitudes.sum()) / power))
    return min(max(1.0, low), high)


def _window_length(length: int, sample_rate: float | None) -> int:
    """Return the power of two next to 32 ms that the waveform still holds."""
    wanted = 512 if sample_rate is None else WINDOW_SECONDS * sample_rate
    return 2 ** max(2, round(math.log2(max(4, min(wanted, length)))))


def _mean_square(x: Tensor) -> float:
    return float(x.double().square().mean())
