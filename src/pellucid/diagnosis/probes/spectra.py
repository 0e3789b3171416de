"""Energy by spatial or temporal frequency, of the data, the output and the error.

The cosine transform (DCT-II, orthonormal) is used: blocks have no jump at their ends to leak from,
band energies sum exactly to mean squares, and symmetric filters are diagonal in it.
Shape letters: N samples, C channels, P positions, F bands.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.weight import decoded_samples, sampled_output

IMAGE_BLOCK, AUDIO_BLOCK = 64, 512
IMAGE_BANDS, AUDIO_BANDS = 12, 128


@dataclasses.dataclass(frozen=True)
class Spectra:
    """Band energies; each vector sums to the mean square of its signal.

    Args:
        frequency_F: centres of the bands, 1 is Nyquist.
        modes_F: share of the coefficients that lie in each band.
        data_F, output_F: energy per element of x and x_hat about the mean sample.
        error_F: energy of x_hat − x.
        cross_F: E[x·x_hat] by band.
    """

    frequency_F: Tensor
    modes_F: Tensor
    data_F: Tensor
    output_F: Tensor
    error_F: Tensor
    cross_F: Tensor

    @property
    def ratio_F(self) -> Tensor:
        """Energy of the output over energy of the data."""
        return self.output_F / self.data_F.clamp_min(1e-20)

    def water_filled_F(self) -> Tensor:
        """Return 1 − D(f)/S(f): what reverse water-filling leaves at the model's own error.

        D(f) = min(θ, S(f)) per coefficient, with θ such that ΣD is the error (Berger 1971, 4.5).
        """
        power = self.data_F / self.modes_F
        total = float(self.error_F.sum())
        low, high = 0.0, float(power.max())
        for _ in range(60):
            level = (low + high) / 2
            spent = float((self.modes_F * power.clamp_max(level)).sum())
            low, high = (level, high) if spent < total else (low, level)
        return 1 - power.clamp_max(high) / power.clamp_min(1e-20)


def spectra(case: Case) -> Spectra:
    """Measure calibrated outputs (decode(sample) where there is a posterior) on held samples."""
    return spectra_of(case.x, case.measure(sampled_output), case.mean_sample)


def band_gains(case: Case) -> tuple[float, Tensor]:
    """Return (dB won, gains (F,)) of the best sharpening per band beyond the best single gain.

    A regressor's output is calibrated in every band: E[x·x̂] = E[x̂²], so the gains are 1. Behind a
    low-pass they are its inverse. Gains below 1 are noise in the output, not blur, and are left
    at 1. Fitted on even samples, judged on odd ones; the smaller win of held-out and of training
    samples counts, for training is what calibrates.
    """
    train = case.fit[:: max(1, len(case.fit) // len(case.x))][: len(case.x)]
    pairs = [(case.x, case.measure(sampled_output)), (train, decoded_samples(case, train))]
    # A filter acts on the mean sample too, so only the overall level is taken out here.
    level = torch.full_like(case.mean_sample, float(case.mean_sample.mean()))
    answers = [_gains(x, x_hat, level) for x, x_hat in pairs]
    return min(answers, key=lambda a: a[0])


def _gains(x: Tensor, x_hat: Tensor, mean: Tensor) -> tuple[float, Tensor]:
    fitted, held = (spectra_of(x[i::2], x_hat[i::2], mean) for i in (0, 1))
    gains = fitted.cross_F / fitted.output_F.clamp_min(1e-9 * fitted.data_F + 1e-20)
    single = fitted.cross_F.sum() / fitted.output_F.sum().clamp_min(1e-20)

    def error(gain: Tensor) -> float:
        squares = held.data_F - 2 * gain * held.cross_F + gain.square() * held.output_F
        return max(float(squares.sum()), 1e-20)

    before = min(error(single), error(torch.ones_like(single)))
    sharpened = error(gains.clamp_min(max(1.0, float(single))))
    return 10 * math.log10(before / sharpened), gains


def spectra_of(x_NCP: Tensor, x_hat_NCP: Tensor, mean_1CP: Tensor) -> Spectra:
    """Sum squared cosine coefficients by radial frequency, blocks of at most 64² or 512."""
    a, b = _coefficients(x_NCP - mean_1CP), _coefficients(x_hat_NCP - mean_1CP)
    sizes = a.shape[1:]
    axes = [torch.arange(n, dtype=torch.float64) / n for n in sizes]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt().flatten()
    count = AUDIO_BANDS if len(sizes) == 1 else min(IMAGE_BANDS, min(sizes))
    band = (grid.clamp_max(1 - 1e-9) * count).long()

    def by_band(energy: Tensor) -> Tensor:
        zero = torch.zeros(count, dtype=torch.float64)
        return zero.index_add_(0, band, energy.mean(0).flatten()) / band.numel()

    modes = torch.bincount(band, minlength=count).double() / band.numel()
    kept = modes > 0
    centres = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    parts = (a.square(), b.square(), (b - a).square(), a * b)
    data, output, error, cross = (by_band(p)[kept] for p in parts)
    return Spectra(centres[kept], modes[kept], data, output, error, cross)


def _coefficients(x_NCP: Tensor) -> Tensor:
    """Return (N', K...) orthonormal cosine coefficients of all blocks of all channels."""
    x = x_NCP.double().flatten(0, 1)
    most = AUDIO_BLOCK if x.ndim == 2 else IMAGE_BLOCK
    for axis in range(1, x.ndim):
        block = min(most, x.shape[axis])
        x = x.narrow(axis, 0, x.shape[axis] // block * block)
        x = x.unflatten(axis, (-1, block)).movedim(axis, 0).flatten(0, 1)
    for axis in range(1, x.ndim):
        x = (x.movedim(axis, -1) @ _cosines(x.shape[axis]).T).movedim(-1, axis)
    return x


def _cosines(n: int) -> Tensor:
    k, t = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * (t + 0.5) * k / n) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix
