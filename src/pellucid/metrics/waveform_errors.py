"""What is wrong with a waveform, in closed form: level, offset, delay, bandwidth, spectra.

Each function takes a reconstruction and its original, (T,) float64 of full scale ±1, and returns
one number.

Shape letters: T samples, F frames, V bins, M mel bands.
"""

from __future__ import annotations

import numpy as np
import torch

from pellucid.functional.stft import mel_filterbank, stft

QUIETEST = 1e-10
"""Power that counts as silence, in squared full scale (−100 dB)."""

FLOOR = 1e-8
"""Power of a spectral bin or band below which differences are not heard (−80 dB)."""

ROLL_OFF = 0.95
LONGEST_LAG_SECONDS = 0.05
CLEAR_PEAK = 0.2
"""Correlation at the best lag that makes it a delay rather than chance."""

MEL_BANDS, MEL_WINDOW = 80, 1024
LOG_SPECTRAL_WINDOWS = (512, 1024, 2048)


class Unmeasurable(Exception):  # noqa: N818 - it states a fact that is counted
    """A metric has no value on one clip; the message says why."""


def level_error(x_hat_T: np.ndarray, x_T: np.ndarray) -> float:
    """Return 20·log₁₀(rms(x̂)/rms(x)) in dB; 0 is the right level."""
    return _decibel(_power(x_hat_T)) - _decibel(_power(x_T))


def dc(x_hat_T: np.ndarray, x_T: np.ndarray) -> float:
    """Return the error of the mean, 20·log₁₀(|mean(x̂ − x)|/rms(x)), in dB; lower is better."""
    offset = float(np.mean(x_hat_T - x_T)) ** 2
    return _decibel(offset) - _decibel(_power(x_T))


def delay(x_hat_T: np.ndarray, x_T: np.ndarray, sample_rate: int) -> int:
    """Return by how many samples x̂ is late: the lag of the largest |cross-correlation|.

    Args:
        x_hat_T: the reconstruction.
        x_T: the original.
        sample_rate: in hertz; lags up to 50 ms are searched.

    Raises:
        Unmeasurable: when no lag stands out.
    """
    longest = min(round(LONGEST_LAG_SECONDS * sample_rate), len(x_T) - 1)
    size = 1 << (len(x_T) + longest).bit_length()
    cross = np.fft.irfft(np.fft.rfft(x_hat_T, size) * np.conj(np.fft.rfft(x_T, size)), size)
    around = np.concatenate([cross[-longest:], cross[: longest + 1]]) if longest else cross[:1]
    best = int(np.argmax(np.abs(around)))
    norm = np.sqrt(_power(x_hat_T) * _power(x_T)) * len(x_T)
    if norm <= 0 or abs(around[best]) < CLEAR_PEAK * norm:
        raise Unmeasurable("no lag with a clear correlation")
    return best - longest


def advanced(x_hat_T: np.ndarray, samples: int) -> np.ndarray:
    """Return x̂ moved earlier by `samples` (later when negative), filled with silence."""
    moved = np.zeros_like(x_hat_T)
    if samples >= 0:
        moved[: len(x_hat_T) - samples] = x_hat_T[samples:]
    else:
        moved[-samples:] = x_hat_T[:samples]
    return moved


def bandwidth(x_hat_T: np.ndarray, x_T: np.ndarray) -> float:
    """Return the ratio of the frequencies below which 95 % of the power lies; 1 is faithful.

    Raises:
        Unmeasurable: when one of the two is silent.
    """
    return _roll_off(x_hat_T) / _roll_off(x_T)


def log_mel_distance(x_hat_T: np.ndarray, x_T: np.ndarray, sample_rate: int) -> float:
    """Return the mean |Δ| of 80 mel bands in dB, window 1024, hop 256; bands count above −80 dB.

    Raises:
        Unmeasurable: when the clip is shorter than half a window.
    """
    bank_MV = mel_filterbank(MEL_BANDS, MEL_WINDOW, sample_rate).double()
    mels = []
    for y_T in (x_hat_T, x_T):
        mels.append(_log(torch.einsum("mv,vf->mf", bank_MV, _spectrum(y_T, MEL_WINDOW))))
    return float((mels[0] - mels[1]).abs().mean())


def log_spectral_distance(x_hat_T: np.ndarray, x_T: np.ndarray) -> float:
    """Return the root mean square over bins of Δ in dB, mean over frames and three windows.

    Windows 512, 1024 and 2048, hops a quarter; bins count above −80 dB.
    Source: Gray and Markel 1976, "Distance measures for speech processing".

    Raises:
        Unmeasurable: when the clip is shorter than half a window.
    """
    distances = []
    for window in LOG_SPECTRAL_WINDOWS:
        difference_VF = _log(_spectrum(x_hat_T, window)) - _log(_spectrum(x_T, window))
        distances.append(float(difference_VF.square().mean(0).sqrt().mean()))
    return float(np.mean(distances))


def _spectrum(x_T: np.ndarray, window: int) -> torch.Tensor:
    """Return the power (V, F) of the short-time spectrum."""
    if len(x_T) <= window // 2:
        raise Unmeasurable(f"shorter than half a window of {window} samples")
    return stft(torch.from_numpy(x_T)[None, None], window, window // 4)[0].abs().square()


def _log(power: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(power.clamp_min(FLOOR))


def _roll_off(x_T: np.ndarray) -> float:
    """Return the frequency below which 95 % of the power lies, as a share of the sample rate."""
    power = np.abs(np.fft.rfft(x_T - x_T.mean())) ** 2
    total = power.sum()
    if total <= QUIETEST * len(x_T):
        raise Unmeasurable("silent")
    below = np.cumsum(power)
    return (int(np.searchsorted(below, ROLL_OFF * total)) + 1) / len(x_T)


def _power(x_T: np.ndarray) -> float:
    return float(np.mean(np.square(x_T)))


def _decibel(power: float) -> float:
    return 10 * float(np.log10(max(power, QUIETEST)))
