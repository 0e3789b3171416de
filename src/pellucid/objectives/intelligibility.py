"""A term that compares how the envelopes of two waveforms move: what makes speech understood.

Shape letters: B batch, C channels, T samples, V bins, F frames, M third octaves, S segments,
L frames of a segment.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.errors import RecipeError
from pellucid.functional.hearing import third_octave_bank
from pellucid.functional.stft import band_power, frame_length
from pellucid.objectives.term import Term
from pellucid.objectives.waveforms import check_waveforms

_BELOW = 1e-4  # segments 40 dB below the loudest of their waveform are silence


class Intelligibility(Term):
    """Measure 1 − ρ of short envelopes in third octaves, averaged over bands and segments.

    ρ is the correlation of √power of x̂ and x in one band over a segment; the mean skips segments
    in which the target is silent. With segments of 384 ms it follows the index STOI, but for its
    clipping. Any band may be louder or softer by a constant: use it beside a term that hears level.
    Source: Taal et al. 2011, "An algorithm for intelligibility prediction of time-frequency
    weighted noisy speech", equations 1–6.

    Args:
        sample_rate: in hertz.
        bands: third octaves, the lowest centred at 150 Hz.
        seconds: length of a segment.
        window: samples per frame, or None for 25 ms; the hop is half of it.

    Raises:
        RecipeError: when a segment is shorter than three frames or the bands reach too high.
    """

    waveforms = True
    bank_MV: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        bands: int = 15,
        seconds: float = 0.384,
        window: int | None = None,
    ) -> None:
        super().__init__()
        window = frame_length(0.025, sample_rate) if window is None else window
        self.window, self.length = window, round(seconds * sample_rate / max(window // 2, 1))
        if window < 32 or self.length < 3:
            raise RecipeError(
                "an envelope needs windows of at least 32 samples and segments of three frames",
                where="objective.intelligibility",
                found=f"window {window}, {seconds:g} s at {sample_rate} Hz",
            )
        bank_MV = third_octave_bank(bands, 150.0, window, sample_rate)
        self.register_buffer("bank_MV", bank_MV, persistent=False)

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        check_waveforms(target)
        with torch.autocast(x_hat.device.type, enabled=False):
            hat_BMSL, true_BMSL = self._segments(x_hat), self._segments(target)
            energy_BS = true_BMSL.square().sum(dim=(1, 3))
            spoken_BS = energy_BS >= _BELOW * energy_BS.amax(dim=1, keepdim=True)
            distance_BMS = (_shape(hat_BMSL) - _shape(true_BMSL)).square().sum(dim=3) / 2
            return (distance_BMS.mean(dim=1) * spoken_BS).sum() / spoken_BS.sum()

    def _segments(self, x_BCT: Tensor) -> Tensor:
        """Return (B·C, M, S, L) envelopes."""
        envelope = (band_power(x_BCT, self.bank_MV, self.window) + 1e-12).sqrt()
        return envelope.unfold(2, min(self.length, envelope.shape[2]), 1)


def _shape(envelope: Tensor) -> Tensor:
    """Return an envelope without its mean and its size: half a squared distance is then 1 − ρ."""
    centred = envelope - envelope.mean(dim=-1, keepdim=True)
    return functional.normalize(centred, dim=-1, eps=1e-5)
