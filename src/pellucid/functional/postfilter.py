"""Filters behind a decoder: the linear one that errs least, and the gain that brings power back.

A reconstruction x̂ that minimises squared error is softer than x. Of all filters with the symmetries
of the square, `LeastSquaresFilter` finds W with E‖x − W x̂‖² smallest; it mixes channels. What it
leaves is calibrated: power that is missing is detail that x̂ does not know. The optimum with a
given shift towards the power of x lies on the straight line between W x̂ and the image whose power
is whole, which for a Gaussian is one gain per frequency, 1 + s·(√(S/Ŝ) − 1), 0 ≤ s ≤ 1 (Freirich,
Michaeli and Meir 2021, "A theory of the distortion-perception tradeoff in Wasserstein space", the
Gaussian case). A gain adds no detail that is out of place: coherence is kept per ring.

Shape letters: B batch, C channels in, D channels out, H height, W width, K taps per side, R rings,
O orbits of the taps under the symmetries of the square.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.functional.precision import float32_island
from pellucid.functional.spectrum import RadialSpectra

MOST_GAIN = 2.0
"""Beyond 6 dB a ring holds so little of x that its gain would mostly raise what is out of place."""

_GRID = 64  # frequencies per side at which a radial response is sampled
_RIDGE = 1e-5  # share of the mean power on the diagonal of the normal equations


@float32_island
def filtered(x_BCHW: Tensor, kernel_DCKK: Tensor) -> Tensor:
    """Return (B, D, H, W): every channel filtered into every other, borders repeated."""
    reach = kernel_DCKK.shape[-1] // 2
    return F.conv2d(F.pad(x_BCHW, (reach,) * 4, mode="replicate"), kernel_DCKK)


def identity_kernel(channels: int, taps: int) -> Tensor:
    """Return the (C, C, K, K) kernel that changes nothing."""
    kernel = torch.zeros(channels, channels, taps, taps)
    kernel[range(channels), range(channels), taps // 2, taps // 2] = 1.0
    return kernel


class LeastSquaresFilter:
    """Accumulate the normal equations of min E‖x − W x̂‖², batch by batch.

    Args:
        channels: of both images.
        taps: positions per side of W, odd; taps that a symmetry of the square maps onto each
            other have one weight, which a few dozen images determine.
    """

    def __init__(self, channels: int, taps: int) -> None:
        self.basis_OKK = _orbits(taps)
        size = channels * len(self.basis_OKK)
        self._products = torch.zeros(size, size, dtype=torch.float64)
        self._answers = torch.zeros(size, channels, dtype=torch.float64)

    def update(self, x_hat_BCHW: Tensor, x_BCHW: Tensor) -> None:
        """Add a batch of pairs."""
        channels, reach = x_BCHW.shape[1], self.basis_OKK.shape[-1] // 2
        kernel = self.basis_OKK[:, None].repeat(channels, 1, 1, 1).to(x_hat_BCHW)
        padded = F.pad(x_hat_BCHW, (reach,) * 4, mode="replicate")
        # one image at a time: float64 products of a whole batch would not fit into the cache
        for image, error in zip(padded, (x_BCHW - x_hat_BCHW).flatten(2), strict=True):
            seen = F.conv2d(image[None], kernel, groups=channels)[0].flatten(1).double().cpu()
            self._products += seen @ seen.T
            self._answers += seen @ error.double().cpu().T

    def solve(self) -> Tensor:
        """Return the (C, C, K, K) kernel, drawn a little towards the identity."""
        channels, taps = self._answers.shape[1], self.basis_OKK.shape[-1]
        ridge = _RIDGE * self._products.diagonal().mean().clamp_min(1e-12)
        left = self._products + ridge * torch.eye(len(self._products), dtype=torch.float64)
        weights = torch.linalg.solve(left, self._answers).float()
        weights_COD = weights.unflatten(0, (channels, len(self.basis_OKK)))
        change = torch.einsum("cod,okl->dckl", weights_COD, self.basis_OKK)
        return identity_kernel(channels, taps) + change


def power_gains(spectra: RadialSpectra) -> Tensor:
    """Return (R,) the gain √(S/Ŝ) per ring that brings back the power of x, within [1, MOST_GAIN].

    Rings without power have gain 1.
    """
    gain_R = spectra.total().ratio[0].rsqrt()
    return gain_R.nan_to_num(1.0, posinf=1.0).clamp(1.0, MOST_GAIN)


def radial_kernel(spectra: RadialSpectra, gain_R: Tensor, taps: int) -> Tensor:
    """Return the (K, K) kernel whose response follows `gain_R` over radial frequency.

    A short kernel cannot follow every gain; this one errs least in the power of what it filters.
    Its response at frequency 0 is exactly 1.

    Args:
        spectra: of what is filtered and what it should be like; their rings are those of `gain_R`.
        gain_R: the response wanted; interpolated between rings, 1 at frequency 0, constant beyond
            the last ring.
        taps: positions per side, odd, below 64.
    """
    basis_OKK = _orbits(taps).double()
    f = torch.fft.fftfreq(_GRID, dtype=torch.float64)
    radius = torch.hypot(f[:, None], f[None, :]).flatten()
    rings = spectra.frequency.tolist()
    wanted_F = np.interp(radius.numpy(), [0.0, *rings], [1.0, *gain_R.tolist()])
    # the sum over a ring, per coefficient
    power_R = spectra.total().power_hat[0].double() / spectra.frequency.double()
    power_F = torch.from_numpy(np.interp(radius.numpy(), rings, power_R.tolist()))
    weight_F = power_F + 1e-4 * power_F.max().clamp_min(1e-12)
    # the middle orbit makes up for what the others add, so that the sum, the response at 0, is 1
    response_OF = torch.fft.fft2(basis_OKK, s=(_GRID, _GRID)).flatten(1)
    shift_F = torch.exp(2j * torch.pi * (taps // 2) * (f[:, None] + f[None, :]).flatten())
    response_OF = (response_OF * shift_F).real
    middle = int(basis_OKK[:, taps // 2, taps // 2].argmax())
    free_OF = response_OF - response_OF[middle]
    missing_F = torch.from_numpy(wanted_F) - response_OF[middle]
    left = (free_OF * weight_F) @ free_OF.T
    left += 1e-9 * left.diagonal().mean().clamp_min(1e-12) * torch.eye(len(left))
    weights_O = torch.linalg.solve(left, (free_OF * weight_F) @ missing_F)
    weights_O[middle] = 1 - (weights_O.sum() - weights_O[middle])
    return torch.einsum("o,okl->kl", weights_O, basis_OKK).float()


def in_series(kernel_DCKK: Tensor, radial_KK: Tensor) -> Tensor:
    """Return the one kernel (D, C, 2K−1, 2K−1) that does both, the radial one second."""
    reach = radial_KK.shape[-1] - 1
    padded = F.pad(kernel_DCKK, (reach,) * 4).flatten(0, 1)[:, None]
    # a radial kernel is its own mirror image, so correlation is convolution
    return F.conv2d(padded, radial_KK[None, None]).unflatten(0, kernel_DCKK.shape[:2])[:, :, 0]


def _orbits(taps: int) -> Tensor:
    """Return (O, K, K): taps that flips and quarter turns map onto each other, each of sum 1."""
    away = (torch.arange(taps) - taps // 2).abs()
    far = torch.maximum(away[:, None], away[None, :])
    near = torch.minimum(away[:, None], away[None, :])
    _, orbit = torch.unique(far * taps + near, return_inverse=True)
    basis = F.one_hot(orbit).movedim(-1, 0).float()
    return basis / basis.sum((1, 2), keepdim=True)
