"""Signal-to-noise ratio of waveforms.

Shape letters: B batch, C channels, T samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.functional.precision import at_least_float32
from pellucid.functional.shapes import check_pair

QUIETEST = 1e-10
"""Power that counts as silence, in squared full scale (−100 dB)."""


def snr(x_hat: Tensor, x: Tensor) -> Tensor:
    """Measure 10·log₁₀(Σx² / Σ(x̂ − x)²) of each waveform: (B,) dB, a constant offset included.

    Both powers count as no less than −100 dB of full scale, so that equal or silent waveforms are
    finite.

    Args:
        x_hat: (B, ...) reconstructions.
        x: (B, ...) originals.

    Raises:
        PellucidError: when the shapes differ.
    """
    check_pair(x_hat, x, where="snr")
    x_hat, x = at_least_float32(x_hat).flatten(1), at_least_float32(x).flatten(1)
    signal = x.square().mean(1).clamp_min(QUIETEST)
    noise = (x_hat - x).square().mean(1).clamp_min(QUIETEST)
    return 10 * torch.log10(signal / noise)


def si_sdr(x_hat: Tensor, x: Tensor) -> Tensor:
    """Measure the scale-invariant ratio of each waveform: (B,) dB; offsets count as distortion.

    10·log₁₀(‖αx‖² / ‖αx − x̂‖²) with α = ⟨x̂, x⟩ / ‖x‖². The mean is *not* removed, so that a
    constant in the output is not hidden.
    Source: Le Roux et al. 2019, "SDR – half-baked or well done?", equation 4.

    Args:
        x_hat: (B, ...) reconstructions.
        x: (B, ...) originals.

    Raises:
        PellucidError: when the shapes differ.
    """
    check_pair(x_hat, x, where="si_sdr")
    x_hat, x = at_least_float32(x_hat).flatten(1), at_least_float32(x).flatten(1)
    power = x.square().mean(1)
    alpha = (x_hat * x).mean(1) / power.clamp_min(QUIETEST)
    target = alpha.square() * power
    error = (x_hat - alpha[:, None] * x).square().mean(1)
    return 10 * torch.log10(target.clamp_min(QUIETEST) / error.clamp_min(QUIETEST))
