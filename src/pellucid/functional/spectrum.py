"""Radial power spectra: how much of each spatial frequency survives, and whether it is the right
detail.

Shape letters: B batch, C channels, H height, W width, V = W//2 + 1 one-sided width, R rings.
Frequencies are in cycles per pixel; Nyquist is 0.5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pellucid.functional.precision import float32_island
from pellucid.functional.shapes import check_images, check_pair
from pellucid.functional.stft import power

SHARPNESS_BAND = (0.1875, 0.3125)  # half Nyquist ± a quarter of it; ring borders when rings = 16


@dataclasses.dataclass(frozen=True)
class RadialSpectra:
    """Powers of pairs summed over channels and rings of equal width in [0, 0.5) cycles per pixel.

    Ratios are taken after summing over images (`total`), so that a flat image, whose own ratio is
    noise over noise, counts for nothing.

    Args:
        frequency: (R,) centres of the rings.
        power: (B, R) power of the originals, in squared units of the values per pixel.
        power_hat: (B, R) power of the reconstructions.
        cross: (B, R) real cross-power.
    """

    frequency: Tensor
    power: Tensor
    power_hat: Tensor
    cross: Tensor

    @property
    def ratio(self) -> Tensor:
        """(B, R) power of x̂ over power of x: 1 faithful, below 1 softer, above 1 noisier."""
        return self.power_hat / self.power

    @property
    def coherence(self) -> Tensor:
        """(B, R) squared coherence cross²/(P·P̂) in [0, 1]: 1 the right detail, 0 noise."""
        return self.cross.square() / (self.power * self.power_hat)

    @property
    def gain(self) -> Tensor:
        """(B, R) cross/P: how much of the original's detail is there, in place. Noise adds nothing
        to it: 1 whole, below 1 softer or displaced, and ratio · coherence = gain²."""
        return self.cross / self.power

    @property
    def water_filling(self) -> Tensor:
        """(B, R) 1 − D(f)/S(f): the power a rate-limited optimum keeps at the model's own error."""
        error = self.power + self.power_hat - 2 * self.cross
        return (1 - error / self.power).clamp_min(0)

    def total(self) -> RadialSpectra:
        """Sum the batch into one row (1, R)."""
        return self._apply(self.frequency, lambda power: power.sum(0, keepdim=True))

    def band(
        self, low: float = SHARPNESS_BAND[0], high: float = SHARPNESS_BAND[1]
    ) -> RadialSpectra:
        """Sum the rings whose centres lie in [low, high) cycles per pixel into one: (B, 1).

        The default band surrounds half Nyquist; its `ratio` is Pellucid's sharpness. A ratio near
        1 means sharp only where the `coherence` is near 1 too: noise has power as well.
        """
        inside = (self.frequency >= low) & (self.frequency < high)
        centre = self.frequency[inside].mean(0, keepdim=True)
        return self._apply(centre, lambda power: power[:, inside].sum(1, keepdim=True))

    def cpu(self) -> RadialSpectra:
        """Move every tensor to the CPU."""
        return self._apply(self.frequency.cpu(), Tensor.cpu)

    @classmethod
    def cat(cls, parts: Sequence[RadialSpectra]) -> RadialSpectra:
        """Join batches that were measured with the same rings: (ΣB, R)."""
        powers = ([p.power for p in parts], [p.power_hat for p in parts], [p.cross for p in parts])
        return cls(parts[0].frequency, *map(torch.cat, powers))

    def _apply(self, frequency: Tensor, change: Callable[[Tensor], Tensor]) -> RadialSpectra:
        return RadialSpectra(
            frequency, change(self.power), change(self.power_hat), change(self.cross)
        )


@float32_island
def radial_spectra(x_hat_BCHW: Tensor, x_BCHW: Tensor, *, rings: int = 16) -> RadialSpectra:
    """Measure ring by ring the power of originals and reconstructions, and what they share.

    Each channel has its mean removed and is multiplied by a Hann window, against the leakage of
    borders. Corners beyond 0.5 cycles per pixel are left out.

    Args:
        x_hat_BCHW: reconstructions.
        x_BCHW: originals.
        rings: rings between 0 and 0.5 cycles per pixel; a ring that holds no coefficient of a
            very small image has zero power.

    Raises:
        PellucidError: when the shapes differ, or an image is smaller than 8 pixels.
    """
    check_pair(x_hat_BCHW, x_BCHW, where="radial_spectra")
    check_images(x_BCHW, smallest=8, where="radial_spectra")
    spectrum, spectrum_hat = windowed_fft(x_BCHW), windowed_fft(x_hat_BCHW)
    cross = spectrum.real * spectrum_hat.real + spectrum.imag * spectrum_hat.imag
    H, W = x_BCHW.shape[-2:]
    multiplicity_V = one_sided_multiplicity(W, like=cross)
    ring_HV = _ring_index(H, W, rings, x_BCHW.device)

    def sums(power_BCHV: Tensor) -> Tensor:
        return _sum_rings(power_BCHV.sum(1) * multiplicity_V, ring_HV, rings)

    return RadialSpectra(
        frequency=(torch.arange(rings, device=x_BCHW.device) + 0.5) * (0.5 / rings),
        power=sums(power(spectrum)),
        power_hat=sums(power(spectrum_hat)),
        cross=sums(cross),
    )


def windowed_fft(x_BCHW: Tensor) -> Tensor:
    """Return the one-sided transform (B, C, H, V) of centred, Hann-windowed channels.

    Scaled so that Σ multiplicity·|X|² = Σ w²(x − mean)² / Σ w², the windowed mean square.
    """
    H, W = x_BCHW.shape[-2:]
    options = {"dtype": x_BCHW.dtype, "device": x_BCHW.device, "periodic": False}
    # Two samples longer and cut, so that no border pixel has weight zero.
    window = torch.outer(
        torch.hann_window(H + 2, **options)[1:-1], torch.hann_window(W + 2, **options)[1:-1]
    )
    centred = x_BCHW - x_BCHW.mean((-2, -1), keepdim=True)
    return torch.fft.rfft2(centred * window, norm="ortho") / window.square().sum().sqrt()


def one_sided_multiplicity(width: int, *, like: Tensor) -> Tensor:
    """Return (V,) how many columns of the full transform each one-sided column stands for."""
    multiplicity_V = like.new_full((width // 2 + 1,), 2.0)
    multiplicity_V[0] = 1.0
    if width % 2 == 0:
        multiplicity_V[-1] = 1.0
    return multiplicity_V


def _ring_index(H: int, W: int, rings: int, device: torch.device) -> Tensor:
    """Return (H, V) ring of every coefficient; `rings` itself collects what lies beyond 0.5."""
    down = torch.fft.fftfreq(H, device=device, dtype=torch.float64)
    across = torch.fft.rfftfreq(W, device=device, dtype=torch.float64)
    radius = torch.hypot(down[:, None], across)
    return (radius * (2 * rings)).long().clamp_max(rings)


def _sum_rings(power_BHV: Tensor, ring_HV: Tensor, rings: int) -> Tensor:
    sums = power_BHV.new_zeros(power_BHV.shape[0], rings + 1)
    return sums.index_add_(1, ring_HV.flatten(), power_BHV.flatten(1))[:, :rings]
