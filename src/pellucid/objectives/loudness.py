"""A term that compares what is heard of two waveforms: loudness in critical bands.

Shape letters: B batch, C channels, T samples, V bins, F frames, M Bark bands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.functional.hearing import bark_bank, loudness, threshold_in_quiet
from pellucid.functional.stft import band_power, frame_length
from pellucid.objectives.term import Term
from pellucid.objectives.waveforms import check_waveforms

_MASKED = 0.25  # a difference below this share of the softer loudness is not heard
_ADDED_POWER, _ADDED_FLOOR, _ADDED_TOP = 1.2, 50.0, 12.0
_MOMENT, _INTERVAL, _TOP = 6, 0.32, 45.0  # pooling in time: seconds, and most of one frame


class Loudness(Term):
    """Measure disturbances of loudness, those that add sound counted more.

    Per frame and Bark band, d = max(|N̂ − N| − ¼·min(N̂, N), 0) with loudness N in sone. Over bands,
    D = √(M·Σ d²) and A = Σ d·a with a = ((P̂ + 50)/(P + 50))^1.2, 0 below 3 and 12 at most (P as a
    ratio to 0 dB). Over the frames of 320 ms both are pooled by their sixth moment, over these
    intervals by the second: one bad frame is heard. The value is 0.1·D + 0.0309·A. What is masked
    costs nothing, and sound where there was none costs more than a lost one.
    Source: ITU-T P.862 (the disturbance, without its alignment of time and level) and Martín-Doñas
    et al. 2018, "A deep learning loss function based on the perceptual evaluation of the speech
    quality".

    Args:
        sample_rate: in hertz.
        window: samples per frame, or None for 32 ms; the hop is half of it.
        bands: Bark bands from 0 Hz to half the sample rate.
        full_scale_db: sound pressure level of a waveform whose mean square is 1. Speech at −25 dB
            is then heard at 79 dB, the level of P.862.

    Raises:
        RecipeError: when the window is too short or there are no bands.
    """

    waveforms = True
    bank_MV: Tensor
    threshold_M1: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        window: int | None = None,
        bands: int = 49,
        full_scale_db: float = 104.0,
    ) -> None:
        super().__init__()
        window = frame_length(0.032, sample_rate) if window is None else window
        if window < 32 or bands < 4:
            raise RecipeError(
                "loudness needs windows of at least 32 samples and 4 bands",
                where="objective.loudness",
                found=f"window {window}, bands {bands}",
            )
        self.window = window
        self.interval = max(1, round(_INTERVAL * sample_rate / (window // 2)))
        bank_MV, centre_M = bark_bank(bands, window, sample_rate)
        # White noise of mean square 1 has power 1 in each of the window/2 bins, and is heard at
        # full_scale_db altogether.
        to_pressure = 10.0 ** (full_scale_db / 10.0) / (window / 2)
        self.register_buffer("bank_MV", bank_MV * to_pressure, persistent=False)
        threshold = 10.0 ** (threshold_in_quiet(centre_M.clamp(min=50.0)) / 10.0)
        self.register_buffer("threshold_M1", threshold[:, None], persistent=False)

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        check_waveforms(target)
        with torch.autocast(x_hat.device.type, enabled=False):
            hat, true = (band_power(x, self.bank_MV, self.window) for x in (x_hat, target))
            threshold = self.threshold_M1.to(true)
            heard, wanted = loudness(hat, threshold), loudness(true, threshold)
            masked = _MASKED * torch.minimum(heard, wanted)
            disturbance_BMF = ((heard - wanted).abs() - masked).clamp(min=0.0)
            added_BF = (disturbance_BMF * _added(hat, true)).sum(dim=1)
            apart_B = _pool(_norm(disturbance_BMF), self.interval)
            return (0.1 * apart_B + 0.0309 * _pool(added_BF, self.interval)).mean()


def _added(hat: Tensor, true: Tensor) -> Tensor:
    """Return how much a disturbance by that much more power counts as added sound."""
    ratio = ((hat + _ADDED_FLOOR) / (true + _ADDED_FLOOR)).pow(_ADDED_POWER)
    return torch.where(ratio < 3.0, 0.0, ratio.clamp(max=_ADDED_TOP))


def _norm(disturbance_BMF: Tensor) -> Tensor:
    """Return (B, F) values √(M·Σ d²) over bands, with a finite gradient at no disturbance."""
    count = disturbance_BMF.shape[1]
    return (count * disturbance_BMF.square().sum(dim=1) + 1e-12).sqrt() - 1e-6


def _pool(frames_BF: Tensor, interval: int) -> Tensor:
    """Return (B,): sixth moments over half-overlapping intervals, then their second moment."""
    interval = min(interval, frames_BF.shape[1])
    capped_BF = frames_BF.clamp(max=_TOP)
    intervals_BIF = capped_BF.unfold(1, interval, max(interval // 2, 1))
    # A last one ends at the end, so that the last frames are heard too.
    intervals_BIF = torch.cat([intervals_BIF, capped_BF[:, None, -interval:]], dim=1)
    # Divided by the largest, so that a sixth power neither overflows nor loses its gradient.
    largest = frames_BF.detach().amax().clamp(min=1e-6)
    moment = (intervals_BIF / largest).pow(_MOMENT).mean(dim=2)
    worst_BI = (moment + 1e-24).pow(1 / _MOMENT) - 1e-4
    return largest * ((worst_BI.square().mean(dim=1) + 1e-12).sqrt() - 1e-6)
